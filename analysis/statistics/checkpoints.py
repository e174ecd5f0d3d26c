"""Association over training.

What time does to all is taken out, and whole trainings are exchanged.

Shapes: n rows, one a checkpoint, k columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Codes, Floats, codes, finite_columns
from analysis.statistics.permutation import Prepared, prepare
from analysis.statistics.within import bootstrap_within


@dataclass(frozen=True)
class Courses:
    """Places `rows` (m,) of the checkpoints of trainings that share their design cell.

    They stand in the order of epochs. For each of them `cell`, `unit` (its training), `block`
    (cell and epoch: columns are centred there) and `exchange` (cell and epochs of its training:
    trainings are exchanged there), all (m,).
    """

    rows: Codes
    cell: Codes
    unit: Codes
    block: Codes
    exchange: Codes


def shared_courses(cells: ArrayLike, units: ArrayLike, epochs: ArrayLike) -> Courses:
    """Which of n checkpoints are compared with which.

    Columns are to be centred by design cell (n,) and epoch (n,), which takes out the course that
    the trainings of a cell share; then whole trainings (`units`, n) with the same epochs are
    exchanged inside their cell. Cells of one training are left out. Raises ValueError where no
    cell has two trainings, and for two rows of one training at one epoch.
    """
    n = len(np.asarray(units))
    cell, unit = codes("cells", cells, n), codes("units", units, n)
    epoch = codes("epochs", epochs, n)
    if len(np.unique(np.column_stack([unit, epoch]), axis=0)) < n:
        raise ValueError("a training has two rows at one epoch")
    trainings = np.bincount(np.unique(np.column_stack([cell, unit]), axis=0)[:, 0])
    rows = np.flatnonzero(trainings[cell] > 1)
    if not rows.size:
        raise ValueError("no design cell has two trainings: there are no replicates")
    rows = rows[np.argsort(epoch[rows], kind="stable")]  # a unit's rows move in this order
    cell, unit, epoch = cell[rows], unit[rows], epoch[rows]
    return Courses(rows, cell, unit, _joint(cell, epoch), _joint(cell, _course(unit, epoch)))


def prepare_courses(x: ArrayLike, y: ArrayLike, shared: Courses) -> Prepared:
    """The test of x (n,) or (n, k) and y (n,) over shared courses.

    It is made before any exchange.
    """
    return prepare(
        np.asarray(x)[shared.rows],
        np.asarray(y)[shared.rows],
        within=shared.exchange,
        units=shared.unit,
        centred_in=shared.block,
        studentized=True,
    )


def bootstrap_courses(
    x: ArrayLike, y: ArrayLike, shared: Courses, *, bootstrap: int = 2_000, seed: int = 0
) -> tuple[Floats, Floats]:
    """95% interval (low (k,), high (k,)) of the same r.

    By drawing trainings inside cells.
    """
    return bootstrap_within(
        np.asarray(x)[shared.rows],
        np.asarray(y)[shared.rows],
        shared.cell,
        units=shared.unit,
        blocks=shared.block,
        bootstrap=bootstrap,
        seed=seed,
    )


def _joint(*labels: Codes) -> Codes:
    """One code (n,) for each combination of labels."""
    joint = np.unique(np.column_stack(labels), axis=0, return_inverse=True)[1]
    return joint.ravel().astype(np.intp)


def _course(unit: Codes, epoch: Codes) -> Codes:
    """A code (n,) for the set of epochs at which the training of a row was measured."""
    order = np.lexsort((epoch, unit))
    sets: dict[int, list[int]] = {}
    for u, e in zip(unit[order].tolist(), epoch[order].tolist(), strict=True):
        sets.setdefault(u, []).append(e)
    courses = {u: tuple(epochs) for u, epochs in sets.items()}
    number = {course: at for at, course in enumerate(sorted(set(courses.values())))}
    return np.array([number[courses[u]] for u in unit.tolist()], dtype=np.intp)


def successive(units: ArrayLike, epochs: ArrayLike) -> tuple[Codes, Codes, Codes]:
    """Places (m,) of three checkpoints of one training in a row, among n in any order.

    Raises ValueError where no training has three.
    """
    unit = codes("units", units, len(np.asarray(units)))
    order = np.lexsort((np.asarray(epochs), unit))
    a, b, c = order[:-2], order[1:-1], order[2:]
    same = unit[a] == unit[c]
    if not same.any():
        raise ValueError("no training has three checkpoints: nothing can follow a change")
    return a[same], b[same], c[same]


@dataclass(frozen=True)
class PooledCourses:
    """Pooled correlation of all checkpoints.

    `r` (k,), the centre `null` (k,) of r under exchange, and `p` (k,).

    `null` is the mean of r where whole trainings are exchanged: what time does to x and y alike
    is in it. `p` is two-sided, of the distance of r from it.
    """

    r: Floats
    null: Floats
    p: Floats


def pooled_courses(
    x: ArrayLike,
    y: ArrayLike,
    *,
    units: ArrayLike,
    epochs: ArrayLike,
    permutations: int = 10_000,
    seed: int = 0,
) -> PooledCourses:
    """How x (n,) or (n, k) and y (n,) go together over all checkpoints.

    The course of time is included.

    Whole trainings with the same epochs are exchanged, over all design cells. With courses x_u,
    y_u of training u, r* = (sum_u <x_u, y_pi(u)> - n mean x mean y) / (n sd x sd y), so that
    the products of courses serve every exchange. p = (1 + #{|r* - null| >= |r - null|}) / (1 + N).
    It tells size, settings and time of training apart from nothing: `prepare_courses` does. Raises
    ValueError for a column that is constant or not finite, or two rows of one training at an epoch.
    """
    columns, response = finite_columns("x", x), finite_columns("y", y)[:, 0]
    n, k = columns.shape
    unit, epoch = codes("units", units, n), codes("epochs", epochs, n)
    if len(np.unique(np.column_stack([unit, epoch]), axis=0)) < n:
        raise ValueError("a training has two rows at one epoch")
    scale = n * columns.std(axis=0) * response.std()
    if not (scale > 0).all():
        raise ValueError("a column is constant over all checkpoints")
    columns, response = columns - columns.mean(axis=0), response - response.mean()
    course = _course(unit, epoch)
    generator = np.random.default_rng(seed)
    sums = np.zeros((permutations, k))
    observed = np.zeros(k)
    for kind in np.unique(course):
        rows = np.flatnonzero(course == kind)
        rows = rows[np.lexsort((epoch[rows], unit[rows]))]
        trainings = len(np.unique(unit[rows]))
        x_UxExK = columns[rows].reshape(trainings, -1, k)
        y_UxE = response[rows].reshape(trainings, -1)
        places = np.tile(np.arange(trainings), (permutations, 1))
        orders_PxU = generator.permuted(places, axis=1)
        for u in range(trainings):  # all products at once would take trainings^2 k numbers
            products_UxK = np.einsum("ek,ue->uk", x_UxExK[u], y_UxE)
            observed += products_UxK[u]
            sums += products_UxK[orders_PxU[:, u]]
    r, shuffled = observed / scale, sums / scale
    null = shuffled.mean(axis=0)
    distance = np.abs(r - null) * (1 - 1e-12)
    p = (1 + (np.abs(shuffled - null) >= distance).sum(axis=0)) / (1 + permutations)
    shape = np.shape(x)[1:]
    return PooledCourses(r.reshape(shape), null.reshape(shape), p.reshape(shape))
