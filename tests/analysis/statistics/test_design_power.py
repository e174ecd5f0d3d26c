"""What a design can find, against Cohen's tables, scipy's distributions and simulation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.design_power import (
    design_power,
    detectable_difference,
    detectable_r,
    replicates_needed,
)


@pytest.mark.parametrize(("dof", "family"), [(5, 1), (20, 7), (95, 1), (500, 7)])
def test_detectable_r_has_the_power_it_says(dof: int, family: int) -> None:
    r = detectable_r(dof, family=family)
    assert r is not None
    critical = scipy.stats.t.isf(0.05 / family / 2, dof)
    shift = r * np.sqrt((dof + 1) / (1 - r * r))
    assert scipy.stats.nct.sf(critical, dof, shift) == pytest.approx(0.8, abs=1e-6)


def test_seeds_for_one_cell_are_close_to_cohens_table() -> None:
    # Cohen 1988, table 3.4.1: rows for r at 5%, two-sided, power .80: 84 for .30, 28 for .50.
    # The table holds a random x; a fixed one needs about one row more or less.
    assert replicates_needed(0.3, 1) == pytest.approx(84, abs=3)
    assert replicates_needed(0.5, 1) == pytest.approx(28, abs=3)


def test_power_by_simulation_within_cells() -> None:
    rng = np.random.default_rng(0)
    cells, rejections = 8, 0
    seeds = replicates_needed(0.5, cells)
    dof = cells * (seeds - 1) - 1
    for _ in range(1_000):
        a, b = rng.standard_normal((2, cells, seeds))
        y = 0.5 * a + np.sqrt(0.75) * b
        x, y = a - a.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        r = (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())
        t = r * np.sqrt(dof / (1 - r * r))
        rejections += abs(t) > scipy.stats.t.isf(0.025, dof)
    assert 0.74 <= rejections / 1_000 <= 0.88  # whole seeds overshoot; deviation 1.3 points


def test_fewest_seeds() -> None:
    for cells, family in ((1, 1), (4, 7), (32, 7)):
        seeds = replicates_needed(0.3, cells, family=family)
        enough = detectable_r(cells * (seeds - 1) - 1, family=family)
        few = detectable_r(cells * (seeds - 2) - 1, family=family)
        assert enough is not None
        assert enough <= 0.3
        assert few is None or few > 0.3


def test_a_design_by_its_sizes() -> None:
    power = design_power([4, 4, 1, 2], family=7)
    assert (power.cells, power.trainings, power.r_w) == (3, 11, 7)
    assert power.alone == detectable_r(6)
    assert power.within_family == detectable_r(6, family=7)
    assert power.alone is not None
    assert power.within_family is not None
    assert power.alone < power.within_family
    assert power.seeds == {r: replicates_needed(r, 4, family=7) for r in (0.3, 0.5)}


def test_designs_that_find_nothing() -> None:
    assert design_power([1, 1, 2]).within_family is None
    assert design_power([1, 1]).r_w == 0
    with pytest.raises(ValueError, match="one training or more"):
        design_power([2, 0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        replicates_needed(1.0, 3)


def test_a_dry_run_imports_neither_scipy_stats_nor_polars() -> None:
    code = (
        "import sys\n"
        "from analysis.statistics.design_power import design_power\n"
        "design_power([4] * 8)\n"
        "print([name for name in ('scipy.stats', 'polars', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("pairs", "family"), [(12, 1), (30, 7)])
def test_detectable_differences_have_the_power_they_say(pairs: int, family: int) -> None:
    size = detectable_difference(pairs, family=family)
    assert size is not None
    d = np.random.default_rng(1).standard_normal((4_000, pairs)) + size
    p = scipy.stats.wilcoxon(d, axis=1, method="exact" if pairs < 25 else "approx").pvalue
    assert np.mean(p <= 0.05 / family) == pytest.approx(0.8, abs=0.03)


def test_a_few_pairs_find_nothing() -> None:
    assert [detectable_difference(n) is None for n in (2, 5, 6)] == [True, True, False]
    assert detectable_difference(8, family=7) is None
