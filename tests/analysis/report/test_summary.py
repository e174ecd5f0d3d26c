"""Every number of the generated summary, computed again from its tables.

By numpy and scipy, from the files that the report wrote.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from null_study import KINDS, lost_study, null_study
from places import SHARED
from report_study import METRICS, write_study

import analysis
from analysis.reading.table import PRIMARY
from analysis.report.page import Report

CASES = SHARED.parent / "cases" / "tables"
NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?(?:e[+−]?\d+)?%?")
OPTIONS: dict[str, Any] = {"permutations": 400, "bootstrap": 300, "seed": 5}


Line = dict[str, Any]
Made = tuple[Report, dict[str, list[Line]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report, and its tables as read back from the csv files."""
    folder = tmp_path_factory.mktemp("summary")
    report = analysis.report(
        write_study(folder / "rows.parquet", 1.5),
        **OPTIONS,
        primary=("nc3_distance", "nc2_equinorm", "nc4_agreement"),
    )
    report.write(folder)
    tables = {path.stem: pl.read_csv(path).to_dicts() for path in (folder / "tables").glob("*.csv")}
    return report, tables


def text_of(report: Report, title: str) -> str:
    texts = [part.text for part in report.summary if part.title == title]
    assert len(texts) == 1, (title, [part.title for part in report.summary])
    return texts[0]


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, without those in names such as nc1_cdnv."""
    return NUMBER.findall(re.sub(r"\b[A-Za-z]\w*", " ", text).replace("R²", " "))


def shown(*values: object) -> Iterator[str]:
    """Numbers as the summary prints them: r with its sign, others as they come."""
    for value in values:
        yield str(value).replace("-", "−")


def r_of(line: Line) -> list[str]:
    """r with interval and n."""
    interval = [] if line["low"] is None else ["95%", f"{line['low']:+.3f}", f"{line['high']:+.3f}"]
    return [f"{line['estimate']:+.3f}", *interval, str(line["n"])]


def p_of(p: float) -> str:
    return f"{p:.4f}" if p >= 1e-3 else f"{p:.5f}"


def of_family(table: list[Line], family: str) -> list[Line]:
    return [line for line in table if line["family"] == family and line["verdict"]]


def clear_of(lines: list[Line]) -> list[Line]:
    clear = [line for line in lines if line["verdict"] == "associated"]
    return sorted(clear, key=lambda line: -abs(line["estimate"]))


def described(lines: list[Line], named: int = 4) -> list[str]:
    """The first associated lines, each with its numbers and adjusted p."""
    parts = []
    for line in lines[:named]:
        adjusted = line["p_maxt"] if line["family"] == "primary" else line["q"]
        parts += [*r_of(line), p_of(adjusted)]
    more = len(lines) - named
    return [*parts, *([str(more - 8)] if more > 8 else [])]


def tally(table: list[Line]) -> list[str]:
    parts: list[str] = []
    for family in ("primary", "exploratory"):
        lines = of_family(table, family)
        if lines:
            clear = clear_of(lines)
            beside = bool(parts)
            parts += [str(len(clear)), str(len(lines))]
            parts += [] if beside else described(clear, 2)
    return parts


def last_rows(report: Report) -> pl.DataFrame:
    return report.table.frame.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == 2))


def test_the_three_sentences(made: Made) -> None:
    report, tables = made
    primary, others = (of_family(tables["within"], kind) for kind in ("primary", "exploratory"))
    assert (len(primary), len(others)) == (3, 3)
    assert numbers(text_of(report, "Asked")) == ["24", "4", "3", "3"]
    clear = clear_of(primary)
    assert [line["metric"] for line in clear] == ["nc3_distance"]
    text = text_of(report, "Holds")
    assert numbers(text) == list(shown(1, 3, 4, *described(clear)))
    given = [line for line in tables["given_train_loss"] if line["given"]]
    readings = {line["metric"]: line["reading"] for line in given}
    vanishes = readings["nc3_distance"] == "vanishes given train_loss"
    assert ("vanishes given train_loss for nc3_distance" in text) == vanishes
    # r itself, from the rows: centred in their architecture
    rows = last_rows(report).with_columns(
        pl.col(name) - pl.col(name).mean().over("width", "depth")
        for name in ("nc3_distance", "val_loss")
    )
    r = np.corrcoef(rows["nc3_distance"], rows["val_loss"])[0, 1]
    assert f"{r:+.3f}".replace("-", "−") in text
    text = text_of(report, "Does not hold")
    missed = [line["metric"] for line in primary if line["verdict"] == "not found"]
    assert sorted(re.findall(r"nc\w+", text)) == sorted(missed)
    assert numbers(text) == [f"{detectable(24 - 4 - 1, 3):.3f}"]


def detectable(dof: int, family: int) -> float:
    """Least |r| with power .8 at 5% / family, by bisection on scipy's noncentral t."""
    critical, low, high = scipy.stats.t.isf(0.025 / family, dof), 0.0, 1.0 - 1e-9
    for _ in range(60):
        r = (low + high) / 2
        shift = r * np.sqrt((dof + 1) / (1 - r * r))
        power = scipy.stats.nct.sf(critical, dof, shift)
        low, high = (r, high) if power < 0.8 else (low, r)
    return low


