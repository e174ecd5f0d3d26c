"""Controls for the grid, against statsmodels, published power figures and explicit linear algebra."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.power import FTestPower

from analysis.findings.confounders import (
    axis_covariates,
    confounders,
    minimum_detectable_r2,
    mundlak,
    simpson,
)
from analysis.reading.table import Choices, Metric, Roles
from analysis.statistics.linear import Floats
from analysis.statistics.mixed import mixed_model

ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics={"nc3_distance": Metric("nc3_distance", "NC3", "lower")},
    axes=("width", "depth", "epochs", "optimizer"),
    architecture=("width", "depth"),
    unit="training",
)


def simpson_rows() -> pl.DataFrame:
    """Six architectures: their means rise together, inside each the metric rises while the loss falls."""
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
    assert line["within_r"] == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-12)
    assert line["between_r"] == pytest.approx(np.corrcoef(*means)[0, 1], abs=1e-12)
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


def test_mundlak_slopes_and_their_clustered_errors() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(10), [3, 4, 5, 6, 2, 5, 4, 3, 7, 5])
    x = rng.standard_normal(44) + rng.standard_normal(10)[group]
    y = 0.5 * x + rng.standard_normal(10)[group] + rng.standard_normal(44)
    mean = np.array([x[group == g].mean() for g in range(10)])[group]
    design = np.column_stack([x - mean, mean, np.ones(44)])
    fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": group}, use_t=True)
    (within, within_se), (between, between_se) = mundlak(x, y, group)
    assert (within, between) == pytest.approx(fit.params[:2], abs=1e-12)
    assert (within_se, between_se) == pytest.approx(fit.bse[:2], rel=1e-10)
    # The slope within is that of a regression with an intercept for every group.
    fixed = sm.OLS(y, np.column_stack([x, np.eye(10)[group]])).fit()
    assert within == pytest.approx(fixed.params[0], abs=1e-12)


def grouped(seed: int, spread: float) -> tuple[Floats, Floats, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    x = rng.standard_normal(len(group)) + rng.standard_normal(12)[group]
    return (
        x,
        0.5 * x + spread * rng.standard_normal(12)[group] + rng.standard_normal(len(group)),
        group,
    )


@pytest.mark.parametrize("seed", range(4))
def test_mixed_model_finds_the_optimum_of_statsmodels(seed: int) -> None:
    x, y, group = grouped(seed, 1.0)
    mine = mixed_model(x, y, group)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    design = np.column_stack([np.ones_like(x), x])
    fit = MixedLM(y, design, groups=group).fit(reml=True)
    between = float(fit.cov_re[0, 0])
    assert mine.slope == pytest.approx(fit.fe_params[1], abs=1e-5)
    assert mine.group_share == pytest.approx(between / (between + fit.scale), abs=1e-4)
    # statsmodels' own error is of the joint Hessian; the usual one is (X' V^-1 X)^-1, here with V written out.
    inverse = np.linalg.inv(
        fit.scale * np.eye(len(x)) + between * (group[:, None] == group[None, :])
    )
    error = math.sqrt(np.linalg.inv(design.T @ inverse @ design)[1, 1])
    assert mine.se == pytest.approx(error, rel=1e-3)
    assert mine.p == pytest.approx(math.erfc(abs(mine.slope) / mine.se / math.sqrt(2)), rel=1e-12)


def test_mixed_model_has_the_least_restricted_deviance() -> None:
    # statsmodels does not converge on this one; the deviance here is the textbook's, with V written out.
    x, y, group = grouped(4, 1.0)
    mine = mixed_model(x, y, group)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    design = np.column_stack([np.ones_like(x), x])

    def fit(share: float) -> tuple[float, float]:
        v = np.eye(len(x)) + share / (1 - share) * (group[:, None] == group[None, :])
        inverse = np.linalg.inv(v)
        information = design.T @ inverse @ design
        beta = np.linalg.solve(information, design.T @ inverse @ y)
        left = y - design @ beta
        free = len(x) - 2
        deviance = (
            np.linalg.slogdet(v)[1]
            + np.linalg.slogdet(information)[1]
            + free * np.log(left @ inverse @ left)
        )
        return float(deviance), float(beta[1])

    shares = np.linspace(0, 0.99, 1_981)
    deviances = [fit(share)[0] for share in shares]
    assert mine.group_share == pytest.approx(shares[int(np.argmin(deviances))], abs=5e-4)
    deviance, slope = fit(mine.group_share)
    assert deviance <= min(deviances) + 1e-9
    assert mine.slope == pytest.approx(slope, abs=1e-10)


def test_mixed_model_at_its_bound_is_the_plain_regression() -> None:
    # Group means that differ less than their rows let them: the variance is zero, where MixedLM fails.
    x = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0])
    y = np.array([0.1, 0.9, 2.2, 2.8, 0.0, 1.1, 1.9, 3.0])
    result = mixed_model(x, y, [0, 0, 0, 0, 1, 1, 1, 1])
    assert result.group_share == 0.0
    assert result.slope == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
def test_mixed_model_needs_groups(groups: list[int]) -> None:
    with pytest.raises(ValueError, match="two groups"):
        mixed_model([1.0, 2.0, 4.0, 3.0, 5.0], [1.0, 3.0, 2.0, 4.0, 6.0], groups)


@pytest.mark.parametrize(
    ("overall", "between", "within", "expected"),
    [
        (0.5, 0.6, 0.2, "same sign"),
        (0.5, 0.6, -0.2, "reversed within"),
        (-0.5, 0.6, -0.2, "reversed between"),
        (0.5, -0.6, -0.2, "overall alone"),
        (0.5, None, 0.2, ""),
    ],
)
def test_simpson_check(
    overall: float, between: float | None, within: float | None, expected: str
) -> None:
    assert simpson(overall, between, within) == expected


def test_detectable_effect_by_published_sample_sizes() -> None:
    # Cohen 1988 / G*Power 3: one predictor, alpha .05, power .8: n = 55 finds f^2 = .15, n = 25 finds .35, n = 395
    # finds .02.
    for n, f2 in ((55, 0.15), (25, 0.35), (395, 0.02)):
        needed = f2 / (1 + f2)
        enough, too_few = minimum_detectable_r2(n, 0), minimum_detectable_r2(n - 1, 0)
        assert enough is not None
        assert too_few is not None
        assert enough <= needed < too_few


def test_detectable_effect_by_statsmodels() -> None:
    found = minimum_detectable_r2(40, 3)
    assert found is not None
    f = math.sqrt(found / (1 - found))
    # FTestPower's nobs is df_denom + df_num + ncc; its noncentrality f^2 nobs
    power = FTestPower().power(effect_size=f, df_denom=1, df_num=35, alpha=0.05, ncc=4)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert minimum_detectable_r2(4, 3) is None
