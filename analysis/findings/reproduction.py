"""What "Linguistic Collapse" says of its models, held against rows.

Wu & Papyan 2024. The rows are those that they published, or those of any study with the same
columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.findings.frames import frame_of
from analysis.reading.selection import final_rows, precisions, replicates
from analysis.reading.table import Table
from analysis.statistics.permutation import permutation_test

AGREES, PARTLY, DIFFERS, ABSENT = "agrees", "in part", "does not agree", "not in these rows"
MOST, HALF = 0.75, 0.5  # shares of pairs from which a trend is that of most, and of more than half
NEGLIGIBLE = 0.1  # R^2 below which a link counts as negligible
SETTINGS = ("width", "depth", "epochs", "weight_decay", "epoch")
TRIALS = 10_000  # of the permutation tests that the paper prints
LEAST_SEEDS = 20


@dataclass(frozen=True)
class Trend:
    """What a figure says a column does along an axis: `down`, `up`, or `neither`."""

    figure: str
    column: str
    axis: str
    goes: str
    says: str


@dataclass(frozen=True)
class Link:
    """What a figure says of a column and the validation loss.

    `sign` of the correlation, 0 where it is called negligible.
    """

    figure: str
    column: str
    sign: int
    says: str
    log10: bool = False


@dataclass(frozen=True)
class Printed:
    """A line of the paper's table 1: R^2 and p, of `TRIALS` permutations."""

    measurement: str
    column: str
    r2: float
    p: float


TABLE_1 = (
    Printed("within-class variability collapse", "nc1_cdnv", 0.192011, 0.0485),
    Printed("equinormness", "nc2_log_equinorm", 0.026174, 0.4870),
    Printed("equiangularity", "nc2_interference_cov", 0.218574, 0.0317),
    Printed("hyperspherical uniformity", "gnc2_log_distance_cov", 0.487935, 0.0002),
    Printed("self-duality", "nc3_cosine_mean", 0.322210, 0.0063),
    Printed("uniform duality", "unc3_cosine_cov", 0.000036, 0.9784),
    Printed("classifier agreement", "nc4_agreement", 0.490278, 0.0001),
)
TRENDS = (
    Trend("5", "nc1_cdnv", "epoch", "down", "CDNV falls over training"),
    Trend("5", "val_loss", "epoch", "down", "validation loss falls over training"),
    Trend("6", "nc1_cdnv", "width", "down", "CDNV falls with width"),
    Trend("7", "nc1_cdnv", "depth", "down", "CDNV falls with depth"),
    Trend("8", "nc2_log_norm_mean", "width", "up", "logarithmic norms grow with width"),
    Trend("9", "nc2_log_norm_mean", "depth", "up", "logarithmic norms grow with depth"),
    Trend("10", "nc2_log_equinorm", "width", "down", "their variation falls with width"),
    Trend("11", "nc2_log_equinorm", "depth", "down", "their variation falls with depth"),
    Trend("12", "nc2_interference_mean", "width", "down", "interference falls with width"),
    Trend("13", "nc2_interference_mean", "depth", "down", "interference falls with depth"),
    Trend("14", "nc2_interference_std", "width", "up", "its variation rises with width"),
    Trend("15", "nc2_interference_std", "depth", "up", "its variation rises with depth"),
    Trend("16", "gnc2_log_distance_mean", "width", "down", "log distance falls with width"),
    Trend("17", "gnc2_log_distance_mean", "depth", "down", "log distance falls with depth"),
    Trend("18", "gnc2_log_distance_std", "width", "down", "its variation falls with width"),
    Trend("19", "gnc2_log_distance_std", "depth", "down", "its variation falls with depth"),
    Trend("23", "nc3_cosine_mean", "epoch", "up", "alignment rises over training"),
    Trend("23", "nc3_cosine_mean", "width", "neither", "alignment has no trend with width"),
    Trend("24", "nc3_cosine_mean", "depth", "neither", "alignment has no trend with depth"),
    Trend("25", "unc3_cosine_std", "width", "down", "its variation falls with width"),
    Trend("26", "unc3_cosine_std", "depth", "up", "its variation rises with depth"),
    Trend("29", "nc4_agreement", "width", "up", "agreement improves with width"),
    Trend("30", "nc4_agreement", "depth", "up", "agreement improves with depth"),
)
LINKS = (
    Link("1", "nc1_cdnv", 1, "variability falls with the loss", log10=True),
    Link("1", "gnc2_log_distance_std", 1, "uniformity grows as the loss falls"),
    Link("1", "unc3_cosine_std", 1, "duality gets more uniform as the loss falls"),
    Link("1", "nc4_agreement", -1, "agreement grows as the loss falls"),
    Link("2", "nc2_log_equinorm", 1, "variation of norms goes with the loss"),
    Link("2", "nc2_interference_std", 1, "variation of interference goes with the loss"),
    Link("2", "gnc2_log_distance_std", 1, "variation of log distance goes with the loss"),
    Link("3", "nc3_cosine_mean", 0, "self-duality has a negligible link with the loss"),
    Link("3", "unc3_cosine_std", 1, "uniform duality goes with the loss"),
    Link("20", "nc2_log_norm_mean", -1, "norms grow as the loss falls"),
    Link("21", "nc2_interference_mean", 1, "interference goes with the loss"),
    Link("21", "nc2_etf_error", 1, "distance to a simplex frame goes with the loss"),
    Link("22", "gnc2_log_distance_mean", 1, "log distance goes with the loss"),
    Link("27", "nc3_dual_error", 1, "distance to self-duality goes with the loss"),
    Link("28", "unc3_cosine_std", 1, "variation of alignment goes with the loss"),
)
"""Signs of links that a caption names without one are those of more collapse at a smaller loss."""


