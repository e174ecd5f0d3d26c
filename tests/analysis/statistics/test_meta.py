"""Random effects against metafor's published analysis of the BCG vaccine trials."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from analysis.statistics.meta import meta_analysis, meta_of_correlations

# Colditz et al. 1994: tuberculosis and none among the vaccinated, the same among the others.
TRIALS = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    dtype=float,
)
VACCINATED, OTHERS = TRIALS[:, :2].sum(axis=1), TRIALS[:, 2:].sum(axis=1)
EFFECTS = np.log(TRIALS[:, 0] / VACCINATED) - np.log(TRIALS[:, 2] / OTHERS)
VARIANCES = 1 / TRIALS[:, 0] - 1 / VACCINATED + 1 / TRIALS[:, 2] - 1 / OTHERS


def test_restricted_likelihood_as_metafor_prints_it() -> None:
    # Viechtbauer 2010, Journal of Statistical Software 36(3), section 3.1; metafor's help of rma.
    meta = meta_analysis(EFFECTS, VARIANCES)
    assert meta.k == 13
    assert meta.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert meta.i2 == pytest.approx(0.9222, abs=5e-5)
    assert meta.q == pytest.approx(152.2330, abs=5e-5)
    assert meta.df == 12
    assert meta.q_p < 1e-4
    assert meta.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert meta.se == pytest.approx(0.1798, abs=5e-5)
    assert (meta.low, meta.high) == pytest.approx((-1.0669, -0.3622), abs=5e-5)
    assert meta.p < 1e-4
    assert meta.weights.sum() == pytest.approx(1)


def test_knapp_and_hartung_as_metafor_prints_it() -> None:
    # metafor prints se .1808, t -3.9522, p .0019 for test = "knha" of the same trials.
    meta = meta_analysis(EFFECTS, VARIANCES, knapp_hartung=True)
    total = square = 0.0
    for effect, variance in zip(EFFECTS, VARIANCES, strict=True):
        total += 1 / (variance + meta.tau2)
        square += (effect - meta.estimate) ** 2 / (variance + meta.tau2)
    assert meta.se == pytest.approx(np.sqrt(square / (12 * total)), rel=1e-12)
    assert (meta.estimate, meta.se) == pytest.approx((-0.7145, 0.1808), abs=5e-5)
    assert meta.estimate / meta.se == pytest.approx(-3.9522, abs=5e-5)
    assert meta.p == pytest.approx(0.0019, abs=5e-5)
    assert meta.p == pytest.approx(2 * scipy.stats.t.sf(3.9522, 12), rel=1e-3)
    assert meta.high - meta.low == pytest.approx(2 * scipy.stats.t.ppf(0.975, 12) * meta.se)


def test_knapp_and_hartung_takes_agreement_for_no_more_than_sampling_allows() -> None:
    meta = meta_analysis([0.3, 0.3], [0.1, 0.2], knapp_hartung=True)
    se = np.sqrt(1 / (1 / 0.1 + 1 / 0.2))
    assert meta.se == pytest.approx(se)
    assert meta.p == pytest.approx(2 * scipy.stats.t.sf(0.3 / se, 1))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_few_heterogeneous_studies_reject_a_mean_of_zero_no_more_than_they_may(k: int) -> None:
    rng = np.random.default_rng(k)
    hits, normal, studies = 0, 0, 1000
    for _ in range(studies):
        v = rng.uniform(0.01, 0.06, k)
        y = rng.normal(0.0, np.sqrt(v + 0.1))
        hits += meta_analysis(y, v, knapp_hartung=True).p <= 0.05
        normal += meta_analysis(y, v).p <= 0.05
    assert hits <= 0.065 * studies < normal


def test_prediction_interval_as_metafor_prints_it_but_for_student() -> None:
    # metafor prints exp(.) of the normal interval: 0.1546 to 1.5490.
    meta = meta_analysis(EFFECTS, VARIANCES)
    assert meta.prediction_low is not None
    assert meta.prediction_high is not None
    student = scipy.stats.t.ppf(0.975, 11) / scipy.stats.norm.ppf(0.975)
    low = meta.estimate + (meta.prediction_low - meta.estimate) / student
    high = meta.estimate + (meta.prediction_high - meta.estimate) / student
    assert (np.exp(low), np.exp(high)) == pytest.approx((0.1546, 1.5490), abs=1e-4)


def test_moments_of_dersimonian_and_laird() -> None:
    meta = meta_analysis(EFFECTS, VARIANCES, method="DL")
    assert meta.tau2 == pytest.approx(0.3088, abs=5e-5)
    assert meta.i2 == pytest.approx(1 - 12 / meta.q, abs=1e-12)  # an identity of this estimator


@pytest.mark.parametrize("seed", range(5))
def test_restricted_likelihood_is_greatest_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.05, 0.5, 9)
    y = rng.normal(0.2, np.sqrt(v + (0.0 if seed < 2 else 0.3)))

    def deviance(tau2: float) -> float:
        w = 1 / (v + tau2)
        left = y - w @ y / w.sum()
        return float(-np.log(w).sum() + np.log(w.sum()) + w @ left**2)

    best = scipy.optimize.minimize_scalar(
        deviance, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}
    )
    meta = meta_analysis(y, v)
    assert deviance(meta.tau2) <= best.fun + 1e-9
    assert meta.tau2 == pytest.approx(best.x, abs=1e-4)


def test_equal_effects_have_no_variance_between_them() -> None:
    meta = meta_analysis([0.3, 0.3], [0.1, 0.2])
    assert (meta.tau2, meta.i2, meta.q) == pytest.approx((0, 0, 0), abs=1e-12)
    assert meta.estimate == pytest.approx(0.3)
    assert meta.prediction_low is None


def test_correlations_on_fishers_scale() -> None:
    r, n = np.array([0.5, 0.2, np.nan, 0.9, 1.0]), np.array([10, 20, 30, 3, 12])
    meta = meta_of_correlations(r, n)
    assert meta is not None
    plain = meta_analysis(np.arctanh([0.5, 0.2]), [1 / 7, 1 / 17])
    assert meta.k == 2
    assert np.arctanh([meta.estimate, meta.low, meta.high]) == pytest.approx(
        [plain.estimate, plain.low, plain.high]
    )
    assert meta_of_correlations([0.5, 0.4], [10, 4], lost=1) is None


def test_impossible_requests_say_why() -> None:
    with pytest.raises(ValueError, match="two effects"):
        meta_analysis([0.1], [0.2])
    with pytest.raises(ValueError, match="positive"):
        meta_analysis([0.1, 0.2], [0.2, 0.0])
