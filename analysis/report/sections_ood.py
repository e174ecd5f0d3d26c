"""The section about other data: their detection, and what goes with it."""

from __future__ import annotations

from functools import partial

import polars as pl

from analysis.figures.detection import detection_by_precision, score_name
from analysis.findings.detection import (
    DetectionAssociation,
    DetectionLine,
    detection,
    detection_associations,
    detection_changes,
    has_detection,
    sets_of,
)
from analysis.findings.pairs import comparisons
from analysis.report import outcome_exhibits as shared
from analysis.report.columns import NOTE, columns_of, tested
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import Column, TableExhibit, called, share, whole

SCORE = Column("score", "score", of_row=lambda row: score_name(row["score"]))
OVER_SEEDS = "over seeds: of the mean, by what differs within design cells"
DETECTION = columns_of(
    DetectionLine,
    SCORE,
    Column("other data", "set", hint="nothing: the mean over sets"),
    Column("precision", "precision"),
    Column("trainings", "n", whole),
    Column("AUROC", "auroc", share, hint="mean; 0.5 is chance"),
    Column("95% interval", "auroc_low", share, "auroc_high", hint=OVER_SEEDS),
    Column("FPR95", "fpr95", share, hint="mean; less is better"),
    Column("95% interval of FPR95", "fpr95_low", share, "fpr95_high", hint=OVER_SEEDS),
)
ASSOCIATIONS = columns_of(
    DetectionAssociation,
    SCORE,
    *tested("partial r", "of the metric and the score's AUROC, under the control"),
    Column("control", "control"),
    Column("given", "given", called),
    *NOTE,
)


def ood_section(context: Context) -> Section | None:
    """Detection by score and precision, and each metric against it."""
    table = context.table
    if not has_detection(table):
        return None
    lines, sets = detection(table), sets_of(table)
    mean = lines.filter(pl.col("set") == "")
    used = context.counted
    over = f" Means over the sets {', '.join(sets)}." if sets else ""
    exhibits: list[Exhibit] = [
        TableExhibit("ood", "Detection of other data", f"{used}.{over}", mean, DETECTION),
        FigureExhibit(
            "ood",
            "Detection of other data by precision",
            f"{used}; means with 95% intervals over seeds.{over}",
            partial(detection_by_precision, mean),
        ),
    ]
    if comparisons(table):
        changes = detection_changes(table, context.choices)
        note = f"{over} p maxT is multiplied by the number of columns."
        exhibits.append(shared.changes("ood", "detection", changes, context, note))
    exhibits.append(
        TableExhibit(
            "ood_association",
            "Collapse and detection",
            f"{used} at the reference precision; the response is the AUROC of each score.{over} "
            f"p maxT and q are multiplied by the number of scores. {context.seeds}.",
            detection_associations(table, context.choices),
            ASSOCIATIONS,
            more=context.more,
        )
    )
    if sets:
        own = lines.filter(pl.col("set") != "")
        title = "Detection of each set of other data"
        exhibits.append(TableExhibit("ood_sets", title, f"{used}.", own, DETECTION, folded=True))
    return Section(
        "ood",
        "Other data",
        (
            "How well scores tell validation samples from other data (data.ood): the softmax "
            "maximum, the largest logit and the energy by logits; the nearest class mean, the "
            "Mahalanobis distance and NECO by features, with the moments of the precision.",
            "Trainings that got further differ in collapse and in detection alike. So metrics are "
            "held against detection among trainings of one design cell where there are "
            "replicates, else given a model of the design, and given the training loss as well.",
        ),
        tuple(exhibits),
    )
