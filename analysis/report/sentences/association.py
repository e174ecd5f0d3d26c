"""What is said of metrics and response: described, and under each control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.association import Association
from analysis.findings.configuration import Fixed
from analysis.findings.design import Candidate, GivenDesign
from analysis.findings.frames import lines_of
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY, Tested
from analysis.findings.within import Within
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import (
    LISTED,
    listing,
    metrics,
    numbers,
    of_family,
    reason,
    tally,
    with_verdict,
)
from analysis.report.tables import p_value, share, signed
from analysis.statistics.decide import ASSOCIATED
from analysis.statistics.levels import ALPHA


def over_all(lines: Sequence[Association], response: str) -> Iterator[Paragraph]:
    """What is seen over all trainings, which is no finding."""
    known = [line for line in lines if line.estimate is not None]
    if known:
        judged = of_family(known, PRIMARY) or known
        closest = max(judged, key=lambda line: line.r2 or 0.0)
        directed = [line for line in judged if line.agrees is not None]
        text = (
            f"Over all {max(line.n for line in lines)} trainings, size and time of training "
            f"included, {closest.metric} is nearest to {response} "
            f"({numbers(closest)}, R² {share(closest.r2)})"
        )
        if directed:
            agreeing = sum(bool(line.agrees) for line in directed)
            text += (
                f"; in {agreeing} of {len(directed)} metrics with a direction more collapse goes "
                f"with a better {response}"
            )
        yield Paragraph("Described", f"{text}. This is no finding: nothing is taken out.")
    else:
        yield Paragraph("Described", f"No metric can be described: {reason(lines)}.")
    lacking = [line for line in lines if line.n < max(line.n for line in lines)]
    if lacking:
        shown = "; ".join(f"{line.metric} (n {line.n}: {line.note})" for line in lacking[:LISTED])
        more = f"; and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
        yield Paragraph("Missing values", f"{shown}{more}.")
    given_norm = [line for line in lines if line.given_norm is not None]
    if given_norm:
        parts = [
            f"{line.metric} {signed(line.estimate)} as it is and {signed(line.given_norm)} "
            f"(p {p_value(line.given_norm_p)}) given the norm"
            for line in given_norm
        ]
        yield Paragraph(
            "Feature norm", f"A CDNV scales with the feature norm. r is {'; '.join(parts)}."
        )


def under_control(
    described_lines: Sequence[Association], frames: Mapping[str, pl.DataFrame], response: str
) -> Iterator[Paragraph]:
    """What is left of the associations over all trainings under each control."""
    judged = of_family(described_lines, PRIMARY) or of_family(described_lines, EXPLORATORY)
    before = {line.metric: line for line in with_verdict(judged, ASSOCIATED)}
    parts = []
    for kind, name, control in (
        (Within, "within", "within design cells"),
        (GivenDesign, "given_design", "given a model of the design"),
    ):
        lines: list[Tested] = [
            line
            for line in (lines_of(kind, frames[name]) if name in frames else [])
            if line.metric in before
        ]
        if not lines:
            continue
        if bad := with_verdict(lines, INADEQUATE):
            parts.append(f"{control} nothing can be claimed of them ({reason(bad)})")
            continue
        left = with_verdict(lines, ASSOCIATED)
        turned = [
            line.metric
            for line in left
            if (line.estimate or 0.0) * (before[line.metric].estimate or 0.0) < 0
        ]
        text = f"{control} {len(left)} still {'does' if len(left) == 1 else 'do'}"
        text += f" ({listing([line.metric for line in left])})" if left else ""
        text += f", of which {listing(turned)} with the other sign" if turned else ""
        parts.append(text)
    if parts:
        yield Paragraph(
            "Under control",
            f"{metrics(list(before.values()), judged[0].family)} "
            f"{'goes' if len(before) == 1 else 'go'} with {response} over all trainings; "
            f"{'; '.join(parts)}.",
        )


def within(lines: Sequence[Within], response: str) -> Paragraph:
    """What is associated among trainings of one design cell."""
    cells, r_w = lines[0].cells, lines[0].r_w
    text = f"{cells} design cell{'s have' if cells > 1 else ' has'} replicates, which leave {r_w} "
    text += f"degrees of freedom: {tally(lines, response)}."
    spread = [
        f"{line.metric} (I² {share(line.i2)}, p {p_value(line.heterogeneity_p)})"
        for line in with_verdict(lines, ASSOCIATED)
        if line.heterogeneity_p is not None and line.heterogeneity_p <= ALPHA
    ]
    if spread:
        text += f" r differs between cells for {listing(spread)}."
    return Paragraph("Within design cells", text)


def given_design(
    lines: Sequence[GivenDesign], candidates: Sequence[Candidate], response: str
) -> Paragraph:
    """How the axes model the response, and what is associated given that."""
    title = "Given the design"
    chosen = next((line for line in candidates if line.chosen), None)
    if chosen is None:
        return Paragraph(title, f"No model of the design can be had: {reason(lines)}.")
    model = (
        f"{response} is modelled by the axes ({chosen.model}: R² {share(chosen.r2)}, Q² "
        f"{share(chosen.q2)}, {chosen.dof} degrees of freedom left)"
    )
    if not chosen.adequate:
        return Paragraph(
            title, f"{model}, and that does not hold: {chosen.note}. No line is a finding."
        )
    return Paragraph(
        title, f"{model}, and no test refutes that. Given it, {tally(lines, response)}."
    )


def fixed(lines: Sequence[Fixed], response: str) -> Paragraph:
    """What is associated among seeds of the largest configuration."""
    points = list(dict.fromkeys(line.configuration for line in lines))
    of_first = [line for line in lines if line.configuration == points[0]]
    n = max(line.n for line in of_first)
    text = f"Among {n} trainings at {points[0]}, {tally(of_first, response)}"
    known = [line for line in of_first if line.detectable_r2_family is not None]
    if known:
        text += (
            f". An R² of {share(known[0].detectable_r2)} is found four times in five alone, "
            f"{share(known[0].detectable_r2_family)} within the family"
        )
    if len(points) > 1:
        several = [
            point
            for point in points
            if with_verdict([line for line in lines if line.configuration == point], ASSOCIATED)
        ]
        text += f". Some metric is associated in {len(several)} of {len(points)} configurations"
    return Paragraph("One configuration", f"{text}.")
