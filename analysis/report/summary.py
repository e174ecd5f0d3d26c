"""The summary in plain words, from the tables of the report and nothing else.

First three sentences: what was asked, what holds under which control, what does not. Each is made
of verdicts of one table, the headline. Then a line a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import CHANGED, NO_MORE_THAN, TOTAL, Change
from analysis.findings.checkpoints import METRIC_FIRST, RESPONSE_FIRST, Checkpoints, Lead
from analysis.findings.configuration import Fixed
from analysis.findings.controls import LEAST_REPLICATES
from analysis.findings.curves import Course
from analysis.findings.damage import BASELINE, CHANGE, Damage
from analysis.findings.design import Candidate, GivenDesign
from analysis.findings.effects import Effect
from analysis.findings.forecast import TOGETHER, Forecast
from analysis.findings.frames import lines_of
from analysis.findings.methods import MethodLine
from analysis.findings.progress import (
    APPEARS,
    GAP,
    REMAINS,
    TRAIN_LOSS,
    TURNS,
    UNSEEN,
    VANISHES,
    GivenProgress,
)
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY, Tested
from analysis.findings.within import Within
from analysis.reading.table import Roles
from analysis.report import descriptions, summary_interventions
from analysis.report.descriptions import Paragraph
from analysis.report.tables import p_value, share, signed, signed_number
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, NOT_FOUND, UNDECIDED
from analysis.statistics.levels import ALPHA

NAMED = 4  # metrics that a sentence describes with their numbers
BRIEFLY = 2  # of them where a line a question has many
LISTED = 8  # metrics that a sentence names at most

LEAD = ("Asked", "Holds", "Does not hold")  # titles of the three sentences

Line = TypeVar("Line", bound=Tested)


def summarise(frames: Mapping[str, pl.DataFrame], roles: Roles) -> tuple[Paragraph, ...]:
    """Paragraphs for the tables that the report has, `frames` by their names."""
    parts: list[Paragraph] = []
    response = roles.response
    if "trials" in frames:
        parts += descriptions.search(frames)
    head = headline(frames)
    if head is not None:
        parts += _three_sentences(head, frames, roles)
    if "interventions" in frames:
        parts += summary_interventions.interventions(frames)
    parts += _questions(frames, response)
    if "effects" in frames:
        parts += descriptions.axes(lines_of(Effect, frames["effects"]), response)
    if "overfitting" in frames:
        parts.append(descriptions.overfitting(frames["overfitting"]))
    if "training" in frames:
        parts += descriptions.course(lines_of(Course, frames["training"]))
    if "floor" in frames:
        parts.append(descriptions.floor(frames["floor"]))
    return tuple(parts)


@dataclass(frozen=True)
class Headline:
    """The table by which a report is judged.

    Its lines, its control in words, and what it finds.

    `detectable` is the least |r| that it finds four times in five within the family.
    """

    lines: Sequence[Tested]
    control: str
    detectable: float | None


def headline(frames: Mapping[str, pl.DataFrame]) -> Headline | None:
    """The headline within design cells where replicates suffice.

    Else the one given the design, else what there is.

    None without a table under a control: an association described alone is no finding.
    """
    within = lines_of(Within, frames["within"]) if "within" in frames else []
    given = lines_of(GivenDesign, frames["given_design"]) if "given_design" in frames else []
    if within and (within[0].r_w >= LEAST_REPLICATES or not given):
        cells = within[0].cells
        control = "within one design cell" if cells == 1 else f"within {cells} design cells"
        return Headline(within, control, within[0].detectable)
    if given:
        return Headline(given, "given a model of the design", given[0].detectable)
    return None


def _three_sentences(
    head: Headline, frames: Mapping[str, pl.DataFrame], roles: Roles
) -> Iterator[Paragraph]:
    response = roles.response
    primary, others = of_family(head.lines, PRIMARY), of_family(head.lines, EXPLORATORY)
    n = max(line.n for line in head.lines)
    if not primary and not others:
        families = "No metric can be tested"
    elif not primary:
        families = f"{metrics(others, 'exploratory')}, none is primary"
    else:
        families = f"{metrics(primary, 'primary')} {'decides' if len(primary) == 1 else 'decide'}"
        families += f"; {metrics(others, 'exploratory')} beside" if others else ""
    asked, holds, lacks = LEAD
    yield Paragraph(
        asked,
        f"Does {response} go with neural collapse among {n} trainings, once what the settings do "
        f"is taken out ({head.control})? {families}.",
    )
    yield Paragraph(holds, _holds(head, primary, others, frames, response))
    yield Paragraph(lacks, _does_not_hold(head, primary or others, roles))


def _holds(
    head: Headline,
    primary: Sequence[Tested],
    others: Sequence[Tested],
    frames: Mapping[str, pl.DataFrame],
    response: str,
) -> str:
    if bad := [line for line in head.lines if line.verdict == INADEQUATE]:
        return f"Nothing can be claimed: {reason(bad)}."
    judged = primary or others
    if not judged:
        return f"Nothing can be claimed: {reason(head.lines)}."
    clear = with_verdict(judged, ASSOCIATED)
    kind = "primary" if primary else "exploratory"
    if len(silent := with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return f"Nothing can be claimed of {metrics(judged, kind)}: {reason(silent)}."
    if not clear:
        return f"Nothing: none of the {len(judged)} {kind} metrics is associated with {response}."
    text = (
        f"{len(clear)} of {len(judged)} {kind} metrics {are(clear)} associated with {response} "
        f"{head.control}: {described(clear)}."
    )
    readings = {
        line.metric: line.reading for line in _progress(frames) if line.response == response
    }
    remains, turns, vanishes, unseen = (
        [line.metric for line in clear if readings.get(line.metric) == word]
        for word in (REMAINS, TURNS, VANISHES, UNSEEN)
    )
    if remains:
        text += f" Given train_loss as well, it remains for {listing(remains)}."
    if turns:
        text += f" Its sign turns given train_loss for {listing(turns)}."
    if vanishes:
        text += f" It vanishes given train_loss for {listing(vanishes)}: there it says how far"
        text += " training got."
    if unseen:
        text += f" Given train_loss it is no longer found for {listing(unseen)},"
        text += f" whose interval{'s' * (len(unseen) > 1)} still hold{'s' * (len(unseen) == 1)}"
        text += " the r without train_loss."
    return text


def _does_not_hold(head: Headline, judged: Sequence[Tested], roles: Roles) -> str:
    parts = [
        f"{text}: {listing([line.metric for line in lines])}"
        for word, text in (
            (NOT_FOUND, "no association was found for"),
            (UNDECIDED, "undecided after a million permutations"),
            (INADEQUATE, "open, as the control does not hold"),
            (CANNOT_REJECT, "nothing could be rejected for"),
        )
        if (lines := with_verdict(judged, word))
    ]
    untested = [
        f"{line.metric} ({line.note})"
        for line in head.lines
        if line.metric in roles.primary and line.verdict is None
    ]
    parts += [f"not tested: {listing(untested)}"] if untested else []
    text = "; ".join(parts)
    text = f"{text[0].upper()}{text[1:]}." if text else ""
    if head.detectable is not None and with_verdict(judged, NOT_FOUND):
        text += (
            f" A partial r nearer to zero than {share(head.detectable)} is missed more often than "
            "one time in five, so what was not found is not shown to be absent."
        )
    return (
        f"{text} No association shows that collapse causes a better {roles.response}, or the "
        "reverse."
    ).strip()


def _questions(frames: Mapping[str, pl.DataFrame], response: str) -> Iterator[Paragraph]:
    """A line a question, in the order of the tables."""
    if "association" in frames:
        over_all = lines_of(Association, frames["association"])
        yield from _described(over_all, response)
        yield from _under_control(over_all, frames, response)
    if "within" in frames:
        yield _within(lines_of(Within, frames["within"]), response)
    if "given_design" in frames:
        yield _given_design(
            lines_of(GivenDesign, frames["given_design"]),
            lines_of(Candidate, frames["design"]),
            response,
        )
    if lines := _progress(frames):
        yield _given_progress(lines, response)
    if "fixed" in frames:
        yield _fixed(lines_of(Fixed, frames["fixed"]), response)
    if "changes" in frames:
        yield _changes(lines_of(Change, frames["changes"]), response)
    if "methods" in frames:
        yield from descriptions.methods(lines_of(MethodLine, frames["methods"]), response)
    if "damage" in frames:
        yield _damage(lines_of(Damage, frames["damage"]), response)
    if "forecast" in frames:
        yield _forecast(lines_of(Forecast, frames["forecast"]), response)
    if "checkpoints" in frames:
        lead = lines_of(Lead, frames["lead"]) if "lead" in frames else []
        yield _over_training(lines_of(Checkpoints, frames["checkpoints"]), lead, response)


def _described(lines: Sequence[Association], response: str) -> Iterator[Paragraph]:
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


def _under_control(
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


def _within(lines: Sequence[Within], response: str) -> Paragraph:
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


def _given_design(
    lines: Sequence[GivenDesign], candidates: Sequence[Candidate], response: str
) -> Paragraph:
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


def _progress(frames: Mapping[str, pl.DataFrame]) -> list[GivenProgress]:
    name = "given_train_loss"
    return lines_of(GivenProgress, frames[name]) if name in frames else []


def _given_progress(lines: Sequence[GivenProgress], response: str) -> Paragraph:
    own = [line for line in lines if line.given == TRAIN_LOSS]
    judged = of_family(own, PRIMARY) or of_family(own, EXPLORATORY)
    if bad := with_verdict(own, INADEQUATE):
        return Paragraph("Given train_loss", f"Nothing can be claimed: {reason(bad)}.")
    if not judged:
        return Paragraph("Given train_loss", "No metric can be tested.")
    if len(silent := with_verdict(judged, CANNOT_REJECT)) == len(judged):
        return Paragraph("Given train_loss", f"Nothing can be claimed: {reason(silent)}.")
    held = with_verdict_before(judged, ASSOCIATED)
    parts = [
        f"{text} {listing([line.metric for line in chosen])}"
        for reading, text in (
            (REMAINS, "it remains for"),
            (TURNS, "its sign turns for"),
            (VANISHES, "it vanishes for"),
            (UNSEEN, "it is no longer found for"),
            (APPEARS, "it appears for"),
        )
        if (chosen := [line for line in judged if line.reading == reading])
    ]
    text = (
        f"{len(held)} of {len(judged)} metrics {are(held)} associated with {response} "
        f"{own[0].control}; "
        f"given train_loss {', '.join(parts) if parts else 'no verdict is another'}"
    )
    gap = [line for line in lines if line.response == GAP]
    if gap:
        refuted = with_verdict(gap, INADEQUATE)
        text += (
            f". Of {GAP} nothing can be claimed: {reason(refuted)}"
            if refuted
            else f". {tally(gap, GAP)}"
        )
    return Paragraph("Given train_loss", f"{text}.")


def with_verdict_before(lines: Sequence[GivenProgress], verdict: str) -> list[GivenProgress]:
    """Lines that had this verdict before train_loss was given."""
    return [line for line in lines if line.verdict_before == verdict]


def _fixed(lines: Sequence[Fixed], response: str) -> Paragraph:
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


def _changes(lines: Sequence[Change], response: str) -> Paragraph:
    """What each precision changes of the response.

    Over all trainings, and where it moves most.
    """
    own = [line for line in lines if line.column == response]
    totals = [line for line in own if line.level == TOTAL]
    parts = []
    for word, phrase in (
        (CHANGED, f"change {response}"),
        (NO_MORE_THAN, "change it by no more than the margin"),
        (UNDECIDED, "are undecided"),
    ):
        chosen = [line for line in totals if line.verdict == word]
        if chosen:
            parts.append(f"{len(chosen)} of {len(totals)} precisions {phrase}: {_sizes(chosen)}")
    silent: dict[str, list[str]] = {}
    for line in totals:
        if line.verdict == CANNOT_REJECT:
            silent.setdefault(line.note, []).append(line.precision)
    parts += [f"{listing(names)}: {note}" for note, names in silent.items()]
    text = "; ".join(parts) if parts else f"No training has {response} at two precisions"
    known = [line for line in totals if line.estimate is not None]
    if known:
        largest = max(known, key=lambda line: abs(line.estimate or 0.0))
        levels = [
            line
            for line in own
            if line.level != TOTAL
            and (line.precision, line.baseline) == (largest.precision, largest.baseline)
            and line.estimate is not None
        ]
        if levels:
            by_level = ", ".join(f"{line.level} {signed_number(line.estimate)}" for line in levels)
            text += f". By level, {largest.precision} changes it by {by_level}"
    return Paragraph("Precision", f"{text}.")


def _sizes(lines: Sequence[Change]) -> str:
    """The first of the changes, the largest first, each with its interval."""
    ordered = sorted(lines, key=lambda line: -abs(line.estimate or 0.0))
    parts = []
    for line in ordered[:NAMED]:
        text = f"{line.precision} {signed_number(line.estimate)} (n {line.n}"
        if line.low is not None:
            text += f", 95% interval {signed_number(line.low)} to {signed_number(line.high)}"
        if line.worse is not None:
            text += f", worse in {line.worse}"
        parts.append(f"{text})")
    more = len(ordered) - NAMED
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _damage(lines: Sequence[Damage], response: str) -> Paragraph:
    """Whether collapse predicts the change of the response, or changes with it."""
    parts = []
    for kind, what in (
        (BASELINE, "metrics at the baseline"),
        (CHANGE, "changes of metrics"),
    ):
        of_kind = [line for line in lines if line.kind == kind]
        judged = of_family(of_kind, PRIMARY) or of_family(of_kind, EXPLORATORY)
        if not judged:
            continue
        clear = with_verdict(judged, ASSOCIATED)
        pairs = "pairs of metric and precision"
        given = max((line.given for line in judged), key=len)
        text = f"given {given}, {what}" if given else what
        text += f" go with the change of {response} in {len(clear)} of {len(judged)} {pairs}"
        if clear:
            shown = [f"{line.metric} at {line.precision} ({numbers(line)})" for line in clear]
            more = len(shown) - NAMED
            text += f": {'; '.join(shown[:NAMED])}" + (f"; and {more} more" if more > 0 else "")
        for word, phrase in (
            (UNDECIDED, "undecided"),
            (CANNOT_REJECT, "cannot reject"),
            (INADEQUATE, "control inadequate"),
        ):
            if open_lines := with_verdict(judged, word):
                text += f" ({phrase} in {len(open_lines)})"
        parts.append(text)
    text = "; ".join(parts) if parts else "no metric can be tested"
    return Paragraph("Damage", f"{text[0].upper()}{text[1:]}.")


def _forecast(lines: Sequence[Forecast], response: str) -> Paragraph:
    known = [line for line in lines if line.q2_without is not None]
    if not known:
        return Paragraph("Forecast", f"No forecast of {response} can be made: {reason(lines)}.")
    fullest = max(known, key=lambda line: line.n)
    text = (
        f"The axes alone forecast {response} of architectures left out with Q² "
        f"{share(fullest.q2_without)} (n {fullest.n})"
    )
    alone = [line for line in known if line.metric != TOGETHER]
    for line in known:
        if line.metric == TOGETHER and line.q2_with is not None:
            text += f", with the primary metrics together Q² {share(line.q2_with)} ("
            text += f"p {p_value(line.p)})" if line.p is not None else "not tested)"
    judged = of_family(alone, PRIMARY) or of_family(alone, EXPLORATORY)
    clear = with_verdict(judged, ASSOCIATED)
    silent = with_verdict(judged, CANNOT_REJECT)
    if judged and len(silent) == len(judged):
        return Paragraph(
            "Forecast", f"{text}. Whether a metric adds to it is open: {reason(silent)}."
        )
    text += f". {len(clear)} of {len(judged)} metrics {'adds' if len(clear) == 1 else 'add'} to it"
    if clear:
        shown = [
            f"{line.metric} (Q² {share(line.q2_without)} to {share(line.q2_with)}, n {line.n}, "
            f"{adjusted(line)})"
            for line in clear
        ]
        text += f", each by itself: {'; '.join(shown[:NAMED])}"
        text += f"; and {listing([line.metric for line in clear[NAMED:]])}" if clear[NAMED:] else ""
    if silent:
        text += f". Cannot reject: {listing([line.metric for line in silent])}"
    return Paragraph("Forecast", f"{text}.")


def _over_training(lines: Sequence[Checkpoints], lead: Sequence[Lead], response: str) -> Paragraph:
    text = f"At equal design cell and epoch, {tally(lines, response)}"
    for order, phrase in (
        (METRIC_FIRST, f"a change of the metric and the change of {response} that follows it"),
        (RESPONSE_FIRST, f"a change of {response} and the change of the metric that follows it"),
    ):
        of_order = [line for line in lead if line.order == order]
        judged = of_family(of_order, PRIMARY) or of_family(of_order, EXPLORATORY)
        if judged:
            clear = [line.metric for line in with_verdict(judged, ASSOCIATED)]
            text += f". For {phrase}, {len(clear)} of {len(judged)} metrics are associated"
            text += f": {listing(clear)}" if clear else ""
    return Paragraph("All checkpoints", f"{text}.")


def of_family(lines: Sequence[Line], family: str) -> list[Line]:
    """Lines of a family that have a verdict."""
    return [line for line in lines if line.family == family and line.verdict is not None]


def with_verdict(lines: Sequence[Line], verdict: str) -> list[Line]:
    """Lines with a verdict, the largest estimate first."""
    chosen = [line for line in lines if line.verdict == verdict]
    return sorted(chosen, key=lambda line: -abs(line.estimate or 0.0))


def reason(lines: Sequence[Tested]) -> str:
    """The shortest note of the lines, which says nothing of a metric's own rows."""
    return min((line.note for line in lines if line.note), key=len, default="no metric varies")


