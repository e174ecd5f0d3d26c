"""What is said of collapse and the damage of a precision."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.damage import BASELINE, CHANGE, Damage
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import NAMED, numbers, of_family, with_verdict
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT, UNDECIDED


def damage(lines: Sequence[Damage], response: str) -> Paragraph:
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
