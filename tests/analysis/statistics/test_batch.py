"""Tests that share permutations give what each gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.statistics.batch import Batch, Outcome
from analysis.statistics.permutation import permutation_test


def test_a_test_in_a_batch_equals_the_test_alone() -> None:
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), rng.standard_normal(30)
    block, unit = np.repeat(np.arange(3), 10), np.repeat(np.arange(15), 2)
    batch = Batch(permutations=400, seed=3)
    designs: dict[str, dict[str, Any]] = {
        "free": {},
        "within": {"within": block},
        "units": {"units": unit},
        "given": {"covariates": z},
    }
    for response in range(2):
        for name, design in designs.items():
            for column in range(4):
                batch.ask(
                    (response, name, column),
                    x[:, column],
                    y[:, response],
                    **design,
                    family=column < 3,
                )
    outcomes = batch.run()
    assert len(outcomes) == 2 * 4 * 4
    for response in range(2):
        for name, design in designs.items():
            family = permutation_test(x[:, :3], y[:, response], permutations=400, seed=3, **design)
            for column in range(4):
                alone = permutation_test(
                    x[:, column], y[:, response], permutations=400, seed=3, **design
                )
                outcome = outcomes[response, name, column]
                assert isinstance(outcome, Outcome)
                assert outcome.r == pytest.approx(float(alone.statistic), abs=1e-14)
                assert outcome.p == alone.p
                assert (outcome.p_low, outcome.p_high) == pytest.approx(tuple(alone.p_interval))
                assert outcome.p_maxt == (family.p_maxt[column] if column < 3 else None)


def test_what_cannot_be_tested_is_refused_alone() -> None:
    batch = Batch(permutations=100, seed=0)
    y = [1.0, 2.0, 4.0, 3.0, 5.0]
    batch.ask("sound", [1.0, 3.0, 2.0, 4.0, 5.0], y)
    with pytest.raises(ValueError, match="x is constant"):
        batch.ask("constant", [1.0] * 5, y)
    with pytest.raises(ValueError, match="linear function"):
        batch.ask("explained", [1.0, 2.0, 3.0, 4.0, 5.0], y, covariates=[2.0, 4.0, 6.0, 8.0, 10.0])
    batch.ask("stuck", [1.0, 3.0, 2.0, 4.0, 5.0], y, units=[0, 0, 1, 1, 1])
    outcomes = batch.run()
    assert set(outcomes) == {"sound", "stuck"}
    assert isinstance(outcomes["sound"], Outcome)
    assert "nothing is exchangeable" in str(outcomes["stuck"])
