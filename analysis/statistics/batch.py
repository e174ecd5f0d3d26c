"""Permutation tests that are asked for one by one and run together.

Those of one response and design share permutations.

Forty metrics in one call cost little more than one; alone each would permute the same response
again.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.linear import Floats, codes, finite_columns, nuisance
from analysis.statistics.permutation import permutation_test


@dataclass(frozen=True)
class Outcome:
    """One metric's outcome.

    Signed (partial) `r`, p-values as in `PermutationResult`; `p_maxt` is None outside a family.
    """

    r: float
    p: float
    p_low: float
    p_high: float
    p_paper: float
    p_maxt: float | None
    permutations: int
    exact: bool


@dataclass
class _Group:
    response: Floats
    design: dict[str, Any]
    family: bool
    keys: list[Hashable] = field(default_factory=list)
    columns: list[Floats] = field(default_factory=list)


class Batch:
    """Collects tests by key, then runs them.

    The p of a test does not depend on what else the batch holds.
    """

    def __init__(self, *, permutations: int, seed: int) -> None:
        self._permutations, self._seed = permutations, seed
        self._groups: dict[Hashable, _Group] = {}

    def ask(
        self,
        key: Hashable,
        x: ArrayLike,
        y: ArrayLike,
        *,
        within: ArrayLike | None = None,
        units: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
        family: bool = False,
    ) -> None:
        """Ask for the test of x (n,) with y (n,), arguments as of `permutation_test`.

        `family`: its p is also adjusted by max-T over the family members of the same response and
        design. Raises ValueError where the test cannot be done for x or y themselves; then nothing
        is asked.
        """
        metric, response = finite_columns("x", x), finite_columns("y", y)
        n = len(metric)
        removed = nuisance(n, within=within, covariates=covariates)
        removed.vary("x", metric)
        removed.vary("y", response)
        design: dict[str, Any] = {
            "within": None if within is None else codes("within", within, n),
            "units": None if units is None else codes("units", units, n),
            "covariates": None if covariates is None else finite_columns("covariates", covariates),
        }
        parts = [response, *design.values()]
        same = (family, *(None if part is None else part.tobytes() for part in parts))
        group = self._groups.setdefault(same, _Group(response[:, 0], design, family))
        group.keys.append(key)
        group.columns.append(metric[:, 0])

    def run(self) -> dict[Hashable, Outcome | str]:
        """The outcome by key; the reason in words where the design lets nothing move."""
        outcomes: dict[Hashable, Outcome | str] = {}
        for group in self._groups.values():
            try:
                result = permutation_test(
                    np.column_stack(group.columns),
                    group.response,
                    permutations=self._permutations,
                    seed=self._seed,
                    **group.design,
                )
            except ValueError as error:
                outcomes |= dict.fromkeys(group.keys, str(error))
                continue
            low, high = result.p_interval
            for place, key in enumerate(group.keys):
                outcomes[key] = Outcome(
                    r=float(result.statistic[place]),
                    p=float(result.p[place]),
                    p_low=float(low[place]),
                    p_high=float(high[place]),
                    p_paper=float(result.p_paper[place]),
                    p_maxt=float(result.p_maxt[place]) if group.family else None,
                    permutations=result.n_permutations,
                    exact=result.exact,
                )
        return outcomes
