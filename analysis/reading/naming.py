"""Options that name the columns of a foreign table, in place of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import polars as pl

from analysis.reading.mapping import ColumnMap, MetricMap, quoted
from analysis.reading.table import ROW, AnalysisError, Direction, nearest
from study.columns import METRICS, metric_of

RESPONSES: dict[str, Direction] = {
    "val_loss": "lower",
    "train_loss": "lower",
    "perplexity": "lower",
    "generalization_gap": "lower",
    "val_accuracy": "higher",
    "train_accuracy": "higher",
    "robust_accuracy": "higher",
    "robust_loss": "lower",
}
FAMILIES = ("NC", "GNC", "UNC", "NRC", "ONC")
AUROC = "ood_auroc_"
SCORES = tuple(name.removeprefix(AUROC) for name in METRICS if name.startswith(AUROC))
"""Scores that detect other data."""


KNOWN_AXES = (
    "width",
    "depth",
    "epochs",
    "lr",
    "weight_decay",
    "batch_size",
    "train_precision",
    "data_train_tokens",
)
UNIT = "training"  # what the project's own tables call it
CANDIDATES = 8  # columns that a message lists


@dataclass(frozen=True)
class ColumnNames:
    """Columns of a foreign table by what they are for; those not named are None.

    Several columns of `unit` name a training together. What is not named is taken from columns
    that the project's own tables have (`training`, `epoch`, `seed`, `precision`, `nc1_...`).
    """

    unit: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    axes: Sequence[str] | None = None
    architecture: Sequence[str] | None = None
    order: str | None = None
    seed: str | None = None
    precision: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is named."""
        return any(getattr(self, field.name) is not None for field in fields(self))


def better_of(column: str) -> Direction | None:
    """The better direction of an outcome of the project; None for all others."""
    if column in RESPONSES:
        return RESPONSES[column]
    metric = metric_of(column)
    return None if metric is None else metric.better


def is_architecture(axis: str) -> bool:
    """Whether a setting describes the model, by its name."""
    return axis in ("width", "depth") or axis.startswith("model_")


def map_of(frame: pl.DataFrame, names: ColumnNames, response: str | None, source: str) -> ColumnMap:
    """The map that the named columns amount to.

    Raises AnalysisError for a name that is no column, and for a unit, metrics, response or settings
    that nobody named and that the columns do not tell; nothing is guessed.
    """
    columns = [name for name in frame.columns if name != ROW]

    def own(name: str) -> str | None:
        return name if name in columns else None

    unit = list(names.unit or ([UNIT] if UNIT in columns else []))
    if not unit:
        raise AnalysisError(
            f"{source}: which column names the training of a row? Say it with --unit COLUMN, or "
            f"with --unit A,B where several do together.{nearest(UNIT, columns)}"
        )
    metrics = list(
        [name for name in columns if name.upper().startswith(FAMILIES)]
        if names.metrics is None
        else names.metrics
    )
    chosen = response or "val_loss"
    order, seed, precision = (
        names.order or own("epoch"),
        names.seed or own("seed"),
        names.precision or own("precision"),
    )
    options = [
        *(("--unit", name) for name in unit),
        *(("--metrics", name) for name in metrics),
        *(("--axes", name) for name in names.axes or ()),
        *(("--architecture", name) for name in names.architecture or ()),
        ("--response", chosen),
        ("--order", order),
        ("--seed-column", seed),
        ("--precision-column", precision),
    ]
    for option, name in options:
        if name is not None and name not in columns:
            raise AnalysisError(
                f"{source}: {option}: {name!r} is no column.{nearest(name, columns)}"
            )
    if not metrics:
        raise AnalysisError(
            f"{source}: which columns are metrics? Say it with --metrics A,B."
            f"{nearest('nc1', columns)}"
        )
    responses = {
        name: better
        for name, better in RESPONSES.items()
        if name in columns and name not in metrics
    }
    if (better := better_of(chosen)) is not None:
        responses.setdefault(chosen, better)
    taken = {*unit, *metrics, chosen, *responses, order, seed, precision}
    free = [name for name in columns if name not in taken]
    axes = names.axes
    if axes is None:
        axes = [name for name in KNOWN_AXES if name in free and frame[name].n_unique() > 1]
        candidates = [name for name in free if _is_setting(frame, name, unit)]
        if candidates and not axes:
            listed = ", ".join(candidates[:CANDIDATES])
            raise AnalysisError(
                f"{source}: which columns are settings that differ between trainings? Say it with "
                f"--axes A,B, or --axes none. Columns with several values: {listed}"
            )
    architecture = (
        [name for name in axes if is_architecture(name)]
        if names.architecture is None
        else list(names.architecture)
    )
    joined = " || '/' || ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in unit)
    return ColumnMap(
        columns={UNIT: joined} if len(unit) > 1 else {},
        where=_of_models(free),
        axes=list(axes),
        architecture=architecture,
        unit=UNIT if len(unit) > 1 else unit[0],
        order=order,
        seed=seed,
        precision=precision,
        response=chosen,
        responses=responses,
        metrics={name: MetricMap(family=_family(name)) for name in metrics},
    )


def _of_models(columns: Sequence[str]) -> str | None:
    """The condition of rows about no layer and no attack, in our own tables."""
    if "layer" not in columns:
        return None
    return "layer IS NULL AND attack IS NULL" if "attack" in columns else "layer IS NULL"


def _is_setting(frame: pl.DataFrame, name: str, unit: Sequence[str]) -> bool:
    """Whether a column has several values and one value a training."""
    if frame[name].n_unique() < 2:
        return False
    return frame.select(*unit, name).n_unique() == frame.select(unit).n_unique()


def _family(name: str) -> str:
    """NC1 of `nc1_ratio`; nothing for the name of something else."""
    family = name.split("_", maxsplit=1)[0].upper()
    return family if family.startswith(FAMILIES) else ""
