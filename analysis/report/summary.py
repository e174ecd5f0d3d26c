"""The summary in plain words, generated from the tables of the report and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analysis.reading.table import CDNV_NORM, CDNV_VARIANTS
from analysis.report.tables import number, p_value, share, signed, signed_number
from analysis.statistics.levels import ALPHA
from analysis.statistics.power import minimum_detectable_r2

NAMED = 3  # metrics that a sentence describes
LISTED = 8  # metrics that a sentence names at most
FACTORS = (
    "nc1_ratio",
    "nc1_cdnv_galanti",
    "nc1_cdnv",
)  # the first of these tells how far collapse went

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Paragraph:
    """A part of the summary: a word or two, and what the tables say of it."""

    title: str
    text: str


def summarise(
    frames: Mapping[str, pl.DataFrame], response: str, axes: Sequence[str]
) -> tuple[Paragraph, ...]:
    """Paragraphs for the tables that the report has (`frames` by their names). `axes` are what `grid` is given."""
    parts: list[Paragraph] = []
    found: list[str] = []
    if "trials" in frames:
        parts += _search(frames)
    if "association" in frames:
        family = tested(frames["association"])
        found = [line["metric"] for line in associated(family)]
        parts += _associated(family, response)
        parts += _norm(frames["association"])
    if "fixed" in frames:
        parts.append(_fixed(tested(frames["fixed"]), response))
    if "grid" in frames and found:
        parts.append(_grid(frames["grid"], found, axes))
    if "effects" in frames:
        parts += _axes(frames["effects"], response)
    if "overfitting" in frames or "association_gap" in frames:
        parts.append(_overfitting(frames))
    if "training" in frames:
        parts += _course(frames["training"])
    if "floor" in frames:
        parts.append(_floor(frames["floor"]))
    if "precision" in frames:
        parts.append(_precision(frames["precision"], response))
    if "association" in frames:
        parts += _n(frames, response)
    return tuple(parts)


def _search(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    trials = frames["trials"]
    complete = trials.filter(pl.col("state") == "complete")
    text = f"{len(trials)} trials, {len(complete)} complete, of which {complete['holds'].sum()} hold the constraints."
    if complete["holds"].any():
        best = complete.filter("holds").row(0, named=True)
        text += f" Best {trials.columns[2]}: trial {best['trial']} ({best['settings']})."  # after trial and state
    yield Paragraph("Search", text)
    if "confirmation" not in frames:
        yield Paragraph(
            "Not confirmed", "What the search found was not yet put to the test on fresh seeds."
        )
        return
    (told,) = frames["confirmation"].to_dicts()
    sizes = f"{told['tuned_n']} fresh seeds of trial {told['trial']} and {told['default_n']} of the untuned default"
    if told["p"] is None:
        yield Paragraph("Not confirmed", f"{sizes} are left, too few to compare. {told['note']}.")
        return
    if told["scale"] == "log":
        change = f"{told['metric']} is {number(told['ratio'])} times that of the default"
        interval = f"{number(told['ratio_low'])} to {number(told['ratio_high'])}"
    else:
        change = f"{told['metric']} differs by {signed_number(told['difference'])} from the default"
        interval = f"{signed_number(told['low'])} to {signed_number(told['high'])}"
    text = f"Over {sizes}, {change} (95% interval {interval}; exact permutation test, p {p_value(told['p'])})."
    if not told["beats"]:
        text += " The default is not shown to be beaten."
    if not told["stands"]:
        text += " Later trials surpassed this one, and the best was not yet put to the test."
    yield Paragraph(
        "Confirmed" if told["beats"] and told["stands"] else "Not confirmed",
        f"{text} {told['note'] + '.' if told['note'] else ''}".strip(),
    )


def tested(lines: pl.DataFrame) -> Lines:
    """Lines of the family: one for each metric that was tested together with the others."""
    return lines.filter(pl.col("p_maxt").is_not_null()).to_dicts()


def associated(family: Lines) -> Lines:
    """Lines with an adjusted p of at most 5%, the largest R^2 first."""
    return sorted(
        (line for line in family if line["p_maxt"] <= ALPHA), key=lambda line: -line["r2"]
    )


def listing(names: Sequence[str]) -> str:
    """'a, b and 3 more'."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"


def _close(lines: Lines) -> str:
    """The closest of the lines, each with r, R^2 and interval."""
    told = []
    for line in lines[:NAMED]:
        text = f"{line['metric']} (r {signed(line['r'])}, R² {share(line['r2'])}"
        if line["boot_low"] is not None:
            text += f", 95% interval of r {signed(line['boot_low'])} to {signed(line['boot_high'])}"
        told.append(f"{text})")
    return "; ".join(told)


