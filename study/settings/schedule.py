"""Learning-rate schedules: pure functions of progress, no torch.

Progress is the share of optimizer steps done, step / steps in [0, 1). During the first `warmup`
of it the factor rises linearly from 0 to 1; the schedule proper then runs over what is left,
s = (progress - warmup) / (1 - warmup).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import BeforeValidator, Field, model_validator

from study.settings.base import Float, Settings

Share = Annotated[Float, Field(ge=0, lt=1)]


class _Schedule(Settings):
    warmup: Share = 0.0
    """Share of all steps in which the rate rises from 0."""


class Constant(_Schedule):
    """1."""

    kind: Literal["constant"] = "constant"


class Linear(_Schedule):
    """1 - s (1 - floor): to zero by default, as in Wu & Papyan 2024."""

    kind: Literal["linear"] = "linear"
    floor: Share = 0.0
    """Factor at the end."""


class Cosine(_Schedule):
    """floor + (1 - floor) (1 + cos(pi s)) / 2.

    Loshchilov & Hutter 2017, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    floor: Share = 0.0
    """Factor at the end."""


class Exponential(_Schedule):
    """final^s: the factor falls by equal ratios and reaches `final` at the end."""

    kind: Literal["exponential"] = "exponential"
    final: Annotated[Float, Field(gt=0, le=1)] = 0.01
    """Factor at the end."""


class MultiStep(_Schedule):
    """gamma^(number of milestones <= s)."""

    kind: Literal["multistep"] = "multistep"
    milestones: list[Annotated[Float, Field(gt=0, lt=1)]] = [0.5, 0.75]
    """Shares of the steps after the warm-up at which the rate falls."""
    gamma: Annotated[Float, Field(gt=0, lt=1)] = 0.1
    """Factor of each fall."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(
            later <= earlier
            for earlier, later in zip(self.milestones, self.milestones[1:], strict=False)
        ):
            raise ValueError(
                f"milestones {self.milestones} must rise strictly, each a share of the training"
            )
        return self


class WSD(_Schedule):
    """Warm-up, stable, decay (Hu et al. 2024).

    The factor is 1 until the last `decay` of s, then falls linearly to `floor`.
    """

    kind: Literal["wsd"] = "wsd"
    decay: Annotated[Float, Field(gt=0, le=1)] = 0.2
    """Share of the steps after the warm-up, at their end, in which the rate falls."""
    floor: Share = 0.0
    """Factor at the end."""


def _from_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Schedule = Constant | Linear | Cosine | Exponential | MultiStep | WSD
ScheduleConfig = Annotated[
    Annotated[Schedule, Field(discriminator="kind")], BeforeValidator(_from_name)
]
"""A schedule by its name (`linear`) or as a mapping (`{kind: cosine, warmup: 0.05}`)."""


def learning_rate(schedule: Schedule, progress: float) -> float:
    """Factor of the base learning rate, in [0, 1], at `progress` in [0, 1].

    Raises ValueError outside that range.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress {progress} is outside [0, 1]")
    if progress < schedule.warmup:
        return progress / schedule.warmup
    s = (progress - schedule.warmup) / (1 - schedule.warmup)
    match schedule:
        case Constant():
            return 1.0
        case Linear(floor=floor):
            return 1 - s * (1 - floor)
        case Cosine(floor=floor):
            return floor + (1 - floor) * (1 + math.cos(math.pi * s)) / 2
        case Exponential(final=final):
            return math.pow(final, s)
        case MultiStep(milestones=milestones, gamma=gamma):
            return math.pow(gamma, sum(milestone <= s for milestone in milestones))
        case WSD(decay=decay, floor=floor):
            return 1.0 if s <= 1 - decay else 1 - (1 - floor) * (s - (1 - decay)) / decay
        case _:
            assert_never(schedule)
