"""What is said of forecasts of architectures that were left out."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.forecast import TOGETHER, Forecast
from analysis.findings.verdicts import EXPLORATORY, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import (
    NAMED,
    adjusted,
    listing,
    of_family,
    reason,
    with_verdict,
)
from analysis.report.tables import p_value, share
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT


def forecast(lines: Sequence[Forecast], response: str) -> Paragraph:
    """How well the axes forecast, and which metrics add to it."""
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
