"""The permutation engine against enumeration in plain Python, scipy and statsmodels."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm

from analysis.statistics import permutation
from analysis.statistics.linear import Floats
from analysis.statistics.permutation import permutation_test

Statistic = Callable[[Floats, Floats], float]


def pearson(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1])


@pytest.mark.parametrize("sizes", [[4] * 8, [3] * 12, [3, 2, 3, 2]])
def test_the_interval_leaves_out_zero_where_the_test_rejects(sizes: list[int]) -> None:
    """Its ends are slopes at which |t|, by a plain loop, is the critical one."""
    cell = np.repeat(np.arange(len(sizes)), sizes)
    verdicts = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((len(cell), 3))
        y = 0.4 * x[:, 0] + rng.standard_normal(len(cell))
        test = permutation.prepare(x, y, within=cell, studentized=True)
        low, high = test.interval(399, seed)
        result = permutation_test(x, y, within=cell, studentized=True, permutations=399, seed=seed)
        for at in np.flatnonzero(np.isfinite(low + high)):
            assert low[at] <= result.r[at] <= high[at]
            assert (result.p[at] <= 0.05) == (not low[at] <= 0.0 <= high[at])
            verdicts.add(bool(result.p[at] <= 0.05))
            a, b = (v.copy() for v in (x[:, at], y))
            for one in np.unique(cell):
                a[cell == one] -= a[cell == one].mean()
                b[cell == one] -= b[cell == one].mean()
            a, b, r = a / np.linalg.norm(a), b / np.linalg.norm(b), result.r[at]
            ends = np.arcsin([low[at], high[at]]) / np.arcsin(r) * r
            t = [abs(a @ (b - s * a)) / np.sqrt(np.sum((a * (b - s * a)) ** 2)) for s in ends]
            assert t[0] == pytest.approx(t[1], rel=1e-6)
    assert verdicts == {True, False}


@pytest.mark.parametrize("given", [0, 6])
def test_the_interval_of_a_free_test_holds_the_slopes_that_are_not_rejected(given: int) -> None:
    """Its ends are slopes at which |t| or |r|, by least squares, is the critical one."""
    verdicts = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, z = rng.standard_normal((30, 2)), rng.standard_normal((30, given))
        y = 0.4 * x[:, 0] + z.sum(axis=1) + rng.standard_normal(30)
        options: dict[str, Any] = {"covariates": z, "studentized": True} if given else {}
        low, high = permutation.prepare(x, y, **options).interval(399, seed)
        result = permutation_test(x, y, **options, permutations=399, seed=seed)
        design = np.column_stack([np.ones(30), z])
        hat = design @ np.linalg.pinv(design)
        for at in np.flatnonzero(np.isfinite(low + high)):
            assert (result.p[at] <= 0.05) == (not low[at] <= 0.0 <= high[at])
            verdicts.add(bool(result.p[at] <= 0.05))
            a, b = (v - hat @ v for v in (x[:, at], y))
            a, b, r = a / np.linalg.norm(a), b / np.linalg.norm(b), result.r[at]
            free = 1.0 - np.diag(hat)
            t = []
            for end in np.arcsin([low[at], high[at]]) / np.arcsin(r) * r:
                e = b - end * a
                spread = np.linalg.norm(a * e / free) if given else np.linalg.norm(e)
                t.append(abs(a @ e) / spread)
            assert t[0] == pytest.approx(t[1], rel=1e-6)
    assert verdicts == {True, False}


def test_the_interval_by_units_is_the_critical_times_its_robust_error() -> None:
    unit, cell = np.repeat(np.arange(12), 3), np.repeat([0, 1], 18)
    verdicts = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, 36)) + rng.standard_normal((2, 12))[:, unit]
        options: dict[str, Any] = {"within": cell, "units": unit, "studentized": True}
        low, high = permutation.prepare(x[:, None], y + 0.4 * x, **options).interval(399, seed)
        result = permutation_test(x, y + 0.4 * x, **options, permutations=399, seed=seed)
        a, b = (v - np.repeat([v[:18].mean(), v[18:].mean()], 18) for v in (x, y + 0.4 * x))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        r = a @ b
        sums = [a[unit == one] @ (b - r * a)[unit == one] for one in range(12)]
        ends = np.arcsin([low[0], high[0]]) / np.arcsin(r) * r
        assert abs(r) / np.linalg.norm(sums) == pytest.approx(abs(result.statistic))
        assert r - ends[0] == pytest.approx(ends[1] - r)
        critical = (ends[1] - r) / np.linalg.norm(sums)
        assert (abs(result.statistic) > critical) == (result.p <= 0.05)
        verdicts.add(bool(result.p <= 0.05))
    assert verdicts == {True, False}


def test_where_far_rows_decide_the_interval_is_open_on_the_side_of_r() -> None:
    """A row whose weight in the variance is beyond all others bounds no slope."""
    verdicts = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_t(1, 40), rng.standard_normal(40) * rng.standard_t(1, 40)
        y = y + 0.5 * x
        test = permutation.prepare(x[:, None], y, within=np.repeat([0, 1], 20), studentized=True)
        (low,), (high,) = test.interval(399, seed)
        p = test.result(test.drawn(399, seed), exact=False).p[0]
        if np.isnan(low) and np.isnan(high):
            assert p > 0.05
        elif np.isnan(high) or np.isnan(low):
            zero_is_outside = low > 0.0 if np.isnan(high) else high < 0.0
            assert zero_is_outside == (p <= 0.05)
            verdicts.add(bool(zero_is_outside))
    assert True in verdicts


def two_sided(
    x: Floats, y: Floats, orders: list[tuple[int, ...]], statistic: Statistic = pearson
) -> float:
    """Share of the orders whose statistic is as far from zero as that of the order given."""
    observed = abs(statistic(x, y))
    return float(
        np.mean([abs(statistic(x, y[list(order)])) >= observed - 1e-12 for order in orders])
    )


def orders_within(blocks: list[list[int]]) -> Iterator[tuple[int, ...]]:
    n = sum(map(len, blocks))
    for choice in itertools.product(*(itertools.permutations(block) for block in blocks)):
        order = [0] * n
        for block, moved in zip(blocks, choice, strict=True):
            for place, source in zip(block, moved, strict=True):
                order[place] = source
        yield tuple(order)


def draw(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


def test_five_points_with_rank_correlation_four_fifths() -> None:
    # Kendall & Stuart, table of Spearman's rho: 16 of 120 orders of five ranks have |rho| >= .8.
    result = permutation_test([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    assert result.statistic == pytest.approx(0.8, abs=1e-14)
    assert result.exact
    assert result.n_permutations == 120
    assert result.p == pytest.approx(16 / 120, abs=1e-15)
    assert result.p_paper == pytest.approx(16 / 120, abs=1e-15)
    assert result.p_interval == pytest.approx([16 / 120, 16 / 120])


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_exact_free_test_equals_scipy(n: int) -> None:
    x, y = draw(n, n), draw(n + 50, n)
    reference = scipy.stats.permutation_test(
        (y,),
        lambda values: pearson(x, values),
        permutation_type="pairings",
        n_resamples=10_000,
        vectorized=False,
    )
    mine = permutation_test(x, y)
    assert mine.exact
    # scipy doubles the smaller tail; the two-sided p here counts both tails as they are.
    null = np.abs(np.asarray(reference.null_distribution))
    assert mine.statistic == pytest.approx(reference.statistic, abs=1e-14)
    assert mine.p == pytest.approx(np.mean(null >= abs(reference.statistic) - 1e-12), abs=1e-15)


def test_one_sided_distribution_is_symmetric_enough_for_scipy_p() -> None:
    # With y symmetric about its mean every order has its mirror image: scipy doubles the tail.
    x, y = draw(3, 6), np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    reference = scipy.stats.permutation_test(
        (y,),
        lambda values: pearson(x, values),
        permutation_type="pairings",
        n_resamples=10_000,
        vectorized=False,
    )
    assert permutation_test(x, y).p == pytest.approx(reference.pvalue, abs=1e-12)


def test_random_permutations_agree_with_scipy_by_their_errors() -> None:
    x, y = draw(1, 25), draw(2, 25)
    y = y + 0.35 * x
    reference = scipy.stats.permutation_test(
        (y,),
        lambda values, axis: np.abs(
            scipy.stats.pearsonr(np.broadcast_to(x, values.shape), values, axis=axis)[0]
        ),
        permutation_type="pairings",
        n_resamples=20_000,
        alternative="greater",
        vectorized=True,
        rng=np.random.default_rng(7),
    )
    mine = permutation_test(x, y, permutations=20_000, seed=11)
    assert not mine.exact
    sd = np.sqrt(2 * reference.pvalue * (1 - reference.pvalue) / 20_000)
    assert abs(float(mine.p) - reference.pvalue) <= 4 * sd


def test_within_blocks_enumerates_only_moves_inside_a_block() -> None:
    blocks = [[0, 3, 5], [1, 2], [4, 6, 7]]
    label = np.empty(8, dtype=object)
    for name, rows in zip("abc", blocks, strict=True):
        label[rows] = name
    x, y = draw(5, 8), draw(6, 8)

    def centred(values: Floats) -> Floats:
        out = values.copy()
        for rows in blocks:
            out[rows] -= values[rows].mean()
        return out

    orders = list(orders_within(blocks))
    result = permutation_test(x, y, within=label)
    assert result.exact
    assert result.n_permutations == len(orders) == 72
    assert result.statistic == pytest.approx(pearson(centred(x), centred(y)), abs=1e-14)
    assert result.p == pytest.approx(
        two_sided(x, y, orders, lambda a, b: pearson(centred(a), centred(b))), abs=1e-15
    )


def test_within_block_centring_finds_the_sign_inside_the_blocks() -> None:
    block = np.repeat(np.arange(4), 6)
    inside = np.tile(np.linspace(-1, 1, 6), 4)
    x, y = 5.0 * block + inside, 5.0 * block - inside + 0.1 * draw(8, 24)
    assert permutation_test(x, y).statistic > 0.9
    result = permutation_test(x, y, within=block)
    assert result.statistic < -0.9
    assert result.p < 0.001


def test_whole_units_move_among_units_of_equal_size() -> None:
    units = [[0, 4], [1, 2], [3, 8], [5, 6, 7], [9]]
    label = np.empty(10, dtype=int)
    for name, rows in enumerate(units):
        label[rows] = name
    x, y = draw(9, 10), draw(10, 10)
    orders = []
    for moved in itertools.permutations(range(3)):
        order = list(range(10))
        for place, source in enumerate(moved):
            for row, taken in zip(units[place], units[source], strict=True):
                order[row] = taken
        orders.append(tuple(order))
    result = permutation_test(x, y, units=label)
    assert result.exact
    assert result.n_permutations == 6
    assert result.p == pytest.approx(two_sided(x, y, orders), abs=1e-15)


def test_units_inside_blocks() -> None:
    block = np.repeat(["s", "t"], 6)
    unit = np.repeat(np.arange(6), 2)
    x, y = draw(11, 12), draw(12, 12)
    orders = []
    for first in itertools.permutations(range(3)):
        for second in itertools.permutations(range(3, 6)):
            orders.append(
                tuple(row for source in (*first, *second) for row in (2 * source, 2 * source + 1))
            )

    def centred(values: Floats) -> Floats:
        return values - np.repeat([values[:6].mean(), values[6:].mean()], 6)

    result = permutation_test(x, y, within=block, units=unit)
    assert result.n_permutations == 36
    assert result.p == pytest.approx(
        two_sided(x, y, orders, lambda a, b: pearson(centred(a), centred(b))), abs=1e-15
    )


@pytest.mark.parametrize("blocked", [False, True])
def test_freedman_lane_by_regression_of_every_permuted_response(blocked: bool) -> None:
    n = 6
    x, y, z = draw(13, n), draw(14, n), draw(15, n, 2)[:, : 1 if blocked else 2]
    y = y + z[:, 0]
    blocks = [[0, 1, 2], [3, 4, 5]] if blocked else [list(range(n))]
    indicator = np.eye(len(blocks))[np.repeat(np.arange(len(blocks)), n // len(blocks))]
    reduced = np.column_stack([indicator, z])
    fit = sm.OLS(y, reduced).fit()

    def partial(response: Floats) -> float:
        full = sm.OLS(response, np.column_stack([x, reduced])).fit()
        t = full.tvalues[0]
        return float(t / np.sqrt(t * t + full.df_resid))

    orders = list(orders_within(blocks))
    null = [partial(fit.fittedvalues + fit.resid[list(order)]) for order in orders]
    result = permutation_test(
        x, y, covariates=z, within=np.repeat(np.arange(2), 3) if blocked else None
    )
    assert result.n_permutations == len(orders)
    assert result.statistic == pytest.approx(partial(y), abs=1e-11)
    assert result.p == pytest.approx(np.mean(np.abs(null) >= abs(partial(y)) - 1e-10), abs=1e-15)


def test_step_down_maxima_by_definition() -> None:
    n, k = 6, 4
    x, y = draw(16, n, k), draw(17, n)
    x[:, 1] += y
    x[:, 2] = x[:, 1] + 0.3 * x[:, 2]
    null = np.array(
        [
            [abs(pearson(x[:, j], y[list(o)])) for j in range(k)]
            for o in itertools.permutations(range(n))
        ]
    )
    observed = np.array([abs(pearson(x[:, j], y)) for j in range(k)])
    order = np.argsort(-observed)
    expected, before = np.empty(k), 0.0
    for step, column in enumerate(
        order
    ):  # Westfall & Young 1993: the maximum over the hypotheses not yet decided
        before = max(
            before, float(np.mean(null[:, order[step:]].max(axis=1) >= observed[column] - 1e-12))
        )
        expected[column] = before
    result = permutation_test(x, y)
    assert result.exact
    assert result.p_maxt == pytest.approx(expected, abs=1e-15)
    assert (result.p_maxt >= result.p).all()


def test_metrics_together_and_alone_give_the_same_p() -> None:
    x, y = draw(18, 30, 5), draw(19, 30)
    together = permutation_test(x, y, permutations=500, seed=4)
    for column in range(5):
        assert permutation_test(x[:, column], y, permutations=500, seed=4).p == together.p[column]


def test_result_depends_on_the_seed_and_not_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, unit = draw(20, 40, 3), draw(21, 40), np.repeat(np.arange(20), 2)
    whole = [permutation_test(x, y, permutations=999, units=u, seed=5) for u in (None, unit)]
    other = permutation_test(x, y, permutations=999, seed=6)
    monkeypatch.setattr(permutation, "CHUNK_DOUBLES", 1_000)
    for u, expected in zip((None, unit), whole, strict=True):
        again = permutation_test(x, y, permutations=999, units=u, seed=5)
        assert again.exceedances.tolist() == expected.exceedances.tolist()
        assert again.exceedances_maxt.tolist() == expected.exceedances_maxt.tolist()
    assert other.exceedances.tolist() != whole[0].exceedances.tolist()


def test_enumeration_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, block = draw(22, 8), draw(23, 8), [0, 0, 0, 1, 1, 1, 2, 2]
    expected = permutation_test(x, y, within=block)
    monkeypatch.setattr(permutation, "CHUNK_DOUBLES", 40)
    assert permutation_test(x, y, within=block).exceedances == expected.exceedances


def test_monte_carlo_p_never_zero_and_its_interval_is_clopper_pearson() -> None:
    x = np.linspace(0, 1, 30)
    sure = permutation_test(x, x, permutations=1_000)
    assert sure.p_paper == 0.0
    assert sure.p == pytest.approx(1 / 1001)
    assert sure.p_interval[0] == 0.0
    result = permutation_test(x, draw(24, 30), permutations=1_000, seed=2)
    reference = scipy.stats.binomtest(int(result.exceedances), 1_000).proportion_ci(
        0.95, method="exact"
    )
    assert result.p_interval == pytest.approx([reference.low, reference.high], abs=1e-12)


def test_ties_of_equal_statistics_are_counted() -> None:
    # y has two values; 2 of the 6 choices of two rows give |r| = .894.
    assert permutation_test([1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.3, 0.3]).p == pytest.approx(
        2 / 6, abs=1e-15
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1.0, 1.0, 1.0, 1.0]}, "x is constant"),
        ({"y": [2.0, 2.0, 2.0, 2.0]}, "y is constant"),
        ({"x": [1.0, float("nan"), 3.0, 4.0]}, "not finite"),
        ({"y": [1.0, None, 3.0, 4.0]}, "null"),
        ({"y": [1.0, 2.0, 3.0]}, "y must have shape"),
        ({"within": [0, 1, 2, 3]}, "degrees of freedom"),
        ({"units": [0, 0, 1, 2], "x": [1.0, 2.0, 3.0, 4.0]}, None),
        ({"units": [0, 0, 0, 1]}, "nothing is exchangeable"),
        ({"within": [0, 0, 1, 1], "units": [0, 1, 1, 2]}, "in 2 blocks"),
        ({"within": [0, None, 1, 1]}, "null labels"),
        ({"covariates": [2.0, 4.0, 6.0, 9.0]}, "linear function"),
        ({"permutations": 0}, "at least 1"),
    ],
)
def test_impossible_requests_say_why(change: dict[str, object], message: str | None) -> None:
    arguments: dict[str, object] = {"x": [1.0, 2.0, 3.0, 4.5], "y": [1.0, 3.0, 2.0, 4.0]} | change
    if message is None:
        assert permutation_test(**arguments).n_permutations == 2  # type: ignore[arg-type]
        return
    with pytest.raises(ValueError, match=message):
        permutation_test(**arguments)  # type: ignore[arg-type]


@pytest.mark.long
def test_a_million_permutations_in_half_a_minute_and_a_gibibyte() -> None:
    code = (
        "import numpy as np, time\n"
        "from pathlib import Path\n"
        "from analysis.permutation import permutation_test\n"
        "rng = np.random.default_rng(0)\n"
        "x, y = rng.standard_normal((230, 25)), rng.standard_normal(230)\n"
        "start = time.perf_counter()\n"
        "permutation_test(x, y, permutations=1_000_000)\n"
        "seconds = time.perf_counter() - start\n"
        # rusage would count the memory of the process that started this one
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "status = dict(line.split(':', 1) for line in lines)\n"
        "print(seconds, int(status['VmHWM'].split()[0]) / 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, gibibytes = map(float, done.stdout.split())
    assert seconds < 30
    assert gibibytes < 1


def test_remembered_orders_are_those_that_would_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, y, z = rng.standard_normal((40, 3)), rng.standard_normal(40), rng.standard_normal((40, 2))
    remembered = [
        permutation_test(x, y, permutations=3000, covariates=covariates, seed=9)
        for covariates in (None, z, None)
    ]
    monkeypatch.setattr("analysis.statistics.permutation.REMEMBERED", 0)
    drawn = [
        permutation_test(x, y, permutations=3000, covariates=covariates, seed=9)
        for covariates in (None, z, None)
    ]
    for ours, theirs in zip(remembered, drawn, strict=True):
        assert ours.exceedances.tolist() == theirs.exceedances.tolist()
        assert ours.exceedances_maxt.tolist() == theirs.exceedances_maxt.tolist()


def studentized(x: Floats, y: Floats) -> float:
    products = [a * b for a, b in zip(x - x.mean(), y - y.mean(), strict=True)]
    return float(sum(products) / np.sqrt(sum(product**2 for product in products)))


def test_studentized_by_enumeration() -> None:
    x, y = draw(30, 6), draw(31, 6)
    orders = list(itertools.permutations(range(6)))
    result = permutation_test(x, y, studentized=True)
    assert result.exact
    assert result.statistic == pytest.approx(studentized(x, y), abs=1e-12)
    assert result.r == pytest.approx(pearson(x, y), abs=1e-14)
    assert result.p == pytest.approx(two_sided(x, y, orders, studentized), abs=1e-15)
    assert result.p != permutation_test(x, y).p


def test_studentized_within_blocks_by_enumeration() -> None:
    blocks = [[0, 3, 5], [1, 2], [4, 6, 7], [8]]
    label = np.empty(9, dtype=int)
    for name, rows in enumerate(blocks):
        label[rows] = name
    x, y = draw(32, 9), 3.0 * draw(33, 9) + label

    def t(a: Floats, b: Floats) -> float:
        products = np.concatenate(
            [(a[rows] - a[rows].mean()) * (b[rows] - b[rows].mean()) for rows in blocks]
        )
        return float(products.sum() / np.sqrt(np.square(products).sum()))

    result = permutation_test(x, y, within=label, studentized=True)
    assert result.n_permutations == 72
    assert result.statistic == pytest.approx(t(x, y), abs=1e-12)
    assert result.p == pytest.approx(two_sided(x, y, list(orders_within(blocks)), t), abs=1e-15)


def test_two_values_a_block_are_sign_flips_of_the_products() -> None:
    x, y = draw(34, 8), draw(35, 8)
    products = [(x[i] - x[i + 1]) * (y[i] - y[i + 1]) for i in range(0, 8, 2)]
    sums = [abs(np.dot(signs, products)) for signs in itertools.product([1, -1], repeat=4)]
    result = permutation_test(x, y, within=np.repeat(np.arange(4), 2), studentized=True)
    assert result.p == pytest.approx(np.mean(np.array(sums) >= sums[0] - 1e-12), abs=1e-15)


@pytest.mark.parametrize("blocked", [False, True])
def test_studentized_freedman_lane_by_regression_of_every_permuted_response(blocked: bool) -> None:
    n = 6
    x, y, z = draw(36, n), draw(37, n), draw(38, n, 1)
    y = y + 2.0 * z[:, 0]
    blocks = [[0, 1, 2], [3, 4, 5]] if blocked else [list(range(n))]
    indicator = np.eye(len(blocks))[np.repeat(np.arange(len(blocks)), n // len(blocks))]
    reduced = np.column_stack([indicator, z])
    fit, of_x = sm.OLS(y, reduced).fit(), sm.OLS(x, reduced).fit().resid
    free = 1.0 - fit.get_influence().hat_matrix_diag

    def t(response: Floats) -> float:
        left = sm.OLS(response, reduced).fit().resid
        return float(of_x @ left / np.sqrt(np.square(of_x * left / free).sum()))

    orders = list(orders_within(blocks))
    null = np.array([abs(t(fit.fittedvalues + fit.resid[list(order)])) for order in orders])
    within = np.repeat(np.arange(2), 3) if blocked else None
    result = permutation_test(x, y, covariates=z, within=within, studentized=True)
    assert result.statistic == pytest.approx(t(y), abs=1e-10)
    assert result.p == pytest.approx(np.mean(null >= abs(t(y)) - 1e-10), abs=1e-15)


def test_studentized_units_sum_their_products_first() -> None:
    unit = np.repeat(np.arange(5), 2)
    x, y = draw(39, 10), draw(40, 10)

    def t(a: Floats, b: Floats) -> float:
        a, b = a - a.mean(), b - b.mean()
        slope = a @ b / (a @ a)
        scores = a * (b - slope * a)
        sums = [scores[unit == label].sum() for label in range(5)]
        return float(slope * (a @ a) / np.sqrt(np.square(sums).sum()))

    orders = [
        tuple(row for source in moved for row in (2 * source, 2 * source + 1))
        for moved in itertools.permutations(range(5))
    ]
    result = permutation_test(x, y, units=unit, studentized=True)
    assert result.n_permutations == 120
    assert result.statistic == pytest.approx(t(x, y), abs=1e-12)
    assert result.p == pytest.approx(two_sided(x, y, orders, t), abs=1e-15)


def test_studentized_step_down_maxima_by_definition() -> None:
    n, k = 6, 4
    x, y = draw(41, n, k), draw(42, n)
    x[:, 1] += y
    null = np.array(
        [
            [abs(studentized(x[:, j], y[list(o)])) for j in range(k)]
            for o in itertools.permutations(range(n))
        ]
    )
    observed, expected, before = null[0], np.empty(k), 0.0
    order = np.argsort(-observed)
    for step, column in enumerate(order):
        maxima = null[:, order[step:]].max(axis=1)
        before = max(before, float(np.mean(maxima >= observed[column] - 1e-12)))
        expected[column] = before
    assert permutation_test(x, y, studentized=True).p_maxt == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
def test_studentized_does_not_depend_on_the_chunks(
    given: bool, blocked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One block of one row never moves; a chunk that overwrites it must not change the next.
    x, y, z = draw(43, 31, 3), draw(44, 31), draw(45, 31) if given else None
    block = np.repeat(np.arange(7), 5)[:31] if blocked else None
    arguments = {"within": block, "covariates": z, "studentized": True, "permutations": 500}
    whole = permutation_test(x, y, **arguments)  # type: ignore[arg-type]
    monkeypatch.setattr(permutation, "CHUNK_DOUBLES", 1_000)
    again = permutation_test(x, y, **arguments)  # type: ignore[arg-type]
    assert whole.exceedances.tolist() == again.exceedances.tolist()
    assert whole.exceedances_maxt.tolist() == again.exceedances_maxt.tolist()


def test_only_the_studentized_test_holds_its_level_where_spread_follows_x() -> None:
    rejections = np.zeros(2)
    for study in range(300):
        rng = np.random.default_rng(study)
        x = rng.standard_normal(60)
        y = np.abs(x) * rng.standard_normal(60)  # uncorrelated with x, not independent of it
        for place, way in enumerate((False, True)):
            test = permutation_test(x, y, permutations=199, studentized=way, seed=study)
            rejections[place] += test.p <= 0.05
    # 300 studies at 5% have a standard deviation of 1.3 points.
    assert rejections[0] / 300 > 0.15
    assert rejections[1] / 300 < 0.09
