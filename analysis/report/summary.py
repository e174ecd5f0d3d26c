"""The summary in plain words, from the tables of the report and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.findings.association import Association
from analysis.findings.confounders import Confounding
from analysis.findings.curves import Course
from analysis.findings.effects import Effect
from analysis.findings.frames import lines_of
from analysis.findings.overview import Overview
from analysis.findings.tuning import Comparison
from analysis.reading.table import ABOVE_FLOOR, CDNV_NORM, CDNV_VARIANTS, FLOOR
from analysis.report.tables import number, p_value, share, signed, signed_number
from analysis.statistics.levels import ALPHA
from analysis.statistics.power import minimum_detectable_r2

NAMED = 3  # metrics that a sentence describes
LISTED = 8  # metrics that a sentence names at most
FACTORS = ("nc1_ratio", "nc1_cdnv_galanti", "nc1_cdnv")  # the first tells how far collapse went


@dataclass(frozen=True)
class Paragraph:
    """A part of the summary: a word or two, and what the tables say of it."""

    title: str
    text: str


def summarise(
    frames: Mapping[str, pl.DataFrame], response: str, axes: Sequence[str]
) -> tuple[Paragraph, ...]:
    """Paragraphs for the tables that the report has, `frames` by their names.

    `axes` are what the table `grid` is given.
    """
    parts: list[Paragraph] = []
    names: list[str] = []
    if "trials" in frames:
        parts += _search(frames)
    if "association" in frames:
        family = tested(frames["association"])
        names = [line.metric for line in associated(family)]
        parts += _associated(family, response)
        parts += _norm(frames["association"])
    if "fixed" in frames:
        parts.append(_fixed(tested(frames["fixed"]), response))
    if "grid" in frames and names:
        parts.append(_grid(lines_of(Confounding, frames["grid"]), names, axes))
    if "effects" in frames:
        parts += _axes(lines_of(Effect, frames["effects"]), response)
    if "overfitting" in frames or "association_gap" in frames:
        parts.append(_overfitting(frames))
    if "training" in frames:
        parts += _course(lines_of(Course, frames["training"]))
    if "floor" in frames:
        parts.append(_floor(frames["floor"]))
    if "precision" in frames:
        parts.append(_precision(lines_of(Overview, frames["precision"]), response))
    if "association" in frames:
        parts += _n(frames, response)
    return tuple(parts)


def _search(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
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


def tested(frame: pl.DataFrame) -> list[Association]:
    """Lines of the family: one for each metric tested together with the others."""
    return [line for line in lines_of(Association, frame) if line.p_maxt is not None]


def associated(family: Sequence[Association]) -> list[Association]:
    """Lines with an adjusted p of at most 5%, the largest R^2 first."""
    return sorted((line for line in family if sure(line.p_maxt)), key=lambda line: -(line.r2 or 0))


def sure(p: float | None) -> bool:
    """Whether a test rejects; one that was not done does not."""
    return p is not None and p <= ALPHA


def listing(names: Sequence[str]) -> str:
    """'a, b and 3 more'."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"


def _closest(lines: Sequence[Association]) -> str:
    """The closest of the lines, each with r, R^2 and interval."""
    parts = []
    for line in lines[:NAMED]:
        text = f"{line.metric} (r {signed(line.r)}, R² {share(line.r2)}"
        if line.boot_low is not None:
            text += f", 95% interval of r {signed(line.boot_low)} to {signed(line.boot_high)}"
        parts.append(f"{text})")
    return "; ".join(parts)


def _associated(family: list[Association], response: str) -> Iterator[Paragraph]:
    if not family:
        yield Paragraph(
            "Nothing to test",
            f"No metric could be related to {response}: see the notes of the first table.",
        )
        return
    lines, n = associated(family), max(line.n for line in family)
    together = (
        f"over {n} trainings, {len(family)} metrics tested together at a family-wise error of 5%"
    )
    if not lines:
        least = min(family, key=lambda line: line.p_maxt or 0.0)
        yield Paragraph(
            "No association",
            f"No metric is associated with {response} {together}. The smallest adjusted p is "
            f"{p_value(least.p_maxt)}, of {least.metric} (r {signed(least.r)}).",
        )
        return
    yield Paragraph(
        "Associated",
        f"{len(lines)} of {len(family)} metrics are associated with {response} ({together}). The "
        f"closest: {_closest(lines)}.",
    )
    directed = [line for line in lines if line.agrees is not None]
    against = [line.metric for line in directed if not line.agrees]
    if directed:
        text = (
            f"More collapse goes with a better {response} in {len(directed) - len(against)} of "
            f"the {len(directed)} associated metrics that have a direction."
        )
        if against:
            text += f" It goes with a worse one in {listing(against)}."
        yield Paragraph("Direction", text)
    others = [line.metric for line in family if not sure(line.p_maxt)]
    if others:
        yield Paragraph(
            "Did not hold",
            f"No association was found for {len(others)} metrics: {listing(others)}.",
        )


def _norm(frame: pl.DataFrame) -> Iterator[Paragraph]:
    """What is left of the metric that scales with the feature norm."""
    name = CDNV_VARIANTS[0]
    by_given = {
        line.given: line
        for line in lines_of(Association, frame)
        if line.metric == name and line.scale == "raw"
    }
    plain, given = by_given.get(""), by_given.get(CDNV_NORM)
    if plain and given and plain.r is not None and given.r is not None:
        yield Paragraph(
            "Feature norm",
            f"{name} scales with the feature norm: its r is {signed(plain.r)} as it is and "
            f"{signed(given.r)} (p {p_value(given.p)}) given {CDNV_NORM}.",
        )