@dataclass(frozen=True)
class TrendLine:
    """What rows say of a `Trend`: the share of `pairs` of models that go so.

    A pair differs in the axis alone. `by_epochs` tells the share by planned epochs.
    """

    figure: str
    says: str
    column: str
    pairs: int
    share: float | None = None
    by_epochs: str = ""
    verdict: str = ABSENT


@dataclass(frozen=True)
class LinkLine:
    """What rows say of a `Link`: Pearson's r with the validation loss over `n` rows."""

    figure: str
    says: str
    column: str
    n: int
    r: float | None = None
    verdict: str = ABSENT


@dataclass(frozen=True)
class TableLine:
    """A line of table 1: what is printed, and R^2 and p of the same seeds here."""

    measurement: str
    column: str
    n: int
    r2_printed: float
    p_printed: float
    r2: float | None = None
    p: float | None = None
    verdict: str = ABSENT


def points(table: Table) -> pl.DataFrame:
    """One row for each point of the grid and checkpoint: means over seeds."""
    rows = trained(table)
    keys = [name for name in SETTINGS if name in rows.columns]
    columns = {each.column for each in (*TRENDS, *LINKS)} & set(rows.columns)
    return rows.group_by(keys, maintain_order=True).agg(pl.col(name).mean() for name in columns)


def trained(table: Table) -> pl.DataFrame:
    """Rows at the reference precision of models that were trained at all."""
    rows = table.frame
    if names := precisions(table):
        rows = rows.filter(pl.col(str(table.roles.precision)) == names[0])
    return rows if table.roles.order is None else rows.filter(pl.col(table.roles.order) > 0)


def trend_lines(table: Table, trends: Sequence[Trend] = TRENDS) -> pl.DataFrame:
    """Table of `TrendLine` lines."""
    rows = points(table)
    return frame_of(TrendLine, [_trend(rows, trend) for trend in trends])