def test_what_is_described(made: Made) -> None:
    report, tables = made
    lines = of_family(tables["association"], "primary")
    nearest = max(lines, key=lambda line: line["r2"])
    directed = [line for line in lines if METRICS[line["metric"]].direction]
    agreeing = [
        line
        for line in directed
        if (line["estimate"] > 0) == (METRICS[line["metric"]].direction == "lower")
    ]
    text = text_of(report, "Described")
    expected = [24, *r_of(nearest), f"{nearest['r2']:.3f}", len(agreeing), len(directed)]
    assert numbers(text) == list(shown(*expected))
    rows = last_rows(report)
    r = np.corrcoef(rows[nearest["metric"]], rows["val_loss"])[0, 1]
    assert f"{r:+.3f}".replace("-", "−") in text
    assert "no finding" in text


def test_the_metric_that_scales_with_the_norm(made: Made) -> None:
    report, tables = made
    line = next(line for line in tables["association"] if line["metric"] == "nc1_cdnv")
    expected = [
        f"{line['estimate']:+.3f}",
        f"{line['given_norm']:+.3f}",
        p_of(line["given_norm_p"]),
    ]
    assert numbers(text_of(report, "Feature norm")) == list(shown(*expected))


def test_within_design_cells(made: Made) -> None:
    report, tables = made
    lines = tables["within"]
    expected = [lines[0]["cells"], lines[0]["r_w"], *tally(lines)]
    assert (lines[0]["cells"], lines[0]["r_w"]) == (4, 20)
    assert all(line["heterogeneity_p"] > 0.05 for line in clear_of(lines))
    assert numbers(text_of(report, "Within design cells")) == list(shown(*expected))


def test_given_the_design(made: Made) -> None:
    report, tables = made
    (chosen,) = (line for line in tables["design"] if line["chosen"])
    model = [f"{chosen['r2']:.3f}", f"{chosen['q2']:.3f}", chosen["dof"]]
    expected = list(shown(*model, *tally(tables["given_design"])))
    assert numbers(text_of(report, "Given the design")) == expected
    assert chosen["adequate"]


def test_given_train_loss(made: Made) -> None:
    report, tables = made
    own = [line for line in tables["given_train_loss"] if line["given"]]
    gap = [line for line in tables["given_train_loss"] if not line["given"]]
    primary = of_family(own, "primary")
    held = [line for line in primary if line["verdict_before"] == "associated"]
    expected = [str(len(held)), str(len(primary)), *tally(gap)]
    text = text_of(report, "Given train_loss")
    assert numbers(text) == list(shown(*expected))
    for word, phrase in (
        ("vanishes", "it vanishes for"),
        ("is no longer", "it is no longer found for"),
        ("remains", "it remains for"),
    ):
        names = [line["metric"] for line in primary if (line["reading"] or "").startswith(word)]
        assert (f"{phrase} {', '.join(names)}" in text) == bool(names)


