"""Levels, coverage and power on simulated studies, and type-I errors of the tests themselves.

The tables of the report are held to account on 60 studies; `tests/calibration.py` has a thousand
of each scenario. Of the tests there are 2,000 simulated data sets each, seeds fixed beforehand:
rejection at 5% must lie within [.03, .07].
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from simulated_studies import SCENARIOS, faults, tally

from analysis.statistics.permutation import permutation_test

SETS = 2_000
PERMUTATIONS = 199  # (b+1)/(n+1) <= .05 is then attainable exactly: b <= 9
LEVEL = 0.05
LOW, HIGH = 0.03, 0.07

SHORT = {"reference": 15, "published, spread": 15, "single": 15, "seeds, t2": 15}


@pytest.mark.parametrize("name", SHORT)
def test_tables_keep_their_promises_on_a_few_studies(name: str) -> None:
    scenario = SCENARIOS[name]
    counts = tally(scenario, range(SHORT[name]))
    assert {table.split(",")[0] for table in counts} == set(scenario.tables)
    assert all(one.studies == SHORT[name] and one.lines for one in counts.values())
    assert faults(scenario, counts) == []


@pytest.mark.long
@pytest.mark.timeout(24 * 3600)
def test_tables_keep_their_promises(tmp_path: Path) -> None:
    command = [sys.executable, "tests/calibration.py", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_free_test_under_independence() -> None:
    rng = np.random.default_rng(20_241_024)
    rejected = 0
    for _ in range(SETS):
        # The tails are heavy: nothing normal is assumed.
        x, y = np.exp(rng.standard_normal(25)), rng.standard_t(3, size=25)
        rejected += bool(
            permutation_test(x, y, permutations=PERMUTATIONS, seed=int(rng.integers(2**31))).p
            <= LEVEL
        )
    assert LOW <= rejected / SETS <= HIGH


def test_freedman_lane_under_a_confounder_that_misleads_the_naive_test() -> None:
    rng = np.random.default_rng(7_193)
    rejected = naive = 0
    for _ in range(SETS):
        z = rng.standard_normal(30)
        x, y = z + 0.7 * rng.standard_normal(30), 2.0 * z + rng.standard_normal(30)
        seed = int(rng.integers(2**31))
        rejected += bool(
            permutation_test(x, y, covariates=z, permutations=PERMUTATIONS, seed=seed).p <= LEVEL
        )
        naive += bool(permutation_test(x, y, permutations=PERMUTATIONS, seed=seed).p <= LEVEL)
    assert LOW <= rejected / SETS <= HIGH
    assert naive / SETS > 0.9


def test_block_permutation_under_a_cluster_effect() -> None:
    rng = np.random.default_rng(31_337)
    block = np.repeat(np.arange(8), 4)
    rejected = naive = 0
    for _ in range(SETS):
        effect = 2.0 * rng.standard_normal(8)[block]
        x, y = effect + rng.standard_normal(32), effect + rng.standard_normal(32)
        seed = int(rng.integers(2**31))
        rejected += bool(
            permutation_test(x, y, within=block, permutations=PERMUTATIONS, seed=seed).p <= LEVEL
        )
        naive += bool(permutation_test(x, y, permutations=PERMUTATIONS, seed=seed).p <= LEVEL)
    assert LOW <= rejected / SETS <= HIGH
    assert naive / SETS > 0.5


def test_whole_units_under_dependence_of_the_rows_of_a_unit() -> None:
    rng = np.random.default_rng(271_828)
    unit = np.repeat(np.arange(12), 4)
    rejected = naive = 0
    for _ in range(SETS):
        x = rng.standard_normal(12)[unit] + 0.2 * rng.standard_normal(48)
        y = rng.standard_normal(12)[unit] + 0.2 * rng.standard_normal(48)
        seed = int(rng.integers(2**31))
        rejected += bool(
            permutation_test(x, y, units=unit, permutations=PERMUTATIONS, seed=seed).p <= LEVEL
        )
        naive += bool(permutation_test(x, y, permutations=PERMUTATIONS, seed=seed).p <= LEVEL)
    assert LOW <= rejected / SETS <= HIGH
    assert naive / SETS > 0.2


def test_family_wise_error_of_the_step_down_maxima() -> None:
    rng = np.random.default_rng(161_803)
    rejected = each = 0
    for _ in range(SETS):
        common = rng.standard_normal((25, 1))
        x, y = (
            common + rng.standard_normal((25, 12)),
            rng.standard_normal(25),
        )  # 12 correlated metrics, none related to y
        result = permutation_test(x, y, permutations=PERMUTATIONS, seed=int(rng.integers(2**31)))
        rejected += bool((result.p_maxt <= LEVEL).any())
        each += bool((result.p <= LEVEL).any())
    assert LOW <= rejected / SETS <= HIGH
    assert each / SETS > 0.15  # unadjusted p-values would have claimed something this often
