"""Tests that go on until they are decided: counts add up, verdicts do not depend on the seed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.decide import decide
from analysis.statistics.permutation import clopper_pearson, permutation_test


def borderline(n: int, r: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (n,) whose correlation is r."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, n))
    x = (x - x.mean()) / x.std()
    noise = noise - noise.mean() - x * (x @ (noise - noise.mean())) / n
    return x, r * x + np.sqrt(1 - r * r) * noise / noise.std()


def test_clopper_pearson_is_that_of_scipy() -> None:
    low, high = clopper_pearson([0, 3, 50, 100], 100, confidence=0.99)
    for place, count in enumerate([0, 3, 50, 100]):
        reference = scipy.stats.binomtest(count, 100).proportion_ci(0.99, method="exact")
        assert (low[place], high[place]) == pytest.approx((reference.low, reference.high))


def test_a_clear_case_stops_at_the_first_round_with_the_p_of_the_plain_test() -> None:
    x, y = borderline(30, 0.1, 0)
    plain = permutation_test(x, y, permutations=1_000, studentized=True, seed=3)
    decided = decide(x, y, permutations=1_000, seed=3)
    assert decided.permutations == 1_000
    assert decided.p == plain.p
    assert decided.verdict == "not found"


def test_counts_of_the_rounds_add_up() -> None:
    x, y = borderline(30, 0.361, 1)  # p = .05 by Student's t
    decided = decide(x, y, permutations=100, most=10_000, studentized=False, seed=4)
    assert decided.permutations == 10_000
    assert decided.verdict == "undecided"
    first = permutation_test(x, y, permutations=100, seed=4).exceedances
    count = decided.p * 10_001 - 1
    assert count == pytest.approx(round(float(count)))
    assert count >= first
    theory = scipy.stats.pearsonr(x, y).pvalue
    assert abs(decided.p - theory) < 0.01


def test_no_verdict_depends_on_the_seed() -> None:
    x, y = borderline(25, 0.6, 2)
    family = np.column_stack([x, np.random.default_rng(5).standard_normal((25, 2))])
    rounds = [decide(family, y, permutations=1_000, most=100_000, seed=seed) for seed in range(10)]
    words = {(tuple(one.verdict), tuple(one.verdict_maxt)) for one in rounds}
    assert len(words) == 1
    assert {one.permutations for one in rounds} != {1_000}


def test_enumeration_as_soon_as_a_round_could_hold_it() -> None:
    x, y = borderline(7, 0.75, 6)
    decided = decide(x, y, permutations=600, most=6_000, studentized=False)
    whole = permutation_test(x, y, permutations=5_040)
    assert whole.exact
    assert decided.exact == (decided.permutations == 5_040)
    assert decided.exact
    assert decided.p == whole.p
    assert decided.p_low == decided.p_high == decided.p


def test_too_few_moves_cannot_reject() -> None:
    pairs = np.repeat(np.arange(5), 2)
    x = np.tile([0.0, 1.0], 5) + 0.01 * np.arange(10) ** 2
    decided = decide(x, x + 0.01 * np.arange(10), within=pairs)
    assert decided.p == pytest.approx(2 / 32)
    assert decided.least_p == pytest.approx(2 / 32)
    assert decided.cannot_reject
    assert decided.verdict == "cannot reject"
    assert not decide(
        np.tile(x, 2), np.tile(x, 2), within=np.repeat(np.arange(10), 2)
    ).cannot_reject


def test_more_than_most_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        decide(np.arange(9.0), np.arange(9.0) ** 2, permutations=20, most=10)
