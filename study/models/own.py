"""Models built from settings and the shape of the data alone: made without touching the global generator, kept with
their settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.config import ModelError
from study.models.vision_config import (
    ConvNeXt,
    HeadSettings,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    UnconstrainedFeatures,
)

FAMILY = "collapse_study"
"""`model_type` of a `config.json` that `OwnModel.description` wrote."""

_KINDS: tuple[type[SimpleCNN | ResNet18 | MobileNetV3 | ConvNeXt | UnconstrainedFeatures], ...] = (
    SimpleCNN,
    ResNet18,
    MobileNetV3,
    ConvNeXt,
    UnconstrainedFeatures,
)


class OwnModel(FeatureModel):
    """A model that its settings, the number of classes and the shape of one input describe completely."""

    def __init__(self, settings: HeadSettings, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.settings, self.classes, self.input_shape = settings, classes, input_shape
        self.tied, self.embedding = False, None

    def description(self) -> dict[str, Any]:
        """What `config.json` says of the model; `rebuilt` reads it."""
        settings = self.settings.model_dump(mode="json")
        return {
            "model_type": FAMILY,
            "settings": settings,
            "classes": self.classes,
            "input_shape": list(self.input_shape),
        }


def build_own(
    settings: SimpleCNN | ResNet18 | MobileNetV3 | ConvNeXt | UnconstrainedFeatures,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
) -> OwnModel:
    """The model of `settings`, initialised from a generator of its own.

    Raises ModelError when `input_shape` is not of the kind of input that the model reads, or too small for it, or a
    fixed head has more classes than its features can hold.
    """
    from study.models.ufm import FreeFeatures
    from study.models.vision import ImageClassifier

    wanted = 1 if isinstance(settings, UnconstrainedFeatures) else 3
    if len(input_shape) != wanted:
        raise ModelError(
            f"model.kind {settings.kind} reads {settings.reads}, not inputs of shape {input_shape}"
        )
    with _own_randomness(seed):
        if isinstance(settings, UnconstrainedFeatures):
            return FreeFeatures(settings, classes, input_shape)
        return ImageClassifier(settings, classes, input_shape)


def rebuilt(description: dict[str, Any], tensors: dict[str, Tensor]) -> OwnModel:
    """The model that `OwnModel.description` described, with its weights. Raises ModelError where they do not fit."""
    kinds = {kind.model_fields["kind"].default: kind for kind in _KINDS}
    try:
        settings = kinds[description["settings"]["kind"]].model_validate(description["settings"])
        shape = tuple(description["input_shape"])
        model = build_own(settings, classes=description["classes"], input_shape=shape, seed=0)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValidationError, RuntimeError) as error:
        raise ModelError(f"the checkpoint does not fit its own description: {error}") from error
    return model


def make_head(settings: HeadSettings, width: int, classes: int, *, bias: bool = True) -> nn.Linear:
    """The linear classifier: torch's initialisation, or a frozen simplex frame.

    Raises ModelError when a frame of `classes` vectors does not fit `width` features.
    """
    if settings.head == "learned":
        return nn.Linear(width, classes, bias=bias)
    if width < classes - 1:
        raise ModelError(
            f"model.head fixed_etf: a simplex frame of {classes} classes needs at least {classes - 1} features, the "
            f"model has {width}: make it wider, or learn the head"
        )
    head = nn.Linear(width, classes, bias=False)
    head.weight = nn.Parameter(simplex_frame(classes, width), requires_grad=False)
    return head


def simplex_frame(classes: int, width: int) -> Tensor:
    """(classes, width) unit rows with inner products -1 / (classes - 1), turned by the global generator.

    W = sqrt(C / (C - 1)) P Q^T, P (C, C-1) an orthonormal basis of the vectors orthogonal to 1, Q (d, C-1) random
    orthonormal columns (Papyan et al. 2020, definition 1). Needs C <= d + 1.
    """
    C = classes
    centring = torch.eye(C, dtype=torch.float64) - 1 / C
    basis, _ = torch.linalg.qr(centring[:, : C - 1])
    turned, _ = torch.linalg.qr(torch.randn(width, C - 1, dtype=torch.float64))
    rows: Tensor = (C / (C - 1)) ** 0.5 * basis @ turned.T
    return rows.float()


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Within, torch's CPU generator starts from `seed`; afterwards it is as before. Others are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
