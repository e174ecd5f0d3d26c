"""Paragraphs of the summary about what is described.

Searches, axes, courses, precisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.findings.curves import Course
from analysis.findings.effects import Effect
from analysis.findings.frames import lines_of
from analysis.findings.methods import MethodLine
from analysis.findings.pairs import fine_tuned
from analysis.findings.tuning import Comparison
from analysis.reading.table import ABOVE_FLOOR, FLOOR
from analysis.report.tables import number, p_value, share, signed, signed_number
from analysis.statistics.levels import ALPHA
from study.store.methods import NEAREST

FACTORS = ("nc1_ratio", "nc1_cdnv_galanti", "nc1_cdnv")  # the first tells how far collapse went


@dataclass(frozen=True)
class Paragraph:
    """A part of the summary: a word or two, and what the tables say of it.

    `section` is the name of the section whose tables it tells.
    """

    title: str
    text: str
    section: str = ""


def search(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    trials = frames["trials"]
    complete = trials.filter(pl.col("state") == "complete")
    text = (
        f"{len(trials)} trials, {len(complete)} complete, of which {complete['holds'].sum()} "
        "hold the constraints."
    )
    if complete["holds"].any():
        best = complete.filter("holds").row(0, named=True)
        objective = trials.columns[2]  # after trial and state
        text += f" Best {objective}: trial {best['trial']} ({best['settings']})."
    yield Paragraph("Search", text)
    if "confirmation" not in frames:
        yield Paragraph(
            "Not confirmed", "What the search found was not yet put to the test on fresh seeds."
        )
        return
    (line,) = lines_of(Comparison, frames["confirmation"])
    if line.p is None:
        yield Paragraph(
            "Not confirmed", f"Trial {line.trial} cannot be compared with the default: {line.note}."
        )
        return
    if line.scale == "log":
        change = f"{line.metric} is {number(line.ratio)} times that of the default"
        interval = f"{number(line.ratio_low)} to {number(line.ratio_high)}"
    else:
        change = f"{line.metric} differs by {signed_number(line.difference)} from the default"
        interval = f"{signed_number(line.low)} to {signed_number(line.high)}"
    bounds = f"95% interval {interval}; " if line.low is not None else ""
    text = (
        f"Over {line.n} fresh seeds, each with trial {line.trial} and with the untuned default, "
        f"{change} ({bounds}exact sign flips, p {p_value(line.p)})."
    )
    if not line.beats:
        text += " The default is not shown to be beaten."
    if not line.stands:
        text += " Later trials surpassed this one, and the best was not yet put to the test."
    yield Paragraph(
        "Confirmed" if line.beats and line.stands else "Not confirmed",
        f"{text} {line.note + '.' if line.note else ''}".strip(),
    )


def axes(lines: list[Effect], response: str) -> Iterator[Paragraph]:
    """Which axis of the grid matters for what."""
    lines = [line for line in lines if line.p_maxt is not None]
    parts = []
    for axis in dict.fromkeys(line.axis for line in lines):
        of_axis = [line for line in lines if line.axis == axis]
        metrics = [line for line in of_axis if line.metric != response]
        clear = sorted(
            (line for line in metrics if line.p_maxt is not None and line.p_maxt <= ALPHA),
            key=lambda line: -(line.partial_r2 or 0.0),
        )
        part = f"{axis}: {len(clear)} of {len(metrics)} other columns differ"
        if clear:
            part += f" (most clearly {clear[0].metric}, by {signed(clear[0].effect)} SD)"
        outcome = next((line for line in of_axis if line.metric == response), None)
        if outcome is not None and outcome.low is not None:
            part += f", {response} by {signed(outcome.effect)} SD"
            part += f" (95% interval {signed(outcome.low)} to {signed(outcome.high)})"
        parts.append(part)
    if parts:
        yield Paragraph(
            "What the axes do",
            "From the least to the greatest value of an axis, the others held (5%). "
            f"{'; '.join(parts)}.",
        )


def floor(frame: pl.DataFrame) -> Paragraph:
    """How near the trainings came to the least possible loss."""
    floors, above = frame[FLOOR].to_numpy(), frame[ABOVE_FLOOR].to_numpy()
    least, most = float(floors.min()), float(floors.max())
    known = number(least) if least == most else f"{number(least)} to {number(most)}"
    closest = frame.sort(ABOVE_FLOOR).row(0, named=True)
    return Paragraph(
        "Entropy floor",
        f"The least expected val_loss of any model is known: {known} nats per sample. "
        f"{len(frame)} trainings end {signed_number(float(np.median(above)))} nats from it "
        f"(median); the closest has {number(closest['val_loss'])} where {number(closest[FLOOR])} "
        "is possible.",
    )


def methods(lines: list[MethodLine], response: str) -> Iterator[Paragraph]:
    """What methods without training save where rounding to nearest loses most."""
    sentences = []
    for model in dict.fromkeys(line.model for line in lines):
        known = [
            line
            for line in lines
            if line.model == model
            and line.method != NEAREST
            and not fine_tuned(f"{line.method}-")
            and line.recovered is not None
        ]
        if not known:
            continue
        worst = max(known, key=lambda line: abs(line.nearest or 0.0))
        same = [line for line in known if line.format == worst.format]
        same.sort(key=lambda line: -(line.recovered or 0.0))
        shares = ", ".join(f"{line.method} {share(line.recovered)}" for line in same)
        sentences.append(
            f"Rounding to nearest at {worst.format} changes {response}"
            f"{f' of {model}' if model else ''} by {signed_number(worst.nearest)} (median, n "
            f"{worst.n}); shares of the sum that methods recover are {shares}."
        )
    if sentences:
        yield Paragraph("Methods", " ".join(sentences))


def overfitting(trainings: pl.DataFrame) -> Paragraph:
    """How many trainings were better at an earlier checkpoint."""
    several = len(trainings.filter(pl.col("checkpoints") > 1))
    return Paragraph(
        "Overfitting",
        f"{trainings['flagged'].sum()} of {several} trainings with several checkpoints had a "
        "lower val_loss at an earlier one.",
    )


def course(lines: list[Course]) -> Iterator[Paragraph]:
    shares = [line.towards / line.n for line in lines if line.towards is not None and line.n]
    if not shares:
        return
    text = (
        f"From the first to the last checkpoint, {sum(share > 0.5 for share in shares)} of "
        f"{len(shares)} metrics moved towards more collapse in most trainings."
    )
    ratios = {
        line.metric: line.ratio
        for line in lines
        if line.towards is not None and line.ratio is not None
    }
    name = next((name for name in FACTORS if name in ratios), None)
    if name is not None:
        text += f" The median of {name} at the last over the first is {ratios[name]:.3g}."
    yield Paragraph("Over training", text)
