"""Several runs in one report: each run's own answer, and the pooled one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import norm, t

import analysis
from analysis.__main__ import main
from analysis.findings.frames import frame_of, lines_of
from analysis.findings.runs import PooledRuns, RunLine, pooled_runs
from analysis.reading.load import load
from analysis.reading.table import AnalysisError, Choices
from analysis.report.page import build_report
from analysis.report.runs import RunsReport
from analysis.report.tables import signed
from analysis.statistics.within import bootstrap_within

QUICK = {"only": ("within",), "permutations": 200, "bootstrap": 200}


def bounded(r: float, spread: float) -> dict[str, Any]:
    """r with the 95% interval that a standard error on Fisher's scale gives."""
    reach = norm.ppf(0.975) * spread
    low, high = (math.tanh(math.atanh(r) + side * reach) for side in (-1, 1))
    return {"estimate": r, "low": low, "high": high}


def line(run: str, r: float, spread: float, **others: Any) -> RunLine:
    plain = RunLine("within", "nc1", run, 20, **bounded(r, spread), family="primary")
    return replace(plain, **others)


def pooled(*lines: RunLine) -> list[PooledRuns]:
    return lines_of(PooledRuns, pooled_runs(frame_of(RunLine, lines)))


def test_runs_that_agree_are_worth_one_of_twice_the_size() -> None:
    (both,) = pooled(line("a", 0.5, 0.2), line("b", 0.5, 0.2))
    reach = t.ppf(0.975, 1) * 0.2 / math.sqrt(2)
    assert both.estimate == pytest.approx(0.5)
    assert (both.low, both.high) == pytest.approx(
        (math.tanh(math.atanh(0.5) - reach), math.tanh(math.atanh(0.5) + reach))
    )
    assert both.p == pytest.approx(2 * t.sf(math.atanh(0.5) / 0.2 * math.sqrt(2), 1))
    assert (both.n, both.runs, both.tau2, both.i2) == (40, 2, 0, 0)
    assert (both.p_maxt, both.q, both.verdict) == (both.p, None, "not found")
    assert both.prediction_low is None


def test_runs_that_differ_widen_the_interval() -> None:
    """Equal variances: REML's tau^2 is the variance of the effects less that of one run."""
    z = [0.9, 0.1, -0.4]
    (answer,) = pooled(*(line(str(at), math.tanh(each), 0.1) for at, each in enumerate(z)))
    between = np.var(z, ddof=1) - 0.1**2
    assert answer.tau2 == pytest.approx(between)
    assert answer.estimate == pytest.approx(math.tanh(np.mean(z)))
    assert answer.high == pytest.approx(
        math.tanh(np.mean(z) + t.ppf(0.975, 2) * math.sqrt(np.var(z, ddof=1) / 3))
    )
    assert answer.heterogeneity == pytest.approx(2 * np.var(z, ddof=1) / 0.1**2)
    assert answer.prediction_low is not None
    assert answer.low is not None
    assert answer.prediction_low < answer.low
    assert answer.verdict == "not found"


def test_gains_of_forecasts_are_pooled_as_they_are() -> None:
    """No scale bounds a gain in Q^2: it may lie below -1, and its mean is one of gains."""
    gains, reach = [0.30, 0.26, -1.20], norm.ppf(0.975)
    lines = [
        replace(line(run, 0.0, 0.1), question="forecast", estimate=gain, low=gain - reach / 10,
                high=gain + reach / 10)
        for run, gain in zip("abc", gains, strict=True)
    ]  # fmt: skip
    (both,) = pooled(*lines[:2])
    assert both.estimate == pytest.approx(0.28)
    assert both.high == pytest.approx(0.28 + t.ppf(0.975, 1) * 0.1 / math.sqrt(2))
    (answer,) = pooled(*lines)
    assert answer.runs == 3
    assert answer.estimate == pytest.approx(np.mean(gains))
    assert answer.tau2 == pytest.approx(np.var(gains, ddof=1) - 0.01)


