"""What later phases of a training leave of the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from study.measuring.columns import Measurement
from study.settings.phases import Phase

Row = dict[str, Any]


def put_first_phase(head: Measurement, phases: Sequence[Phase]) -> None:
    """Record first_phase_accuracy, of validation samples of the first phase's classes.

    The head decides among all classes, those of later phases too. Undefined where decisions are:
    for features that are not finite, and without two measured classes.
    """
    decisions = head.decisions
    assert decisions is not None
    classes = phases[0].classes
    correct, samples = (int(each[classes].sum()) for each in (decisions.correct, decisions.samples))
    share = correct / samples if samples and decisions.reason is None else None
    reason = decisions.reason or "no validation sample is of the first phase"
    head.put("first_phase_accuracy", share, reason)


def with_forgetting(rows: Sequence[Row], phases: Sequence[Phase] | None) -> list[Row]:
    """The rows of a cell, with forgetting from the end of the first phase on.

    It is first_phase_accuracy at that end less that of the row (Chaudhry et al. 2018, section 3, of
    one earlier task), below zero where later phases help; null before, and in rows of layers.
    """
    if phases is None:
        return list(rows)
    end = phases[0].epochs
    known = [row for row in rows if row.get("first_phase_accuracy") is not None]
    before = [row["first_phase_accuracy"] for row in known if row["epoch"] == end]
    return [
        row | {"forgetting": before[0] - row["first_phase_accuracy"]}
        if before and row["epoch"] >= end and row.get("first_phase_accuracy") is not None
        else row
        for row in rows
    ]
