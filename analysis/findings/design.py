"""Association given a model of the design, and what is found against that model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from analysis.findings.controls import (
    controlled,
    design_of,
    model_of_design,
    numeric_and_categorical,
)
from analysis.findings.frames import frame_of
from analysis.findings.verdicts import Tested, family_of, inadequate, metric_values
from analysis.reading.table import Choices, Roles
from analysis.statistics.design import (
    LEAST_DOF,
    DesignControl,
    design_candidates,
)
from analysis.statistics.design_power import detectable_r


@dataclass(frozen=True)
class GivenDesign(Tested):
    """One line: the partial r of a metric and the response, given the design.

    `dof` residual degrees of freedom, of which a partial |r| of `detectable` is found with 80%
    power within the family.
    """

    dof: int | None = None
    detectable: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One line: a model of the response by the axes, and whether it is chosen.

    `rank` parameters leave `dof` degrees of freedom; `r2` in [0, 1]; `q2` of design cells that
    were left out; `lack_f` with `lack_df_fit` and `lack_df_error` degrees of freedom compares
    the model with the means of the cells.
    """

    model: str
    terms: str
    rank: int
    dof: int
    r2: float
    q2: float
    chosen: bool
    adequate: bool | None = None
    lack_f: float | None = None
    lack_df_fit: int | None = None
    lack_df_error: int | None = None
    lack_p: float | None = None
    note: str = ""


@dataclass(frozen=True)
class PlaceboLine:
    """One line: a function of the axes alone as a placebo.

    `r` is its partial correlation with the response, given the model.
    """

    placebo: str
    n: int
    r: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class DesignTables:
    """The tables of this question.

    They are the lines of metrics, the control itself, and its placebos.
    """

    given_design: pl.DataFrame
    design: pl.DataFrame
    placebos: pl.DataFrame


def design_tables(rows: pl.DataFrame, roles: Roles, choices: Choices) -> DesignTables | None:
    """Tables over rows that are one per training; None where no axis varies."""
    numeric, categorical = numeric_and_categorical(rows, roles)
    if not numeric and not categorical:
        return None
    y = rows[roles.response].to_numpy()
    values = metric_values(rows, roles)
    try:
        model = model_of_design(rows, y, roles, choices)
    except ValueError as error:
        start = [
            GivenDesign(name, int(np.isfinite(x).sum()), verdict="", family=family_of(name, roles))
            for name, x in values.items()
        ]
        lines = inadequate(start, str(error))
        candidates = _candidates(y, rows, roles) if np.ptp(y) else []
        return DesignTables(
            frame_of(GivenDesign, lines), frame_of(Candidate, candidates), frame_of(PlaceboLine, [])
        )
    control = design_of(model, rows, roles)
    detectable = detectable_r(control.dof, family=max(len(roles.primary), 1))
    start_lines = {
        name: GivenDesign(name, 0, dof=model.model.dof - 1, detectable=detectable)
        for name in values
    }
    return DesignTables(
        frame_of(GivenDesign, controlled(start_lines, values, y, control, roles, choices)),
        frame_of(Candidate, _candidates(y, rows, roles, model)),
        frame_of(
            PlaceboLine,
            [
                PlaceboLine(each.name, len(rows), each.r, each.p, each.p_holm)
                for each in model.placebos
            ],
        ),
    )


def _candidates(
    y: np.ndarray, rows: pl.DataFrame, roles: Roles, control: DesignControl | None = None
) -> list[Candidate]:
    numeric, categorical = numeric_and_categorical(rows, roles)
    models = control.candidates if control else design_candidates(y, numeric, categorical)
    lines = []
    for model in models:
        line = Candidate(
            model.name, model.terms, model.rank, model.dof, model.r2, model.q2, chosen=False
        )
        if model.dof < LEAST_DOF:
            line = replace(line, note=f"leaves {model.dof} degrees of freedom of {LEAST_DOF}")
        if control and model is control.model:
            line = replace(line, chosen=True, adequate=control.adequate, note=control.reason)
            if lack := control.lack_of_fit:
                line = replace(
                    line,
                    lack_f=lack.f,
                    lack_df_fit=lack.df_fit,
                    lack_df_error=lack.df_error,
                    lack_p=lack.p,
                )
        lines.append(line)
    return lines
