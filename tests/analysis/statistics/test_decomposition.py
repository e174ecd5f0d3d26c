"""Spread within groups, against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from analysis.statistics.decomposition import pooled_deviation


def test_pooled_deviation_is_that_of_an_analysis_of_variance() -> None:
    groups = [np.array([1.0, 3.0]), np.array([2.0, 2.5, 6.0]), np.array([9.0]), np.array([])]
    values = np.concatenate(groups)
    labels = np.repeat(np.arange(4), [len(group) for group in groups])
    fit = sm.OLS(values, np.eye(3)[labels]).fit()
    assert pooled_deviation(groups) == pytest.approx(np.sqrt(fit.mse_resid), abs=1e-12)
    assert pooled_deviation([np.array([9.0]), np.array([2.0])]) is None
