"""The published measurements of 230 language models, against independent figures.

R^2 and p for the same file.

The references are R^2 to six digits and p from 6,000,000 permutations. Skipped where the file is
missing.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from places import PUBLISHED, ROOT

import analysis
from analysis.findings.association import associations
from analysis.findings.configuration import fixed
from analysis.findings.design import design_tables
from analysis.reading.load import load
from analysis.reading.selection import final_rows, replicates
from analysis.reading.table import AnalysisError, Choices, Table
from analysis.statistics.permutation import permutation_test
from analysis.statistics.regression import regress

FILE = PUBLISHED
MAPS = ROOT / "search_spaces" / "columns"
MAP = MAPS / "linguistic_collapse_2024_10.yaml"

R2 = {
    "nc1_cdnv": 0.192010,
    "nc2_log_equinorm": 0.026173,
    "nc3_cosine_mean": 0.322207,
    "unc3_cosine_cov": 0.000036,
    "nc4_agreement": 0.490278,
    "gnc2_log_distance_cov": 0.262123,
}
P = {
    "nc1_cdnv": 0.04743,
    "nc2_log_equinorm": 0.4806,
    "nc3_cosine_mean": 0.00731,
    "unc3_cosine_cov": 0.9792,
    "nc4_agreement": 0.000343,
    "gnc2_log_distance_cov": 0.01848,
}
needs_file = pytest.mark.skipif(
    not FILE.exists(), reason=f"the published measurements are not at {FILE}"
)


@pytest.fixture(scope="module")
def published() -> Table:
    return load(FILE, columns=MAP)


@pytest.fixture(scope="module")
def seeds(published: Table) -> pl.DataFrame:
    groups = replicates(published, final_rows(published), 5)
    assert len(groups) == 1
    settings, rows = groups[0]
    assert settings == {"width": 768, "depth": 2, "epochs": 1, "weight_decay": 0.0005}
    return rows


@needs_file
def test_rows_and_trainings_of_the_file(published: Table) -> None:
    assert published.frame.shape[0] == 230
    assert published.frame["training"].n_unique() == 170
    assert len(final_rows(published)) == 170
    assert published.frame["weight_decay"].unique().sort().to_list() == [0.0005, 0.1]
    # depth, width and epochs of the names, at the ends of the file's list
    first = published.frame.filter(pl.col("training") == "12x1024_10L").sort("epoch")
    assert first.select("depth", "width", "epochs", "weight_decay", "epoch").rows() == [
        (12, 1024, 10, 0.1, 6),
        (12, 1024, 10, 0.1, 10),
    ]


@needs_file
def test_the_hole_of_the_grid_is_declared_by_the_map(published: Table, tmp_path: Path) -> None:
    assert [(len(part.points), "03L" in part.reason) for part in published.missing] == [(30, True)]
    text = MAP.read_text(encoding="utf-8")
    undeclared = tmp_path / "map.yaml"
    undeclared.write_text(text[: text.index("known_missing:")], encoding="utf-8")
    with pytest.raises(
        AnalysisError, match=r"30 points have no rows: .*epochs 3, weight_decay 0.1.* and 10 more"
    ):
        load(FILE, columns=undeclared)


@needs_file
@pytest.mark.parametrize("metric", R2)
def test_r2_of_the_21_seeds_to_six_digits(seeds: pl.DataFrame, metric: str) -> None:
    assert len(seeds) == 21
    assert regress(seeds[metric], seeds["val_loss"]).r2 == pytest.approx(R2[metric], abs=5e-7)


@needs_file
@pytest.mark.parametrize("permutations", [10_000, 1_000_000])
def test_p_of_the_21_seeds_within_its_monte_carlo_error(
    seeds: pl.DataFrame, permutations: int
) -> None:
    result = permutation_test(
        seeds.select(*P).to_numpy(), seeds["val_loss"], permutations=permutations, seed=20_241_024
    )
    for place, (metric, reference) in enumerate(P.items()):
        error = 4 * math.sqrt(reference * (1 - reference) / permutations) + 1 / permutations
        assert abs(float(result.p[place]) - reference) <= error, metric
        assert abs(float(result.p_paper[place]) - reference) <= error, metric


@needs_file
def test_signs_stand_beside_the_direction_that_favours_collapse(
    published: Table, seeds: pl.DataFrame
) -> None:
    lines = associations(seeds, published.roles, Choices(permutations=200, bootstrap=100))
    by_metric = {row["metric"]: row for row in lines.to_dicts()}
    assert by_metric["nc4_agreement"]["estimate"] == pytest.approx(
        -math.sqrt(R2["nc4_agreement"]), abs=1e-6
    )
    assert by_metric["nc4_agreement"]["expected"] == -1
    assert by_metric["nc4_agreement"]["agrees"]
    # A smaller spread of the cosines would be collapse; here it goes with more loss.
    assert by_metric["unc3_cosine_std"]["estimate"] < 0
    assert by_metric["unc3_cosine_std"]["agrees"] is False
    assert "nc1_cdnv_galanti is not in this table" in by_metric["nc1_cdnv"]["note"]
    assert by_metric["nc2_log_norm_mean"]["agrees"] is None


@needs_file
def test_table_1_is_that_of_the_paper(published: Table) -> None:
    """One line a metric, with all that is asked of a configuration."""
    lines = fixed(published, final_rows(published), Choices())
    by_metric = {row["metric"]: row for row in lines.to_dicts()}
    seeds = final_rows(published).filter(
        (pl.col("width") == 768)
        & (pl.col("depth") == 2)
        & (pl.col("epochs") == 1)
        & (pl.col("weight_decay") == 0.0005)
    )
    y = seeds["val_loss"].to_numpy()
    for metric, r2 in R2.items():
        line = by_metric[metric]
        assert line["n"] == 21
        assert line["r2"] == pytest.approx(r2, abs=5e-7)
        error = 4 * math.sqrt(P[metric] * (1 - P[metric]) / 10_000) + 1e-4
        assert abs(line["p"] - P[metric]) <= error
        assert line["p_paper"] <= line["p"]
        x = seeds[metric].to_numpy()
        rho, rho_p = scipy.stats.spearmanr(x, y)
        assert line["spearman"] == pytest.approx(rho, abs=1e-12)
        assert line["spearman_p"] == pytest.approx(rho_p, abs=0.02)
        without = {
            name: np.corrcoef(np.delete(x, at), np.delete(y, at))[0, 1]
            for at, name in enumerate(seeds["training"])
        }
        ends = (min(without.values()), max(without.values()))
        assert (line["loo_low"], line["loo_high"]) == pytest.approx(ends, abs=1e-12)
        r = np.corrcoef(x, y)[0, 1]
        most = max(without, key=lambda name: abs(without[name] - r))
        assert (line["influential"], line["r_without"]) == (most, pytest.approx(without[most]))
        assert line["r2_low"] <= line["r2"] <= line["r2_high"]
    # 80% power at 5%, and at 5% / 7 primary metrics: from Cohen's tables of the F test
    assert by_metric["nc4_agreement"]["detectable_r2"] == pytest.approx(0.304, abs=5e-4)
    assert by_metric["nc4_agreement"]["detectable_r2_family"] > 0.4


@needs_file
def test_no_model_of_the_published_design_fits_within_the_noise_of_seeds(published: Table) -> None:
    """The control that the paper's claims need, and what becomes of nc1_cdnv under each model."""
    rows = final_rows(published)
    tables = design_tables(rows, published.roles, Choices(permutations=1_000))
    assert tables is not None
    models = {row["model"]: row for row in tables.design.to_dicts()}
    assert models["quadratic in logs"]["r2"] > 0.98
    assert models["pairwise factors"]["chosen"]
    assert models["pairwise factors"]["lack_p"] < 1e-10
    assert set(tables.given_design["verdict"]) == {"control inadequate"}
    line = tables.given_design.filter(pl.col("metric") == "nc1_cdnv").row(0, named=True)
    plain = associations(rows, published.roles, Choices(permutations=200, bootstrap=100))
    described = plain.filter(pl.col("metric") == "nc1_cdnv").row(0, named=True)
    assert described["estimate"] > 0 > line["high"]  # the sign turns under a control that fits