def test_what_is_no_longer_found_is_not_said_to_follow_training(tmp_path: Path) -> None:
    lost_study().write_parquet(tmp_path / "rows.parquet")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=("within", "progress"))
    assert text_of(report, "Holds").endswith(
        "It vanishes given train_loss for nc4_agreement: there it says how far training got. "
        "Given train_loss it is no longer found for nc1_ratio, whose interval still holds the r "
        "without train_loss."
    )
    assert text_of(report, "Given train_loss").startswith(
        "2 of 7 metrics are associated with val_loss within design cells; given train_loss "
        "it vanishes for nc4_agreement, it is no longer found for nc1_ratio"
    )


def test_the_changes_by_precision(made: Made) -> None:
    report, tables = made
    own = [line for line in tables["changes"] if line["column"] == "val_loss"]
    totals = [line for line in own if not line["level"]]
    expected: list[object] = []
    for word in ("changed", "no more than", "undecided"):
        lines = [line for line in totals if line["verdict"] == word]
        lines.sort(key=lambda line: -abs(line["estimate"]))
        if lines:
            expected += [len(lines), len(totals)]
        for line in lines:
            ends = [signed(line[name]) for name in ("estimate", "low", "high")]
            expected += [ends[0], line["n"], "95%", *ends[1:], line["worse"]]
    levels = [line for line in own if line["level"] and line["precision"] == "int2"]
    for line in levels:
        expected += [line["level"].split()[1], signed(line["estimate"])]
    assert len(levels) == 2
    assert numbers(text_of(report, "Precision")) == list(shown(*expected))
    rows = report.table.frame.filter(pl.col("epoch") == 2).sort("training")
    before, after = (
        rows.filter(pl.col("precision") == name)["val_loss"].to_numpy() for name in ("fp32", "int2")
    )
    d = after - before
    i, j = np.triu_indices(24)
    (line,) = (line for line in totals if line["precision"] == "int2")
    assert line["estimate"] == pytest.approx(np.median((d[i] + d[j]) / 2), abs=1e-12)
    assert line["worse"] == np.count_nonzero(d > 0)


def signed(value: float) -> str:
    """Four significant digits and a sign."""
    if abs(value) < 1e-3:
        return "0" if value == 0 else f"{value:+.3e}"
    return f"{value:+.{3 - int(np.floor(np.log10(abs(value))))}f}"


def test_damage(made: Made) -> None:
    report, tables = made
    expected: list[object] = []
    for kind in ("baseline", "change"):
        lines = of_family([line for line in tables["damage"] if line["kind"] == kind], "primary")
        clear = clear_of(lines)
        expected += [len(clear), len(lines)]
        for line in clear[:4]:
            expected += [*precision_number(line), *r_of(line)]
        for word in ("undecided", "cannot reject", "control inadequate"):
            count = sum(line["verdict"] == word for line in lines)
            expected += [count] if count else []
    assert numbers(text_of(report, "Damage")) == list(shown(*expected))


def precision_number(line: Line) -> list[str]:
    """The name of a precision holds no number of its own."""
    return NUMBER.findall(re.sub(r"\b[A-Za-z]\w*", " ", line["precision"]))


def test_forecast(made: Made, tmp_path: Path) -> None:
    report, tables = made
    text = text_of(report, "Forecast")
    assert text.startswith("No forecast of val_loss can be made")
    assert tables["forecast"][0]["note"] in text
    # Of eight architectures one can be left out.
    rows = null_study("log epochs", 5, seeds=2)
    rows = rows.with_columns(nc4_agreement=pl.col("val_loss") + 0.1 * pl.col("nc4_agreement"))
    rows.write_parquet(tmp_path / "rows.parquet")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=("forecast",))
    lines = report.frames["forecast"].to_dicts()
    (joint,) = (line for line in lines if line["metric"] == "primary metrics together")
    alone = [line for line in lines if line is not joint and line["family"] == "primary"]
    clear = clear_of(alone)
    assert "nc4_agreement" in [line["metric"] for line in clear]
    without, n = f"{joint['q2_without']:.3f}", str(joint["n"])
    expected = [without, n, f"{joint['q2_with']:.3f}", p_of(joint["p"])]
    expected += [str(len(clear)), str(len(alone))]
    for line in clear:
        expected += [without, f"{line['q2_with']:.3f}", n, p_of(line["p_maxt"])]
    assert numbers(text_of(report, "Forecast")) == list(shown(*expected))


