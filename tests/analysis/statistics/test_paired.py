"""Sign flips of a mean and the interval that inverts them, against scipy and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.paired import mean_difference

RNG = np.random.default_rng(5)
SAMPLES = [
    RNG.normal(0.5, 1, 9),
    RNG.normal(-1, 1, 6),
    np.array([1.0, 2.0, 2.0, 0.0, 3.0, -1.0, 2.0]),
    RNG.normal(1e6, 1e-3, 8),
]


@pytest.mark.parametrize("d", SAMPLES)
def test_p_is_that_of_scipy(d: np.ndarray) -> None:
    """Reference: scipy.stats.permutation_test, all signs, statistic |mean|."""
    reference = scipy.stats.permutation_test(
        (d,),
        lambda x, axis: np.abs(x.mean(axis=axis)),
        permutation_type="samples",
        n_resamples=2 ** len(d),
        alternative="greater",
        vectorized=True,
    )
    test = mean_difference(d)
    assert test.p == pytest.approx(reference.pvalue, abs=1e-12)
    assert test.mean == pytest.approx(d.mean(), rel=1e-12)
    assert test.patterns == 2 ** len(d)


def brute_p(d: np.ndarray) -> float:
    """Reference: the definition, one pattern of signs at a time."""
    means = [
        abs(np.mean(d * np.array(signs))) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    return float(np.mean([mean >= abs(d.mean()) - 1e-9 for mean in means]))


@pytest.mark.parametrize("d", SAMPLES[:3])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(
    d: np.ndarray, level: float
) -> None:
    test = mean_difference(d, level=level)
    step = 1e-6
    for end, inward in ((test.low, step), (test.high, -step)):
        assert brute_p(d - end - inward) > level
        assert brute_p(d - end + inward) <= level
    assert test.low <= test.mean <= test.high


@pytest.mark.parametrize(("n", "cannot"), [(1, True), (5, True), (6, False)])
def test_five_pairs_cannot_reject_and_six_can(n: int, cannot: bool) -> None:
    """Closed form: only the pattern observed and its mirror image are as far from zero."""
    test = mean_difference(np.arange(n) + 100.0)
    assert test.p == pytest.approx(2 / 2**n)
    assert test.cannot_reject == cannot
    assert (test.low == -math.inf) == cannot
    assert (test.high == math.inf) == cannot


def test_no_difference_is_no_difference() -> None:
    test = mean_difference(np.zeros(7))
    assert (test.mean, test.p, test.low, test.high) == (0.0, 1.0, 0.0, 0.0)


def test_the_interval_covers_the_true_shift() -> None:
    """An exact 95% interval misses a true shift in at most 5% of samples; 300 samples."""
    rng = np.random.default_rng(1)
    tests = [mean_difference(rng.standard_t(3, 8) + 2) for _ in range(300)]
    missed = sum(not each.low <= 2 <= each.high for each in tests)
    assert missed <= scipy.stats.binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize(
    ("d", "reason"), [([], "n > 0"), ([1.0, math.nan], "not finite"), (np.arange(21), "at most")]
)
def test_what_cannot_be_tested_is_refused(d: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        mean_difference(d)
