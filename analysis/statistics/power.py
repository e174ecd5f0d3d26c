"""What a test can find: the smallest association that it rejects often enough."""

from __future__ import annotations

from analysis.statistics.levels import ALPHA

POWER = 0.8


def minimum_detectable_r2(
    n: int, covariates: int, *, power: float = POWER, level: float = ALPHA
) -> float | None:
    """Least (partial) R^2 that an F test of one metric finds with `power`.

    n rows and that many covariates beside the metric; noncentral F with noncentrality
    n f^2, f^2 = R^2 / (1 - R^2) (Cohen 1988, chapter 9). In (0, 1); None where no R^2 is
    found that often.
    """
    from scipy.optimize import brentq
    from scipy.stats import f, ncf

    left = n - covariates - 2
    if left < 1:
        return None
    critical = f.isf(level, 1, left)

    def lack(r2: float) -> float:
        return float(ncf.sf(critical, 1, left, n * r2 / (1.0 - r2)) - power)

    if lack(1.0 - 1e-9) < 0:
        return None
    return float(brentq(lack, 1e-9, 1.0 - 1e-9, xtol=1e-12))
