"""Sign flips and the interval of a median, against scipy and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.paired import median_interval, sign_flip_test


@pytest.mark.parametrize("n", [5, 9])
def test_sign_flips_equal_scipy(n: int) -> None:
    d = np.random.default_rng(n).standard_normal(n) + 0.5
    reference = scipy.stats.permutation_test(
        (d,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
    )
    mine = sign_flip_test(d)
    assert mine.exact
    assert mine.n_patterns == 2**n
    assert mine.p == pytest.approx(reference.pvalue, abs=1e-12)
    assert mine.mean == pytest.approx(d.mean(), abs=1e-15)


def test_sign_flips_at_random_agree_with_all() -> None:
    d = np.random.default_rng(3).standard_normal(14) + 0.4
    exact, drawn = (
        sign_flip_test(d, permutations=2**14),
        sign_flip_test(d, permutations=10_000, seed=1),
    )
    assert exact.exact
    assert not drawn.exact
    assert abs(drawn.p - exact.p) <= 4 * np.sqrt(exact.p * (1 - exact.p) / 10_000)
    with pytest.raises(ValueError, match="all differences are zero"):
        sign_flip_test([0.0, 0.0, 0.0])


def test_sign_flip_type_one_error() -> None:
    rng = np.random.default_rng(4)
    rejected = sum(
        sign_flip_test(
            rng.standard_t(3, size=20), permutations=199, seed=int(rng.integers(2**31))
        ).p
        <= 0.05
        for _ in range(2_000)
    )
    assert 0.03 <= rejected / 2_000 <= 0.07


def test_median_interval_by_the_same_draws() -> None:
    d = np.random.default_rng(5).standard_normal(9)
    for part in (d, d[:8]):
        index = np.random.default_rng(2).integers(0, len(part), size=(400, len(part)))
        expected = np.quantile([np.median(np.sort(part)[row]) for row in index], [0.025, 0.975])
        assert median_interval(part, replicates=400, seed=2) == pytest.approx(
            tuple(expected), abs=1e-12
        )
    assert median_interval(d[:4]) is None
