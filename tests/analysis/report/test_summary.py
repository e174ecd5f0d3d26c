"""Every number of the generated summary, computed again from its tables.

By numpy and scipy, from the files that the report wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from report_study import METRICS, write_study

import analysis
from analysis.report.page import Report

NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?(?:e[+−]?\d+)?%?")
OPTIONS: dict[str, Any] = {"permutations": 400, "bootstrap": 300, "seed": 5}


Line = dict[str, Any]
Made = tuple[Report, dict[str, list[Line]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report, and its tables as read back from the csv files."""
    folder = tmp_path_factory.mktemp("summary")
    report = analysis.report(write_study(folder / "rows.parquet", 1.5), **OPTIONS)
    report.write(folder)
    tables = {path.stem: pl.read_csv(path).to_dicts() for path in (folder / "tables").glob("*.csv")}
    return report, tables


def text_of(report: Report, title: str) -> str:
    found = [part.text for part in report.summary if part.title == title]
    assert len(found) == 1, (title, [part.title for part in report.summary])
    return found[0]


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, without those in names such as nc1_cdnv."""
    return NUMBER.findall(re.sub(r"\b[A-Za-z]\w*", " ", text).replace("R²", " "))


def shown(*values: object) -> Iterator[str]:
    """Numbers as the summary prints them: r with its sign, others as they come."""
    for value in values:
        yield str(value).replace("-", "−")


def r_of(line: Line) -> list[str]:
    return [
        f"{line['r']:+.3f}",
        f"{line['r2']:.3f}",
        "95%",
        f"{line['boot_low']:+.3f}",
        f"{line['boot_high']:+.3f}",
    ]


def family(table: list[Line]) -> tuple[list[Line], list[Line]]:
    """The lines tested together, and the associated ones, closest first.

    Associated means an adjusted p of at most .05.
    """
    tested = [line for line in table if line["p_maxt"] is not None]
    return tested, sorted(
        (line for line in tested if line["p_maxt"] <= 0.05), key=lambda line: -abs(line["r"])
    )


def test_what_is_associated(made: Made) -> None:
    report, tables = made
    tested, found = family(tables["association"])
    assert len(tested) == 6
    assert 1 <= len(found) < 6  # both kinds are in this table
    text = text_of(report, "Associated")
    expected = [len(found), 6, 24, 6, "5%", *(part for line in found[:3] for part in r_of(line))]
    assert numbers(text) == list(shown(*expected))
    assert re.findall(r"(nc\w+) \(r", text) == [line["metric"] for line in found[:3]]
    # r itself, from the rows
    rows = report.table.frame.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == 2))
    for line in found[:3]:
        r = np.corrcoef(rows[line["metric"]], rows["val_loss"])[0, 1]
        assert f"{r:+.3f}".replace("-", "−") in text


def test_direction_and_what_did_not_hold(made: Made) -> None:
    report, tables = made
    tested, found = family(tables["association"])
    told = [line for line in found if METRICS[line["metric"]].direction]
    with_better = [
        line for line in told if (line["r"] > 0) == (METRICS[line["metric"]].direction == "lower")
    ]
    text = text_of(report, "Direction")
    assert numbers(text) == list(shown(len(with_better), len(told)))
    lost = [line["metric"] for line in tested if line["p_maxt"] > 0.05]
    text = text_of(report, "Did not hold")
    assert numbers(text) == [str(len(lost))]
    assert re.findall(r"nc\w+", text) == lost


def test_the_metric_that_scales_with_the_norm(made: Made) -> None:
    report, tables = made
    lines = {
        (line["given"] or "", line["scale"]): line
        for line in tables["association"]
        if line["metric"] == "nc1_cdnv"
    }
    plain, given = lines["", "raw"], lines["nc2_log_norm_mean", "raw"]
    expected = [f"{plain['r']:+.3f}", f"{given['r']:+.3f}", f"{given['p']:.4f}"]
    assert numbers(text_of(report, "Feature norm")) == list(shown(*expected))


def test_one_configuration(made: Made) -> None:
    report, tables = made
    tested, found = family(tables["fixed"])
    expected = [
        6,
        len(found),
        len(tested),
        "5%",
        *(part for line in found[:3] for part in r_of(line)),
    ]
    assert numbers(text_of(report, "One configuration")) == list(shown(*expected))


def test_the_grid(made: Made) -> None:
    report, tables = made
    names = [line["metric"] for line in family(tables["association"])[1]]
    lines = {line["metric"]: line for line in tables["grid"] if not line["given"]}
    left = sorted(
        (lines[name] for name in names if lines[name]["partial_p_maxt"] <= 0.05),
        key=lambda line: -abs(line["partial_r"]),
    )
    inside = [name for name in names if lines[name]["within_p"] <= 0.05]
    text = text_of(report, "Controlled for the grid")
    expected: list[object] = [len(left), len(names)]
    for line in left[:3]:
        expected += [f"{line['partial_r']:+.3f}", f"{line['partial_r'] ** 2:.3f}"]
    expected += [len(inside), len(names), "5%"]
    assert numbers(text) == list(shown(*expected))
    assert "(log width, log depth)" in text
    gone = [name for name in names if lines[name]["partial_p_maxt"] > 0.05]
    assert ("Not so:" in text) == bool(gone)


def test_what_the_axes_do(made: Made) -> None:
    report, tables = made
    rows = report.table.frame.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == 2))
    expected: list[object] = ["5%"]
    text = text_of(report, "What the axes do")
    for axis, column in (("log width", "width"), ("log depth", "depth")):
        lines = [line for line in tables["effects"] if line["axis"] == axis]
        others = [line for line in lines if line["metric"] != "val_loss"]
        sure = [line for line in others if line["p_maxt"] <= 0.05]
        expected += [len(sure), len(others)]
        assert f"{axis}: " in text
        if sure:
            expected.append(f"{max(sure, key=lambda line: line['partial_r2'])['effect']:+.3f}")
        loss = next(line for line in lines if line["metric"] == "val_loss")
        # a balanced design of two levels each: the effect is the difference of the means
        means = [
            rows.filter(pl.col(column) == level)["val_loss"].to_numpy().mean()
            for level in sorted(rows[column].unique())
        ]
        assert loss["effect"] == pytest.approx(
            (means[1] - means[0]) / rows["val_loss"].to_numpy().std(ddof=1), rel=1e-9
        )
        expected += [f"{loss['effect']:+.3f}", "95%", f"{loss['low']:+.3f}", f"{loss['high']:+.3f}"]
    assert numbers(text) == list(shown(*expected))


def test_overfitting_and_the_gap(made: Made) -> None:
    report, tables = made
    rows = report.table.frame.filter(pl.col("precision") == "fp32")
    flagged = 0
    for part in rows.partition_by("training"):
        losses = part.sort("epoch")["val_loss"].to_numpy()
        flagged += bool(losses[:-1].min() < losses[-1])
    assert 0 < flagged < 24
    assert sum(line["flagged"] for line in tables["overfitting"]) == flagged
    rest, gap = family(tables["association_without"]), family(tables["association_gap"])
    expected = [flagged, 24, 24 - flagged, len(rest[1]), len(rest[0]), len(gap[1]), len(gap[0])]
    assert numbers(text_of(report, "Overfitting")) == list(shown(*expected))
    kept = [line["training"] for line in tables["overfitting"] if not line["flagged"]]
    last = rows.filter((pl.col("epoch") == 2) & pl.col("training").is_in(kept))
    line = next(line for line in rest[0] if line["metric"] == "nc3_distance")
    assert line["r"] == pytest.approx(
        np.corrcoef(last["nc3_distance"], last["val_loss"])[0, 1], abs=1e-12
    )
    last = rows.filter(pl.col("epoch") == 2)
    line = next(line for line in gap[0] if line["metric"] == "nc3_distance")
    assert line["r"] == pytest.approx(
        np.corrcoef(last["nc3_distance"], last["generalization_gap"])[0, 1], abs=1e-12
    )


def test_over_training(made: Made) -> None:
    report, tables = made
    rows = report.table.frame.filter(pl.col("precision") == "fp32").sort("training")
    first, last = (rows.filter(pl.col("epoch") == epoch) for epoch in (0, 2))
    most = 0
    for name, metric in METRICS.items():
        change = last[name].to_numpy() - first[name].to_numpy()
        line = next(line for line in tables["training"] if line["metric"] == name)
        assert line["first"] == pytest.approx(np.median(first[name]), abs=1e-12)
        assert line["last"] == pytest.approx(np.median(last[name]), abs=1e-12)
        if metric.direction:
            towards = np.count_nonzero(change < 0 if metric.direction == "lower" else change > 0)
            assert line["towards"] == towards
            most += int(towards > 12)
    factor = np.median(last["nc1_cdnv_galanti"].to_numpy() / first["nc1_cdnv_galanti"].to_numpy())
    assert numbers(text_of(report, "Over training")) == [str(most), "5", f"{factor:.3g}"]


def test_precision(made: Made) -> None:
    report, tables = made
    rows = report.table.frame.filter(pl.col("epoch") == 2).sort("training")
    before = rows.filter(pl.col("precision") == "fp32")["val_loss"].to_numpy()
    change = {
        name: rows.filter(pl.col("precision") == name)["val_loss"].to_numpy() - before
        for name in ("int8", "int2")
    }
    lines = {line["precision"]: line for line in tables["precision"]}
    for name, difference in change.items():
        assert lines[name]["change"] == pytest.approx(np.median(difference), abs=1e-12)
        assert lines[name]["after"] == pytest.approx(np.median(before + difference), abs=1e-12)
        assert lines[name]["before"] == pytest.approx(np.median(before), abs=1e-12)
        assert lines[name]["worse"] == np.count_nonzero(difference > 0)
        assert lines[name]["bits"] == {"int8": 8.1, "int2": 2.1}[name]
        assert lines[name]["mib"] == pytest.approx({"int8": 8100, "int2": 2100}[name] / 2**20)
    sure = sum((lines[name]["p"] or 1.0) <= 0.05 for name in change)
    line, median = lines["int2"], np.median(change["int2"])
    expected = [
        sure,
        2,
        "5%",
        f"+{median:.4f}",
        "95%",
        f"+{line['low']:.4f}",
        f"+{line['high']:.4f}",
    ]
    expected += [np.count_nonzero(change["int2"] > 0), 24, "0.000"]
    assert numbers(text_of(report, "Precision")) == list(shown(*expected))


def power_r2(n: int, covariates: int) -> float:
    """Least R^2 with power .8 at 5%, by bisection on scipy's noncentral F."""
    left, low, high = n - covariates - 2, 0.0, 1.0 - 1e-9
    for _ in range(60):
        r2 = (low + high) / 2
        power = scipy.stats.ncf.sf(scipy.stats.f.isf(0.05, 1, left), 1, left, n * r2 / (1 - r2))
        low, high = (r2, high) if power < 0.8 else (low, r2)
    return low


