"""The least R^2 that is found, against published sample sizes and statsmodels."""

from __future__ import annotations

import math

import pytest
from statsmodels.stats.power import FTestPower

from analysis.statistics.power import minimum_detectable_r2


def test_detectable_effect_by_published_sample_sizes() -> None:
    # Cohen 1988 / G*Power 3: one predictor, alpha .05, power .8: n = 55 finds f^2 = .15, n = 25
    # finds .35, n = 395 finds .02.
    for n, f2 in ((55, 0.15), (25, 0.35), (395, 0.02)):
        needed = f2 / (1 + f2)
        enough, too_few = minimum_detectable_r2(n, 0), minimum_detectable_r2(n - 1, 0)
        assert enough is not None
        assert too_few is not None
        assert enough <= needed < too_few


def test_detectable_effect_by_statsmodels() -> None:
    least = minimum_detectable_r2(40, 3)
    assert least is not None
    f = math.sqrt(least / (1 - least))
    # FTestPower's nobs is df_denom + df_num + ncc; its noncentrality f^2 nobs
    power = FTestPower().power(effect_size=f, df_denom=1, df_num=35, alpha=0.05, ncc=4)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert minimum_detectable_r2(4, 3) is None
