"""What is said of metric and response over the checkpoints of trainings."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.checkpoints import METRIC_FIRST, RESPONSE_FIRST, Checkpoints, Lead
from analysis.findings.verdicts import EXPLORATORY, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import listing, of_family, tally, with_verdict
from analysis.statistics.decide import ASSOCIATED


def over_training(lines: Sequence[Checkpoints], lead: Sequence[Lead], response: str) -> Paragraph:
    """What is associated at equal design cell and epoch, and what moves first."""
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
