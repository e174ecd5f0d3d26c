"""Which parameters of a search mattered for an objective."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from analysis.reading.search_record import SearchRecord

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TOP = 5  # trials that count as the top, at least (Watanabe et al. 2023); twice as many are needed


def importances(search: SearchRecord, objective: int) -> pl.DataFrame | None:
    """How differently the top trials and all choose a parameter, among the sound ones.

    Columns: parameter, importance (shares of 1, largest first; null where too few trials had
    it), n (trials that had it). PED-ANOVA (Watanabe et al. 2023); of ranks alone, so that a
    logarithm of the objective changes nothing. None where no parameter was in enough trials.
    """
    # Seconds of importing, which the report of a study does without.
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    counts = Counter(name for trial in search.sound for name in trial.params)
    enough = [name for name, count in counts.items() if count >= 2 * TOP]
    if not enough:
        return None
    sign = 1.0 if search.objectives[objective].lower else -1.0

    def target(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    study = optuna.create_study(
        directions=["minimize" if each.lower else "maximize" for each in search.objectives]
    )
    study.add_trials(search.sound)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that low targets are good, which is so here
        evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(search.sound)))
        shares = get_param_importances(study, evaluator=evaluator, params=enough, target=target)
    return pl.DataFrame(
        [(name, shares.get(name), count) for name, count in counts.items()],
        schema={"parameter": pl.String, "importance": pl.Float64, "n": pl.Int64},
        orient="row",
    ).sort("importance", "n", descending=True, nulls_last=True)