def test_runs_without_a_sound_answer_are_named_and_left_out() -> None:
    bad = line("c", -0.9, 0.01, verdict="control inadequate")
    (answer,) = pooled(line("a", 0.8, 0.05), line("b", 0.8, 0.05), bad)
    assert (answer.runs, answer.verdict) == (2, "associated")
    assert answer.note == "left out, as the control does not hold: c"
    (answer,) = pooled(line("a", 0.5, 0.2), bad)
    assert (answer.runs, answer.estimate, answer.verdict) == (1, None, "control inadequate")
    (answer,) = pooled(line("a", 0.5, 0.2), RunLine("within", "nc1", "b", 3, family="primary"))
    assert answer.verdict == "cannot reject"
    assert answer.note == (
        "left out, without an interval: b; cannot reject with 1 run: 2 are needed"
    )
    (answer,) = pooled(*(RunLine("within", "nc1", run, 9, family="none") for run in "ab"))
    assert (answer.family, answer.verdict) == ("none", None)


def test_families_are_adjusted_apart() -> None:
    lines = [
        line(run, r, 0.2, metric=metric, family=family)
        for run in "ab"
        for metric, r, family in (
            ("x", 0.9, "primary"),
            ("y", 0.3, "primary"),
            ("u", 0.9, "exploratory"),
            ("v", 0.1, "exploratory"),
        )
    ]
    x, y, u, v = pooled(*lines)
    assert x.p is not None and y.p is not None and u.p is not None
    assert (x.p_maxt, y.p_maxt) == pytest.approx((2 * x.p, max(2 * x.p, y.p)))
    assert (u.q, v.q) == pytest.approx((2 * u.p, v.p))
    assert (x.q, u.p_maxt) == (None, None)
    primary_once = [replace(each, family="primary") if each.run == "a" else each for each in lines]
    assert {each.family for each in pooled(*primary_once)[2:]} == {"exploratory"}


def test_runs_without_association_stay_silent() -> None:
    """Pairs of 12 cells of 3 trainings, whose spread grows tenfold from cell to cell."""
    rng = np.random.default_rng(3)
    cells = np.repeat(np.arange(12), 3)
    spread = 10 ** (cells / 11)
    hits, studies = 0, 150
    for seed in range(studies):
        lines = []
        for run in "ab":
            x, y = (rng.standard_normal(36) * spread for _ in range(2))
            low, high = bootstrap_within(x[:, None], y, cells, bootstrap=300, seed=seed)
            left = [v - (np.bincount(cells, v) / 3)[cells] for v in (x, y)]
            r = float(np.corrcoef(left[0], left[1])[0, 1])
            lines.append(
                RunLine("within", "nc1", run, 36, r, float(low[0]), float(high[0]), None, None)
            )
        hits += pooled(*lines)[0].verdict == "associated"
    assert hits <= 15  # 5% and three standard errors