def _fixed(family: list[Association], response: str) -> Paragraph:
    if not family:
        return Paragraph(
            "One configuration",
            "No metric could be tested among trainings that differ in their seed alone.",
        )
    lines, n = associated(family), max(line.n for line in family)
    text = (
        f"Among {n} trainings that differ in their seed alone, {len(lines)} of {len(family)} "
        f"metrics are associated with {response} at a family-wise error of 5%"
    )
    return Paragraph("One configuration", f"{text}: {_closest(lines)}." if lines else f"{text}.")


def _grid(lines: list[Confounding], names: list[str], axes: Sequence[str]) -> Paragraph:
    """What the control for the axes leaves of the associated metrics `names`."""
    by_metric = {line.metric: line for line in lines if not line.given}
    left = [by_metric[name] for name in names if sure(by_metric[name].partial_p_maxt)]
    left.sort(key=lambda line: -(line.partial_r2 or 0.0))
    text = (
        f"Given the axes of the grid ({', '.join(axes)}), {len(left)} of these {len(names)} are "
        "still associated"
    )
    closest = "; ".join(
        f"{line.metric} (partial r {signed(line.partial_r)}, partial R² {share(line.partial_r2)})"
        for line in left[:NAMED]
    )
    text += f": {closest}." if left else "."
    gone = [name for name in names if name not in {line.metric for line in left}]
    if gone:
        text += f" Not so: {listing(gone)}."
    within = [name for name in names if by_metric[name].within_p is not None]
    if within:
        inside = [name for name in within if sure(by_metric[name].within_p)]
        text += (
            f" Among trainings of one architecture, {len(inside)} of {len(within)} have p at "
            "most 5% (each alone)."
        )
    turned = [name for name in names if by_metric[name].simpson not in ("", "same sign")]
    if turned:
        text += (
            f" The sign differs within, between or over all architectures for {listing(turned)}."
        )
    return Paragraph("Controlled for the grid", text)


def _axes(lines: list[Effect], response: str) -> Iterator[Paragraph]:
    """Which axis of the grid matters for what."""
    lines = [line for line in lines if line.p_maxt is not None]
    parts = []
    for axis in dict.fromkeys(line.axis for line in lines):
        of_axis = [line for line in lines if line.axis == axis]
        metrics = [line for line in of_axis if line.metric != response]
        clear = sorted(
            (line for line in metrics if sure(line.p_maxt)),
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


def _floor(frame: pl.DataFrame) -> Paragraph:
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


def _overfitting(frames: Mapping[str, pl.DataFrame]) -> Paragraph:
    parts = []
    if "overfitting" in frames:
        trainings = frames["overfitting"]
        several = len(trainings.filter(pl.col("checkpoints") > 1))
        parts.append(
            f"{trainings['flagged'].sum()} of {several} trainings with several checkpoints had a "
            "lower val_loss at an earlier one."
        )
    if "association_without" in frames:
        family = tested(frames["association_without"])
        if family:
            n = max(line.n for line in family)
            parts.append(
                f"Over the other {n}, {len(associated(family))} of {len(family)} metrics are "
                "associated."
            )
    if "association_gap" in frames:
        family = tested(frames["association_gap"])
        parts.append(
            f"With generalization_gap, {len(associated(family))} of {len(family)} metrics are "
            "associated."
        )
    return Paragraph("Overfitting", " ".join(parts))


def _course(lines: list[Course]) -> Iterator[Paragraph]:
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


def _precision(lines: list[Overview], response: str) -> Paragraph:
    changes = [(line.change, line) for line in lines if line.change is not None]
    if not changes:
        return Paragraph("Precision", f"No training has {response} at two precisions.")
    clear = [line for _, line in changes if sure(line.p)]
    (most, largest), (_, smallest) = (
        pick(changes, key=lambda each: abs(each[0])) for pick in (max, min)
    )
    text = (
        f"{len(clear)} of {len(changes)} precisions change {response} (sign flips, 5% each). The "
        f"largest median change is {signed_number(most)}, of {largest.precision} against "
        f"{largest.baseline}"
    )
    if largest.low is not None:
        text += f" (95% interval {signed_number(largest.low)} to {signed_number(largest.high)})"
    if largest.worse is not None:
        text += f", worse in {largest.worse} of {largest.n} trainings"
    if len(changes) > 1:
        text += f"; the smallest is {signed_number(smallest.change)}, of {smallest.precision}"
    return Paragraph("Precision", text + ".")


def _n(frames: Mapping[str, pl.DataFrame], response: str) -> Iterator[Paragraph]:
    family = tested(frames["association"])
    if not family:
        return
    n = max(line.n for line in family)
    least = minimum_detectable_r2(n, 0)
    if least is None:
        text = f"With {n} trainings no association would be found reliably."
    else:
        text = (
            f"With {n} trainings a test of one metric alone at 5% finds an R² of {share(least)} "
            "four times in five; weaker associations are often missed, so what was not found is "
            "not shown to be absent."
        )
    if "grid" in frames:
        partial = [
            line.detectable_partial_r2
            for line in lines_of(Confounding, frames["grid"])
            if line.detectable_partial_r2 is not None
        ]
        if partial:
            text += f" Given the axes, the partial R² must be {share(min(partial))} for that."
    text += (
        f" An association over trainings is no proof that collapse causes {response}, or the "
        "other way round."
    )
    yield Paragraph("What n can show", text)
