"""Models that their settings and the shape of the data describe completely.

They are made without touching the global generator and kept with their settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.config import ModelError
from study.models.vision_config import HeadSettings

FAMILY = "collapse_study"
"""`model_type` of a `config.json` that `NativeModel.description` wrote."""


class NativeModel(FeatureModel):
    """A model that its settings, its classes and the shape of an input describe."""

    def __init__(self, settings: HeadSettings, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.settings, self.classes, self.input_shape = settings, classes, input_shape
        self.tied, self.embedding = False, None

    @classmethod
    def build(
        cls,
        settings: HeadSettings,
        *,
        classes: int,
        input_shape: tuple[int, ...],
        seed: int,
        base: Path,
    ) -> Self:
        """The model of `settings`, initialised from a generator of its own.

        Raises ModelError when an input is too small for the model, or a fixed head has more
        classes than the features can hold.
        """
        with _randomness_of(seed):
            return cls(settings, classes, input_shape)

    def takes(self, input_shape: tuple[int, ...]) -> bool:
        """Whether inputs of this shape fit the weights."""
        return input_shape == self.input_shape

    def description(self) -> dict[str, Any]:
        """What `config.json` says of the model."""
        settings = self.settings.model_dump(mode="json")
        return {
            "model_type": FAMILY,
            "settings": settings,
            "classes": self.classes,
            "input_shape": list(self.input_shape),
        }


def make_head(settings: HeadSettings, width: int, classes: int, *, bias: bool = True) -> nn.Linear:
    """The linear classifier: torch's initialisation, or a frozen simplex frame.

    Raises ModelError when a frame of `classes` vectors does not fit `width` features.
    """
    if settings.head == "learned":
        return nn.Linear(width, classes, bias=bias)
    if width < classes - 1:
        raise ModelError(
            f"model.head fixed_etf: a simplex frame of {classes} classes needs at least "
            f"{classes - 1} features, the model has {width}: make it wider, or learn the head"
        )
    head = nn.Linear(width, classes, bias=False)
    head.weight = nn.Parameter(simplex_frame(classes, width), requires_grad=False)
    return head


def simplex_frame(classes: int, width: int) -> Tensor:
    """(classes, width) unit rows with inner products -1 / (classes - 1).

    W = sqrt(C / (C - 1)) P Q^T, P (C, C-1) an orthonormal basis of the vectors orthogonal to 1,
    Q (d, C-1) orthonormal columns drawn from the global generator (Papyan et al. 2020,
    definition 1). Needs C <= d + 1.
    """
    C = classes
    centring = torch.eye(C, dtype=torch.float64) - 1 / C
    basis, _ = torch.linalg.qr(centring[:, : C - 1])
    directions, _ = torch.linalg.qr(torch.randn(width, C - 1, dtype=torch.float64))
    rows: Tensor = (C / (C - 1)) ** 0.5 * basis @ directions.T
    return rows.float()


@contextmanager
def _randomness_of(seed: int) -> Iterator[None]:
    """Within, torch's CPU generator starts from `seed`; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
