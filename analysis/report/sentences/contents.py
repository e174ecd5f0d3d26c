"""The table of contents: what each section answers, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import CHANGED, TOTAL, Change
from analysis.findings.checkpoints import Checkpoints
from analysis.findings.configuration import Fixed
from analysis.findings.curves import Course
from analysis.findings.design import Candidate, GivenDesign
from analysis.findings.effects import Effect
from analysis.findings.epochs_at import FITTED, EpochAt
from analysis.findings.forecast import TOGETHER, Forecast
from analysis.findings.frames import lines_of
from analysis.findings.interventions import OUTCOME, Contrast
from analysis.findings.matched import MatchedContrast
from analysis.findings.methods import MethodLine
from analysis.findings.power import Power
from analysis.findings.progress import TRAIN_LOSS, GivenProgress
from analysis.findings.tuning import Comparison
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY, Tested
from analysis.findings.within import Within
from analysis.reading.table import ABOVE_FLOOR
from analysis.report.exhibits import counted
from analysis.report.sentences import ood, robustness, targets, transfer
from analysis.report.sentences.groups import answer
from analysis.report.sentences.survival import WORDS
from analysis.report.sentences.words import (
    SILENT,
    listing,
    metrics,
    of_family,
    unable,
    with_verdict,
)
from analysis.report.tables import number, share, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT
from analysis.statistics.levels import ALPHA

Frames = Mapping[str, pl.DataFrame]

NAMES = 2  # of metrics in a line
UNTESTED = "no metric can be tested"


def contents(frames: Frames, response: str) -> dict[str, str]:
    """Section -> its answer in one line, of the sections whose tables are in `frames`."""
    return {
        section: answer
        for section, (table, line) in LINES.items()
        if table in frames and (answer := line(frames, response))
    }


def verdict(lines: Sequence[Tested], once: str = "associated", several: str = "") -> str:
    """How many metrics have the verdict associated, or why none can have it.

    `once` says of one what it does, `several` of more.
    """
    if any(line.verdict == INADEQUATE for line in lines):
        return f"{INADEQUATE}: nothing is claimed"
    judged = of_family(lines, PRIMARY) or of_family(lines, EXPLORATORY)
    if not judged:
        return UNTESTED
    if unable(judged):
        return SILENT
    clear = [line.metric for line in with_verdict(judged, ASSOCIATED)]
    done = once if len(clear) == 1 else several or once
    text = f"{len(clear) or 'none'} of {metrics(judged, judged[0].family)} {done}"
    return f"{text}: {_few(clear)}" if clear else text


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _tuning(frames: Frames, response: str) -> str:
    if "confirmation" not in frames:
        return "not confirmed on fresh seeds"
    (line,) = lines_of(Comparison, frames["confirmation"])
    beaten = "beats" if line.beats else "is not shown to beat"
    return f"trial {line.trial} {beaten} the default on {line.n} fresh seeds"


def _interventions(frames: Frames, response: str) -> str:
    lines = [
        line
        for line in lines_of(Contrast, frames["interventions"])
        if line.family in (PRIMARY, OUTCOME)
    ]
    changed = sum(line.verdict == CHANGED for line in lines)
    return f"{changed} of {len(lines)} effects on primary metrics and outcomes are shown"


def _matched(frames: Frames, response: str) -> str:
    lines = [
        line
        for line in lines_of(MatchedContrast, frames["matched"])
        if line.family in (PRIMARY, OUTCOME)
    ]
    changed = sum(line.verdict == CHANGED for line in lines)
    return f"{changed} of {len(lines)} differences at equal training loss are shown"


def _association(frames: Frames, response: str) -> str:
    lines = lines_of(Association, frames["association"])
    count = verdict(lines, f"goes with {response}", f"go with {response}")
    return f"{count}; no finding, as nothing is taken out"


def _design(frames: Frames, response: str) -> str:
    chosen = [line for line in lines_of(Candidate, frames["design"]) if line.chosen]
    model = f"R² {share(chosen[0].r2)} by the axes" if chosen else "no model"
    return f"{model}; {verdict(lines_of(GivenDesign, frames['given_design']))}"


def _progress(frames: Frames, response: str) -> str:
    lines = [
        line
        for line in lines_of(GivenProgress, frames["given_train_loss"])
        if line.given == TRAIN_LOSS
    ]
    judged = of_family(lines, PRIMARY) or of_family(lines, EXPLORATORY)
    parts = [
        f"{word} for {_few(names)}"
        for reading, word in WORDS.items()
        if (names := [line.metric for line in judged if line.reading == reading])
    ]
    return "; ".join(parts) or verdict(lines)


def _fixed(frames: Frames, response: str) -> str:
    lines = lines_of(Fixed, frames["fixed"])
    first = [line for line in lines if line.configuration == lines[0].configuration]
    return f"{verdict(first)} among {counted(max(line.n for line in first))}"


def _power(frames: Frames, response: str) -> str:
    (line,) = lines_of(Power, frames["power"])
    if line.within_family is None:
        return f"no correlation; an r of .3 takes {line.seeds_r30} seeds a design cell"
    return (
        f"an r of {share(line.within_family)} is found four times in five; an r of .3 takes "
        f"{line.seeds_r30} seeds a design cell"
    )


def _axes(frames: Frames, response: str) -> str:
    known = [line for line in lines_of(Effect, frames["effects"]) if line.p_maxt is not None]
    parts = [
        f"{axis} {sum((line.p_maxt or 0.0) <= ALPHA for line in own)} of {len(own)}"
        for axis in dict.fromkeys(line.axis for line in known)
        if (own := [line for line in known if line.axis == axis])
    ]
    return f"columns that an axis moves: {', '.join(parts)}" if parts else ""


def _forecast(frames: Frames, response: str) -> str:
    lines = lines_of(Forecast, frames["forecast"])
    alone = [line for line in lines if line.metric != TOGETHER]
    known = [line for line in lines if line.q2_without is not None]
    if not known:
        return SILENT
    fullest = max(known, key=lambda line: line.n)
    added = verdict(alone, "adds to it", "add to it")
    return f"the axes alone reach Q² {share(fullest.q2_without)}; {added}"


def _training(frames: Frames, response: str) -> str:
    directed = [
        line for line in lines_of(Course, frames["training"]) if line.towards is not None and line.n
    ]
    moved = sum(2 * (line.towards or 0) > line.n for line in directed)
    return f"{moved} of {len(directed)} metrics move towards collapse in most trainings"


def _epochs_at(frames: Frames, response: str) -> str:
    lines = lines_of(EpochAt, frames["epochs_at"])
    fitted = [line for line in lines if line.event == FITTED]
    if not fitted:
        return ""
    line = fitted[0]
    text = f"{line.reached} of {line.trainings} trainings reach {FITTED}"
    return text if line.epoch is None else f"{text}, at epoch {number(line.epoch)} on average"


def _overfitting(frames: Frames, response: str) -> str:
    flags = frames["overfitting"]["flagged"]
    return f"{flags.sum()} of {len(flags)} trainings were better at an earlier checkpoint"


def _layers(frames: Frames, response: str) -> str:
    return f"{frames['layers']['layer'].n_unique()} layers"


def _precision(frames: Frames, response: str) -> str:
    own = [
        line
        for line in lines_of(Change, frames["changes"])
        if line.column == response and line.level == TOTAL
    ]
    changed = [line for line in own if line.verdict == CHANGED]
    if own and all(line.verdict == CANNOT_REJECT for line in own):
        return SILENT
    change = "changes" if len(changed) == 1 else "change"
    text = f"{len(changed) or 'none'} of {len(own)} precisions {change} {response}"
    if not changed:
        return text
    most = max(changed, key=lambda line: abs(line.estimate or 0.0))
    return f"{text}, {most.precision} most: {signed_number(most.estimate)}"


def _methods(frames: Frames, response: str) -> str:
    known = [line for line in lines_of(MethodLine, frames["methods"]) if line.recovered is not None]
    if not known:
        return ""
    best = max(known, key=lambda line: line.recovered or 0.0)
    return (
        f"{best.method} at {best.format} recovers most: {share(best.recovered)} of what rounding "
        "to nearest loses"
    )


def _data(frames: Frames, response: str) -> str:
    return "; ".join(_of_data(frames))


def _of_data(frames: Frames) -> Iterator[str]:
    if "data" in frames:
        names = frames["data"]["data"].to_list()
        yield f"{len(names)} data set{'' if len(names) == 1 else 's'}: {listing(names)}"
    if "floor" in frames:
        least = frames["floor"][ABOVE_FLOOR].min()
        assert isinstance(least, float)
        yield f"the closest training is {signed_number(least)} from the least loss"


def _classes(frames: Frames, response: str) -> str:
    return f"{frames['classes']['name'].n_unique()} single classes against the average"


LINES: dict[str, tuple[str, Callable[[Frames, str], str]]] = {
    "tuning": ("trials", _tuning),
    "interventions": ("interventions", _interventions),
    "matched": ("matched", _matched),
    "association": ("association", _association),
    "within": ("within", lambda frames, response: verdict(lines_of(Within, frames["within"]))),
    "design": ("given_design", _design),
    "progress": ("given_train_loss", _progress),
    "fixed": ("fixed", _fixed),
    "power": ("power", _power),
    "axes": ("effects", _axes),
    "forecast": ("forecast", _forecast),
    "checkpoints": (
        "checkpoints",
        lambda frames, response: verdict(lines_of(Checkpoints, frames["checkpoints"])),
    ),
    "training": ("training", _training),
    "epochs_at": ("epochs_at", _epochs_at),
    "overfitting": ("overfitting", _overfitting),
    "layers": ("layers", _layers),
    "precision": ("changes", _precision),
    "methods": ("methods", _methods),
    "robustness": ("robustness", lambda frames, response: robustness.answer(frames)),
    "transfer": ("transfer_links", lambda frames, response: transfer.answer(frames)),
    "ood": ("ood", lambda frames, response: ood.answer(frames)),
    "groups": ("groups", lambda frames, response: answer(frames)),
    "regression": ("regression", lambda frames, response: targets.answer(frames)),
    "data": ("data", _data),
    "classes": ("classes", _classes),
}
"""Section -> the table that it needs, and the line that is made of the tables."""