def test_all_checkpoints(made: Made) -> None:
    report, tables = made
    expected = tally(tables["checkpoints"])
    for order in ("metric first", "response first"):
        lines = of_family([line for line in tables["lead"] if line["order"] == order], "primary")
        expected += [str(len(clear_of(lines))), str(len(lines))]
    assert numbers(text_of(report, "All checkpoints")) == list(shown(*expected))


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


def test_overfitting(made: Made) -> None:
    report, tables = made
    rows = report.table.frame.filter(pl.col("precision") == "fp32")
    flagged = 0
    for part in rows.partition_by("training"):
        losses = part.sort("epoch")["val_loss"].to_numpy()
        flagged += bool(losses[:-1].min() < losses[-1])
    assert 0 < flagged < 24
    assert sum(line["flagged"] for line in tables["overfitting"]) == flagged
    assert numbers(text_of(report, "Overfitting")) == list(shown(flagged, 24))


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


def test_every_paragraph_is_checked_here(made: Made) -> None:
    report, _ = made
    assert [part.title for part in report.summary] == [
        "Asked",
        "Holds",
        "Does not hold",
        "Described",
        "Feature norm",
        "Under control",
        "Within design cells",
        "Given the design",
        "Given train_loss",
        "Precision",
        "Damage",
        "Forecast",
        "All checkpoints",
        "What the axes do",
        "Overfitting",
        "Over training",
    ]


def test_what_is_left_under_each_control(made: Made) -> None:
    report, tables = made
    before = clear_of(of_family(tables["association"], "primary"))
    text = text_of(report, "Under control")
    left = [
        len([line for line in clear_of(tables[name]) if line["metric"] in names])
        for name in ("within", "given_design")
        if (names := [line["metric"] for line in before])
    ]
    assert numbers(text) == [str(len(before)), *map(str, left)]
    assert "with the other sign" not in text


def test_a_sign_that_turns_under_a_control_is_named(tmp_path: Path) -> None:
    rows = null_study("log epochs", 6)
    mean = pl.col("val_loss").mean().over("width", "depth", "epochs")
    rows = rows.with_columns(nc1_ratio=2.0 * mean - pl.col("val_loss"))
    rows.write_parquet(tmp_path / "rows.parquet")
    only = ("association", "within")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=only)
    assert text_of(report, "Under control") == (
        "7 primary metrics go with val_loss over all trainings; within design cells 1 still does "
        "(nc1_ratio), of which nc1_ratio with the other sign."
    )


def test_what_cannot_be_tested_is_not_called_absent(tmp_path: Path) -> None:
    def summary(rows: pl.DataFrame, *only: str) -> Report:
        rows.write_parquet(tmp_path / "rows.parquet")
        return analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=only)

    study = null_study("inverse", 4)
    report = summary(study.head(4), "association", "within", "progress")
    reason = "cannot reject with n = 4: 5 are needed"
    assert text_of(report, "Holds") == f"Nothing can be claimed of 7 primary metrics: {reason}."
    assert "missed" not in text_of(report, "Does not hold")
    assert text_of(report, "Described") == f"No metric can be described: {reason}."
    assert text_of(report, "Given train_loss") == f"Nothing can be claimed: {reason}."
    report = summary(study.with_columns(nc4_agreement=pl.lit(0.5)), "within")
    text = text_of(report, "Does not hold")
    assert "not tested: nc4_agreement (nc4_agreement is constant)" in text
    constant = study.with_columns(pl.lit(0.5).alias(name) for name in PRIMARY)
    report = summary(constant, "within", "progress")
    assert text_of(report, "Asked").endswith("No metric can be tested.")
    assert text_of(report, "Holds") == "Nothing can be claimed: nc1_ratio is constant."
    assert text_of(report, "Given train_loss") == "No metric can be tested."
    single = null_study("inverse", 4, seeds=1)
    text = text_of(summary(single, "forecast"), "Forecast")
    assert "(not tested). Whether a metric adds to it is open: cannot reject with n = 32" in text


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_study_without_association_nothing_is_claimed(kind: str, tmp_path: Path) -> None:
    """The axes move loss and metrics alike: described they are close, and nothing holds."""
    rows = null_study(kind, 3)
    rows.write_parquet(tmp_path / "rows.parquet")
    only = ("association", "within", "design", "progress")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=only)
    assert report.frames["association"]["verdict"].to_list() == ["associated"] * 7
    text = text_of(report, "Holds")
    assert text == "Nothing: none of the 7 primary metrics is associated with val_loss."
    assert "0 of 7 primary metrics are associated" in text_of(report, "Within design cells")
    assert "0 of 7 metrics are associated" in text_of(report, "Given train_loss")


