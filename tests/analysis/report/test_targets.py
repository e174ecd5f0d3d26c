"""The section about regressions: what is said where the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats
from target_studies import World, regression_study

from analysis.reading.load import load
from analysis.reading.table import OF_ORDER, OF_REGRESSION, PRIMARY, AnalysisError, Choices
from analysis.report.page import Report, build_report

CHOICES = Choices(permutations=999, bootstrap=100)
CLAIMS = ("falls", "rises", "lowers", "raises")


def report(folder: Path, world: World, seed: int = 0, only: str = "regression") -> Report:
    return build_report(regression_study(folder, world, seed), CHOICES, only=[only])


def said(document: Report) -> tuple[str, str]:
    """What is said of training, and of precisions."""
    first, second = document.summary
    assert first.title == "Collapse of targets over training"
    assert second.title == "Collapse of targets and precision"
    return first.text, second.text


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_moves_nothing_is_claimed(tmp_path: Path, seed: int) -> None:
    first, second = said(report(tmp_path, World(), seed))
    for text in (first, second):
        assert not [claim for claim in CLAIMS if claim in text]
    assert first.startswith("Training is not seen to move")
    assert second == ("int4, int2 are not seen to change any of 5 columns of collapse and outcome.")


def test_what_training_moves_is_told_with_its_numbers(tmp_path: Path) -> None:
    document = report(tmp_path, World(trained=-0.3))
    first, second = said(document)
    assert first.count("falls") == 1 and "rises" not in first
    assert not [claim for claim in CLAIMS if claim in second]
    line = document.frames["regression_course"].filter(column="nrc1").to_dicts()[0]
    rows = pl.read_parquet(tmp_path / "study.parquet").filter(precision="fp32")
    wide = rows.pivot("epoch", index="training", values="nrc1")
    d = (wide["8"] - wide["0"]).to_numpy()
    averages = [(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]
    assert line["estimate"] == pytest.approx(np.median(averages), rel=1e-12)
    assert line["p"] == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    assert (line["n"], line["verdict"]) == (16, "changed")
    assert line["p"] <= line["p_maxt"] < 0.01


def test_what_only_the_coarsest_precision_does_is_told_there(tmp_path: Path) -> None:
    document = report(tmp_path, World(rounded=0.2, lost=0.3))
    first, second = said(document)
    assert not [claim for claim in CLAIMS if claim in first]
    coarse, fine = second.split("). ")[0], second.rsplit(". ", 1)[1]
    assert coarse.startswith("int2 raises") and second.count("raises") == 2
    assert second.count("lowers") == 1  # R2
    assert fine.startswith("int4 is not seen to change")
    lines = document.frames["regression_changes"].filter(precision="int2", level="")
    verdicts = dict(lines.select("column", "verdict").rows())
    assert [name for name, verdict in verdicts.items() if verdict == "changed"] == [
        "nrc2", "val_loss", "val_r2",
    ]  # fmt: skip
    worse = dict(lines.select("column", "worse").rows())
    assert worse["val_r2"] == worse["val_loss"] == 16 and worse["nrc1"] is None


def test_too_few_trainings_are_said(tmp_path: Path) -> None:
    first, second = said(report(tmp_path, World(trained=-0.3, rounded=0.2, seeds=2)))
    assert first == "Nothing can be rejected of training (cannot reject with n = 4)."
    assert second == "Nothing can be rejected of precisions (cannot reject with n = 4)."


def test_levels_are_medians_at_the_last_checkpoint(tmp_path: Path) -> None:
    document = report(tmp_path, World(rounded=0.2))
    rows = pl.read_parquet(tmp_path / "study.parquet")
    lines = document.frames["regression"]
    assert lines["precision"].unique(maintain_order=True).to_list() == ["fp32", "int4", "int2"]
    for line in lines.to_dicts():
        own = rows.filter(epoch=8, precision=line["precision"])[line["column"]].to_numpy()
        assert line["n"] == 16 and line["median"] == pytest.approx(np.median(own))
        assert (line["least"], line["largest"]) == (own.min(), own.max())


@pytest.mark.parametrize(("link", "verdict"), [(0.0, "not found"), (0.3, "associated")])
def test_the_report_decides_about_what_was_measured(
    tmp_path: Path, link: float, verdict: str
) -> None:
    """The association with the response is asked of nrc1 to nrc3, and found where it is."""
    document = report(tmp_path, World(link=link), only="association")
    lines = document.frames["association"].filter(family="primary")
    assert set(lines["metric"]) == set(OF_REGRESSION)
    assert lines.filter(metric="nrc1")["verdict"].to_list() == [verdict]


def test_ordered_classes_have_primary_metrics_of_their_own(tmp_path: Path) -> None:
    regression_study(tmp_path, World())
    rows = pl.read_parquet(tmp_path / "study.parquet")
    names = {"nrc1": "onc1", "nrc2": "onc2", "nrc3": "onc3"}
    ordered = rows.rename(names).with_columns(
        onc3_thresholds=pl.col("onc3"), nc1_ratio=pl.col("onc1"), nc3_cosine_mean=None
    )
    ordered.write_parquet(tmp_path / "ordered.parquet")
    table = load(tmp_path / "ordered.parquet")
    assert table.roles.primary == OF_ORDER
    assert "nc1_ratio" in table.roles.metrics and "nc3_cosine_mean" not in table.roles.metrics
    document = build_report(table, CHOICES, only=["regression"])
    assert document.sections[0].title == "Classes in an order"
    plain = rows.rename({"nrc1": "nc1_ratio", "nrc2": "nc2_etf_error", "nrc3": "nc4_agreement"})
    plain.write_parquet(tmp_path / "plain.parquet")
    assert set(load(tmp_path / "plain.parquet").roles.primary) <= set(PRIMARY)
    with pytest.raises(AnalysisError, match="no rows for the section regression"):
        build_report(load(tmp_path / "plain.parquet"), CHOICES, only=["regression"])


def test_the_section_is_on_the_page(tmp_path: Path) -> None:
    document = report(tmp_path, World(trained=-0.3))
    page = document.write(tmp_path).read_text(encoding="utf-8")
    assert "Neural regression collapse" in page
    for name in ("regression", "regression_course", "regression_changes"):
        assert (tmp_path / "tables" / f"{name}.csv").exists()