def write_run(path: Path, strength: float, seed: int, **others: str) -> Path:
    """8 design cells of 4 trainings, nc1_ratio tied to the loss, nc4_agreement not."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, 32))
    pl.DataFrame(
        {
            "training": [others.get("unit", f"{path.stem}-") + str(row) for row in range(32)],
            "width": [64 * (1 + row // 8) for row in range(32)],
            "depth": [1 + row // 4 % 2 for row in range(32)],
            "seed": [row % 4 for row in range(32)],
            "nc1_ratio": x,
            "nc4_agreement": rng.standard_normal(32),
            others.get("response", "val_loss"): [row // 4 for row in range(32)]
            + strength * x
            + noise,
        }
    ).write_csv(path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / f"run{seed}.csv", 2.0, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> RunsReport:
    document = analysis.report([*runs], only=("association", "within", "design"), **COARSE)
    assert isinstance(document, RunsReport)
    return document


COARSE = {"permutations": 200, "bootstrap": 200}


def test_lines_of_runs_are_those_of_their_own_reports(runs: list[Path], report: RunsReport) -> None:
    assert list(report.reports) == ["run0", "run1", "run2"]
    lines = report.frames["runs"]
    own = analysis.report(runs[1], only=("within",), **COARSE).frames["within"]
    columns = ["metric", "n", "estimate", "low", "high", "p", "verdict", "family"]
    of_run = lines.filter((pl.col("question") == "within") & (pl.col("run") == "run1"))
    assert_frame_equal(of_run.select(columns), own.select(columns))
    assert lines["question"].unique(maintain_order=True).to_list() == [
        "within",
        "given_design",
        "association",
    ]
    assert_frame_equal(pooled_runs(lines), report.frames["pooled_runs"])


def test_the_summary_says_what_the_pooled_table_says(report: RunsReport) -> None:
    frame = report.frames["pooled_runs"].filter(pl.col("question") == "within")
    holds, missed = (
        frame.filter(pl.col("verdict") == verdict) for verdict in ("associated", "not found")
    )
    assert holds["metric"].to_list() == ["nc1_ratio"]
    assert missed["metric"].to_list() == ["nc4_agreement"]
    said = {part.title: part.text for part in report.summary}
    assert "in 3 runs (run0, run1, run2)" in said["What was asked"]
    text = said["Within design cells"]
    row = holds.row(0, named=True)
    assert text.startswith("1 of 2 primary metrics is associated over the runs: nc1_ratio (")
    assert f"mean r {signed(row['estimate'])}, 95% interval {signed(row['low'])} to" in text
    assert f"{row['n']} trainings of {row['runs']} runs" in text
    ends = f"a new run: {signed(row['prediction_low'])} to {signed(row['prediction_high'])}"
    assert ends in text
    assert "No association was found for nc4_agreement." in text
    assert not any("described" in title.lower() for title in said)


def test_the_report_of_runs_is_written_with_those_of_each(
    report: RunsReport, tmp_path: Path
) -> None:
    page = report.write(tmp_path / "out")
    html = page.read_text(encoding="utf-8")
    assert "its own report is runs/run1/report.html" in html
    for name in ("run0", "run1", "run2"):
        assert (page.parent / "runs" / name / "report.html").exists()
    assert (page.parent / "tables" / "pooled_runs.csv").exists()
    assert {path.stem for path in (page.parent / "figures").glob("*.svg")} == {
        "runs_within",
        "runs_given_design",
        "runs_association",
    }


def test_the_command_takes_several(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--only", "within", "--permutations", "200", "--bootstrap", "200"]
    assert main([*map(str, runs[:2]), *options]) == 0
    folder = runs[0].with_name("run0+run1-report")
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out
    assert main([*map(str, runs), "--write-map", str(folder / "map.yaml")]) == 2
    assert "give one table" in capsys.readouterr().err


def test_what_cannot_be_pooled_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="the same run is given twice"):
        analysis.report([runs[0], runs[0]], **QUICK)
    other = write_run(tmp_path / "other.csv", 1.0, 7, response="train_loss")
    with pytest.raises(AnalysisError, match=r"has no column 'val_loss'"):
        analysis.report([runs[0], other], **QUICK)
    with pytest.raises(AnalysisError, match="nothing to pool: no table of within, given_design"):
        analysis.report([*runs], only=("axes",), **COARSE)
    key = "0123456789abcdef" * 2
    one, two = (
        write_run(tmp_path / f"{name}.csv", 1.0, 8, unit=key[:-2]) for name in ("one", "two")
    )
    for path in (one, two):
        frame = pl.read_csv(path).with_columns(
            pl.format(
                "{}{}", pl.lit(key[:-2]), (pl.int_range(pl.len()) + 10).cast(pl.String)
            ).alias("training")
        )
        frame.write_csv(path)
    with pytest.raises(AnalysisError, match="one and two both have the training 01234567"):
        analysis.report([one, two], **QUICK)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        paths.append(write_run(tmp_path / name / "run.csv", 1.0, 9, unit=name))
    document = analysis.report([*paths], **QUICK)
    assert isinstance(document, RunsReport)
    assert list(document.reports) == ["x-run", "y-run"]
    assert document.frames["pooled_runs"]["tau2"].to_list() == [0, 0]


def test_a_title_has_the_name_of_the_table_and_not_its_path(runs: list[Path]) -> None:
    table = load(runs[1])
    choices = Choices(permutations=200, bootstrap=200)
    moved = replace(table, source="../runs/elsewhere.csv")
    assert build_report(moved, choices, only=("within",)).title.endswith("val_loss: run1")
    unnamed = replace(table, name="", source="a frame. Made by hand")
    title = build_report(unnamed, choices, only=("within",)).title
    assert title.endswith("val_loss: a frame. Made by hand")
