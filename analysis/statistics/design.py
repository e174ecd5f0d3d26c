"""A model of the design.

Which function of the axes y follows, and whether that is enough.

If y is f(axes) plus noise and f lies in the span of the model, a metric may depend on the axes as
it likes; so the model has to fit y, and is tested for it.

Shapes: n rows, q columns of a model (without intercept), C design cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.decide import MOST, decide
from analysis.statistics.levels import ALPHA, in_print
from analysis.statistics.linear import SINGULAR, Codes, Floats, codes, finite_columns, nuisance
from analysis.statistics.multiplicity import holm

LEAST_DOF = 10  # residual degrees of freedom that a model has to leave
LACK_LEVEL = 0.01  # lack of fit at or below this p makes a control inadequate
OUTSIDE = 1e-6  # relative size above which a function of the axes lies outside a span

Axes = Mapping[str, ArrayLike]


@dataclass(frozen=True)
class DesignModel:
    """A candidate for the model of the design.

    Its `name`, its `terms` in words, its `columns` (n, q) without intercept.

    `rank` with the intercept, `dof` = n - rank, `r2` in [0, 1], `q2` of predictions for groups
    that were left out, at most 1.
    """

    name: str
    terms: str
    columns: Floats
    rank: int
    dof: int
    r2: float
    q2: float


@dataclass(frozen=True)
class LackOfFit:
    """F test of the cell means about the model, against the replicates about them."""

    f: float
    df_fit: int
    df_error: int
    p: float


@dataclass(frozen=True)
class Placebo:
    """A function of the axes outside the span.

    Its partial `r` with y, its `p`, and that by Holm.
    """

    name: str
    r: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class DesignControl:
    """The chosen `model` among the `candidates`, and what was found against it.

    `adequate` is false where a placebo has p <= .05 after Holm or lack of fit p <= .01; `reason`
    says which, "" if none. `lack_of_fit` is None without replicates or without a cell more than
    the model has parameters.
    """

    model: DesignModel
    candidates: tuple[DesignModel, ...]
    lack_of_fit: LackOfFit | None
    placebos: tuple[Placebo, ...]
    adequate: bool
    reason: str


def cell_codes(axes: Axes) -> Codes:
    """The design cell (n,) of each row, as integers.

    Rows that agree in every axis share one.
    """
    arrays = [np.asarray(values) for values in axes.values()]
    if not arrays:
        raise ValueError("a design needs an axis")
    labels = np.column_stack([codes("axis", values, len(arrays[0])) for values in arrays])
    return np.unique(labels, axis=0, return_inverse=True)[1].ravel().astype(np.intp)


def leave_groups_out_q2(y: ArrayLike, columns: ArrayLike, groups: ArrayLike) -> float:
    """Q^2 = 1 - squared errors of prediction / squares of y about its mean.

    Both are sums over the rows.

    Each group (n,) is predicted by least squares on an intercept and columns (n, q) of all other
    groups. No model is fitted again: with H the hat matrix and e the residuals, the errors of a
    group are (I - H_gg)^-1 e_g (Cook & Weisberg 1982, section 3.4). Where the others do not
    determine a prediction (a level that only this group has), it is their mean. At most 1, below
    0 where the mean of all predicts better. Raises ValueError for null or constant y.
    """
    response = finite_columns("y", y)
    removed = nuisance(len(response), covariates=columns)
    nuisance(len(response)).vary("y", response)
    centred = (response - response.mean())[:, 0]
    error = removed.residual(response)[:, 0]
    group = codes("groups", groups, len(centred))
    square = sum(
        float(np.square(_errors(rows, error, centred, removed.basis)).sum())
        for rows in _rows_by_label(group)
    )
    return 1.0 - square / float(centred @ centred)


def _errors(rows: Codes, error: Floats, centred: Floats, basis: Floats) -> Floats:
    """Errors of prediction of a group of rows by a model of all others."""
    n = len(centred)
    inner = np.eye(len(rows)) - 1.0 / n - basis[rows] @ basis[rows].T
    values, vectors = np.linalg.eigh(inner)
    if values[0] <= 1e-8:
        return np.asarray(centred[rows] + centred[rows].sum() / max(n - len(rows), 1))
    return np.asarray(vectors @ ((vectors.T @ error[rows]) / values))


def _rows_by_label(label: Codes) -> list[Codes]:
    return np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])


def design_candidates(
    y: ArrayLike, numeric: Axes, categorical: Axes, *, groups: ArrayLike | None = None
) -> tuple[DesignModel, ...]:
    """The models of y (n,) that are considered, in order.

    Those without a term are left out.

    "factors": every axis as a factor. "pairwise factors": and all their pairwise interactions.
    "quadratic in logs": numeric axes in logarithms with squares and pairwise interactions, all
    other axes, and numeric ones that are not positive, as factors. `q2` leaves out `groups` (n,),
    by default the design cells. Axes of one value and models with as many columns as rows are
    left out. Raises ValueError for null values, for a constant y and where no axis varies.
    """
    response = finite_columns("y", y)
    n = len(response)
    if np.ptp(response) == 0:
        raise ValueError("the response is constant")
    numbers = {name: finite_columns(name, values)[:, 0] for name, values in numeric.items()}
    factors = {
        name: codes(name, values, n) for name, values in [*numeric.items(), *categorical.items()]
    }
    varying = {name: code for name, code in factors.items() if code.max() > 0}
    if not varying:
        raise ValueError("no axis of the design varies")
    cells = cell_codes(varying) if groups is None else codes("groups", groups, n)
    logs = {
        name: np.log(numbers[name])
        for name in varying
        if name in numbers and (numbers[name] > 0).all()
    }
    built = [_factors(varying), _pairwise(varying)]
    if logs:
        built.append(_quadratic(logs, {k: v for k, v in varying.items() if k not in logs}))
    return tuple(
        _model(name, terms, columns, response, cells)
        for name, terms, columns in built
        if columns.shape[1] < n
    )


Built = tuple[str, str, Floats]


def _dummies(code: Codes) -> Floats:
    """(n, levels - 1) indicators of all levels but the first."""
    return np.eye(int(code.max()) + 1)[code][:, 1:]


def _factors(axes: dict[str, Codes]) -> Built:
    columns = np.column_stack([_dummies(code) for code in axes.values()])
    return "factors", " + ".join(axes), columns


def _pairwise(axes: dict[str, Codes]) -> Built:
    parts, terms = [_factors(axes)[2]], [*axes]
    for (one, first), (other, second) in itertools.combinations(axes.items(), 2):
        a, b = _dummies(first), _dummies(second)
        parts.append((a[:, :, None] * b[:, None, :]).reshape(len(a), -1))
        terms.append(f"{one} x {other}")
    return "pairwise factors", " + ".join(terms), np.column_stack(parts)


def _quadratic(logs: dict[str, Floats], factors: dict[str, Codes]) -> Built:
    # Standardised, since squares of numbers far from zero are nearly collinear with them.
    unit = {name: (values - values.mean()) / values.std() for name, values in logs.items()}
    parts = [
        *(values[:, None] for values in unit.values()),
        *((unit[one] * unit[two])[:, None] for one, two in _pairs(unit)),
        *(_dummies(code) for code in factors.values()),
    ]
    terms = [
        *(f"log {name}" for name in unit),
        *(
            f"log {one} x log {two}" if one != two else f"(log {one})^2"
            for one, two in _pairs(unit)
        ),
        *factors,
    ]
    return "quadratic in logs", " + ".join(terms), np.column_stack(parts)


def _pairs(names: Mapping[str, object]) -> itertools.combinations_with_replacement[tuple[str, str]]:
    return itertools.combinations_with_replacement(names, 2)


def _model(name: str, terms: str, columns: Floats, y: Floats, groups: Codes) -> DesignModel:
    removed = nuisance(len(y), covariates=columns)
    rank = removed.dof
    error = removed.residual(y)[:, 0]
    r2 = 1.0 - float(error @ error) / float(np.square(y - y.mean()).sum())
    q2 = leave_groups_out_q2(y, columns, groups)
    return DesignModel(name, terms, columns, rank, len(y) - rank, r2, q2)


def choose_design(
    candidates: tuple[DesignModel, ...], *, least_dof: int = LEAST_DOF
) -> DesignModel:
    """The candidate of the largest Q^2, the first of equal ones.

    It leaves `least_dof` degrees of freedom.

    Raises ValueError where none leaves as many.
    """
    eligible = [model for model in candidates if model.dof >= least_dof]
    if not eligible:
        left = max((model.dof for model in candidates), default=0)
        raise ValueError(
            f"no model of the design leaves {least_dof} degrees of freedom (the smallest: {left})"
        )
    return max(eligible, key=lambda model: model.q2)


def design_control(
    y: ArrayLike,
    numeric: Axes,
    categorical: Axes,
    *,
    placebos: Axes | None = None,
    permutations: int = 10_000,
    most: int = MOST,
    seed: int = 0,
) -> DesignControl:
    """Chooses the model of the design for y (n,) and tests whether it is enough.

    Placebos are the logarithm and the inverse of each positive numeric axis, the inverse of the
    product of two of them (a model of logarithms that holds it nearly leaves its largest values,
    where noise may be least) and those passed (logarithm of the parameters, ...), without those
    inside the span of the model or equal to another beside it; their partial r has the p of
    Freedman & Lane with the robust t, Holm over placebos. Raises ValueError as `choose_design`
    and `decide` do.
    """
    response = finite_columns("y", y)[:, 0]
    candidates = design_candidates(response, numeric, categorical)
    model = choose_design(candidates)
    lack = lack_of_fit(response, model.columns, cell_codes({**numeric, **categorical}))
    outside = _outside(model.columns, _default_placebos(numeric) | dict(placebos or {}))
    tested: tuple[Placebo, ...] = ()
    if outside:
        test = decide(
            np.column_stack(list(outside.values())),
            response,
            covariates=model.columns,
            permutations=permutations,
            most=most,
            seed=seed,
        )
        rows = zip(outside, test.r, test.p, holm(test.p), strict=True)
        tested = tuple(Placebo(name, float(r), float(p), float(q)) for name, r, p, q in rows)
    reasons = []
    if lack is not None and lack.p <= LACK_LEVEL:
        reasons.append(f"lack of fit (p {in_print(lack.p)})")
    reasons += [
        f"{one.name} has partial r {one.r:+.2f} (p {in_print(one.p_holm)} after Holm)".replace(
            "r -", "r −"
        )
        for one in tested
        if one.p_holm <= ALPHA
    ]
    return DesignControl(model, candidates, lack, tested, not reasons, "; ".join(reasons))


def _default_placebos(numeric: Axes) -> dict[str, Floats]:
    columns = {name: finite_columns(name, axis)[:, 0] for name, axis in numeric.items()}
    positive = {name: values for name, values in columns.items() if (values > 0).all()}
    placebos: dict[str, Floats] = {}
    for name, values in positive.items():
        placebos |= {f"log {name}": np.log(values), f"1 / {name}": 1.0 / values}
    for (one, first), (other, second) in itertools.combinations(positive.items(), 2):
        placebos[f"1 / ({one} x {other})"] = 1.0 / (first * second)
    return placebos


def _outside(columns: Floats, placebos: Axes) -> dict[str, Floats]:
    """Placebos that the span does not hold.

    Those that another equals beside it are left out.
    """
    removed = nuisance(len(columns), covariates=columns)
    distinct: dict[str, Floats] = {}
    directions: list[Floats] = []
    for name, placebo in placebos.items():
        values = finite_columns(name, placebo)
        spread = float(np.linalg.norm(values - values.mean()))
        left = removed.residual(values)[:, 0]
        size = float(np.linalg.norm(left))
        if size <= max(OUTSIDE * spread, SINGULAR * float(np.linalg.norm(values))):
            continue
        if any(abs(float(left @ other)) / size > 1.0 - OUTSIDE for other in directions):
            continue
        directions.append(left / size)
        distinct[name] = values[:, 0]
    return distinct


def lack_of_fit(y: ArrayLike, columns: ArrayLike, cells: ArrayLike) -> LackOfFit | None:
    """F test that the model (n, q) holds the cell means of y (n,), against pure error.

    F = (SSE - SSPE) / (C - rank) over SSPE / (n - C), SSPE the squares about the means of the
    cells (n,). None where no cell has replicates, they do not differ, or C is not above the rank.
    Draper & Smith 1998, section 2.2.
    """
    from scipy.special import fdtrc

    response = finite_columns("y", y)
    n = len(response)
    removed = nuisance(n, covariates=columns)
    pure = np.square(nuisance(n, within=cells).centre(response)).sum()
    distinct = len(np.unique(codes("cells", cells, n)))
    df_fit, df_error = distinct - removed.dof, n - distinct
    total = np.square(response - response.mean()).sum()
    if df_fit < 1 or df_error < 1 or pure <= SINGULAR**2 * total:
        return None
    error = np.square(removed.residual(response)).sum()
    f = max(float((error - pure) / df_fit / (pure / df_error)), 0.0)
    return LackOfFit(f, df_fit, df_error, float(fdtrc(df_fit, df_error, f)))
