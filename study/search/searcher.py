"""Ask and tell: an Optuna study whose only state is a journal file.

It knows neither Ray nor training. One process at a time may hold a journal, for which a lease lies
beside it. So what is half done there belongs to a process that is gone: a last line without its
end, a lock, trials that were running.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from study.search.config import Constraint, SearchConfig
from study.search.journal import best_trials, counted, storage
from study.search.space import read_space
from study.settings.faults import Fault, StudyError

STUDY = "search"
log = logging.getLogger(__name__)


class Searcher:
    """Suggests the trials of a search, and takes their values."""

    def __init__(
        self,
        journal: Path,
        config: SearchConfig,
        *,
        constraints: Sequence[Constraint] = (),
        definition: Mapping[str, Any] | None = None,
        epochs: int = 1,
    ) -> None:
        """Open the journal, or begin it.

        `epochs`: the last step at which a trial may report. Raises StudyError where the journal
        belongs to a search with another definition.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal.parent.mkdir(parents=True, exist_ok=True)
        _mend(journal)
        self.config, self.constraints = config, tuple(constraints)
        self.study = optuna.create_study(
            study_name=STUDY,
            storage=storage(journal),
            directions=list(config.objective.values()),
            load_if_exists=True,
            pruner=_pruner(config, epochs),
        )
        self.definition = self._begun_with(dict(definition or {}), journal)
        """What the journal was begun with, which may spell the search otherwise."""
        self._take_up_orphans()
        self.study.sampler = _sampler(config, len(self.study.trials))

    @property
    def finished(self) -> int:
        """Trials that count: complete or pruned. Failed ones do not."""
        return counted(self.study)

    def ask(self) -> Trial:
        """The next trial, with no parameter suggested yet."""
        return self.study.ask()

    def complete(self, trial: Trial, values: Mapping[str, float]) -> None:
        """Tell the objectives and the columns that constraints ask for."""
        for constraint in self.constraints:
            trial.set_constraint(str(constraint), constraint.violation(values[constraint.column]))
        self.study.tell(trial, [values[column] for column in self.config.objective])

    def fail(self, trial: Trial, reason: str) -> None:
        """Tell that a trial has no value, and why."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def prune(self, trial: Trial) -> None:
        """Tell that a trial was ended early."""
        self.study.tell(trial, state=TrialState.PRUNED)

    def best(self) -> list[FrozenTrial]:
        """Best trials, as `study.search.journal.best_trials` orders them."""
        return best_trials(self.study)

    def _begun_with(self, definition: dict[str, Any], journal: Path) -> dict[str, Any]:
        begun: dict[str, Any] | None = self.study.user_attrs.get("definition")
        if begun is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names(list(self.config.objective))  # for optuna-dashboard
            self.study.set_user_attr("definition", definition)
            return definition
        fix = "Give the search another `name`, or restore what it was"
        faults = [
            Fault(name, f"was changed since this search was begun ({journal})", fix)
            for name in definition
            if _resolved(name, definition[name]) != _resolved(name, begun.get(name))
        ]
        if faults:
            raise StudyError(faults, source=str(journal))
        return begun

    def _take_up_orphans(self) -> None:
        """Ask again for trials of a process that is gone.

        The old ones fail, without a reason of their own.
        """
        trials = self.study.get_trials(deepcopy=False)
        known = {
            trial.user_attrs.get("again") for trial in trials
        }  # by a launch that was killed while it did this
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue
            if "training" in trial.user_attrs and trial.number not in known:
                self.study.enqueue_trial(dict(trial.params), user_attrs={"again": trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)


def _resolved(name: str, part: Any) -> Any:
    """A part of a definition as it is compared: however numbers are written.

    Names of objectives are compared in their order, as their values are told in it.
    """
    if name == "search.space":
        return read_space(part, []).resolved()
    return list(part.items()) if isinstance(part, dict) else part


def _sampler(config: SearchConfig, trials: int) -> BaseSampler:
    """The sampler of a launch that begins with this number of trials.

    Each launch has another seed, as a rebuilt sampler would repeat its first suggestions.
    """
    seed = config.seed + trials
    if config.sampler == "random":
        return RandomSampler(seed=seed)
    if config.sampler == "nsga2":
        return NSGAIISampler(
            seed=seed, population_size=min(50, max(4, config.trials // 4))
        )  # else one generation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Groups: parameters of one schedule family are sampled jointly
        # though trials of other families lack them.
        return TPESampler(seed=seed, multivariate=True, group=True)


def _pruner(config: SearchConfig, epochs: int) -> optuna.pruners.BasePruner:
    if config.pruning == "median":
        return optuna.pruners.MedianPruner()
    if config.pruning == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(epochs, 1))
    return optuna.pruners.NopPruner()


def _mend(journal: Path) -> None:
    """Cut off a last line that a kill left without its end.

    The lock of the process that wrote it is removed too.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            log.warning("%s ended in the middle of a line, which is cut off", journal)
            with journal.open("r+b") as stream:
                stream.truncate(len(whole))
