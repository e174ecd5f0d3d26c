"""Models that their settings and the shape of the data describe completely.

They are made without touching the global generator and kept with their settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from study.models.base import FeatureModel
from study.models.head_config import HeadSettings, check_frame
from study.models.heads import CosineHead, simplex_frame
from study.models.link import CumulativeLink

FAMILY = "collapse_study"
"""`model_type` of a `config.json` that `NativeModel.description` wrote."""


class NativeModel(FeatureModel):
    """A model that its settings, its classes and the shape of an input describe."""

    def __init__(self, settings: HeadSettings, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.settings, self.classes, self.input_shape = settings, classes, input_shape
        self.tied, self.embedding = False, None

    def make_head(self, width: int, *, bias: bool = True) -> nn.Linear:
        """The head of the settings: torch's initialisation, or a frozen simplex frame.

        One of a cumulative link has one output and no bias, which thresholds stand for.

        Raises ModelError when a frame of the classes does not fit `width` features.
        """
        head, classes = self.settings.head, self.classes
        if head == "cosine":
            return CosineHead(width, classes, self.settings.temperature)
        if head == "cumulative_link":
            self.cumulative_link = CumulativeLink(classes)
            return nn.Linear(width, 1, bias=False)
        if head == "learned":
            return nn.Linear(width, classes, bias=bias)
        check_frame(classes, width)
        frozen = nn.Linear(width, classes, bias=False).requires_grad_(False)
        frozen.weight.copy_(simplex_frame(classes, width))
        return frozen

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


@contextmanager
def _randomness_of(seed: int) -> Iterator[None]:
    """Within, torch's CPU generator starts from `seed`; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
