"""How a table takes the design out.

Within design cells, or given a model of the design.

Within cells nothing has to be assumed of what the axes do, but replicates are needed. Where they
leave fewer than `LEAST_REPLICATES` degrees of freedom, a model of the design takes their place,
which has to fit the response. Shapes: n rows, one per training; k metrics; q covariates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl

from analysis.findings.verdicts import (
    LATER_SEED,
    Line,
    Verdict,
    compared,
    design_cells,
    inadequate,
    verdicts,
)
from analysis.reading.table import LOGGED, Choices, Roles
from analysis.statistics.design import DesignControl, design_control
from analysis.statistics.linear import Codes, Floats
from analysis.statistics.partial import partial_correlation
from analysis.statistics.permutation import Prepared, prepare
from analysis.statistics.within import bootstrap_within, replicates

LEAST_REPLICATES = 10  # r_w from which replicates alone are the control
WITHIN, GIVEN_DESIGN = "within design cells", "given the design"
PARAMETERS, TOKENS = "n_params", "tokens"  # columns of a run's rows that make placebos


class Controls(Protocol):
    """What takes out of rows (n,) what is not asked about.

    It does so over the `rows` (m,) it can use.
    """

    @property
    def rows(self) -> Codes: ...

    @property
    def cells(self) -> Codes: ...

    @property
    def inadequacy(self) -> str: ...

    def over(self, chosen: Codes) -> Controls: ...

    def prepare(self, x: Floats, y: Floats) -> Prepared: ...

    def interval(self, x: Floats, y: Floats, choices: Choices) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True)
class Control:
    """A control `name` over the `rows` (m,) of n that it can use.

    `cells` (m,) are their design cells, `blocks` those inside which rows are exchanged (None
    where they are free), `covariates` (m, q); `inadequacy` says why it does not hold, "" if it
    does.
    """

    name: str
    rows: Codes
    cells: Codes
    blocks: Codes | None
    covariates: Floats
    inadequacy: str = ""

    def given(self, columns: Floats) -> Control:
        """The same with further covariates (m, c)."""
        return replace(self, covariates=np.column_stack([self.covariates, columns]))

    def over(self, chosen: Codes) -> Control:
        """The same over some of its rows, by their places in it."""
        return replace(
            self,
            rows=self.rows[chosen],
            cells=self.cells[chosen],
            blocks=None if self.blocks is None else self.blocks[chosen],
            covariates=self.covariates[chosen],
        )

    def prepare(self, x: Floats, y: Floats) -> Prepared:
        """The test of x (m, k) with y (m,): studentized, but for rows of a single cell.

        There no spread differs between cells, and r itself finds associations more often: of 21
        replicates one of .4 in 45% of studies, and in 36% if it is studentized.
        """
        covariates = self.covariates if self.covariates.shape[1] else None
        several = self.blocks is None or len(np.unique(self.blocks)) > 1
        return prepare(x, y, within=self.blocks, covariates=covariates, studentized=several)

    def interval(self, x: Floats, y: Floats, choices: Choices) -> tuple[Floats, Floats]:
        """95% interval (low (k,), high (k,)) of the partial r of x (m, k) with y (m,).

        It inverts the test, so that both say the same of 0. An end that the test leaves open is
        that of the jackknife, or in cells of a bootstrap, but on its own side of 0.
        """
        return inverted(self.prepare(x, y), partial(self._without_bounds, x, y, choices), choices)

    def _without_bounds(self, x: Floats, y: Floats, choices: Choices) -> tuple[Floats, Floats]:
        """The interval that a test without bounds leaves."""
        covariates = self.covariates if self.covariates.shape[1] else None
        if self.blocks is None:
            fit = partial_correlation(x, y, covariates=covariates)
            return fit.low, fit.high
        return bootstrap_within(
            x,
            y,
            self.blocks,
            covariates=covariates,
            bootstrap=choices.bootstrap,
            seed=choices.seed,
        )

    @property
    def dof(self) -> int:
        """Residual degrees of freedom of a metric beside what is taken out."""
        blocks = 1 if self.blocks is None else len(np.unique(self.blocks))
        rank = np.linalg.matrix_rank(self.covariates) if self.covariates.shape[1] else 0
        return len(self.rows) - blocks - int(rank) - 1


def inverted(
    test: Prepared, otherwise: Callable[[], tuple[Floats, Floats]], choices: Choices
) -> tuple[Floats, Floats]:
    """95% interval (low (k,), high (k,)) of r that inverts a test.

    An end that the test leaves open is that of the interval `otherwise`, but on its own side of 0,
    so that test and interval say the same of 0.
    """
    # A reading compares an end with another r, so the ends are the same for every seed.
    low, high = test.interval(choices.permutations, LATER_SEED)
    if np.isnan([low, high]).any():
        least, most = otherwise()
        low = np.where(np.isnan(low), np.minimum(least, 0.0), low)
        high = np.where(np.isnan(high), np.maximum(most, 0.0), high)
    return low, high


def numeric_and_categorical(
    rows: pl.DataFrame, roles: Roles
) -> tuple[dict[str, Floats], dict[str, Codes]]:
    """The axes that vary over the rows.

    As numbers (n,), and as codes (n,) of their levels.
    """
    varying = [axis for axis in roles.axes if rows[axis].n_unique() > 1]
    numeric = {
        axis: rows[axis].cast(pl.Float64).to_numpy()
        for axis in varying
        if rows[axis].dtype.is_numeric()
    }
    categorical = {
        axis: (rows[axis].rank("dense") - 1).to_numpy().astype(np.intp)
        for axis in varying
        if axis not in numeric
    }
    return numeric, categorical


def placebos(rows: pl.DataFrame) -> dict[str, Floats]:
    """Functions of the axes that nobody measured.

    Logarithms of parameters and of compute.
    """
    made: dict[str, Floats] = {}
    if PARAMETERS in rows.columns and rows[PARAMETERS].null_count() == 0:
        parameters = rows[PARAMETERS].cast(pl.Float64).to_numpy()
        made["log parameters"] = np.log(parameters)
        if TOKENS in rows.columns and rows[TOKENS].null_count() == 0:
            tokens = rows[TOKENS].cast(pl.Float64).to_numpy()
            if (tokens > 0).all():
                made["log tokens x parameters"] = np.log(tokens) + np.log(parameters)
    return {name: values for name, values in made.items() if np.isfinite(values).all()}


def model_of_design(rows: pl.DataFrame, y: Floats, roles: Roles, choices: Choices) -> DesignControl:
    """The model of the design for y (n,), chosen and tested.

    Raises ValueError where no axis varies, or no model leaves enough degrees of freedom.
    """
    numeric, categorical = numeric_and_categorical(rows, roles)
    return design_control(
        y,
        numeric,
        categorical,
        placebos=placebos(rows),
        permutations=choices.permutations,
        seed=choices.seed,
    )


def within_control(rows: pl.DataFrame, roles: Roles) -> Control:
    """Trainings compared with others of their design cell alone."""
    cells = design_cells(rows, roles)
    several = np.flatnonzero(np.bincount(cells)[cells] > 1) if len(cells) else cells
    cells = cells[several]
    return Control(WITHIN, several, cells, cells, np.zeros((len(several), 0)))


def design_of(control: DesignControl, rows: pl.DataFrame, roles: Roles) -> Control:
    """Trainings compared given a model of the design."""
    cells = design_cells(rows, roles)
    return Control(
        GIVEN_DESIGN,
        np.arange(len(rows)),
        cells,
        None,
        control.model.columns,
        "" if control.adequate else f"the model of the design does not hold: {control.reason}",
    )


def control_for(rows: pl.DataFrame, y: Floats, roles: Roles, choices: Choices) -> Control:
    """The control by replicates, or else by a model of the design for y.

    Replicates are taken where they leave enough degrees of freedom, or all rows are of one cell,
    where the design leaves nothing to take out.

    Raises ValueError where neither is to be had.
    """
    cells = design_cells(rows, roles)
    if replicates(cells) >= LEAST_REPLICATES or (len(cells) > 1 and not cells.any()):
        return within_control(rows, roles)
    return design_of(model_of_design(rows, y, roles, choices), rows, roles)


def controlled(
    lines: Mapping[str, Line],
    values: Mapping[str, Floats],
    y: Floats,
    control: Controls,
    roles: Roles,
    choices: Choices,
) -> list[Line]:
    """The lines, by metric, with estimate, interval and verdict under a control.

    `values` and y are (n,), as the rows that the control was made for; NaN in values are missing.
    """
    used = {name: values[name][control.rows] for name in lines}
    response = y[control.rows]

    def test(x: Floats, at: Codes) -> Prepared:
        return control.over(at).prepare(x, response[at])

    outcomes = verdicts(used, test, roles, choices, cells=control.cells)
    intervals = _intervals(used, response, outcomes, control, choices)
    filled = []
    for name, line in lines.items():
        low, high = intervals.get(name, (None, None))
        filled.append(replace(outcomes[name].fill(line), low=low, high=high))
    if control.inadequacy:
        return inadequate(filled, control.inadequacy)
    return [compared(line) for line in filled]


def _intervals(
    values: Mapping[str, Floats],
    y: Floats,
    outcomes: Mapping[str, Verdict],
    control: Controls,
    choices: Choices,
) -> dict[str, tuple[float | None, float | None]]:
    """The interval of each metric that has an estimate.

    Those of the same rows share draws.
    """
    batches: dict[bytes, list[str]] = {}
    for name, outcome in outcomes.items():
        if outcome.estimate is not None:
            batches.setdefault(outcome.rows.tobytes(), []).append(name)
    intervals = {}
    for names in batches.values():
        at = outcomes[names[0]].rows
        x = np.column_stack([values[name][at] for name in names])
        low, high = control.over(at).interval(x, y[at], choices)
        for place, name in enumerate(names):
            intervals[name] = number(low[place]), number(high[place])
    return intervals


def number(value: float) -> float | None:
    """None for NaN, which stands for no value in arrays."""
    return None if np.isnan(value) else float(value)


def axis_covariates(
    rows: pl.DataFrame, roles: Roles, *, only: tuple[str, ...] | None = None
) -> tuple[list[str], Floats]:
    """Names and columns (n, c) of the axes, each as one straight line.

    Effects are told by them.

    Sizes and learning rate are taken as logarithms, text as indicators. Axes that do not vary
    over the rows are left out; (n, 0) if none does. It is no control: see `model_of_design`.
    """
    names: list[str] = []
    columns: list[Floats] = []
    for axis in roles.axes if only is None else only:
        values = rows[axis]
        if values.n_unique() < 2:
            continue
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64).to_numpy()
            logged = (axis in LOGGED or axis in roles.architecture) and numbers.min() > 0
            names.append(f"log {axis}" if logged else axis)
            columns.append(np.log(numbers) if logged else numbers)
        else:
            for level in values.unique().sort()[1:]:
                names.append(f"{axis} = {level}")
                columns.append((values == level).cast(pl.Float64).to_numpy())
    return names, np.column_stack(columns) if columns else np.zeros((len(rows), 0))
