"""Controls for the grid, against explicit linear algebra."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from analysis.findings.confounders import axis_covariates, confounders
from analysis.reading.table import Choices, Metric, Roles

ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics={"nc3_distance": Metric("nc3_distance", "NC3", "lower")},
    axes=("width", "depth", "epochs", "optimizer"),
    architecture=("width", "depth"),
    unit="training",
)


def simpson_rows() -> pl.DataFrame:
    """Six architectures: means rise together, inside each the loss falls."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(6), 8)
    inside = np.tile(np.linspace(-1, 1, 8), 6)
    return pl.DataFrame(
        {
            "training": [f"t{row}" for row in range(48)],
            "width": np.array([32, 64, 128])[group % 3],
            "depth": np.array([1, 2])[group // 3],
            "epochs": np.tile([1, 3], 24),
            "optimizer": np.tile(["adamw", "adamw", "sgd", "sgd"], 12),
            "nc3_distance": 2.0 * group + inside + 0.05 * rng.standard_normal(48),
            "val_loss": 2.0 * group - inside + 0.05 * rng.standard_normal(48),
        }
    )


def test_partial_within_between_and_simpson() -> None:
    rows = simpson_rows()
    line = confounders(rows, ROLES, Choices(permutations=2_000)).row(0, named=True)
    x, y = rows["nc3_distance"].to_numpy(), rows["val_loss"].to_numpy()
    group = np.repeat(np.arange(6), 8)
    means = [np.array([v[group == g].mean() for g in range(6)]) for v in (x, y)]
    centred = [v - m[group] for v, m in zip((x, y), means, strict=True)]
    assert line["r"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert line["within_r"] == pytest.approx(np.corrcoef(centred[0], centred[1])[0, 1], abs=1e-12)
    assert line["between_r"] == pytest.approx(np.corrcoef(means[0], means[1])[0, 1], abs=1e-12)
    assert line["r"] > 0.9
    assert line["within_r"] < -0.9
    assert line["within_p"] < 0.001
    assert line["simpson"] == "reversed within"
    design = np.column_stack(
        [
            x,
            np.ones(48),
            np.log(rows["width"]),
            np.log(rows["depth"]),
            rows["epochs"],
            rows["optimizer"] == "sgd",
        ]
    )
    fit = sm.OLS(y, design).fit()
    t = fit.tvalues[0]
    assert line["partial_r"] == pytest.approx(t / math.sqrt(t * t + fit.df_resid), abs=1e-10)
    assert line["architectures"] == 6
    assert line["n"] == line["trainings"] == 48


def test_axes_become_covariates_by_their_kind() -> None:
    names, columns = axis_covariates(simpson_rows(), ROLES)
    assert names == ["log width", "log depth", "epochs", "optimizer = sgd"]
    assert columns.shape == (48, 4)
    assert set(columns[:, 3]) == {0.0, 1.0}
    assert axis_covariates(simpson_rows().head(1), ROLES)[1].shape == (1, 0)
