"""What a study declares of its analysis, and a search of its winner, as settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BeforeValidator,
    field_validator,
)

from study.settings.base import (
    Float,
    NonNegativeInt,
    PositiveFloat,
    Settings,
)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrSeveral = Annotated[
    list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])
]


class Tuned(Settings):
    """What a search notes in the settings that it wrote.

    Its file, the trial, and the seeds on which the settings were chosen.
    """

    search: str
    """The file of the search."""
    trial: NonNegativeInt
    """The number of the trial whose settings these are."""
    seeds: list[NonNegativeInt]
    """Seeds on which the settings were chosen, which say too much of them."""


class Matched(Settings):
    """Levels of an axis that are compared at equal `train_loss`.

    Trainings of one seed are compared that agree in all other axes but those that are `free`.
    """

    axis: str
    """The axis of the grid whose levels are compared."""
    baseline: bool | float | str
    """The level that the others are compared with."""
    free: list[str] = []
    """Axes that may differ, such as the learning rate and the decay of each optimizer."""


class AnalysisConfig(Settings):
    """What a study declares of its analysis before it runs.

    It is never part of a cell's identity.

    `primary` are the metrics that it is to decide about (those of the report where it is None), all
    others are exploratory; `margin` the change of a column that counts as none; `level` the value
    of a metric whose epoch the report asks for; `intervention` the axes whose effect is asked for,
    trainings being paired that agree in all others and the seed; `matched` an axis whose levels are
    compared at equal `train_loss`, as those of optimizers, which share no setting.
    """

    primary: list[str] | None = None
    """Metrics that the study decides about; null = one a property."""
    margin: dict[str, PositiveFloat] = {}
    """Change of a column that counts as none, by column."""
    level: dict[str, Float] = {}
    """Value of a metric whose epoch the report asks for, by metric."""
    intervention: OneOrSeveral = []
    """Axis, or list of axes, whose effect is asked for."""
    matched: Matched | None = None

    @field_validator("primary")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names a metric twice: keep it once")
        return value
