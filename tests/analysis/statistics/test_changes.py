"""Signed ranks against R's published output, scipy and plain enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.changes import equivalence, joint_sign_flips, signed_rank, tost

# Hollander & Wolfe 1973, page 29: depression scores of nine patients before and after treatment.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def walsh_averages(d: np.ndarray) -> np.ndarray:
    return np.sort([(d[i] + d[j]) / 2 for i in range(len(d)) for j in range(i, len(d))])


def enumerated_p(d: np.ndarray) -> float:
    """Share of all sign patterns whose signed ranks sum at least as far from zero."""
    ranks = scipy.stats.rankdata(np.abs(d)) * (d != 0)
    observed = abs(np.sign(d) @ ranks)
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product([1, -1], repeat=len(d))]
    return float(np.mean(np.array(sums) >= observed - 1e-9))


def draw(seed: int, n: int, shift: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n) + shift


def test_depression_scores_as_wilcox_test_of_r_prints_them() -> None:
    test = signed_rank(BEFORE - AFTER)
    assert test.statistic == 40
    assert test.p == pytest.approx(0.03906, abs=5e-6)
    assert test.estimate == pytest.approx(0.46, abs=1e-12)
    assert (test.low, test.high) == pytest.approx((0.010, 0.786), abs=1e-12)
    assert test.exact


def test_interval_holds_the_shifts_that_are_not_rejected() -> None:
    for seed, n in itertools.product(range(3), (6, 7, 10)):
        d = draw(seed, n)
        test, steps = signed_rank(d), walsh_averages(d)
        shifts = np.concatenate([[steps[0] - 1], (steps[1:] + steps[:-1]) / 2, [steps[-1] + 1]])
        allowed = [at for at, shift in enumerate(shifts) if enumerated_p(d - shift) > 0.05]
        assert test.low == steps[allowed[0] - 1]
        assert test.high == steps[allowed[-1]]
        assert test.estimate == pytest.approx(np.median(steps))


@pytest.mark.parametrize("n", [6, 12, 25, 60])
def test_exact_p_is_that_of_scipy(n: int) -> None:
    d = draw(n, n, 0.2)
    assert signed_rank(d).p == pytest.approx(scipy.stats.wilcoxon(d, method="exact").pvalue)


def test_many_differences_have_the_normal_p_with_correction() -> None:
    d = draw(1, 150, 0.15)
    reference = scipy.stats.wilcoxon(d, correction=True, method="approx")
    test = signed_rank(d)
    assert not test.exact
    assert test.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert test.low is not None
    assert (test.low > 0) == (test.p <= 0.05)


def test_zeros_keep_their_rank_and_ties_the_mean_one() -> None:
    d = np.array([0.0, 0.0, 1.0, -1.0, 2.0, 2.0, 3.0, 3.0, 0.5, 4.0])
    test = signed_rank(d)
    assert test.nonzero == 8
    assert test.p == pytest.approx(enumerated_p(d), abs=1e-12)
    steps = np.unique(walsh_averages(d))
    shifts = np.concatenate([[steps[0] - 1], (steps[1:] + steps[:-1]) / 2, [steps[-1] + 1]])
    allowed = [at for at, shift in enumerate(shifts) if enumerated_p(d - shift) > 0.05]
    assert (test.low, test.high) == (steps[allowed[0] - 1], steps[allowed[-1]])


def test_p_and_interval_never_contradict_each_other() -> None:
    for seed in range(300):
        n = 5 + seed % 30
        test = signed_rank(draw(seed, n, 0.4))
        if test.low is None or test.high is None:
            assert n == 5
            assert test.cannot_reject
            continue
        assert (test.low <= 0 <= test.high) == (test.p > 0.05)


def test_the_interval_covers_as_often_as_it_says() -> None:
    tests = [signed_rank(draw(seed, 12, 0.0)) for seed in range(1_000)]
    covered = np.mean([test.low <= 0 <= test.high for test in tests])
    # Exact level of n = 12: 1 - 2 P(V <= 13) = .958; 1,000 draws have a deviation of .6 points.
    assert covered == pytest.approx(0.958, abs=0.02)


def test_the_interval_of_equal_differences_holds_its_estimate() -> None:
    """Thirteen of sixteen are zero: any other shift is rejected, on both sides."""
    d = np.zeros(16)
    d[:3] = 1e-4, -3e-4, -1e-4
    for differences in (d, -d, d + 1.0):
        test = signed_rank(differences)
        assert test.low == test.high == test.estimate == np.median(differences)
    assert enumerated_p(d) > 0.05 and signed_rank(d + 1.0).p <= 0.05
    assert enumerated_p(d - 1e-6) <= 0.05 and enumerated_p(d + 1e-6) <= 0.05


def test_five_differences_cannot_reject_and_six_can() -> None:
    five, six = signed_rank(np.arange(1.0, 6.0)), signed_rank(np.arange(1.0, 7.0))
    assert (five.cannot_reject, five.low, five.high) == (True, None, None)
    assert five.p == pytest.approx(2 / 32)
    assert not six.cannot_reject
    assert six.p == pytest.approx(2 / 64)
    assert six.low == 1.0
    assert signed_rank([0.0] * 8 + [1.0] * 5).cannot_reject


def test_nothing_changed_at_all() -> None:
    test = signed_rank(np.zeros(8))
    assert (test.estimate, test.low, test.high, test.p) == (0, 0, 0, 1)


def test_two_one_sided_tests_are_those_of_scipy() -> None:
    d, margin = draw(3, 20, 0.1), 0.6
    lower = scipy.stats.wilcoxon(d + margin, alternative="greater", method="exact").pvalue
    upper = scipy.stats.wilcoxon(d - margin, alternative="less", method="exact").pvalue
    assert tost(d, margin) == pytest.approx(max(lower, upper))


def test_equivalence_by_the_interval_is_that_of_the_two_tests() -> None:
    for seed in range(200):
        d = draw(seed, 15, 0.3)
        test = signed_rank(d)
        assert test.low is not None
        assert test.high is not None
        inside = equivalence(test.low, test.high, 0.7) == "no more than"
        assert inside == (tost(d, 0.7) <= 0.025)


def test_words_of_equivalence() -> None:
    assert equivalence(-0.1, 0.2, 0.3) == "no more than"
    assert equivalence(0.1, 0.2, 0.3) == "no more than"
    assert equivalence(-0.1, 0.4, 0.3) == "undecided"
    assert equivalence(0.1, 0.4, 0.3) == "changed"
    with pytest.raises(ValueError, match="margin"):
        tost([0.1, 0.2], 0.0)


def test_joint_flips_by_definition() -> None:
    d = np.random.default_rng(4).standard_normal((8, 3)) + np.array([0.1, 0.9, 0.5])
    d[:, 2] += d[:, 1]
    ranks = np.sign(d) * scipy.stats.rankdata(np.abs(d), axis=0)
    unit = ranks / np.sqrt(np.square(ranks).sum(axis=0))
    null = np.array([np.abs(np.array(s) @ unit) for s in itertools.product([1, -1], repeat=8)])
    observed, expected, before = null[0], np.empty(3), 0.0
    order = np.argsort(-observed)
    for step, column in enumerate(order):
        maxima = null[:, order[step:]].max(axis=1)
        before = max(before, float(np.mean(maxima >= observed[column] - 1e-9)))
        expected[column] = before
    test = joint_sign_flips(d)
    assert test.exact
    assert test.permutations == 256
    assert test.p_maxt == pytest.approx(expected, abs=1e-15)
    assert test.p == pytest.approx([signed_rank(column).p for column in d.T], abs=1e-12)
    assert test.r == pytest.approx(ranks.sum(axis=0) / 36)


def test_random_joint_flips_agree_with_the_exact_test() -> None:
    d = np.random.default_rng(5).standard_normal((30, 4)) + 0.3
    test = joint_sign_flips(d, permutations=20_000, most=20_000, seed=1)
    exact = [signed_rank(column).p for column in d.T]
    assert not test.exact
    assert (np.abs(test.p - exact) <= 4 * np.sqrt(np.array(exact) / 20_000) + 1e-4).all()
    assert (test.p_maxt >= test.p).all()


def test_a_treatment_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="column 1 are zero"):
        joint_sign_flips(np.column_stack([np.ones(6), np.zeros(6)]))


def test_remembered_signs_are_those_that_would_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    d = np.column_stack([draw(4, 40, 0.2), draw(5, 40, 0.3)])
    remembered = [joint_sign_flips(d, permutations=3000, most=3000, seed=7) for _ in range(2)]
    monkeypatch.setattr("analysis.statistics.changes.REMEMBERED", 0)
    drawn = joint_sign_flips(d, permutations=3000, most=3000, seed=7)
    for each in remembered:
        assert each.p.tolist() == drawn.p.tolist()
        assert each.p_maxt.tolist() == drawn.p_maxt.tolist()
