"""Pairs of orders: each is one permutation, and together they count as independent ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis.statistics import permutation
from analysis.statistics.order_pairs import paired_statistics

CELL = np.repeat(np.arange(4), 6)
UNIT = np.repeat(np.arange(12), 2)
DESIGNS: dict[str, dict[str, Any]] = {
    "free": {},
    "free, given": {"given": 2},
    "studentized": {"within": CELL, "studentized": True},
    "studentized, given": {"within": CELL, "studentized": True, "given": 2},
    "units": {"within": CELL, "units": UNIT, "studentized": True},
    "units, given": {"within": CELL, "units": UNIT, "studentized": True, "given": 2},
}


def prepared(design: str, seed: int, n: int = 24, k: int = 3) -> permutation.Prepared:
    rng = np.random.default_rng(seed)
    options = dict(DESIGNS[design])
    given = options.pop("given", 0)
    covariates = rng.standard_normal((n, given)) if given else None
    x = rng.standard_normal((n, k))
    y = 0.4 * x[:, 0] + rng.standard_normal(n)
    return permutation.prepare(x, y, covariates=covariates, **options)


@pytest.mark.parametrize("tile", [2**16, 1])
@pytest.mark.parametrize("design", DESIGNS)
def test_a_pair_is_the_order_of_y_after_the_inverse_of_that_of_x(
    design: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.statistics.order_pairs.TILE", tile)
    test = prepared(design, 0)
    of_x, of_y = (permutation.side(test.orbits, 24, total, 5, at) for at, total in ((0, 4), (1, 6)))
    places = None if test.unit is None else [np.flatnonzero(test.unit == u) for u in range(12)]
    parts = paired_statistics(
        test.columns, test.response, test.basis, test.squares, places, of_x, of_y
    )
    shape = (6, -1, 3)
    pairs = np.concatenate([part.reshape(shape) for part in parts], axis=1)
    for a, order in enumerate(of_y):
        for b, inverse in enumerate(of_x):
            moved = test.response[order[np.argsort(inverse)]]
            assert pairs[a, b] == pytest.approx(test.statistics(moved[None])[0], rel=1e-9)


@pytest.mark.parametrize("mixed", [30, 0])
@pytest.mark.parametrize("design", DESIGNS)
def test_counts_of_pairs_are_those_of_single_orders(
    design: str, mixed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permutation, "MIXED", mixed)
    test = prepared(design, 1)
    pairs = test.drawn(100_000, 7)
    monkeypatch.setattr(permutation, "PAIRED", 10**9)
    single = test.drawn(100_000, 8)
    for one, other in ((pairs.alone, single.alone), (pairs.maxt, single.maxt)):
        share = (one + other) / 200_000
        error = np.sqrt(2 * share * (1 - share) / 100_000)
        assert (np.abs(one - other) / 100_000 <= 4 * error).all()
    assert pairs.n == single.n


def test_counts_spread_as_those_of_independent_draws() -> None:
    """Over 100 seeds the variance of a count is binomial: chi-squared, both tails at .001."""
    test = prepared("studentized", 2, k=1)
    counts = np.array([test.drawn(100_000, seed).alone[0] for seed in range(100)])
    share = counts.mean() / 100_000
    ratio = counts.var(ddof=1) / (100_000 * share * (1 - share)) * 99
    assert scipy.stats.chi2.ppf(0.001, 99) < ratio < scipy.stats.chi2.ppf(0.999, 99)


def test_a_number_that_is_no_multiple_of_the_orders_is_met() -> None:
    assert prepared("free", 3).drawn(100_001, 0).n == 100_001
    test = prepared("free", 3)
    total = sum(len(part) for part in test._of_pairs(100_001, 0))
    assert total == 100_001
