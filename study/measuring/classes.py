"""The measured classes of a checkpoint, one by one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.data import Dataset
from study.settings.faults import Fault, StudyError

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from study.measuring.columns import Measurement

SHARES = {"agreement": "agreed", "ncc_accuracy": "own", "accuracy": "correct"}
"""Columns of a class table that are shares of the class's samples -> the count of each."""


def class_frame(
    measurement: Measurement, weight: Tensor, data: Dataset, min_count: int
) -> pl.DataFrame:
    """One row per measured class: `per_class`, its name, its decisions.

    `scaled_norm` is ||m_c||^2 / sqrt(d), which Wu & Papyan 2024 print in table 4.

    `agreement`, `ncc_accuracy` and `accuracy` are the shares of the class's own validation samples,
    null where it has none. Raises StudyError where there are no values by class: fewer than two
    measured classes, or numbers that are not finite.
    """
    import polars as pl

    from study.metrics import MomentsError, per_class

    moments, decisions = measurement.moments, measurement.decisions
    if moments is None or decisions is None:
        text = "there are none: the targets are vectors"
        raise StudyError([Fault("--classes", text, "Leave --classes out")], source="command line")
    if len(weight) < moments.classes:
        text = "has a row of the head for each class, and this head has one for all"
        raise StudyError([Fault("--classes", text, "Leave --classes out")], source="command line")
    try:
        columns = per_class(moments, weight, min_count=min_count).columns()
    except MomentsError as error:
        fix = "Lower --min-count, measure more samples, or leave --classes out"
        raise StudyError([Fault("--classes", str(error), fix)], source="command line") from error
    frame = pl.DataFrame(columns)
    index = frame["class"].to_list()
    counts = {name: getattr(decisions, name)[index].tolist() for name in SHARES.values()}
    samples = decisions.samples[index].tolist()
    shares = {
        column: [hits / n if n else None for hits, n in zip(counts[name], samples, strict=True)]
        for column, name in SHARES.items()
    }
    names = [data.class_names[number] for number in index]
    return frame.with_columns(
        (pl.col("norm").pow(2) / math.sqrt(moments.dim)).alias("scaled_norm"),
        pl.Series("name", names),
        pl.Series("val_samples", samples),
        *(pl.Series(name, values, dtype=pl.Float64) for name, values in shares.items()),
    )
