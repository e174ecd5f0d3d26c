"""Columns of single sets of other data, which follow from a rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from study.columns.metric import Metric
from study.columns.table import METRICS

OF_OTHER_DATA = tuple(name for name in METRICS if name.startswith(("nc5_ood_", "ood_")))
"""Columns of `data.ood`; of several sets each has them, with `_NAME` of the set behind them."""


def columns_of_sets(sets: Sequence[str]) -> tuple[str, ...]:
    """Columns of rows that are measured beside sets of these names.

    >>> columns_of_sets([])
    ()
    >>> columns_of_sets(["photos"])[0], columns_of_sets(["photos", "noise"])[-1]
    ('nc5_ood_orthogonality', 'ood_fpr95_neco_noise')
    """
    if not sets:
        return ()
    own = (f"{name}_{each}" for each in sets for name in OF_OTHER_DATA)
    return (*OF_OTHER_DATA, *own) if len(sets) > 1 else OF_OTHER_DATA


def metric_of(column: str) -> Metric | None:
    """What a column of a row means; None where it is no metric.

    It may be that of a single set of other data.
    """
    if column in METRICS:
        return METRICS[column]
    for name in OF_OTHER_DATA:
        if column.startswith(f"{name}_"):
            metric, each = METRICS[name], column.removeprefix(f"{name}_").replace("_", " ")
            return replace(
                metric,
                name=f"{metric.name}, {each}",
                symbol=rf"{{{metric.symbol}}}_{{\mathrm{{{each.replace(' ', '-')}}}}}",
                description=f"{metric.description}; {each} alone",
            )
    return None


def metrics_among(columns: Iterable[str]) -> dict[str, Metric]:
    """All metrics, with those of single sets of other data among `columns`."""
    named = {column: metric_of(column) for column in columns}
    return METRICS | {column: metric for column, metric in named.items() if metric is not None}
