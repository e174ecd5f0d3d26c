"""A search's journal, read without changing it: while the search runs, and after.

The one reader of journals: launches, status and reports share it. Neither torch nor Ray here.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from study.settings.faults import Fault, StudyError

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials that count towards those that a search asks for; failed are replaced."""
RESTORE = (
    "Restore it, or delete the folder `search` beside the cells: "
    "rows are kept, and trials answered from them"
)


class JournalError(StudyError):
    """A journal that holds no search that can be read."""


class _Notes(BaseModel):
    """What a launch notes at a trial, as far as it is there."""

    model_config = ConfigDict(strict=True)

    cell: str = ""
    training: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    again: int = 0
    reason: str = ""
    constraints: dict[str, float] = Field(default_factory=dict)
    values: list[float] | None = None


class _Confirmed(BaseModel):
    """What a launch notes of a confirmation: its trial, seeds and cells of both arms."""

    model_config = ConfigDict(strict=True)

    trial: int
    seeds: list[int] = Field(min_length=1)
    tuned: list[str] = Field(min_length=1)
    default: list[str] = Field(min_length=1)


class _Begun(BaseModel):
    """What a launch notes of a search, beside its definition."""

    model_config = ConfigDict(strict=True)

    confirmation: _Confirmed | None = None


def read_journal(journal: Path) -> optuna.Study:
    """The search of an existing journal, which goes on reading what is written later.

    A last line without its end is being written and does not count yet. Raises JournalError, with
    the line where there is one, if the journal is damaged or holds no search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    records = storage(journal)
    try:
        study = optuna.load_study(study_name=None, storage=records)
    except (ValueError, KeyError) as error:
        fix = "It is written when the first trial is asked for: launch the search again"
        fault = Fault("", f"the journal holds no search ({error})", fix)
        raise JournalError([fault], source=str(journal)) from error
    _check_notes(study, journal)
    return study


def _check_notes(study: optuna.Study, journal: Path) -> None:
    """Raise JournalError where notes or values are of another kind."""
    place = "the search"
    try:
        _Begun.model_validate(study.user_attrs)
        for trial in study.get_trials(deepcopy=False):
            place = f"trial {trial.number}"
            numbers = {"constraints": trial.constraints, "values": trial.values}
            _Notes.model_validate({**trial.user_attrs, **numbers})
            if trial.state == TrialState.COMPLETE and len(trial.values) != len(study.directions):
                raise ValueError(f"{len(trial.values)} values of {len(study.directions)}")
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        message = f"the journal's record of {place} is damaged ({name}: {first['msg']})"
        raise JournalError([Fault("", message, RESTORE)], source=str(journal)) from error
    except (ValueError, TypeError, AttributeError) as error:  # Optuna reads constraints late
        message = f"the journal's record of {place} is damaged ({error})"
        raise JournalError([Fault("", message, RESTORE)], source=str(journal)) from error


def storage(journal: Path) -> JournalStorage:
    """Optuna's storage of a journal.

    Raises JournalError where a line of it is damaged.
    """
    try:
        backend = _Backend(journal)
        backend.check_last_line()
    except OSError as error:
        fault = Fault("", f"the journal cannot be read ({error.strerror})", RESTORE)
        raise JournalError([fault], source=str(journal)) from error
    try:
        return JournalStorage(backend)
    except JournalError:
        raise
    except Exception as error:  # a record of the wrong shape breaks Optuna's replay in many ways
        message = f"is no record of a search ({type(error).__name__}: {error})"
        raise backend.damaged(backend.line, message) from error


class _Backend(JournalFileBackend):
    """A journal's file that knows which line is being read."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self.journal, self.line = journal, 0

    def check_last_line(self) -> None:
        """Optuna itself passes over a damaged line that is the last."""
        *_, last, rest = (b"\n" + self.journal.read_bytes()).rsplit(b"\n", 2)
        del rest  # not written to its end yet
        if last:
            try:
                json.loads(last)
            except ValueError as error:
                count = self.journal.read_bytes().count(b"\n")
                raise self.damaged(count, f"is damaged ({error})") from error

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Records from a number on; notes the line of each."""
        self.line = log_number_from
        try:
            for record in super().read_logs(log_number_from):
                self.line += 1
                yield record
        except ValueError as error:
            raise self.damaged(self.line + 1, f"is damaged ({error})") from error

    def damaged(self, line: int, message: str) -> JournalError:
        """The error that says which line cannot be used."""
        return JournalError([Fault(f"line {line}", message, RESTORE)], source=str(self.journal))


def definition(study: optuna.Study, journal: Path) -> dict[str, Any]:
    """What a search was begun with.

    `search.objective`, `search.constraints`, `search.space`, and the key of its study.

    Raises JournalError where the journal does not say so, or says it of other objectives.
    """
    begun: Any = study.user_attrs.get("definition")
    match begun:
        case {"search.objective": dict(objectives), "search.constraints": list()} if len(
            objectives
        ) == len(study.directions):
            return dict(begun)
    message = "the journal does not say what its search looks for"
    raise JournalError([Fault("", message, RESTORE)], source=str(journal))


def counted(study: optuna.Study) -> int:
    """Number of trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=COUNTED))


def holds(trial: FrozenTrial) -> bool:
    """Whether a complete trial satisfies every constraint."""
    return all(violation <= 0 for violation in trial.constraints.values())


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Best trials that hold the constraints: one, or several objectives' front.

    The front comes with the best of the first objective first. Of trials that were answered by the
    same training the first stands for all.
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