def _associated(family: Lines, response: str) -> Iterator[Paragraph]:
    if not family:
        yield Paragraph(
            "Nothing to test",
            f"No metric could be related to {response}: see the notes of the first table.",
        )
        return
    found, n = associated(family), max(line["n"] for line in family)
    together = (
        f"over {n} trainings, {len(family)} metrics tested together at a family-wise error of 5%"
    )
    if not found:
        least = min(family, key=lambda line: line["p_maxt"])
        yield Paragraph(
            "No association",
            f"No metric is associated with {response} {together}. The smallest adjusted p is "
            f"{p_value(least['p_maxt'])}, of {least['metric']} (r {signed(least['r'])}).",
        )
        return
    yield Paragraph(
        "Associated",
        f"{len(found)} of {len(family)} metrics are associated with {response} ({together}). The closest: {_close(found)}.",
    )
    told = [line for line in found if line["agrees"] is not None]
    against = [line["metric"] for line in told if not line["agrees"]]
    if told:
        text = f"More collapse goes with a better {response} in {len(told) - len(against)} of the {len(told)} associated "
        text += "metrics that have a direction."
        if against:
            text += f" It goes with a worse one in {listing(against)}."
        yield Paragraph("Direction", text)
    lost = [line["metric"] for line in family if line["p_maxt"] > ALPHA]
    if lost:
        yield Paragraph(
            "Did not hold", f"No association was found for {len(lost)} metrics: {listing(lost)}."
        )


def _norm(lines: pl.DataFrame) -> Iterator[Paragraph]:
    """What is left of the metric that scales with the feature norm."""
    for name in CDNV_VARIANTS[:1]:
        part = {
            line["given"]: line
            for line in lines.filter(pl.col("metric") == name).to_dicts()
            if line["scale"] == "raw"
        }
        plain, given = part.get(""), part.get(CDNV_NORM)
        if plain and given and plain["r"] is not None and given["r"] is not None:
            yield Paragraph(
                "Feature norm",
                f"{name} scales with the feature norm: its r is {signed(plain['r'])} as it is and {signed(given['r'])} "
                f"(p {p_value(given['p'])}) given {CDNV_NORM}.",
            )


def _fixed(family: Lines, response: str) -> Paragraph:
    if not family:
        return Paragraph(
            "One configuration",
            "No metric could be tested among trainings that differ in their seed alone.",
        )
    found, n = associated(family), max(line["n"] for line in family)
    text = f"Among {n} trainings that differ in their seed alone, {len(found)} of {len(family)} metrics are associated "
    text += f"with {response} at a family-wise error of 5%"
    return Paragraph("One configuration", f"{text}: {_close(found)}." if found else f"{text}.")


def _grid(lines: pl.DataFrame, found: list[str], axes: Sequence[str]) -> Paragraph:
    told = {line["metric"]: line for line in lines.filter(pl.col("given") == "").to_dicts()}
    left = [told[name] for name in found if (told[name]["partial_p_maxt"] or 1.0) <= ALPHA]
    left.sort(key=lambda line: -line["partial_r2"])
    text = f"Given the axes of the grid ({', '.join(axes)}), {len(left)} of these {len(found)} are still associated"
    closest = "; ".join(
        f"{line['metric']} (partial r {signed(line['partial_r'])}, partial R² {share(line['partial_r2'])})"
        for line in left[:NAMED]
    )
    text += f": {closest}." if left else "."
    kept = {line["metric"] for line in left}
    gone = [name for name in found if name not in kept]
    if gone:
        text += f" Not so: {listing(gone)}."
    within = [name for name in found if told[name]["within_p"] is not None]
    if within:
        inside = [name for name in within if told[name]["within_p"] <= ALPHA]
        text += f" Among trainings of one architecture, {len(inside)} of {len(within)} have p at most 5% (each alone)."
    turned = [name for name in found if told[name]["simpson"] not in ("", "same sign")]
    if turned:
        text += (
            f" The sign differs within, between or over all architectures for {listing(turned)}."
        )
    return Paragraph("Controlled for the grid", text)


def _axes(lines: pl.DataFrame, response: str) -> Iterator[Paragraph]:
    """Which axis of the grid matters for what."""
    told = lines.filter(pl.col("p_maxt").is_not_null()).to_dicts()
    text = []
    for axis in dict.fromkeys(line["axis"] for line in told):
        of_axis = [line for line in told if line["axis"] == axis]
        metrics = [line for line in of_axis if line["metric"] != response]
        sure = sorted(
            (line for line in metrics if line["p_maxt"] <= ALPHA),
            key=lambda line: -line["partial_r2"],
        )
        part = f"{axis}: {len(sure)} of {len(metrics)} other columns differ"
        if sure:
            part += f" (most clearly {sure[0]['metric']}, by {signed(sure[0]['effect'])} SD)"
        outcome = next((line for line in of_axis if line["metric"] == response), None)
        if outcome is not None and outcome["low"] is not None:
            part += f", {response} by {signed(outcome['effect'])} SD"
            part += f" (95% interval {signed(outcome['low'])} to {signed(outcome['high'])})"
        text.append(part)
    if text:
        yield Paragraph(
            "What the axes do",
            f"From the least to the greatest value of an axis, the others held (5%). {'; '.join(text)}.",
        )


