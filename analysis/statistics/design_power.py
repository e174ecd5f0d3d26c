"""What a design can find, from the sizes of its cells alone.

Nothing has to be trained for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics.levels import ALPHA

POWER = 0.8  # chance that what is there is found
WORTH_FINDING = (0.3, 0.5)  # partial correlations for which the seeds of a cell are counted
MOST_SEEDS = 100_000
FAMILY = 7  # primary metrics, one a property, where a study names no others


@dataclass(frozen=True)
class DesignPower:
    """What a design finds with 80% power among its replicates.

    `cells` that have replicates, `trainings` in all cells, `r_w` = sum of (seeds - 1); `alone`
    and `within_family` the least |partial r| in (0, 1) that is found, for one metric and for one
    of a family, None where there are too few degrees of freedom; `seeds` that each of all cells
    would need, by partial r, within the family.
    """

    cells: int
    trainings: int
    r_w: int
    alone: float | None
    within_family: float | None
    seeds: dict[float, int]


def detectable_r(
    dof: int, *, family: int = 1, power: float = POWER, level: float = ALPHA
) -> float | None:
    """Least |partial r| that a two-sided t test finds with `power`; None if none is.

    `dof` residual degrees of freedom of the test (r_w - 1 less one a covariate). Each of `family`
    tests has level / family, which max-T undercuts where metrics are correlated. Noncentral t
    with noncentrality r sqrt((dof + 1) / (1 - r^2)) (Cohen 1988, chapter 9, with one predictor).
    """
    if dof < 1:
        return None
    critical = _critical(dof, level / family)
    if _power(1.0 - 1e-9, dof, critical) < power:
        return None
    shift = _shift(dof, critical, power)
    return shift / math.sqrt(dof + 1 + shift * shift)


def _critical(dof: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(-stdtrit(dof, level / 2))


def _shift(dof: int, critical: float, power: float) -> float:
    """Noncentrality whose t is above the critical value with probability `power`."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(dof, 1.0 - power, critical))


def _power(r: float, dof: int, critical: float) -> float:
    """Chance of |t| above the critical value; the tail away from r counts for nothing."""
    from scipy.special import nctdtr

    shift = r * math.sqrt((dof + 1) / (1.0 - r * r))
    below = float(nctdtr(dof, shift, critical))
    # Far from zero the noncentral t underflows to nan: then every t lies above.
    return 1.0 if math.isnan(below) else 1.0 - below


def detectable_difference(
    pairs: int, *, family: int = 1, power: float = POWER, level: float = ALPHA
) -> float | None:
    """Least mean difference of pairs that is found with `power`; None if none is.

    In standard deviations of the differences. By the signed-rank test of normal differences, each
    of `family` at level / family: Student's t with 3 / pi of the pairs' information, the efficiency
    of the test in large samples (Hodges & Lehmann 1956). No p of n pairs is below 2^(1 - n).
    """
    if 2.0 ** (1 - pairs) > level / family:
        return None
    shift = _shift(pairs - 1, _critical(pairs - 1, level / family), power)
    return shift / math.sqrt(pairs * 3 / math.pi)


def replicates_needed(
    r: float,
    cells: int,
    *,
    family: int = 1,
    covariates: int = 0,
    power: float = POWER,
    level: float = ALPHA,
) -> int:
    """Fewest seeds in each of `cells` design cells that find a partial r.

    It is found with probability `power`.

    r in (0, 1); the test has cells (seeds - 1) - 1 - covariates degrees of freedom. Raises
    ValueError for another r, and where 100,000 seeds are too few.
    """
    if not 0 < r < 1 or cells < 1:
        raise ValueError(f"r must lie between 0 and 1 and cells be positive, not {r} and {cells}")

    def enough(seeds: int) -> bool:
        dof = cells * (seeds - 1) - 1 - covariates
        return dof >= 1 and _power(r, dof, _critical(dof, level / family)) >= power

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            raise ValueError(f"a partial r of {r} needs over {MOST_SEEDS:,} seeds a cell")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def design_power(
    sizes: Sequence[int],
    *,
    family: int = FAMILY,
    covariates: int = 0,
    power: float = POWER,
    level: float = ALPHA,
) -> DesignPower:
    """What a design with these seeds in each cell finds.

    Also the seeds that it would need.

    `sizes` trainings of each design cell; `family` metrics of the primary family; `covariates`
    beside them. Raises ValueError without a cell or with an empty one.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"a design needs cells of one training or more, not {list(sizes)}")
    r_w = sum(sizes) - len(sizes)
    dof = r_w - 1 - covariates
    return DesignPower(
        cells=sum(size > 1 for size in sizes),
        trainings=sum(sizes),
        r_w=r_w,
        alone=detectable_r(dof, power=power, level=level),
        within_family=detectable_r(dof, family=family, power=power, level=level),
        seeds={
            r: replicates_needed(
                r, len(sizes), family=family, covariates=covariates, power=power, level=level
            )
            for r in WORTH_FINDING
        },
    )