def adjusted(line: Tested) -> str:
    """'p maxT 0.0120' of a primary metric, 'q 0.0120' of another."""
    if line.family == PRIMARY:
        return f"p maxT {p_value(line.p_maxt)}"
    return f"q {p_value(line.q)}"


def metrics(lines: Sequence[Tested], kind: str) -> str:
    """'1 primary metric', '7 primary metrics'."""
    return f"{len(lines)} {kind} metric{'' if len(lines) == 1 else 's'}"


def are(lines: Sequence[Tested]) -> str:
    """`is` or `are`, by the number of lines."""
    return "is" if len(lines) == 1 else "are"


def numbers(line: Tested) -> str:
    """'r +0.312, 95% interval +0.100 to +0.500, n 128'."""
    bounds = (
        f", 95% interval {signed(line.low)} to {signed(line.high)}" if line.low is not None else ""
    )
    return f"r {signed(line.estimate)}{bounds}, n {line.n}"


def described(lines: Sequence[Tested], named: int = NAMED) -> str:
    """The first of the lines, each with its numbers and adjusted p."""
    parts = [f"{line.metric} ({numbers(line)}, {adjusted(line)})" for line in lines[:named]]
    more = [line.metric for line in lines[named:]]
    return "; ".join(parts) + (f"; and {listing(more)}" if more else "")