def test_a_control_that_does_not_hold_supports_no_claim(tmp_path: Path) -> None:
    rows = null_study("log epochs", 3)
    odd = (rows["width"].rank("dense") + rows["depth"] + rows["epochs"].rank("dense")) % 2
    rows = rows.with_columns(val_loss=pl.col("val_loss") + 3.0 * odd)
    rows.write_parquet(tmp_path / "rows.parquet")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=("design",))
    (chosen,) = report.frames["design"].filter("chosen").to_dicts()
    text = text_of(report, "Holds")
    assert text == (
        f"Nothing can be claimed: the model of the design does not hold: {chosen['note']}."
    )
    assert text_of(report, "Given the design").endswith("No line is a finding.")


def test_a_metric_with_an_empty_row_is_named_with_its_n(tmp_path: Path) -> None:
    rows = null_study("inverse", 4)
    rows = rows.with_columns(
        nc1_ratio=pl.when(pl.col("training") != "t007").then(pl.col("nc1_ratio"))
    )
    rows.write_parquet(tmp_path / "rows.parquet")
    report = analysis.report(tmp_path / "rows.parquet", **OPTIONS, only=("association", "within"))
    line = report.frames["within"].filter(pl.col("metric") == "nc1_ratio").row(0, named=True)
    assert line["n"] == 127
    assert line["p_maxt"] is not None
    text = text_of(report, "Missing values")
    assert text.startswith("nc1_ratio (n 127: 1 of 128 rows have no value")
    assert "7 primary metrics decide" in text_of(report, "Asked")


@pytest.mark.skipif(not CASES.exists(), reason=f"the tables of cases are not at {CASES}")
def test_the_metric_of_a_foreign_table_with_an_empty_cell_is_named() -> None:
    source, columns = CASES / "onenull.csv", CASES / "map.yaml"
    report = analysis.report(source, columns=columns, **OPTIONS, only=("association", "within"))
    assert text_of(report, "Missing values").startswith("nc1 (n 23: 1 of 24 rows have no value")
    (line,) = report.frames["within"].filter(pl.col("metric") == "nc1").to_dicts()
    assert line["n"] == 23
    assert line["q"] is not None
    assert f"{len(report.frames['within'])} exploratory metrics" in text_of(report, "Asked")


def places_of(text: str) -> Iterator[tuple[int, str]]:
    """Where the numbers of a text stand, without those in names."""
    blank = re.sub(r"\b[A-Za-z]\w*", lambda name: " " * len(name[0]), text).replace("R²", "  ")
    return ((found.end() - 1, found[0]) for found in re.finditer(r"\d+(?:\.\d+)?", blank))


def test_a_digit_that_changes_anywhere_fails_a_test(made: Made) -> None:
    """The last digit of each number in turn, against all tests of this report."""
    report, tables = made
    tests = [
        test
        for name, test in globals().items()
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["made"]
    ]
    tests.remove(test_a_digit_that_changes_anywhere_fails_a_test)
    changed, unseen = 0, []
    for at, part in enumerate(report.summary):
        if part.title == "Forecast":  # a reason, which the test of forecasts finds in its table
            continue
        for place, number in places_of(part.text):
            digit = str((int(part.text[place]) + 1) % 10)
            text = part.text[:place] + digit + part.text[place + 1 :]
            summary = (
                *report.summary[:at],
                replace(part, text=text),
                *report.summary[at + 1 :],
            )
            changed += 1
            if not any(fails(test, (replace(report, summary=summary), tables)) for test in tests):
                unseen.append((part.title, number))
    assert changed > 100
    assert unseen == []


def fails(test: Callable[[Made], None], made: Made) -> bool:
    try:
        test(made)
    except AssertionError:
        return True
    return False
