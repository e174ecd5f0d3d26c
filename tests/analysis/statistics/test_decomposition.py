"""Slopes and signs within and between groups, against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from analysis.statistics.decomposition import mundlak, pooled_deviation, simpson


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


def test_pooled_deviation_is_that_of_an_analysis_of_variance() -> None:
    groups = [np.array([1.0, 3.0]), np.array([2.0, 2.5, 6.0]), np.array([9.0]), np.array([])]
    values = np.concatenate(groups)
    labels = np.repeat(np.arange(4), [len(group) for group in groups])
    fit = sm.OLS(values, np.eye(3)[labels]).fit()
    assert pooled_deviation(groups) == pytest.approx(np.sqrt(fit.mse_resid), abs=1e-12)
    assert pooled_deviation([np.array([9.0]), np.array([2.0])]) is None