def test_map_of_the_earlier_file(tmp_path: Path) -> None:
    # One row with round numbers: what each expression must give follows by hand.
    row = {
        "": 0,
        "model": "02x0768_01d03@0",
        "n_params": 54342912,
        "val_acc": 0.49,
        "val_loss": 2.25,
        "perplex": 9.5,
        "sims_mean": 0.2,
        "sims_std": 0.25,
        "norms_log_mean": 6.0,
        "norms_log_std": 0.5,
        "misses": 75,
        "matches": 25,
        "cdnv_mean": 0.002,
        "interfere_mean": 0.002,
        "interfere_std": 0.2,
        "log_dist_mean": -0.25,
        "log_dist_std": 0.125,
    }
    pl.DataFrame([row]).write_csv(tmp_path / "table.csv")
    frame = load(tmp_path / "table.csv", columns=MAPS / "linguistic_collapse_2024_05.yaml").frame
    expected = {
        "training": "02x0768_01d03",
        "depth": 2,
        "width": 768,
        "epochs": 1,
        "weight_decay": 0.0005,
        "seed": 3,
        "epoch": 1,
        "val_loss": 2.25,
        "nc1_cdnv": 0.002,
        "nc2_log_norm_mean": 3.0,  # the file's norms are squared
        "nc2_log_norm_std": 0.25,
        "nc2_log_equinorm": 0.5 / 6.0,
        "nc2_interference_cov": 100.0,
        "gnc2_log_distance_cov": -0.5,
        "unc3_cosine_cov": 1.25,
        "nc4_agreement": 0.25,
    }
    assert frame.select(*expected).row(0) == pytest.approx(tuple(expected.values()))


@needs_file
def test_the_report_says_what_is_left_of_the_claims_under_a_control() -> None:
    only = ("association", "within", "design", "checkpoints")
    report = analysis.report(FILE, columns=MAP, only=only)
    texts = {part.title: part.text for part in report.summary}
    assert texts["Under control"] == (
        "6 primary metrics go with val_loss over all trainings; within design cells 2 still do "
        "(nc4_agreement, nc3_cosine_mean); given a model of the design nothing can be claimed of "
        "them (the model of the design does not hold: lack of fit (p < 0.0001))."
    )
    # The 21 seeds have a single checkpoint each.
    assert set(report.frames["checkpoints"]["verdict"]) == {"cannot reject"}
    assert "cannot be judged" in texts["All checkpoints"]