def test_what_n_can_show(made: Made) -> None:
    report, _ = made
    expected = ["24", "5%", f"{power_r2(24, 0):.3f}", f"{power_r2(24, 2):.3f}"]
    assert numbers(text_of(report, "What n can show")) == expected


def test_every_paragraph_is_checked_here(made: Made) -> None:
    report, _ = made
    titles = [
        "Associated",
        "Direction",
        "Did not hold",
        "Feature norm",
        "One configuration",
        "Controlled for the grid",
    ]
    assert [part.title for part in report.summary] == [
        *titles,
        "What the axes do",
        "Overfitting",
        "Over training",
        "Precision",
        "What n can show",
    ]


def test_a_table_without_any_association_says_so(tmp_path: Path) -> None:
    report = analysis.report(
        write_study(tmp_path / "rows.parquet", 0.0), **OPTIONS, only=("association", "grid")
    )
    tested = [
        line for line in report.frames["association"].to_dicts() if line["p_maxt"] is not None
    ]
    assert min(line["p_maxt"] for line in tested) > 0.05
    least = min(tested, key=lambda line: line["p_maxt"])
    text = text_of(report, "No association")
    assert text.startswith("No metric is associated with val_loss over 24 trainings")
    assert numbers(text) == list(shown(24, 6, "5%", f"{least['p_maxt']:.4f}", f"{least['r']:+.3f}"))
    assert [part.title for part in report.summary] == [
        "No association",
        "Feature norm",
        "What n can show",
    ]
    assert "not shown to be absent" in text_of(report, "What n can show")