def _trend(rows: pl.DataFrame, trend: Trend) -> TrendLine:
    line = TrendLine(trend.figure, trend.says, trend.column, 0)
    if not {trend.column, trend.axis} <= set(rows.columns):
        return line
    known = rows.drop_nulls(trend.column)
    others = [name for name in SETTINGS if name in rows.columns and name != trend.axis]
    changes: dict[int, list[float]] = {}
    for _, group in known.group_by(others, maintain_order=True):
        ordered = group.sort(trend.axis)
        y = ordered[trend.column].to_numpy()
        planned = int(ordered["epochs"][0]) if "epochs" in ordered.columns else 0
        later, earlier = np.tril_indices(len(y), -1)
        changes.setdefault(planned, []).extend((y[later] - y[earlier]).tolist())
    every = [change for own in changes.values() for change in own]
    if not every:
        return line
    share = _share(every, trend.goes)
    by_epochs = {epochs: _share(own, trend.goes) for epochs, own in changes.items() if own}
    parts = [f"{epochs}: {part:.2f}" for epochs, part in sorted(by_epochs.items())]
    verdict = _trend_verdict(share, trend.goes)
    return TrendLine(
        trend.figure,
        trend.says,
        trend.column,
        len(every),
        share,
        ", ".join(parts) if len(parts) > 1 else "",
        verdict,
    )


def _share(changes: Sequence[float], goes: str) -> float:
    """Share of changes that go the way, upwards where no way is claimed."""
    sign = -1 if goes == "down" else 1
    return float(np.mean([sign * change > 0 for change in changes]))


def _trend_verdict(share: float, goes: str) -> str:
    if goes == "neither":
        return AGREES if 1 - MOST < share < MOST else DIFFERS
    return AGREES if share >= MOST else PARTLY if share > HALF else DIFFERS


def link_lines(table: Table, links: Sequence[Link] = LINKS) -> pl.DataFrame:
    """Table of `LinkLine` lines, over every checkpoint of `trained`."""
    rows = trained(table)
    return frame_of(LinkLine, [_link(rows, link) for link in links])


def _link(rows: pl.DataFrame, link: Link) -> LinkLine:
    line = LinkLine(link.figure, link.says, link.column, 0)
    if link.column not in rows.columns:
        return line
    known = rows.drop_nulls([link.column, "val_loss"])
    x = known[link.column].to_numpy()
    x = np.log10(x) if link.log10 else x
    if len(known) < 3 or np.ptp(x) == 0:
        return line
    r = float(np.corrcoef(x, known["val_loss"].to_numpy())[0, 1])
    if link.sign == 0:
        verdict = AGREES if r**2 < NEGLIGIBLE else DIFFERS
    elif r * link.sign <= 0:
        verdict = DIFFERS
    else:
        verdict = AGREES if r**2 >= NEGLIGIBLE else PARTLY
    return LinkLine(link.figure, link.says, link.column, len(known), r, verdict)


def table_lines(table: Table, *, permutations: int = 100_000, seed: int = 0) -> pl.DataFrame:
    """Table of `TableLine` lines, of the seeds of one model.

    They are the largest group that differs in its seeds alone. R^2 agrees to the digits that are
    printed, p within four standard errors of the permutations on both sides. Raises ValueError
    where no group has `LEAST_SEEDS` trainings.
    """
    groups = replicates(table, final_rows(table), LEAST_SEEDS)
    if not groups:
        raise ValueError(f"no {LEAST_SEEDS} trainings differ in their seed alone")
    rows = max((rows for _, rows in groups), key=len)
    loss = rows[table.roles.response].to_numpy()
    lines = []
    for printed in TABLE_1:
        line = TableLine(printed.measurement, printed.column, len(rows), printed.r2, printed.p)
        if printed.column in rows.columns and not rows[printed.column].null_count():
            x = rows[printed.column].to_numpy()
            result = permutation_test(x[:, None], loss, permutations=permutations, seed=seed)
            r2, p = float(np.corrcoef(x, loss)[0, 1] ** 2), float(result.p[0])
            variance = p * (1 - p) * (1 / TRIALS + 1 / permutations)
            near = abs(p - printed.p) <= 4 * math.sqrt(variance) + 1 / TRIALS
            same = abs(r2 - printed.r2) <= 5e-6
            verdict = AGREES if same and near else PARTLY if same or near else DIFFERS
            line = TableLine(
                printed.measurement,
                printed.column,
                len(rows),
                printed.r2,
                printed.p,
                r2,
                p,
                verdict,
            )
        lines.append(line)
    return frame_of(TableLine, lines)