def _floor(lines: pl.DataFrame) -> Paragraph:
    """How near the trainings came to the least possible loss."""
    floors, above = lines["entropy_floor"], lines["val_loss_above_floor"]
    least, most = float(floors.to_numpy().min()), float(floors.to_numpy().max())
    known = (
        f"{number(least)} nats per sample"
        if least == most
        else f"{number(least)} to {number(most)} nats per sample"
    )
    closest, median = (
        lines.sort("val_loss_above_floor").row(0, named=True),
        float(np.median(above.to_numpy())),
    )
    text = (
        f"The least expected val_loss of any model is known: {known}. {len(lines)} trainings end "
    )
    text += f"{signed_number(median)} nats from it (median); the closest has {number(closest['val_loss'])} where "
    text += f"{number(closest['entropy_floor'])} is possible."
    return Paragraph("Entropy floor", text)


def _overfitting(frames: Mapping[str, pl.DataFrame]) -> Paragraph:
    text = []
    if "overfitting" in frames:
        told = frames["overfitting"]
        several = len(told.filter(pl.col("checkpoints") > 1))
        text.append(
            f"{told['flagged'].sum()} of {several} trainings with several checkpoints had a lower val_loss at an earlier one."
        )
    if "association_without" in frames:
        family = tested(frames["association_without"])
        if family:
            n = max(line["n"] for line in family)
            text.append(
                f"Over the other {n}, {len(associated(family))} of {len(family)} metrics are associated."
            )
    if "association_gap" in frames:
        family = tested(frames["association_gap"])
        text.append(
            f"With generalization_gap, {len(associated(family))} of {len(family)} metrics are associated."
        )
    return Paragraph("Overfitting", " ".join(text))


def _course(lines: pl.DataFrame) -> Iterator[Paragraph]:
    told = lines.filter(pl.col("towards").is_not_null() & (pl.col("n") > 0))
    if told.is_empty():
        return
    most = told.filter(2 * pl.col("towards") > pl.col("n"))
    text = (
        f"From the first to the last checkpoint, {len(most)} of {len(told)} metrics moved towards more collapse in most "
        "trainings."
    )
    factors = {
        line["metric"]: line["ratio"] for line in told.to_dicts() if line["ratio"] is not None
    }
    name = next((name for name in FACTORS if name in factors), None)
    if name is not None:
        text += f" The median of {name} at the last over the first is {factors[name]:.3g}."
    yield Paragraph("Over training", text)


def _precision(lines: pl.DataFrame, response: str) -> Paragraph:
    told = [line for line in lines.to_dicts() if line["change"] is not None]
    if not told:
        return Paragraph("Precision", f"No training has {response} at two precisions.")
    sure = [line for line in told if line["p"] is not None and line["p"] <= ALPHA]
    most, least = (pick(told, key=lambda line: abs(line["change"])) for pick in (max, min))
    text = f"{len(sure)} of {len(told)} precisions change {response} (sign flips, 5% each). "
    text += f"The largest median change is {signed_number(most['change'])}, of {most['precision']} against "
    text += f"{most['baseline']}"
    if most["low"] is not None:
        text += f" (95% interval {signed_number(most['low'])} to {signed_number(most['high'])})"
    if most["worse"] is not None:
        text += f", worse in {most['worse']} of {most['n']} trainings"
    if len(told) > 1:
        text += f"; the smallest is {signed_number(least['change'])}, of {least['precision']}"
    return Paragraph("Precision", text + ".")


def _n(frames: Mapping[str, pl.DataFrame], response: str) -> Iterator[Paragraph]:
    family = tested(frames["association"])
    if not family:
        return
    n = max(line["n"] for line in family)
    least = minimum_detectable_r2(n, 0)
    if least is None:
        text = f"With {n} trainings no association would be found reliably."
    else:
        text = (
            f"With {n} trainings a test of one metric alone at 5% finds an R² of {share(least)} four times in five; weaker "
            "associations are often missed, so what was not found is not shown to be absent."
        )
    if "grid" in frames:
        partial = frames["grid"]["detectable_partial_r2"].drop_nulls().min()
        if isinstance(partial, float):
            text += f" Given the axes, the partial R² must be {share(partial)} for that."
    text += f" An association over trainings is no proof that collapse causes {response}, or the other way round."
    yield Paragraph("What n can show", text)
