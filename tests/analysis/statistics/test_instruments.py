"""Two-stage least squares against statsmodels, loops, and numbers of linearmodels 7.1."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from statsmodels.sandbox.regression.gmm import IV2SLS

from analysis.statistics.instruments import anderson_rubin, over_identification, two_stage
from analysis.statistics.permutation import prepare

Floats = NDArray[np.float64]
BLOCKS, LEVELS = 12, 3


def study() -> tuple[Floats, Floats, Floats, NDArray[np.intp]]:
    """y, x with a hidden common cause, the level that moves x, and the block; to three digits.

    linearmodels had the same numbers.
    """
    rng = np.random.default_rng(5)
    block, level = np.repeat(np.arange(BLOCKS), LEVELS), np.tile(np.arange(LEVELS), BLOCKS)
    hidden = rng.standard_normal(len(block))
    x = rng.standard_normal(BLOCKS)[block] + 0.8 * level + hidden
    x = np.round(x, 3)
    own = rng.standard_normal(BLOCKS)[block]
    y = np.round(own + 0.5 * x - hidden + 0.3 * rng.standard_normal(len(block)), 3)
    return y, x, level.astype(np.float64), block


def indicators(level: Floats) -> Floats:
    return np.column_stack([level == each for each in np.unique(level)[1:]]).astype(np.float64)


def test_it_is_that_of_statsmodels_with_an_indicator_of_each_block() -> None:
    y, x, z, block = study()
    own = (block[:, None] == np.arange(BLOCKS)).astype(float)
    fit = two_stage(y, x, z, block)
    reference = IV2SLS(y, np.column_stack([own, x]), np.column_stack([own, z])).fit()
    assert fit.estimate == pytest.approx(reference.params[-1], rel=1e-9)
    ordinary = sm.OLS(y, np.column_stack([own, x])).fit()
    assert fit.least_squares == pytest.approx(ordinary.params[-1], rel=1e-9)
    first = sm.OLS(x, np.column_stack([own, z])).fit(
        cov_type="cluster", cov_kwds={"groups": block, "use_correction": False}
    )
    assert fit.first_stage == pytest.approx(first.params[-1], rel=1e-9)
    assert fit.f == pytest.approx(first.tvalues[-1] ** 2 * (BLOCKS - 1) / BLOCKS, rel=1e-9)
    assert (fit.n, fit.blocks, fit.weak) == (BLOCKS * LEVELS, BLOCKS, False)


def test_it_is_that_of_linearmodels() -> None:
    y, x, z, block = study()
    fit = two_stage(y, x, z, block)
    assert fit.estimate == pytest.approx(0.5713716562322148, rel=1e-9)
    # cov_type="clustered", whose variance has no factor g / (g - 1)
    assert fit.se == pytest.approx(0.2768053381195181 * np.sqrt(12 / 11), rel=1e-9)
    assert fit.f == pytest.approx(16.346765433146484 * 11 / 12, rel=1e-9)
    agreement = over_identification(y, x, indicators(z), block)
    assert agreement is not None
    # IVGMM(weight_type="clustered"), iter_limit=2
    assert agreement.j == pytest.approx(0.4143203690181336, rel=1e-9)
    assert agreement.p == pytest.approx(0.5197847619882495, rel=1e-9)


def test_of_pairs_it_is_the_ratio_of_mean_differences() -> None:
    rng = np.random.default_rng(1)
    dx, dy = 1 + rng.standard_normal(9), rng.standard_normal(9)
    block, z = np.repeat(np.arange(9), 2), np.tile([0.0, 1.0], 9)
    x = np.column_stack([np.zeros(9), dx]).ravel() + np.repeat(rng.standard_normal(9), 2)
    y = np.column_stack([np.zeros(9), dy]).ravel()
    fit = two_stage(y, x, z, block)
    assert fit.estimate == pytest.approx(dy.mean() / dx.mean(), rel=1e-9)
    # F of a level is the square of Student's t of the differences, but for g / (g - 1) each.
    left = dx - dx.mean()
    assert fit.f == pytest.approx(dx.mean() ** 2 / (left @ left / 9 / 8), rel=1e-9)
    assert fit.se == pytest.approx(
        np.sqrt(np.var(dy - fit.estimate * dx) / 8) / abs(dx.mean()), rel=1e-9
    )


def statistic(effect: float) -> float:
    """|t| of the level and y - effect x, from the definition, in blocks."""
    y, x, z, block = study()
    products = []
    for own in range(BLOCKS):
        rows = [at for at in range(len(block)) if block[at] == own]
        u = [y[at] - effect * x[at] for at in rows]
        for at, value in zip(rows, u, strict=True):
            level = z[at] - sum(z[row] for row in rows) / len(rows)
            products.append(level * (value - sum(u) / len(u)))
    return float(abs(sum(products)) / np.sqrt(sum(product**2 for product in products)))


@pytest.mark.parametrize("critical", [1.0, 2.0, 2.4])
def test_anderson_rubin_holds_the_effects_that_are_not_rejected(critical: float) -> None:
    y, x, z, block = study()
    interval = anderson_rubin(y, x, z, block, critical=critical)
    assert interval is not None
    for end, outwards in zip(interval, (-1, 1), strict=True):
        assert statistic(end) == pytest.approx(critical, rel=1e-6)
        assert statistic(end + 0.01 * outwards) > critical > statistic(end - 0.01 * outwards)
    assert interval[0] < two_stage(y, x, z, block).estimate < interval[1]


def test_a_weak_instrument_leaves_no_interval() -> None:
    y, _, z, block = study()
    x = np.random.default_rng(3).standard_normal(len(y))
    fit = two_stage(y, x, z, block)
    assert fit.weak
    assert fit.f < 10
    assert anderson_rubin(y, x, z, block, critical=2.0) is None
    assert anderson_rubin(y, x, z, block, critical=np.inf) is None


def test_at_no_effect_it_is_the_permutation_test_of_the_response() -> None:
    y, x, z, block = study()
    test = prepare(y[:, None], z, within=block, studentized=True)
    assert statistic(0.0) == pytest.approx(abs(test.signed()[1][0]), rel=1e-9)
    critical = float(test.critical(2_000, 0)[0])
    interval = anderson_rubin(y, x, z, block, critical=critical)
    assert interval is not None
    assert (interval[0] <= 0 <= interval[1]) == (statistic(0.0) <= critical)


def test_levels_that_disagree_are_told() -> None:
    rng = np.random.default_rng(4)
    block, level = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    x = level + 0.1 * rng.standard_normal(120)
    bent = 2.0 * (level == 1) + 0.1 * rng.standard_normal(120)
    z = indicators(level.astype(float))
    agreed, refuted = (
        over_identification(y, x, z, block) for y in (x + rng.standard_normal(120), bent)
    )
    assert agreed is not None
    assert refuted is not None
    assert refuted.p < 1e-6
    assert agreed.p > 0.01
    assert over_identification(bent, x, z[:, :1], block) is None
    assert over_identification(bent[:27], x[:27], z[:27], block[:27]) is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.zeros(36)}, "is constant"),
        ({"z": np.repeat(np.arange(12.0), 3)}, "is a linear function of what is taken out"),
        ({"block": np.zeros(36)}, "all rows are of one block"),
        ({"y": np.full(36, np.nan)}, "null or not finite"),
    ],
)
def test_what_cannot_be_related_is_refused(change: dict[str, Floats], message: str) -> None:
    y, x, z, block = study()
    given = {"y": y, "x": x, "z": z, "block": block, **change}
    with pytest.raises(ValueError, match=message):
        two_stage(given["y"], given["x"], given["z"], given["block"])
