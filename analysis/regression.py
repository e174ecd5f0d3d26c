"""The face of the regressions: `regress(x, y, ...)` and what it returns."""

from analysis.statistics.regression import Regression, regress

__all__ = ["Regression", "regress"]
