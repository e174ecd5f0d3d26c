"""Regression measures against statsmodels, scipy, data sets and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from statsmodels.datasets import longley
from statsmodels.stats.multitest import multipletests

from analysis.statistics.linear import Floats
from analysis.statistics.multiplicity import benjamini_hochberg, holm
from analysis.statistics.regression import (
    bootstrap_r,
    fisher_interval,
    leave_one_out,
    regress,
)

# Efron & Tibshirani 1993, table 3.1: 15 law schools, r = .776
LSAT = [576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594]
GPA = [3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96]

# Anscombe 1973
SHARED = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
QUARTET = [
    (SHARED, [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]),
    (SHARED, [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74]),
    (SHARED, [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73]),
    (
        [8, 8, 8, 8, 8, 8, 8, 19, 8, 8, 8],
        [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.50, 5.56, 7.91, 6.89],
    ),
]


def draw(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("number", range(4))
def test_anscombes_quartet_has_one_line_and_one_r(number: int) -> None:
    x, y = QUARTET[number]
    result = regress(x, y)
    assert result.n == 11
    assert result.slope == pytest.approx(0.5, abs=0.001)  # the paper: y = 3 + .5 x, R^2 = .67
    assert result.r2 == pytest.approx(0.667, abs=0.001)
    assert result.model_r2 == pytest.approx(result.r2, abs=1e-14)


def test_the_fourth_of_the_quartet_hangs_on_one_point() -> None:
    x, y = QUARTET[3]
    result = regress(x, y)
    assert result.se is None  # that point has leverage 1
    assert result.ci is None
    with pytest.raises(ValueError, match="without 07 a column is constant"):
        leave_one_out(x, y, [f"{row:02}" for row in range(11)])


def test_longley_r2() -> None:
    data = longley.load_pandas()
    x, y = data.exog.to_numpy(), data.endog.to_numpy()
    # NIST StRD: R-squared 0.995479004577296, coefficient of the deflator 15.0618722713733
    result = regress(x[:, 0], y, covariates=x[:, 1:])
    assert result.model_r2 == pytest.approx(0.995479004577296, abs=1e-10)
    assert result.slope == pytest.approx(15.0618722713733, rel=1e-9)


def test_slope_is_that_of_the_multiple_regression() -> None:
    # Frisch, Waugh & Lovell
    x, z, y = draw(0, 60), draw(1, 60, 3), draw(2, 60)
    x, y = x + z[:, 0], y + 0.4 * x - z[:, 1]
    fit = sm.OLS(y, np.column_stack([x, z, np.ones(60)])).fit()
    result = regress(x, y, covariates=z)
    t = fit.tvalues[0]
    assert result.slope == pytest.approx(fit.params[0], abs=1e-12)
    assert result.model_r2 == pytest.approx(fit.rsquared, abs=1e-12)
    assert result.partial_r2 == pytest.approx(t * t / (t * t + fit.df_resid), abs=1e-12)
    assert result.partial_r == pytest.approx(t / math.sqrt(t * t + fit.df_resid), abs=1e-12)


def test_collinear_covariates_count_once() -> None:
    x, z, y = draw(3, 30), draw(4, 30), draw(5, 30)
    once = regress(x, y, covariates=z)
    assert regress(x, y, covariates=np.column_stack([z, 2 * z + 1, z])).partial_r == pytest.approx(
        once.partial_r, abs=1e-12
    )


@pytest.mark.parametrize("with_covariates", [False, True])
def test_hc3_standard_error_and_interval(with_covariates: bool) -> None:
    x, z, y = draw(6, 40), draw(7, 40, 2), draw(8, 40)
    y = y * (1 + np.abs(x)) + z[:, 0]
    design = np.column_stack([x, np.ones(40), *([z] if with_covariates else [])])
    fit = sm.OLS(y, design).fit(cov_type="HC3", use_t=True)
    result = regress(x, y, covariates=z if with_covariates else None)
    assert result.se == pytest.approx(fit.bse[0], rel=1e-11)
    assert result.ci == pytest.approx(fit.conf_int()[0], rel=1e-10)


def test_cluster_robust_standard_error() -> None:
    group = np.repeat(np.arange(9), [3, 5, 4, 6, 2, 4, 5, 3, 8])
    x, z = draw(9, 40) + draw(10, 9)[group], draw(11, 40)
    y = draw(12, 40) + draw(13, 9)[group] + 0.5 * x
    fit = sm.OLS(y, np.column_stack([x, z, np.ones(40)])).fit(
        cov_type="cluster", cov_kwds={"groups": group}, use_t=True
    )
    result = regress(x, y, covariates=z, groups=[f"architecture {g}" for g in group])
    assert result.se == pytest.approx(fit.bse[0], rel=1e-11)
    assert result.ci == pytest.approx(fit.conf_int()[0], rel=1e-10)


def test_law_school_correlation_and_fisher_interval() -> None:
    result = regress(LSAT, GPA)
    assert result.r == pytest.approx(0.7764, abs=5e-5)
    reference = scipy.stats.pearsonr(LSAT, GPA)
    assert result.r == pytest.approx(reference.statistic, abs=1e-14)
    assert result.r_ci == pytest.approx(tuple(reference.confidence_interval(0.95)), abs=1e-13)


def test_fisher_interval_needs_four_points() -> None:
    assert fisher_interval(0.5, 3) is None
    assert fisher_interval(1.0, 10) == (1.0, 1.0)


def test_bootstrap_interval_of_the_law_school_r() -> None:
    low, high = bootstrap_r(LSAT, GPA, range(15), replicates=20_000, seed=3)
    reference = scipy.stats.bootstrap(
        (LSAT, GPA),
        lambda a, b, axis: scipy.stats.pearsonr(a, b, axis=axis)[0],
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval
    # Both are random: at 20,000 replicates the ends move by less than .02 from seed to seed.
    assert low[0] == pytest.approx(reference.low, abs=0.03)
    assert high[0] == pytest.approx(reference.high, abs=0.01)


def test_bootstrap_draws_whole_clusters() -> None:
    x, y = draw(14, 12), draw(15, 12)
    alone = bootstrap_r(x, y, range(12), replicates=500, seed=1)
    copied = bootstrap_r(
        np.repeat(x, 5), np.repeat(y, 5), np.repeat(np.arange(12), 5), replicates=500, seed=1
    )
    # Five copies of every row are no new information when the copies move together.
    np.testing.assert_allclose(np.array(copied), np.array(alone), atol=1e-12)
    none = bootstrap_r(x[:3], y[:3], range(3))
    assert np.isnan(none[0]).all()
    assert np.isnan(none[1]).all()


def test_bootstrap_of_a_weighted_resample_equals_repeated_rows() -> None:
    # One replicate by hand: the counts that the generator draws, as rows repeated, through numpy's
    # corrcoef.
    from analysis.statistics.regression import _correlation, _moment_table

    x, y = draw(16, 10) + 1e3, draw(17, 10)
    counts = np.random.default_rng(0).multinomial(10, np.full(10, 0.1))
    by_weight = _correlation(counts[None] @ _moment_table(x[:, None], y[:, None]))[0, 0]
    assert by_weight == pytest.approx(
        np.corrcoef(np.repeat(x, counts), np.repeat(y, counts))[0, 1], abs=1e-10
    )


def test_bootstrap_coverage() -> None:
    # 400 samples of 40 pairs with rho = .5: a 95% interval holds .5 in 95 +- 4 per cent (three
    # standard errors and some for BCa).
    rng = np.random.default_rng(99)
    hits = 0
    for _ in range(400):
        x = rng.standard_normal(40)
        low, high = bootstrap_r(
            x, x + math.sqrt(3) * rng.standard_normal(40), range(40), replicates=500, seed=1
        )
        hits += bool(low[0] <= 0.5 <= high[0])
    assert 0.90 <= hits / 400 <= 0.99


def test_leave_one_out_by_deleting_clusters() -> None:
    x, y = draw(18, 15), draw(19, 15)
    cluster = np.repeat(list("abcde"), 3)
    without = {
        name: float(np.corrcoef(x[cluster != name], y[cluster != name])[0, 1]) for name in "abcde"
    }
    result = leave_one_out(x, y, cluster)
    full = np.corrcoef(x, y)[0, 1]
    most = max(without, key=lambda name: abs(without[name] - full))
    assert (result.low, result.high) == pytest.approx(
        (min(without.values()), max(without.values())), abs=1e-12
    )
    assert result.cluster == most
    assert result.r_without == pytest.approx(without[most], abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "more", "message"),
    [
        ([1, 1, 1], [1, 2, 3], {}, "x is constant"),
        ([1, 2, 3], [1, 1, 1], {}, "y is constant"),
        ([1, 2], [1, 2], {"covariates": [1, 3]}, "too few"),
        ([1, 2, float("inf")], [1, 2, 3], {}, "not finite"),
        ([1, 2, 3, 5], [1, 2, 3, 4], {"covariates": [2, 4, 6, 10]}, "linear function"),
        ([1, 2, 3], [1, 2, 4], {"groups": [1, 2]}, "one label per row"),
    ],
)
def test_impossible_regressions_say_why(
    x: list[float], y: list[float], more: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        regress(x, y, **more)


def test_adjusted_p_values_of_five_in_arithmetic_progression() -> None:
    p = [0.01, 0.02, 0.03, 0.04, 0.05]
    assert benjamini_hochberg(p) == pytest.approx([0.05] * 5, abs=1e-15)
    assert holm(p) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09], abs=1e-15)
    rng = np.random.default_rng(6)
    for size in (1, 2, 7, 50):  # ties included
        drawn = np.round(rng.random(size) ** 3, 2)
        for adjust, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
            assert adjust(drawn) == pytest.approx(multipletests(drawn, method=method)[1], abs=1e-12)


def test_p_values_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, float("nan")])
