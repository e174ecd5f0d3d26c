"""Meta-analysis by random effects.

What several estimates of one quantity say together.

Shapes: k estimates, each with the sampling variance that goes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.levels import CONFIDENCE
from analysis.statistics.linear import Floats

Method = Literal["REML", "DL"]


@dataclass(frozen=True)
class MetaAnalysis:
    """`estimate` of the mean effect of `k` studies, with its standard error `se`.

    `low`, `high` its 95% interval and `p` its two-sided test, both normal, or of Student's t with
    k - 1 degrees of freedom by Knapp and Hartung; `q` Cochran's heterogeneity with `df` = k - 1
    degrees of freedom and `q_p`; `tau2` variance between studies, in squared units of the
    effects; `i2` share of the variance of an estimate that lies between studies, in [0, 1);
    `prediction_low`, `prediction_high` 95% interval of the effect of a new study, by Student's t
    with k - 2 degrees of freedom, None for k < 3; `weights` (k,) of the studies, which sum to 1.
    """

    k: int
    estimate: float
    se: float
    low: float
    high: float
    p: float
    q: float
    df: int
    q_p: float
    i2: float
    tau2: float
    prediction_low: float | None
    prediction_high: float | None
    weights: Floats


def meta_analysis(
    effects: ArrayLike,
    variances: ArrayLike,
    *,
    method: Method = "REML",
    knapp_hartung: bool = False,
) -> MetaAnalysis:
    """Random-effects meta-analysis of effects (k,).

    Their sampling variances (k,) > 0 are known.

    tau^2 by restricted maximum likelihood (Viechtbauer 2005) or by the
    moments of Q (DerSimonian & Laird 1986). I^2 = tau^2 / (tau^2 + s^2), s^2 the typical
    variance of Higgins & Thompson 2002, eq. 9. Prediction interval: Higgins, Thompson &
    Spiegelhalter 2009, eq. 12.

    With `knapp_hartung` the variance of the estimate is
    max(1, sum w (y - estimate)^2 / (k - 1)) / sum w, w = 1 / (variance + tau^2): a few studies
    tell tau^2 too badly for the normal distribution (Knapp & Hartung 2003). The 1 keeps studies
    that agree by chance from a variance near 0 (Roever, Knapp & Friede 2015).

    Raises ValueError for fewer than two studies, for null values and for a variance that is not
    positive.

    >>> pooled = meta_analysis([0.1, 0.3], [0.01, 0.03], method="DL")  # weights 3 and 1
    >>> round(pooled.estimate, 6), pooled.tau2
    (0.15, 0.0)
    """
    from scipy.special import chdtrc, ndtri, stdtr, stdtrit

    y, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if y.ndim != 1 or y.shape != v.shape or y.size < 2:
        raise ValueError(
            f"two effects and their variances are needed, not arrays of {y.shape} and {v.shape}"
        )
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError("effects must be finite and variances positive")
    k, fixed = y.size, 1.0 / v
    q = float(fixed @ np.square(y - fixed @ y / fixed.sum()))
    excess = fixed.sum() - fixed @ fixed / fixed.sum()
    moments = max(0.0, (q - (k - 1)) / excess)
    tau2 = moments if method == "DL" else _reml(y, v)
    w = 1.0 / (v + tau2)
    estimate, se = float(w @ y / w.sum()), 1.0 / math.sqrt(w.sum())
    if knapp_hartung:
        se *= math.sqrt(max(1.0, float(w @ np.square(y - estimate)) / (k - 1)))
        half = float(stdtrit(k - 1, 0.5 + CONFIDENCE / 2)) * se
        p = 2.0 * float(stdtr(k - 1, -abs(estimate / se)))
    else:
        half = float(ndtri(0.5 + CONFIDENCE / 2)) * se
        p = math.erfc(abs(estimate / se) / math.sqrt(2))
    reach = None
    if k > 2:
        reach = float(stdtrit(k - 2, 0.5 + CONFIDENCE / 2)) * math.sqrt(tau2 + se * se)
    return MetaAnalysis(
        k=k,
        estimate=estimate,
        se=se,
        low=estimate - half,
        high=estimate + half,
        p=p,
        q=q,
        df=k - 1,
        q_p=float(chdtrc(k - 1, q)),
        i2=float(tau2 / (tau2 + (k - 1) / excess)),
        tau2=float(tau2),
        prediction_low=None if reach is None else estimate - reach,
        prediction_high=None if reach is None else estimate + reach,
        weights=w / w.sum(),
    )


def _reml(y: Floats, v: Floats) -> float:
    """tau^2 at which the restricted likelihood is level.

    It is 0 where the likelihood falls from there on.
    """
    from scipy.optimize import brentq

    def slope(tau2: float) -> float:
        w = 1.0 / (v + tau2)
        left = y - w @ y / w.sum()
        return float(np.square(w * left).sum() - (w.sum() - w @ w / w.sum()))

    if slope(0.0) <= 0:
        return 0.0
    bound = float(np.var(y)) + float(v.max())
    while slope(bound) > 0:
        bound *= 2
    return float(brentq(slope, 0.0, bound, xtol=1e-14))


def meta_of_correlations(
    r: ArrayLike, n: ArrayLike, *, lost: int = 0, method: Method = "REML"
) -> MetaAnalysis | None:
    """`meta_analysis` of correlations r (k,) from n (k,) rows each, on Fisher's scale.

    Effects artanh r, variances 1 / (n - 3 - lost), `lost` the number of covariates. `estimate`,
    its interval and the prediction interval are turned back to correlations; `se` and `tau2`
    stay on Fisher's scale. Correlations with n <= 3 + lost, of NaN or of size 1 are left out;
    None where fewer than two remain. Fisher 1921; Hedges & Olkin 1985, chapter 11.

    >>> pooled = meta_of_correlations([0.5, 0.5], [28, 53])
    >>> round(pooled.estimate, 6), round(pooled.se, 6)  # 1 / sqrt(25 + 50)
    (0.5, 0.11547)
    """
    values, free = np.asarray(r, dtype=np.float64), np.asarray(n) - 3 - lost
    usable = (free > 0) & (np.abs(values) < 1.0)
    if np.count_nonzero(usable) < 2:
        return None
    z = meta_analysis(np.arctanh(values[usable]), 1.0 / free[usable], method=method)
    ends = z.prediction_low, z.prediction_high
    return replace(
        z,
        estimate=math.tanh(z.estimate),
        low=math.tanh(z.low),
        high=math.tanh(z.high),
        prediction_low=None if ends[0] is None else math.tanh(ends[0]),
        prediction_high=None if ends[1] is None else math.tanh(ends[1]),
    )
