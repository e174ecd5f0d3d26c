"""Whether collapse predicts the damage: silence where it does not, and references."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm
from null_studies import null_study

import analysis.findings.damage
import analysis.findings.verdicts
from analysis.findings.damage import damage
from analysis.findings.pairs import paired
from analysis.reading.table import Choices, Table

CHOICES = Choices(permutations=499, bootstrap=200, seed=1)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permutations do not go on, so that hundreds of studies take seconds."""
    for module in (analysis.findings.damage, analysis.findings.verdicts):
        monkeypatch.setattr(module, "MOST", CHOICES.permutations)


@pytest.mark.usefixtures("few")
def test_a_study_without_association_is_silent() -> None:
    """Metric and damage both follow the axes; 100 studies, to the .999 quantile of 5%."""
    counts = {"baseline": 0, "change": 0}
    for seed in range(100, 200):
        lines = damage(null_study(seed), CHOICES).filter(metric="nc1_ratio")
        assert set(lines["control"]) == {"within design cells"}
        for line in lines.to_dicts():
            counts[line["kind"]] += line["p"] <= 0.05
    assert max(counts.values()) <= scipy.stats.binom.ppf(0.999, 100, 0.05)


@pytest.mark.usefixtures("few")
def test_an_association_within_cells_is_found() -> None:
    lines = damage(linked(), CHOICES).filter(metric="nc1_ratio")
    line = lines.filter(kind="baseline").row(0, named=True)
    assert (line["verdict"], line["given"]) == ("associated", "val_loss, train_loss")
    assert line["low"] > 0.5
    # The metric itself does not change with the damage.
    line = lines.filter(kind="change").row(0, named=True)
    assert (line["verdict"], line["given"]) == ("not found", "weight_error")


def linked() -> Table:
    """Damage that follows the metric within cells and not the loss."""
    data = null_study(5, seeds=6)
    rng = np.random.default_rng(9)
    own = {name: rng.standard_normal() for name in data.frame["training"].unique().sort()}
    share = pl.col("training").replace_strict(own, return_dtype=pl.Float64)
    there = (pl.col("precision") == "int4").cast(pl.Float64)
    frame = data.frame.with_columns(
        nc1_ratio=pl.col("nc1_ratio") + share, val_loss=pl.col("val_loss") + 0.2 * share * there
    )
    return Table(frame, data.roles, "made up")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", ["baseline", "change"])
def test_estimates_equal_statsmodels(kind: str) -> None:
    """Least squares on the metric, an indicator of each design cell and what is given."""
    data = null_study(11)
    rows = paired(data, "int4", "fp32")
    y = (rows["val_loss_q"] - rows["val_loss"]).to_numpy()
    x = rows["nc1_ratio"].to_numpy()
    if kind == "change":
        x = rows["nc1_ratio_q"].to_numpy() - x
    given = rows.select(
        ["val_loss", "train_loss"] if kind == "baseline" else ["weight_error_q"]
    ).to_numpy()
    cells = rows.select("width", "epochs").to_dummies(["width", "epochs"]).to_numpy()
    products = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    design = np.column_stack([x, np.eye(products.max() + 1)[products], given])
    fit = sm.OLS(y, design).fit()
    t = fit.tvalues[0]
    line = damage(data, CHOICES).filter(metric="nc1_ratio", kind=kind).row(0, named=True)
    assert line["n"] == 36
    assert line["estimate"] == pytest.approx(t / np.sqrt(t * t + fit.df_resid), abs=1e-9)
    assert line["low"] < line["estimate"] < line["high"]


@pytest.mark.usefixtures("few")
def test_without_replicates_a_model_of_the_design_takes_their_place() -> None:
    data = null_study(2, seeds=1, widths=(32, 64, 128, 256, 512), epochs=(1, 2, 4, 8))
    lines = damage(data, CHOICES).filter(metric="nc1_ratio")
    assert set(lines["control"]) == {"given the design"}
    assert set(lines["verdict"]) <= {"not found", "undecided", "control inadequate"}


@pytest.mark.usefixtures("few")
def test_a_design_that_leaves_nothing_cannot_reject_and_says_why() -> None:
    lines = damage(null_study(2, seeds=1, widths=(32, 64), epochs=(1, 3)), CHOICES)
    assert set(lines["verdict"]) == {"cannot reject"}
    assert lines["note"].str.contains("cannot reject with n = 4: no model of the design").all()


@pytest.mark.usefixtures("few")
def test_precisions_are_adjusted_together() -> None:
    """Benjamini & Hochberg over three precisions whose damage is the same: q is p max-T."""
    data = linked()
    other = data.frame.filter(pl.col("precision") == "int4")
    frame = pl.concat(
        [data.frame, *(other.with_columns(precision=pl.lit(name)) for name in ("int3", "int2"))]
    )
    lines = damage(Table(frame, data.roles, "made up"), CHOICES)
    for line in lines.filter(metric="nc1_ratio").to_dicts():
        assert line["q_precisions"] == pytest.approx(line["p_maxt"])
        assert line["q"] is None


@pytest.mark.usefixtures("few")
def test_what_fine_tuning_moved_is_no_rounding_noise() -> None:
    """The weight error of qat-* holds the fine-tuning, as that of ft-fp32 does."""
    data = null_study(4)
    names = {"fp32": "fp32", "int4": "qat-int4"}
    tuned = data.frame.with_columns(pl.col("precision").replace(names))
    control = data.frame.filter(pl.col("precision") == "fp32").with_columns(
        precision=pl.lit("ft-fp32")
    )
    lines = damage(Table(pl.concat([tuned, control]), data.roles, "made up"), CHOICES)
    assert set(lines.filter(kind="change", precision="qat-int4")["given"]) == {""}


@pytest.mark.usefixtures("few")
def test_the_same_seed_gives_the_same_table() -> None:
    assert damage(null_study(6), CHOICES).equals(damage(null_study(6), CHOICES))
