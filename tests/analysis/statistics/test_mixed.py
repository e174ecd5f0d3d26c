"""The random-intercept model, against statsmodels and its own deviance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from analysis.statistics.linear import Floats
from analysis.statistics.mixed import mixed_model


def grouped(seed: int, spread: float) -> tuple[Floats, Floats, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    x = rng.standard_normal(len(group)) + rng.standard_normal(12)[group]
    return (
        x,
        0.5 * x + spread * rng.standard_normal(12)[group] + rng.standard_normal(len(group)),
        group,
    )


@pytest.mark.parametrize("seed", range(4))
def test_mixed_model_finds_the_optimum_of_statsmodels(seed: int) -> None:
    x, y, group = grouped(seed, 1.0)
    mine = mixed_model(x, y, group)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    design = np.column_stack([np.ones_like(x), x])
    fit = MixedLM(y, design, groups=group).fit(reml=True)
    between = float(fit.cov_re[0, 0])
    assert mine.slope == pytest.approx(fit.fe_params[1], abs=1e-5)
    assert mine.group_share == pytest.approx(between / (between + fit.scale), abs=1e-4)
    # statsmodels' own error is of the joint Hessian; the usual one is (X' V^-1 X)^-1, here with V
    # written out.
    inverse = np.linalg.inv(
        fit.scale * np.eye(len(x)) + between * (group[:, None] == group[None, :])
    )
    error = math.sqrt(np.linalg.inv(design.T @ inverse @ design)[1, 1])
    assert mine.se == pytest.approx(error, rel=1e-3)
    assert mine.p == pytest.approx(math.erfc(abs(mine.slope) / mine.se / math.sqrt(2)), rel=1e-12)


def test_mixed_model_has_the_least_restricted_deviance() -> None:
    # statsmodels does not converge on this one; the deviance here is the textbook's, with V written
    # out.
    x, y, group = grouped(4, 1.0)
    mine = mixed_model(x, y, group)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    design = np.column_stack([np.ones_like(x), x])

    def fit(share: float) -> tuple[float, float]:
        v = np.eye(len(x)) + share / (1 - share) * (group[:, None] == group[None, :])
        inverse = np.linalg.inv(v)
        information = design.T @ inverse @ design
        beta = np.linalg.solve(information, design.T @ inverse @ y)
        left = y - design @ beta
        free = len(x) - 2
        deviance = (
            np.linalg.slogdet(v)[1]
            + np.linalg.slogdet(information)[1]
            + free * np.log(left @ inverse @ left)
        )
        return float(deviance), float(beta[1])

    shares = np.linspace(0, 0.99, 1_981)
    deviances = [fit(share)[0] for share in shares]
    assert mine.group_share == pytest.approx(shares[int(np.argmin(deviances))], abs=5e-4)
    deviance, slope = fit(mine.group_share)
    assert deviance <= min(deviances) + 1e-9
    assert mine.slope == pytest.approx(slope, abs=1e-10)


def test_mixed_model_at_its_bound_is_the_plain_regression() -> None:
    # Group means that differ less than their rows let them: the variance is zero, where MixedLM
    # fails.
    x = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0])
    y = np.array([0.1, 0.9, 2.2, 2.8, 0.0, 1.1, 1.9, 3.0])
    result = mixed_model(x, y, [0, 0, 0, 0, 1, 1, 1, 1])
    assert result.group_share == 0.0
    assert result.slope == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
def test_mixed_model_needs_groups(groups: list[int]) -> None:
    with pytest.raises(ValueError, match="two groups"):
        mixed_model([1.0, 2.0, 4.0, 3.0, 5.0], [1.0, 3.0, 2.0, 4.0, 6.0], groups)
