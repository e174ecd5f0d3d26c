"""Settings of `kind: regression` and `kind: free_regression`."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from study.data.base import Estimate, Predicts
from study.data.config import DataSettings, Gives
from study.settings.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt, Settings

SHIPPED = ("diabetes", "linnerud")
"""Tables of scikit-learn."""
ENDINGS = (".csv", ".parquet")
OF_SYNTHETIC = ("samples", "input_dim", "target_dim", "teacher_width", "noise")
OF_TABLES = ("inputs", "targets")
Dimension = Annotated[PositiveInt, Field(le=100_000)]


class Targets(Settings):
    """Inputs and target vectors of a seeded teacher, or the columns of a table.

    Inputs and targets are standardised with the mean and deviation of each column of the training
    samples.
    """

    source: str = "synthetic"
    """`synthetic`, `diabetes` or `linnerud` (of scikit-learn), a .csv or a .parquet file.

    `synthetic` draws inputs x from a normal distribution and a teacher y = A tanh(B x) with noise.
    """
    inputs: list[str] | None = None
    """Columns of a table that are inputs; null = all numbers that are no targets."""
    targets: list[str] | None = None
    """Columns of a table that are targets; null = those of a table of scikit-learn."""
    samples: Annotated[PositiveInt, Field(le=10_000_000)] = 1000
    """Of `synthetic`: samples of both splits together."""
    input_dim: Dimension = 16
    """Of `synthetic`: entries of an input."""
    target_dim: Dimension = 2
    """Of `synthetic`: entries of a target."""
    teacher_width: Dimension = 32
    """Of `synthetic`: units of the teacher's layer."""
    noise: NonNegativeFloat = 0.1
    """Of `synthetic`: deviation of the noise of a target by that of the target without it."""
    seed: NonNegativeInt = 0
    """Seed of teacher, samples and split, and of the subset that is measured."""

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if source in ("synthetic", *SHIPPED) or source.endswith(ENDINGS):
            return source
        raise ValueError(
            f"{source!r} is no known source of targets: use synthetic, {', '.join(SHIPPED)}, or a "
            f"file ending in {' or '.join(ENDINGS)}"
        )

    @model_validator(mode="after")
    def _belongs_to_the_source(self) -> Self:
        fields = type(self).model_fields
        names = OF_TABLES if self.source == "synthetic" else OF_SYNTHETIC
        foreign = [name for name in names if getattr(self, name) != fields[name].default]
        if foreign:
            other = "a table" if self.source == "synthetic" else "source synthetic"
            raise ValueError(
                f"{', '.join(foreign)} belong to {other}, and source is {self.source}: leave them "
                "out"
            )
        for name in OF_TABLES:
            columns = getattr(self, name)
            if columns is not None and (not columns or len(set(columns)) < len(columns)):
                raise ValueError(f"{name} lists no column, or one twice: list each once")
        if self.targets is None and self.source.endswith(ENDINGS):
            raise ValueError(
                f"targets is missing: name the columns of {self.source} to predict, such as [price]"
            )
        if both := sorted(set(self.inputs or ()) & set(self.targets or ())):
            raise ValueError(
                f"inputs and targets both list {', '.join(both)}: a model would read what it is "
                "to predict; keep them in one of the two"
            )
        return self


class RegressionData(Targets, DataSettings):
    """Vectors with target vectors, for a regression; in bins, for classes in an order."""

    gives: ClassVar[Gives] = "vectors"
    loader: ClassVar[str] = "study.data.regression:load_regression"
    kind: Literal["regression"] = "regression"
    val_fraction: Fraction = 0.2
    """Share of the samples, drawn by `seed`, that is kept for validation."""
    bins: Annotated[PositiveInt, Field(ge=2, le=1000)] | None = None
    """Cuts the one target into so many classes in an order, at quantiles of training targets.

    null = the targets themselves are predicted.
    """

    @model_validator(mode="after")
    def _bins_one_target(self) -> Self:
        count = len(self.targets or ()) or (self.target_dim if self.source == "synthetic" else 1)
        if self.source == "linnerud" and self.targets is None:
            count = 3
        if self.bins is not None and count != 1:
            fix = "target_dim to 1" if self.source == "synthetic" else "targets to one column"
            raise ValueError(f"bins cuts one target into classes, and there are {count}: set {fix}")
        return self

    @property
    def predicts(self) -> Predicts:
        return "vectors" if self.bins is None else "classes"

    @property
    def has_ordered_classes(self) -> bool:
        return self.bins is not None

    def estimate(self, *, base: Path, cache: Path) -> Estimate:
        size: Estimate = resolve_name("study.data.regression:size_of_regression")(self, base)
        return size

    def check(self, *, base: Path) -> None:
        self.estimate(base=base, cache=base)


class FreeRegressionData(Targets, DataSettings):
    """Samples without content with target vectors.

    They are for the unconstrained-features model (`model.kind: ufm`). Validation samples are the
    training samples.
    """

    gives: ClassVar[Gives] = "samples"
    loader: ClassVar[str] = "study.data.regression:load_free_regression"
    kind: Literal["free_regression"] = "free_regression"

    @property
    def predicts(self) -> Predicts:
        return "vectors"

    def estimate(self, *, base: Path, cache: Path) -> Estimate:
        size: Estimate = resolve_name("study.data.regression:size_of_free_regression")(self, base)
        return size

    def check(self, *, base: Path) -> None:
        self.estimate(base=base, cache=base)
