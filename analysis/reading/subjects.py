"""Rows by what they are about: clean samples, layers, samples under attack.

Every analysis is about the first; what attacks do to them stands in further columns of theirs.
"""

from __future__ import annotations

import polars as pl

from analysis.reading.table import ROW

LAYER, ATTACK, GAP = "layer", "attack", "attack_gap"
ROBUST = {"robust_accuracy": "val_accuracy", "robust_loss": "val_loss"}
"""Column of a clean row -> the column of its attacked row that it holds."""
LEAPS = (
    "attack_success",
    "leap_share",
    "leap_arrival",
    "leap_progress",
    "leap_distance",
    "attack_radius",
)
"""Columns that attacked rows alone have."""
KEYS = ("cell", "training", "epoch", "precision", LAYER)
"""Columns in which a clean row and its attacked row agree, those that a table has."""


def without_layers(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Rows of the head's input, and those of inner layers, None where there are none."""
    if LAYER not in frame.columns:
        return frame, None
    layers = frame.filter(pl.col(LAYER).is_not_null())
    rest = frame.filter(pl.col(LAYER).is_null())
    return rest, None if layers.is_empty() else layers.drop(ROW)


def with_robust(frame: pl.DataFrame) -> pl.DataFrame:
    """Clean rows alone, with what was measured of the same samples under attack.

    That is `ATTACK`, the columns of `ROBUST` and `LEAPS`, and `GAP`: clean less robust accuracy.
    They are null where a clean row has none.
    """
    if ATTACK not in frame.columns or frame[ATTACK].null_count() == len(frame):
        return frame
    keys = [name for name in KEYS if name in frame.columns]
    sources = ROBUST | {name: name for name in LEAPS}
    columns = {new: old for new, old in sources.items() if old in frame.columns}
    attacked = frame.filter(pl.col(ATTACK).is_not_null()).select(
        *keys, ATTACK, *(pl.col(old).cast(pl.Float64).alias(new) for new, old in columns.items())
    )
    clean = frame.filter(pl.col(ATTACK).is_null()).drop(ATTACK, *columns, strict=False)
    joined = clean.join(attacked, on=keys, how="left", nulls_equal=True, maintain_order="left")
    if "robust_accuracy" not in columns:
        return joined
    return joined.with_columns((pl.col("val_accuracy") - pl.col("robust_accuracy")).alias(GAP))
