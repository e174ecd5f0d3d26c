"""A search's journal, read without changing it: while the search runs, and after."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from study.settings.faults import Fault, StudyError

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials that a search is asked for so many of; failed ones are replaced."""


def read_journal(journal: Path) -> optuna.Study:
    """The search of an existing journal. Raises StudyError where it is damaged or holds none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=None, storage=storage(journal))
    except (ValueError, KeyError) as error:
        fix = "It is written when the first trial is asked for: launch the search again"
        raise StudyError(
            [Fault("", f"the journal holds no search ({error})", fix)], source=str(journal)
        ) from error


def storage(journal: Path) -> JournalStorage:
    """Optuna's storage of a journal. Raises StudyError where a line of it, not the last, is damaged."""
    try:
        return JournalStorage(JournalFileBackend(str(journal)))
    except (
        ValueError,
        KeyError,
        TypeError,
    ) as error:  # JSON that is none, or lacks what every record has
        fix = "Restore it, or delete the folder `search` beside the cells: rows are kept, and trials answered from them"
        raise StudyError(
            [Fault("", f"the journal is damaged ({error})", fix)], source=str(journal)
        ) from error


def counted(study: optuna.Study) -> int:
    """Trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=COUNTED))


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Best trials that hold the constraints: one, or with several objectives the front, best first objective first.

    Of trials that were answered by the same training the first stands for all.
    """
    if len(study.directions) == 1:
        try:
            return [study.best_trial]
        except ValueError:  # none is complete, or none holds the constraints
            return []
    ordered = sorted(study.best_trials, key=lambda trial: trial.number)
    distinct = {
        str(trial.user_attrs.get("cell", trial.number)): trial for trial in reversed(ordered)
    }
    maximize = study.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    return sorted(distinct.values(), key=lambda trial: trial.values[0], reverse=maximize)
