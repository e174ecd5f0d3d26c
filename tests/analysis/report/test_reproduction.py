"""The page about "Linguistic Collapse": its verdicts on made rows, and its numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from places import PUBLISHED, ROOT

from analysis.findings.frames import lines_of
from analysis.findings.reproduction import (
    ABSENT,
    AGREES,
    DIFFERS,
    LINKS,
    PARTLY,
    TABLE_1,
    TRENDS,
    Link,
    LinkLine,
    TableLine,
    Trend,
    TrendLine,
    link_lines,
    table_lines,
    trend_lines,
)
from analysis.reading.load import load
from analysis.reading.table import Table
from analysis.report.reproduction import MAP, OWN, document, main

PAGE = ROOT / "docs" / "reproduction.md"


def rows(metric: Callable[[int, int, int, float], float]) -> pl.DataFrame:
    """Three widths, two depths, two lengths of training with two checkpoints; two seeds."""
    rng = np.random.default_rng(0)
    lines = []
    for width, depth, epochs, seed in itertools.product((8, 16, 32), (1, 2), (2, 4), (0, 1)):
        for epoch in (epochs // 2, epochs):
            lines.append(
                {
                    "training": f"{width}x{depth}_{epochs}_{seed}",
                    "width": width,
                    "depth": depth,
                    "epochs": epochs,
                    "seed": seed,
                    "epoch": epoch,
                    "val_loss": 5 - 0.1 * width + 0.01 * rng.standard_normal(),
                    "nc1_cdnv": metric(width, depth, epoch, float(rng.standard_normal())),
                }
            )
    return pl.DataFrame(lines)


def made(tmp_path: Path, frame: pl.DataFrame) -> Table:
    frame.write_csv(tmp_path / "rows.csv")
    return load(tmp_path / "rows.csv")


DOWN = Trend("6", "nc1_cdnv", "width", "down", "falls")
UP = Trend("6", "nc1_cdnv", "width", "up", "rises")
NEITHER = Trend("6", "nc1_cdnv", "width", "neither", "has no trend")


@pytest.mark.parametrize(
    ("metric", "verdicts"),
    [
        (lambda width, depth, epoch, noise: 9 / width + depth, (AGREES, DIFFERS, DIFFERS)),
        (lambda width, depth, epoch, noise: float(width), (DIFFERS, AGREES, DIFFERS)),
        # of three widths the middle one is the largest: one pair in three falls
        (lambda width, depth, epoch, noise: -((width - 18.0) ** 2), (PARTLY, DIFFERS, AGREES)),
    ],
)
def test_a_trend_is_that_of_pairs(
    tmp_path: Path, metric: Callable[[int, int, int, float], float], verdicts: tuple[str, ...]
) -> None:
    frame = rows(metric)
    lines = lines_of(TrendLine, trend_lines(made(tmp_path, frame), (DOWN, UP, NEITHER)))
    means = frame.group_by("width", "depth", "epochs", "epoch").agg(pl.col("nc1_cdnv").mean())
    pairs = [
        (a["nc1_cdnv"], b["nc1_cdnv"])
        for a, b in itertools.permutations(means.to_dicts(), 2)
        if a["width"] < b["width"]
        and all(a[name] == b[name] for name in ("depth", "epochs", "epoch"))
    ]
    falls = sum(b < a for a, b in pairs) / len(pairs)
    assert [line.pairs for line in lines] == [len(pairs)] * 3 == [24] * 3
    assert [line.share for line in lines] == pytest.approx([falls, 1 - falls, 1 - falls])
    assert tuple(line.verdict for line in lines) == verdicts
    assert lines[0].by_epochs == f"2: {falls:.2f}, 4: {falls:.2f}"


def test_training_is_an_axis(tmp_path: Path) -> None:
    table = made(tmp_path, rows(lambda width, depth, epoch, noise: 1 / epoch))
    (line,) = lines_of(
        TrendLine, trend_lines(table, (Trend("5", "nc1_cdnv", "epoch", "down", ""),))
    )
    assert (line.pairs, line.share, line.verdict) == (12, 1.0, AGREES)


def test_a_column_that_rows_lack_is_said(tmp_path: Path) -> None:
    table = made(tmp_path, rows(lambda width, depth, epoch, noise: noise))
    (line,) = lines_of(
        TrendLine, trend_lines(table, (Trend("12", "nc2_interference_mean", "width", "down", ""),))
    )
    assert (line.pairs, line.share, line.verdict) == (0, None, ABSENT)
    (link,) = lines_of(LinkLine, link_lines(table, (Link("2", "nc2_etf_error", 1, ""),)))
    assert (link.n, link.r, link.verdict) == (0, None, ABSENT)


@pytest.mark.parametrize(
    ("strength", "sign", "verdict"),
    [
        (1.0, -1, AGREES),
        (1.0, 1, DIFFERS),
        (1.0, 0, DIFFERS),
        (0.0, 0, AGREES),
        (0.03, -1, PARTLY),
    ],
)
def test_a_link_is_a_correlation(tmp_path: Path, strength: float, sign: int, verdict: str) -> None:
    frame = rows(lambda width, depth, epoch, noise: 10.0 ** (strength * width / 8 + 0.5 * noise))
    link = Link("1", "nc1_cdnv", sign, "", log10=True)
    (line,) = lines_of(LinkLine, link_lines(made(tmp_path, frame), (link,)))
    r = scipy.stats.pearsonr(np.log10(frame["nc1_cdnv"]), frame["val_loss"]).statistic
    assert line.n == 48
    assert line.r == pytest.approx(r, abs=1e-12)
    assert line.verdict == verdict


def test_table_1_needs_seeds(tmp_path: Path) -> None:
    table = made(tmp_path, rows(lambda width, depth, epoch, noise: noise))
    with pytest.raises(ValueError, match="no 20 trainings differ in their seed alone"):
        table_lines(table)
    frame = pl.DataFrame({"training": [f"t{n}" for n in range(24)], "seed": range(24)})
    rng = np.random.default_rng(1)
    x, noise = rng.standard_normal((2, 24))
    seeds = frame.with_columns(val_loss=pl.Series(2 + x), nc1_cdnv=pl.Series(x + 0.3 * noise))
    lines = lines_of(TableLine, table_lines(made(tmp_path, seeds), permutations=500))
    first, *others = lines
    r = scipy.stats.pearsonr(seeds["nc1_cdnv"], seeds["val_loss"]).statistic
    assert first.n == 24
    assert first.r2 == pytest.approx(r**2, abs=1e-12)
    assert first.p == pytest.approx(1 / 501, rel=1e-9)
    assert first.verdict == DIFFERS
    assert {line.verdict for line in others} == {ABSENT}
    assert [line.column for line in lines] == [printed.column for printed in TABLE_1]


def test_the_command_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err
    assert main([str(tmp_path / "absent.csv")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_every_statement_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for statement in (*TRENDS, *LINKS):
        assert f"| {statement.figure} | {statement.says} (`{statement.column}`) |" in text
    for printed in TABLE_1:
        assert f"| {printed.measurement} (`{printed.column}`) | {printed.r2:.6f} |" in text


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"the published rows are not at {PUBLISHED}")
def test_the_page_is_that_of_the_published_rows() -> None:
    made_here = document(PUBLISHED, columns=ROOT / MAP, own=ROOT / OWN)
    assert PAGE.read_text(encoding="utf-8") == made_here.replace(
        PUBLISHED.name, "lc-2024_10_24.csv"
    )
