"""What is said of associations given how far training got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from analysis.findings.frames import lines_of
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
from analysis.findings.verdicts import EXPLORATORY, INADEQUATE, PRIMARY
from analysis.report.descriptions import Paragraph
from analysis.report.sentences.words import are, listing, of_family, reason, tally, with_verdict
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT


def progress_lines(frames: Mapping[str, pl.DataFrame]) -> list[GivenProgress]:
    """Lines of the table given train_loss; none without it."""
    name = "given_train_loss"
    return lines_of(GivenProgress, frames[name]) if name in frames else []


def given_progress(lines: Sequence[GivenProgress], response: str) -> Paragraph:
    """What becomes of associations given train_loss; those with the gap."""
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
