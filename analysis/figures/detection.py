"""Figures of other data: how well each score detects them at each precision."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.figures.colours import MARKERS, OKABE_ITO
from analysis.figures.drawing import panels
from analysis.figures.key import Entry, Group
from analysis.figures.sheets import styled
from analysis.figures.ticks import linear_axis
from analysis.reading.naming import AUROC
from study.columns import noun

APART = 0.55  # of the place of a precision over which its scores stand side by side
PANELS = {"auroc": "AUROC", "fpr95": "FPR95"}


def score_name(score: str) -> str:
    """What a score is called, by the name of its AUROC."""
    return noun(f"{AUROC}{score}").partition(", ")[2]


def detection_by_precision(lines: pl.DataFrame) -> Figure:
    """AUROC and FPR95 by precision: a colour a score, means with their intervals.

    `lines` are those of the table over all sets.
    """
    scores = lines["score"].unique(maintain_order=True).to_list()
    levels = lines["precision"].unique(maintain_order=True).to_list()
    entries = [
        Entry(score_name(score), OKABE_ITO[place], MARKERS[place], "-")
        for place, score in enumerate(scores)
    ]
    key = [Group("score", entries)]
    with styled():
        figure, axes = panels(len(PANELS), titles=list(PANELS.values()), levels=levels, key=key)
        for axis, column in zip(axes, PANELS, strict=True):
            for place, score in enumerate(scores):
                own = lines.filter(pl.col("score") == score).drop_nulls(column)
                offset = APART * ((place + 0.5) / len(scores) - 0.5)
                at = np.array([levels.index(each) for each in own["precision"]]) + offset
                colour = OKABE_ITO[place]
                known = own[f"{column}_low"].is_not_null().to_numpy()
                ends = own.filter(pl.col(f"{column}_low").is_not_null())
                axis.vlines(at[known], ends[f"{column}_low"], ends[f"{column}_high"], color=colour)
                axis.plot(
                    at,
                    own[column],
                    color=colour,
                    marker=MARKERS[place],
                    markersize=4,
                    linewidth=0.8,
                )
            axis.set_xlim(-0.6, len(levels) - 0.4)
            linear_axis(axis, "y")
    return figure