def tally(lines: Sequence[Tested], response: str) -> str:
    """How many of each family are associated, primary ones with numbers.

    Also what cannot be said.
    """
    parts: list[str] = []
    for family in (PRIMARY, EXPLORATORY):
        judged = of_family(lines, family)
        if not judged:
            continue
        silent = with_verdict(judged, CANNOT_REJECT)
        if len(silent) == len(judged):
            parts.append(f"{metrics(judged, family)} cannot be judged ({reason(silent)})")
            continue
        clear = with_verdict(judged, ASSOCIATED)
        beside = family == EXPLORATORY and bool(parts)
        text = (
            f"{len(clear)} of {len(judged)} {family} ones"
            if beside
            else f"{len(clear)} of {len(judged)} {family} metrics {are(clear)} associated with "
            f"{response}"
        )
        if clear and not beside:
            text += f": {described(clear, BRIEFLY)}"
        for word, phrase in ((UNDECIDED, "undecided"), (CANNOT_REJECT, "cannot reject")):
            if open_lines := with_verdict(judged, word):
                text += f" ({phrase}: {listing([line.metric for line in open_lines])})"
        parts.append(text)
    return "; and ".join(parts) if parts else "no metric can be tested"


def listing(names: Sequence[str]) -> str:
    """'a, b and 3 more'."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"
