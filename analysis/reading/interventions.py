"""Which axes are interventions or matched, by the names of a study, with levels."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.reading.mapping import MatchedAxis
from analysis.reading.table import AnalysisError, Intervention, Matched, Roles

NEUTRAL = ("none", "off", "false")  # levels of text that stand for doing nothing


def interventions(
    frame: pl.DataFrame, roles: Roles, names: Sequence[str]
) -> tuple[Intervention, ...]:
    """The interventions among the axes of a table.

    A name is that of a column, or the dotted path of a setting (`train.penalty.nc1`), whose column
    has the end of the path. The baseline is zero (`false`, `none`), else the least number, else the
    first level of the table. Raises AnalysisError for a name that is no axis.
    """
    chosen: dict[str, Intervention] = {}
    for name in names:
        axis = _axis(name, roles, "intervention", "Name others with --intervention.")
        if axis in chosen:
            raise AnalysisError(
                f"intervention: {name!r} is the axis {axis!r}, which is named twice: keep it once"
            )
        chosen[axis] = _with_levels(name, axis, frame[axis])
    return tuple(chosen.values())


def matched_axis(
    frame: pl.DataFrame, roles: Roles, declared: MatchedAxis | None, planned: Sequence[str]
) -> Matched | None:
    """The axis whose levels are compared at equal loss.

    None where none is declared, and where the rows have one level of it so far, or none at the
    baseline. Raises AnalysisError for a name that is neither an axis of the table nor `planned`.
    """
    if declared is None:
        return None
    where = "Name others under `matched`."
    columns = {
        name: _axis(name, roles, "matched", where)
        for name in (declared.axis, *declared.free)
        if _column(name, roles.axes) is not None or _column(name, planned) is None
    }
    if declared.axis not in columns:
        return None
    axis = columns.pop(declared.axis)
    levels = frame[axis].unique(maintain_order=True).to_list()
    if declared.baseline not in levels or len(levels) < 2:
        return None
    others = tuple(level for level in levels if level != declared.baseline)
    return Matched(declared.axis, axis, declared.baseline, others, tuple(columns.values()))


def unmeasured(names: Sequence[str], roles: Roles, planned: Sequence[str]) -> list[str]:
    """Names of planned axes of which the rows have one level so far."""
    return [
        name
        for name in names
        if _column(name, roles.axes) is None and _column(name, planned) is not None
    ]


def _column(name: str, axes: Sequence[str]) -> str | None:
    """The axis that a name stands for: the longest end of its path that is one."""
    parts = name.split(".")
    ends = ("_".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in axes), None)


def _axis(name: str, roles: Roles, what: str, where: str) -> str:
    axis = _column(name, roles.axes)
    if axis is not None:
        return axis
    known = ", ".join(roles.axes) or "none"
    raise AnalysisError(
        f"{what}: {name!r} is no axis of the table, in which trainings differ. "
        f"Axes: {known}. {where}"
    )


def _with_levels(name: str, axis: str, column: pl.Series) -> Intervention:
    numeric = column.dtype.is_numeric()
    ordered = column.unique().sort() if numeric else column.unique(maintain_order=True)
    levels = ordered.to_list()
    if numeric:
        baseline = levels[levels.index(0)] if 0 in levels else levels[0]
    else:
        neutral = [level for level in levels if str(level).lower() in NEUTRAL]
        baseline = neutral[0] if neutral else levels[0]
    if len(levels) < 2:
        raise AnalysisError(
            f"intervention: {name!r} has one level, {levels[0]!r}: nothing can be compared"
        )
    others = tuple(level for level in levels if level != baseline)
    return Intervention(name, axis, baseline, others, numeric)
