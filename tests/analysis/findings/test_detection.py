"""Detection of other data: means, changes and associations of studies that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from ood_studies import SETS, World, detected
from scipy import stats

from analysis.findings.detection import (
    detection,
    detection_associations,
    detection_changes,
    has_detection,
    seed_interval,
    sets_of,
)
from analysis.findings.within import within
from analysis.reading.naming import SCORES
from analysis.reading.selection import final_rows
from analysis.reading.table import Choices
from analysis.statistics.design_power import detectable_r

CHOICES = Choices(permutations=999, bootstrap=100)


def test_means_over_trainings_have_intervals_over_seeds() -> None:
    study = detected(World())
    lines = detection(study)
    assert sets_of(study) == list(SETS)
    assert len(lines) == 3 * len(SCORES) * 2
    rows = study.frame.filter(precision="int4").sort("training")
    (line,) = lines.filter(score="energy", set="noise", precision="int4").to_dicts()
    assert line["n"] == len(rows) == 48
    cell = rows.select(pl.struct("width", "epochs").rank("dense") - 1).to_series().to_numpy()
    for name in ("auroc", "fpr95"):
        values = rows[f"ood_{name}_energy_noise"].to_numpy()
        assert line[name] == pytest.approx(sum(values) / 48, rel=1e-12)
        fit = sm.OLS(values, np.eye(4)[cell]).fit()
        low, high = fit.t_test(np.full(4, 0.25)).conf_int()[0]
        assert (line[f"{name}_low"], line[f"{name}_high"]) == pytest.approx((low, high), rel=1e-9)


def test_intervals_stay_in_range_and_need_replicates() -> None:
    rows = pl.DataFrame({"width": [8, 8, 16, 16], "x": [1.0, 0.9, 1.0, 1.0]})
    low, high = seed_interval(rows, ["width"], "x") or (0, 0)
    assert 0 < low < 0.975 and high == 1
    assert seed_interval(rows[::2], ["width"], "x") is None


def test_changes_are_paired_and_know_which_direction_is_better() -> None:
    study = detected(World(rounded=-0.5), seed=2)
    lines = {line["column"]: line for line in detection_changes(study, CHOICES).to_dicts()}
    assert len(lines) == 2 * len(SCORES)
    for column, sign in (("ood_auroc_neco", -1), ("ood_fpr95_neco", 1)):
        wide = study.frame.pivot("precision", index="training", values=column)
        d = (wide["int4"] - wide["fp32"]).to_numpy()
        averages = [(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]
        line = lines[column]
        assert line["estimate"] == pytest.approx(np.median(averages), rel=1e-9)
        assert line["verdict"] == "changed"
        assert line["worse"] == int((sign * d > 0).sum())
        assert sign * line["estimate"] > 0
    assert {lines[f"ood_auroc_{score}"]["verdict"] for score in SCORES[:-1]} <= {
        "undecided",
        "no more than",
    }


def test_associations_are_those_within_cells_over_all_scores() -> None:
    study = detected(World(link=-1.0), seed=1)
    lines = detection_associations(study, CHOICES)
    assert set(lines["score"]) == set(SCORES)
    assert set(lines["given"]) == {"", "train_loss"}
    assert set(lines["control"]) == {"within design cells"}
    rows = final_rows(study)
    (line,) = lines.filter(score="neco", metric="nc1_ratio", given="").to_dicts()
    assert line["p_maxt"] < 0.05
    centred = rows.select(
        (pl.col(name) - pl.col(name).mean().over("width", "epochs"))
        for name in ("nc1_ratio", "ood_auroc_neco")
    ).to_numpy()
    assert line["estimate"] == pytest.approx(stats.pearsonr(*centred.T).statistic, rel=1e-9)
    roles = replace(study.roles, response="ood_auroc_neco")
    alone = within(rows, roles, CHOICES).filter(metric="nc1_ratio")
    assert line["p_maxt"] == pytest.approx(6 * alone["p_maxt"].item(), rel=1e-12)
    assert line["verdict"] == "associated"
    assert line["detectable"] == detectable_r(48 - 4 - 1, family=2 * 6)
    other = lines.filter(score="msp", metric="nc4_agreement", given="").to_dicts()[0]
    assert other["q"] == min(1.0, 6 * other["p"])  # the only exploratory metric


def test_what_cannot_be_tested_says_why() -> None:
    assert not has_detection(replace(detected(World()), frame=pl.DataFrame({"x": [1]})))
    few = detected(World(seeds=1, epochs=(3,)))
    lines = detection_associations(few, CHOICES)
    assert set(lines["verdict"]) == {"cannot reject"}
    assert "are needed" in lines["note"][0]
    study = detected(World())
    flat = study.frame.with_columns(ood_auroc_msp=pl.lit(1.0))
    lines = detection_associations(replace(study, frame=flat), CHOICES).filter(score="msp")
    assert set(lines["verdict"]) == {"cannot reject"}
    assert "does not differ" in lines["note"][0]
