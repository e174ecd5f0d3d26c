"""What the summary says of transfer, from the verdicts of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import Change
from analysis.findings.frames import lines_of
from analysis.findings.interventions import Contrast
from analysis.findings.outcomes import BETTER, WORSE, Link
from analysis.findings.transfer import FORGETTING, ProbeLine
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.outcomes import effects, linked
from analysis.report.sentences.words import (
    SILENT,
    effects_briefly,
    metrics,
    of_family,
    unable,
    with_verdict,
)
from analysis.report.tables import share
from analysis.statistics.decide import ASSOCIATED
from study.columns import noun

READINGS = ("worse transfer", "better transfer")
OUTCOMES = "outcomes of transfer"
FORGETS = ("more forgetting", "less forgetting")


def transfer(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """Probes as they are, whether collapse goes with them, and what changes them."""
    if "transfer" in frames:
        lines = lines_of(ProbeLine, frames["transfer"])
        yield Paragraph("Transfer", _probes([line for line in lines if line.accuracy is not None]))
    links = lines_of(Link, frames["transfer_links"])
    for name in dict.fromkeys(line.response for line in links):
        own = [line for line in links if line.response == name]
        title = "Collapse and forgetting" if name == FORGETTING else "Collapse and transfer"
        worse, better = FORGETS if name == FORGETTING else READINGS
        yield Paragraph(title, linked(own, name, worse, better))
    if "transfer_changes" in frames:
        changes = lines_of(Change, frames["transfer_changes"])
        where = [line.precision for line in changes]
        yield Paragraph("Transfer and precision", effects(changes, "Precisions", where, OUTCOMES))
    contrasts = lines_of(Contrast, frames.get("transfer_effects", pl.DataFrame()))
    for name in dict.fromkeys(line.intervention for line in contrasts):
        lines_of_it = [line for line in contrasts if line.intervention == name]
        where = [f"{line.level} instead of {line.baseline}" for line in lines_of_it]
        text = effects(lines_of_it, f"Levels of {name}", where, OUTCOMES)
        yield Paragraph(f"Transfer and {name}", text)


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    links = lines_of(Link, frames["transfer_links"])
    first = [line for line in links if line.response == links[0].response]
    if any(line.verdict == INADEQUATE for line in first):
        return f"{INADEQUATE}: nothing is claimed"
    judged = of_family(first, PRIMARY) or of_family(first, EXPLORATORY)
    clear = with_verdict(judged, ASSOCIATED)
    worse, better = (sum(line.collapse == word for line in clear) for word in (WORSE, BETTER))
    kind = judged[0].family if judged else PRIMARY
    shown = [
        f"; {effects_briefly(frames[table]['verdict'].to_list(), what)}"
        for table, what in (
            ("transfer_changes", "precisions"),
            ("transfer_effects", "interventions"),
        )
        if table in frames
    ]
    if unable(judged):
        return f"{SILENT}{''.join(shown)}"
    words = FORGETS if first[0].response == FORGETTING else READINGS
    return (
        f"more collapse goes with {words[0]} by {worse} and with {words[1]} by {better} "
        f"of {metrics(judged, kind)}{''.join(shown)}"
    )


def _probes(lines: Sequence[ProbeLine]) -> str:
    if not lines:
        return "No training has a probe at its last checkpoint."
    first = [line for line in lines if line.precision == lines[0].precision]
    at = f" at {first[0].precision}" if first[0].precision else ""
    parts = []
    for line in first:
        ends = (
            f"95% interval {share(line.low)} to {share(line.high)}, "
            if line.low is not None and line.high is not None
            else ""
        )
        parts.append(f"{noun(line.column)} {share(line.accuracy)} ({ends}n {line.n})")
    return f"Accuracy on classes that were not trained on{at}: {'; '.join(parts)}."
