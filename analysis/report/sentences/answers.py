"""The three sentences by which a page begins, chosen by what the run was asked.

Each is made of the verdicts of one question. A study that declares interventions begins with
these, a search with its best trial. What is left given training progress comes third, but after
what precisions do in a study of interventions, and after what goes with detection in a run that was
held against other data. Where a question has no table, the next one takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import CHANGED, Change
from analysis.findings.curves import Course
from analysis.findings.damage import Damage
from analysis.findings.detection import DetectionAssociation
from analysis.findings.effects import Effect
from analysis.findings.forecast import Forecast
from analysis.findings.frames import lines_of
from analysis.findings.interventions import Contrast
from analysis.findings.verdicts import PRIMARY
from analysis.reading.table import Roles
from analysis.report import descriptions
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.detection import detected
from analysis.report.sentences.forecast import forecast
from analysis.report.sentences.generalization import generalization, uncontrolled
from analysis.report.sentences.headline import headline
from analysis.report.sentences.interventions import size
from analysis.report.sentences.matched import matched_answer
from analysis.report.sentences.progress import progress_lines
from analysis.report.sentences.quantization import quantization
from analysis.report.sentences.survival import survival
from analysis.report.sentences.words import listing
from analysis.report.tables import share
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED
from study.columns import noun

SENTENCES = 3


def answers(frames: Mapping[str, pl.DataFrame], roles: Roles) -> tuple[Paragraph, ...]:
    """The first three answers that the tables of a report, by name, give."""
    return tuple(islice(_answers(frames, roles), SENTENCES))


def _answers(frames: Mapping[str, pl.DataFrame], roles: Roles) -> Iterator[Paragraph]:
    response = roles.response
    if "trials" in frames:
        yield from descriptions.search(frames)
        if "importances" in frames:
            yield from _importances(frames["importances"])
        return
    if "interventions" in frames:
        yield _interventions(lines_of(Contrast, frames["interventions"]), roles)
    if "matched" in frames:
        yield matched_answer(frames["matched"])
    if (head := headline(frames)) is not None:
        yield generalization(head, roles)
    elif "association" in frames:
        lines = lines_of(Association, frames["association"])
        yield uncontrolled(max((line.n for line in lines), default=0), response)
    given = progress_lines(frames)
    progress = [survival(given, response)] if given else []
    later = "ood_association" in frames or "interventions" in frames
    if "ood_association" in frames:
        yield detected(lines_of(DetectionAssociation, frames["ood_association"]), roles)
    if not later:
        yield from progress
    if "changes" in frames:
        before = lines_of(Damage, frames["damage"]) if "damage" in frames else []
        yield quantization(lines_of(Change, frames["changes"]), before, roles)
    if later:
        yield from progress
    if "forecast" in frames:
        yield forecast(lines_of(Forecast, frames["forecast"]), response)
    if "training" in frames:
        yield from descriptions.course(lines_of(Course, frames["training"]))
    if "effects" in frames:
        yield from descriptions.axes(lines_of(Effect, frames["effects"]), response)


def _importances(frame: pl.DataFrame) -> Iterator[Paragraph]:
    """The parameter that tells the best trials from the others most."""
    known = frame.drop_nulls("importance")
    if known.is_empty():
        return
    first = known.sort("importance", descending=True, maintain_order=True).row(0, named=True)
    yield Paragraph(
        "What mattered",
        f"{noun(first['parameter'])} tells the best trials in {first['objective']} from the others "
        f"most (importance {share(first['importance'])}, {first['n']} trials); with so few "
        "trials this is a rough guide.",
    )


def _interventions(lines: list[Contrast], roles: Roles) -> Paragraph:
    """What each declared intervention changes: the response, then primary metrics."""
    changed = [line for line in lines if line.verdict == CHANGED]
    tested = [line for line in lines if line.verdict != CANNOT_REJECT]
    word = CHANGED if changed else UNDECIDED if tested else CANNOT_REJECT
    names = dict.fromkeys(line.intervention for line in lines)
    text = "; ".join(
        _intervention(name, [line for line in lines if line.intervention == name], roles)
        for name in names
    )
    return Paragraph(f"Interventions: {word}", f"{text}.", "interventions")


def _intervention(name: str, lines: list[Contrast], roles: Roles) -> str:
    if all(line.verdict == CANNOT_REJECT for line in lines):
        return f"Of what {name} does nothing can be said: {lines[0].note}"
    own = [line for line in lines if line.metric == roles.response and line.precision is None]
    moved = [line for line in own if line.verdict == CHANGED]
    text = f"{name} changes {roles.response} at {len(moved)} of {len(own)} levels"
    if moved:
        most = max(moved, key=lambda line: abs(line.estimate or 0.0))
        verb = "raised" if (most.estimate or 0.0) > 0 else "lowered"
        text += f", {verb} most at {most.level} from {most.baseline}: {size(most)},"
    primary = dict.fromkeys(line.metric for line in lines if line.family == PRIMARY)
    seen = [
        metric
        for metric in primary
        if any(line.metric == metric and line.verdict == CHANGED for line in lines)
    ]
    text += f" and {len(seen)} of {len(primary)} primary metrics at some level"
    text += f" ({listing(seen)})" if seen else ""
    return text + _of_damage([line for line in lines if line.precision is not None])


def _of_damage(lines: list[Contrast]) -> str:
    """At how many precisions an intervention changes the damage, and where most."""
    if not lines:
        return ""
    changed = [line for line in lines if line.verdict == CHANGED]
    moved, tested = ({line.precision for line in each} for each in (changed, lines))
    text = f", and the damage at {len(moved) or 'none'} of {len(tested)} precisions"
    if not changed:
        return text
    parts = []
    for verb, sign in (("raised", 1), ("lowered", -1)):
        own = [line for line in changed if sign * (line.estimate or 0.0) > 0]
        if own:
            most = max(own, key=lambda line: abs(line.estimate or 0.0))
            parts.append(f"{verb} most at {most.level} from {most.baseline}: {size(most)}")
    return f"{text}, {'; '.join(parts)}"
