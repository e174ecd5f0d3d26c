"""Asking and telling without training.

A search is equal to plain Optuna, and whole again after a kill at any point.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from tiny_search import answer, bowl, hunt, journal, search_of, searcher_of, states, trials_of

from study.scheduling.backlog import GIVE_UP
from study.scheduling.work import Ended, work
from study.settings.faults import StudyError
from study.store import RunPaths, Store
from study.store.partial import Partial


def plain_optuna(
    sampler: optuna.samplers.BaseSampler, trials: int, *, bound: float | None
) -> optuna.Study:
    """The reference: the same function given to Optuna's own loop."""

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("train.lr", 0.05, 5, log=True)
        kind = trial.suggest_categorical("train.schedule", ["constant", "cosine"])
        warmup = (
            trial.suggest_float("train.schedule.cosine.warmup", 0, 0.5) if kind == "cosine" else 0.0
        )
        if bound is not None:
            trial.set_constraint(f"train_accuracy >= {bound:g}", bound - 1 / (1 + lr))
        return bowl(lr, kind, warmup)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def told(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [(trial.params, trial.value, trial.constraints) for trial in study.trials]


@pytest.mark.parametrize("bound", [None, 0.6])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_an_unbroken_search_is_plain_optuna_trial_for_trial(
    tmp_path: Path, bound: float | None
) -> None:
    """Reference: optuna.Study.optimize with the same sampler.

    The space is conditional; with and without a constraint.
    """
    constraints = [] if bound is None else [f"train_accuracy >= {bound}"]
    search = search_of(hunt(trials=30, seed=3, constraints=constraints))
    trials = trials_of(search, tmp_path)
    assert answer(trials) == 30
    assert trials.finished
    reference = plain_optuna(
        optuna.samplers.TPESampler(seed=3, multivariate=True, group=True), 30, bound=bound
    )
    assert told(journal(tmp_path)) == told(reference)
    (best,) = trials.searcher.best()
    assert best.number == reference.best_trial.number
    assert best.value is not None and best.value < bowl(2.0, "cosine", 0.2)
    if bound is not None:
        assert 1 / (1 + best.params["train.lr"]) >= bound


def test_the_random_sampler_is_plain_optunas(tmp_path: Path) -> None:
    answer(trials_of(search_of(hunt(trials=12, seed=5, sampler="random")), tmp_path))
    assert told(journal(tmp_path)) == told(
        plain_optuna(optuna.samplers.RandomSampler(seed=5), 12, bound=None)
    )


def test_what_was_running_is_asked_again_and_exactly_the_trials_asked_for_complete(
    tmp_path: Path,
) -> None:
    search = search_of(hunt(trials=10))
    first = trials_of(search, tmp_path)
    first.parallel = 3
    answer(first, 4)
    running = [first.next(), first.next()]
    assert all(running)
    suggestions = [
        trial.params for trial in journal(tmp_path).get_trials(states=(TrialState.RUNNING,))
    ]
    assert len(suggestions) >= 2
    del first  # killed: nothing was told
    again = trials_of(search, tmp_path)
    assert journal(tmp_path).get_trials(states=(TrialState.RUNNING,)) == []
    answer(again)
    trials = journal(tmp_path).trials
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 10
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    resumed = [trial for trial in trials if "again" in trial.user_attrs]
    assert [trial.params for trial in resumed] == suggestions
    assert all(trials[trial.user_attrs["again"]].state == TrialState.FAIL for trial in resumed)


def test_a_search_goes_on_however_its_numbers_are_spelled(tmp_path: Path) -> None:
    """PyYAML reads `1e-3` as text and 0.001 as a number: to a setting both are one value."""
    spelled: list[list[Any]] = [["5e-2", 0.5], [0.05, "0.5"], ["5e-2", "5e-1"]]
    for number, choices in enumerate(spelled, start=1):
        space = {
            "train.lr": {"choice": choices},
            "train.schedule": {"cosine": {"warmup": {"choice": ["1e-1", 0]}}},
        }
        answer(trials_of(search_of(hunt(trials=4 * number, space=space)), tmp_path))
        assert len(journal(tmp_path).get_trials(states=(TrialState.COMPLETE,))) == 4 * number
    space["train.lr"] = {"choice": [0.05, 0.6]}
    with pytest.raises(StudyError, match=r"search\.space: was changed"):
        trials_of(search_of(hunt(space=space)), tmp_path)


def test_a_relaunch_suggests_anew(tmp_path: Path) -> None:
    """A rebuilt sampler with the same seed would repeat its first suggestions."""
    answer(trials_of(search_of(hunt(trials=5)), tmp_path))
    answer(trials_of(search_of(hunt(trials=10)), tmp_path))
    rates = [trial.params["train.lr"] for trial in journal(tmp_path).trials]
    assert len(rates) == len(set(rates)) == 10


def test_a_repeated_suggestion_is_answered_from_the_store(tmp_path: Path) -> None:
    space = {"train.lr": {"choice": [0.1, 1.0]}}
    trials = trials_of(search_of(hunt(trials=12, space=space, sampler="random")), tmp_path)
    assert answer(trials) == 2
    assert states(tmp_path) == ["COMPLETE"] * 12
    assert len(Store(tmp_path).keys()) == 2


def test_several_trials_may_wait_for_one_training(tmp_path: Path) -> None:
    space = {"train.lr": {"choice": [1.0]}}
    trials = trials_of(search_of(hunt(trials=3, space=space)), tmp_path)
    trials.parallel = 3
    assert trials.next() is not None
    assert trials.next() is None
    assert states(tmp_path) == ["RUNNING"] * 3


def test_failed_trainings_are_told_and_replaced(tmp_path: Path) -> None:
    trials = trials_of(search_of(hunt(trials=4)), tmp_path)
    for cause in ("diverged", "bug"):
        task = trials.next()
        assert task is not None
        for cell in task.training.cells:
            trials.store.fail(cell.key, {"cause": cause, "message": "no\nmore"})
        trials.ended(task.training.key, Ended("failed", cause, "no"))
    answer(trials)
    assert states(tmp_path) == ["FAIL"] * 2 + ["COMPLETE"] * 4
    assert [trial.user_attrs["reason"] for trial in journal(tmp_path).trials[:2]] == [
        "diverged: no",
        "bug: no",
    ]


def test_a_lost_worker_is_no_failed_trial_while_attempts_are_left(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("study.scheduling.backlog.BACK_OFF", 0.0)
    trials = trials_of(search_of(hunt(trials=1)), tmp_path)
    task = trials.next()
    assert task is not None
    trials.lost(task.training.key, "The actor died")
    again = trials.next()
    assert again is not None and again.training.key == task.training.key
    assert states(tmp_path) == ["RUNNING"]


def test_an_objective_without_a_value_fails_its_trial_with_the_reason(tmp_path: Path) -> None:
    trials = trials_of(search_of(hunt(trials=1)), tmp_path)
    task = trials.next()
    assert task is not None
    row = {
        "cell": task.training.first.key,
        "epoch": 4,
        "layer": None,
        "nc1_ratio": None,
        "undefined": "one class",
    }
    trials.store.write(task.training.first.key, [row])
    trials.ended(task.training.key, Ended("done"))
    assert trials.next() is not None
    assert states(tmp_path)[0] == "FAIL"
    assert "one class" in journal(tmp_path).trials[0].user_attrs["reason"]


def test_a_pruned_trial_is_told_what_it_reported_last(tmp_path: Path) -> None:
    """Reference: what a median pruner does.

    It ends what is worse than half of five complete trials at the same step.
    """
    search = search_of(hunt(trials=7, pruning="median", sampler="random"))
    trials = trials_of(search, tmp_path)
    answer(trials, 5)
    task = trials.next()
    assert task is not None
    key, stop = task.training.first.key, trials.store.paths.stop(task.training.key)
    partial = Partial(trials.store.paths.training(task.training.key))
    for epoch, value in ((0, 9.0), (4, 8.0)):
        partial.write(epoch, {key: [{"epoch": epoch, "layer": None, "nc1_ratio": value}]})
        trials.look()
        assert stop.exists() == (epoch == 4)
    assert work(task) == Ended("stopped")
    trials.ended(task.training.key, Ended("stopped"))
    answer(trials)
    assert states(tmp_path) == ["COMPLETE"] * 5 + ["PRUNED", "COMPLETE"]
    assert journal(tmp_path).trials[5].value == 8.0
    assert trials.finished


@pytest.mark.parametrize(
    ("nodes", "parallel", "expected"),
    [
        ({}, None, 1),
        ({"a": {"cpus": 2.0, "gpus": 0.0}, "b": {"cpus": 1.0, "gpus": 0.0}}, None, 3),
        ({"a": {"cpus": 2.0, "gpus": 0.0}}, 4, 4),
    ],
)
def test_as_many_trials_run_at_a_time_as_fit_the_nodes(
    tmp_path: Path, nodes: dict[str, dict[str, float]], parallel: int | None, expected: int
) -> None:
    trials = trials_of(search_of(hunt(trials=9, sampler="random")), tmp_path)
    trials.nodes, trials.parallel = lambda: nodes, parallel
    tasks = [trials.next() for _ in range(6)]
    assert [task is not None for task in tasks] == [True] * expected + [False] * (6 - expected)


def test_reading_whether_a_search_is_finished_writes_nothing(tmp_path: Path) -> None:
    trials = trials_of(search_of(hunt(trials=1)), tmp_path)
    task = trials.next()
    assert task is not None
    row = {"cell": task.training.first.key, "epoch": 4, "layer": None, "nc1_ratio": 1.0}
    trials.store.write(task.training.first.key, [row])
    trials.ended(task.training.key, Ended("done"))
    before = RunPaths(tmp_path).journal.read_bytes()
    assert not trials.finished, "its trial is not told yet"
    assert RunPaths(tmp_path).journal.read_bytes() == before
    assert trials.settle() and trials.finished
    assert states(tmp_path) == ["COMPLETE"]


def test_a_search_where_all_fails_ends(tmp_path: Path) -> None:
    trials = trials_of(search_of(hunt(trials=30)), tmp_path)
    while (task := trials.next()) is not None:
        trials.store.fail(task.training.first.key, {"cause": "diverged", "message": "inf"})
        trials.ended(task.training.key, Ended("failed", "diverged", "inf"))
    assert trials.finished
    assert trials.ending is not None and "diverged" in trials.ending
    assert "failed trials are replaced" in trials.ending and "--retry-failed" not in trials.ending
    assert len(states(tmp_path)) == GIVE_UP


def test_a_journal_cut_by_a_kill_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = search_of(hunt(trials=3))
    answer(trials_of(search, tmp_path), 2)
    path = RunPaths(tmp_path).journal
    path.write_bytes(path.read_bytes()[:-5])
    Path(f"{path}.lock").symlink_to(path)  # of a process killed while it wrote
    answer(trials_of(search, tmp_path))
    assert "in the middle of a line" in caplog.text
    assert states(tmp_path).count("COMPLETE") == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": {"val_loss": "minimize"}}, "search.objective"),
        ({"constraints": ["train_accuracy >= 0.5"]}, "search.constraints"),
        ({"space": {"train.lr": {"log": [0.1, 1]}}}, "search.space"),
    ],
)
def test_a_changed_search_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    searcher_of(search_of(hunt()), tmp_path)
    searcher_of(search_of(hunt(trials=50, confirm=6)), tmp_path)
    with pytest.raises(StudyError, match="was changed since") as caught:
        searcher_of(search_of(hunt(**changes)), tmp_path)
    assert [fault.path for fault in caught.value.faults] == [said]


