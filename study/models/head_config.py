"""Settings of classifier heads; no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from study.models.config import ModelError, ModelSettings
from study.settings.base import PositiveFloat

HeadOfRows = Literal["learned", "fixed_etf", "cosine"]
HeadName = Literal[HeadOfRows, "cumulative_link"]


class HeadSettings(ModelSettings):
    """A model whose head is learned, fixed or of cosines.

    `head: fixed_etf` freezes the classifier at a random simplex frame of unit rows, without
    bias (Zhu et al. 2021, section 3.3); it needs at least classes - 1 features.

    `head: cosine` has the logits cos(w_c, h) / temperature, without bias (Gidaris & Komodakis
    2018). Features are divided by their length, which makes them what is measured, and rows of the
    head by theirs. A temperature of null is learned, from 0.1 on.

    `head: cumulative_link` is one row without bias, whose output ordered thresholds cut into
    classes (McCullagh 1980): the head of `train.loss: cumulative_link`, which sets it.
    """

    head: HeadName = "learned"
    """`fixed_etf` freezes a random simplex frame, `cosine` takes norms out of the logits.

    `cumulative_link` is the one of that loss.
    """
    temperature: PositiveFloat | None = Field(default=None, json_schema_extra={"neutral": None})
    """What a head of cosines divides them by; null learns it, from 0.1 on."""

    @model_validator(mode="after")
    def _has_a_temperature(self) -> Self:
        if self.temperature is not None and self.head != "cosine":
            raise ValueError(
                f"temperature is one of head cosine, and the head is {self.head}: leave it out, or "
                "set head to cosine"
            )
        return self

    def head_size(self, classes: int, width: int, *, bias: bool = True) -> int:
        """Number of parameters of the head.

        Raises ModelError when a fixed head has more classes than `width` features can hold.
        """
        if self.head == "cumulative_link":
            return width + classes - 1
        if self.head == "fixed_etf":
            check_frame(classes, width)
        more = {"learned": classes if bias else 0, "fixed_etf": 0, "cosine": 1}
        return classes * width + more[self.head]


def check_frame(classes: int, width: int) -> None:
    """Raise ModelError when a frame of the classes does not fit the features."""
    if width < classes - 1:
        raise ModelError(
            f"model.head fixed_etf: a simplex frame of {classes} classes needs at least "
            f"{classes - 1} features, the model has {width}: make it wider, or learn the head"
        )
