"""What is said of the change that a precision makes."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.changes import CHANGED, NO_MORE_THAN, TOTAL, Change
from analysis.findings.pairs import fine_tuned, with_training
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import NAMED, listing
from analysis.report.tables import signed_number
from analysis.statistics.decide import CANNOT_REJECT, UNDECIDED


def of_tuned(pairs: Sequence[tuple[str, str]]) -> str:
    """What fine-tuned precisions among pairs (precision, baseline) are compared with.

    Empty where there are none.
    """
    mixed = with_training(pairs)
    if mixed:
        baselines = ", ".join(dict.fromkeys(base for name, base in pairs if name in mixed))
        return (
            f"{', '.join(mixed)}: compared with {baselines}, so that further training is in the "
            "difference; ft-fp32, which would tell it apart, was not measured."
        )
    if any(fine_tuned(base) for _, base in pairs):
        return "qat-* is compared with ft-fp32, the same fine-tuning without quantization."
    return ""


def changes(lines: Sequence[Change], response: str) -> Paragraph:
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