def test_objectives_in_another_order_are_another_search(tmp_path: Path) -> None:
    """Optuna knows objectives by their place, so values would be taken for each other."""
    objective = {"nc1_ratio": "minimize", "train_accuracy": "maximize"}
    searcher_of(search_of(hunt(objective=objective)), tmp_path)
    searcher_of(search_of(hunt(objective=objective)), tmp_path)
    with pytest.raises(StudyError, match=r"search\.objective: was changed"):
        searcher_of(search_of(hunt(objective=dict(reversed(objective.items())))), tmp_path)


@pytest.mark.parametrize("spoilt", [b"{not json}\n", b"{}\n"])
def test_a_damaged_journal_is_a_fault(tmp_path: Path, spoilt: bytes) -> None:
    answer(trials_of(search_of(hunt(trials=2)), tmp_path))
    path = RunPaths(tmp_path).journal
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], spoilt, *lines[1:]]))
    with pytest.raises(StudyError, match="line 2: is"):
        searcher_of(search_of(hunt(trials=2)), tmp_path)


def test_a_launch_killed_while_it_takes_up_orphans_takes_up_each_once(tmp_path: Path) -> None:
    search = search_of(hunt(trials=3))
    assert trials_of(search, tmp_path).next() is not None  # killed
    study = journal(tmp_path)
    study.enqueue_trial(
        study.trials[0].params, user_attrs={"again": 0}
    )  # killed before it told trial 0
    answer(trials_of(search, tmp_path))
    trials = journal(tmp_path).trials
    assert [trial.user_attrs.get("again") for trial in trials].count(0) == 1
    assert states(tmp_path) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_a_training_pruned_for_one_trial_runs_again_for_another(tmp_path: Path) -> None:
    space = {"train.lr": {"choice": [1.0]}}
    trials = trials_of(search_of(hunt(trials=2, space=space, pruning="median")), tmp_path)
    trials.parallel = 2
    task = trials.next()
    assert task is not None and states(tmp_path) == ["RUNNING"] * 2
    trials.pruned.add(0)
    stop = trials.store.paths.stop(task.training.key)
    stop.parent.mkdir(parents=True)
    stop.touch()
    trials.ended(task.training.key, Ended("stopped"))
    assert not trials.settle()
    assert not stop.exists()
    assert answer(trials) == 1
    assert states(tmp_path) == ["PRUNED", "COMPLETE"]


