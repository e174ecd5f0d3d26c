"""What the summary says of attacks, from the verdicts of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.changes import Change
from analysis.findings.frames import lines_of
from analysis.findings.interventions import Contrast
from analysis.findings.outcomes import BETTER, WORSE, Link
from analysis.findings.robustness import ARRIVAL, GAP, NO_ADVERSARY, ROBUST, RobustLine
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences import precision
from analysis.report.sentences.outcomes import effects, linked
from analysis.report.sentences.words import SILENT, metrics, of_family, unable, with_verdict
from analysis.report.tables import share
from analysis.statistics.decide import ASSOCIATED
from study.columns import in_words

READINGS = {
    ARRIVAL: ("more leaps that arrive", "fewer leaps that arrive"),
}
ROBUSTNESS = ("a lower accuracy under attack", "a higher accuracy under attack")
TITLES = {ARRIVAL: "Collapse and leaps"}
TOLD = (ROBUST, GAP)  # outcomes whose changes are told, both shares of samples
OUTCOMES = "outcomes of attacks"
NAMED = 6  # adversaries that a sentence describes with their numbers


def robustness(frames: Mapping[str, pl.DataFrame]) -> Iterator[Paragraph]:
    """Accuracy under attack, leaps, their links with collapse, what changes them."""
    lines = lines_of(RobustLine, frames["robustness"])
    first = [line for line in lines if line.precision == lines[0].precision]
    yield Paragraph("Robustness", _accuracies(first))
    yield Paragraph("Leaps", _leaps(first))
    links = lines_of(Link, frames["robust_links"])
    for name in dict.fromkeys(line.response for line in links):
        own = [line for line in links if line.response == name]
        worse, better = READINGS.get(name, ROBUSTNESS)
        title = TITLES.get(name, "Collapse and robustness")
        yield Paragraph(title, linked(own, name, worse, better))
    if "robust_changes" in frames:
        changes = lines_of(Change, frames["robust_changes"])
        texts = {name: precision.changes(changes, name).text for name in TOLD}
        parts = [text if name in text else f"Of {name}, {text}" for name, text in texts.items()]
        yield Paragraph("Robustness and precision", in_words(" ".join(parts)))
    contrasts = lines_of(Contrast, frames.get("robust_effects", pl.DataFrame()))
    for name in dict.fromkeys(line.intervention for line in contrasts):
        of_it = [line for line in contrasts if line.intervention == name and line.metric in TOLD]
        where = [f"{line.level} instead of {line.baseline}" for line in of_it]
        text = effects(of_it, f"Levels of {name}", where, OUTCOMES)
        yield Paragraph(f"Robustness and {name}", text)


def answer(frames: Mapping[str, pl.DataFrame]) -> str:
    """The section in a line of the table of contents."""
    first = lines_of(RobustLine, frames["robustness"])[0]
    links = lines_of(Link, frames["robust_links"])
    own = [line for line in links if line.response == links[0].response]
    start = f"accuracy {share(first.clean)} falls to {share(first.robust)} under attack"
    if any(line.verdict == INADEQUATE for line in own):
        return f"{start}; of collapse nothing is claimed"
    judged = of_family(own, PRIMARY) or of_family(own, EXPLORATORY)
    if unable(judged):
        return f"{start}; collapse and robustness: {SILENT}"
    clear = with_verdict(judged, ASSOCIATED)
    lower, higher = (sum(line.collapse == word for line in clear) for word in (WORSE, BETTER))
    kind = judged[0].family if judged else PRIMARY
    return (
        f"{start}; more collapse goes with less robustness by {lower} and with more by {higher} of "
        f"{metrics(judged, kind)}"
    )


def _accuracies(lines: Sequence[RobustLine]) -> str:
    at = f" at {lines[0].precision}" if lines[0].precision else ""
    attacks = " or ".join(dict.fromkeys(line.attack for line in lines if line.attack))
    parts = []
    for line in lines[:NAMED]:
        ends = (
            f"95% interval {share(line.robust_low)} to {share(line.robust_high)}, "
            if line.robust_low is not None and line.robust_high is not None
            else ""
        )
        of = _trained(line.adversary)
        parts.append(f"{share(line.clean)} to {share(line.robust)} ({ends}n {line.n}){of}")
    more = len(lines) - NAMED
    text = "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
    return f"Under {attacks or 'the attack'} accuracy{at} falls from {text}."


def _leaps(lines: Sequence[RobustLine]) -> str:
    known = [line for line in lines if line.arrival is not None]
    if not known:
        return (
            "No training has a share of leaps that arrive: no attack changes a decision, or there "
            "are no class means to arrive at."
        )
    parts = []
    for line in known[:NAMED]:
        way = "" if line.progress is None else f" ({share(line.progress)} of the way there)"
        parts.append(f"{share(line.arrival)}{_trained(line.adversary)}{way}")
    return (
        "Share of the samples of changed decision that end nearest to the clean mean of their new "
        f"class: {', '.join(parts)}; medians over trainings."
    )


def _trained(adversary: str) -> str:
    """Which of the trainings: nothing where all are alike."""
    if not adversary:
        return ""
    return " without an adversary" if adversary == NO_ADVERSARY else f" with {adversary}"