def test_hyperband_prunes_within_the_epochs_of_the_study(tmp_path: Path) -> None:
    search = search_of(hunt(trials=3, pruning="hyperband"))
    pruner = searcher_of(search, tmp_path).study.pruner
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    answer(trials_of(search, tmp_path))
    assert states(tmp_path) == ["COMPLETE"] * 3


@pytest.mark.parametrize("bound", [0.4, 0.6])
def test_an_upper_bound_is_held(tmp_path: Path, bound: float) -> None:
    """Reference: the least objective of the trials that hold the bound."""
    trials = trials_of(
        search_of(hunt(trials=12, constraints=[f"train_accuracy <= {bound}"])), tmp_path
    )
    answer(trials)
    sound = [t for t in journal(tmp_path).trials if 1 / (1 + t.params["train.lr"]) <= bound]
    assert 0 < len(sound) < 12
    (best,) = trials.searcher.best()
    assert best.number == min(sound, key=lambda trial: trial.value or 0.0).number


def test_a_front_under_a_constraint_holds_it_and_has_no_copies(tmp_path: Path) -> None:
    """Reference: domination by definition.

    Among the trials that hold the constraint, each training once.
    """
    objective = {"nc1_ratio": "minimize", "train_accuracy": "maximize"}
    space = {"train.lr": {"choice": [0.1, 0.3, 1.0, 2.0, 3.0]}}
    changes = {
        "objective": objective,
        "space": space,
        "constraints": ["train_accuracy <= 0.7"],
        "sampler": "random",
    }
    trials = trials_of(search_of(hunt(trials=25, **changes)), tmp_path)
    answer(trials)
    points = {t.params["train.lr"]: (t.values[0], -t.values[1]) for t in journal(tmp_path).trials}
    sound = {lr: point for lr, point in points.items() if -point[1] <= 0.7}
    front = {
        lr
        for lr, (x, y) in sound.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in sound.values())
    }
    assert len(points) == 5 and len(sound) == 3
    assert sorted(trial.params["train.lr"] for trial in trials.searcher.best()) == sorted(front)


def test_a_changed_study_is_refused(tmp_path: Path) -> None:
    searcher_of(search_of(hunt()), tmp_path)
    other = hunt()
    other["train"]["weight_decay"] = 1e-3
    with pytest.raises(StudyError, match="the study: was changed"):
        searcher_of(search_of(other), tmp_path)


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    """Reference: domination by definition."""
    objective = {"nc1_ratio": "minimize", "train_accuracy": "maximize"}
    trials = trials_of(search_of(hunt(trials=30, objective=objective, sampler="nsga2")), tmp_path)
    answer(trials)
    points = {t.number: (t.values[0], -t.values[1]) for t in journal(tmp_path).trials}
    front = {
        n
        for n, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    }
    best = trials.searcher.best()
    assert {trial.number for trial in best} == front
    assert len(front) > 1
    assert [trial.values[0] for trial in best] == sorted(trial.values[0] for trial in best)
