"""Searches from command line to stored rows, without Ray unless the test says so."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from ray_home import RayHome, finish, ray_home, wait_for
from tiny_search import hunt, journal, search_of, states, trials_of, tune, write_search
from tiny_study import failures, rows, starts

from study.config import load_study
from study.launch import main as launch
from study.search.config import load_search
from study.search.confirm import fresh_seeds, tuning_seeds
from study.search.status import SearchStatus
from study.status import main as status
from study.store import RunPaths, Store
from study.store.leases import Leases
from study.tune import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search, confirmed on six seeds."""
    folder = tmp_path_factory.mktemp("finished")
    assert tune(folder, hunt(confirm=6, constraints=["train_accuracy >= 0.3"])) == 0
    return folder


def test_every_trial_is_a_training_with_rows_in_the_store(finished: Path) -> None:
    run = finished / "runs" / "hunt"
    trials = journal(run).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    table = Store(run).read().filter(pl.col("epoch") == 4)
    for trial in trials:
        (row,) = table.filter(pl.col("cell") == trial.user_attrs["cell"]).to_dicts()
        assert row["nc1_ratio"] == trial.value
        assert row["lr"] == trial.params["train.lr"]
        assert row["train_schedule_kind"] == trial.params["train.schedule"]
        assert trial.constraints == {"train_accuracy >= 0.3": 0.3 - row["train_accuracy"]}
    assert set(starts(run).values()) == {1}


def test_the_winner_and_the_default_are_trained_on_fresh_seeds(finished: Path) -> None:
    run = finished / "runs" / "hunt"
    study = journal(run)
    record = study.user_attrs["confirmation"]
    assert record["trial"] == study.best_trial.number
    assert record["seeds"] == [1, 2, 3, 4, 5, 6]
    table = Store(run).read()
    for arm, lr in (("tuned", study.best_params["train.lr"]), ("default", 0.05)):
        part = table.filter(pl.col("cell").is_in(record[arm]))
        assert part["lr"].unique().to_list() == [lr]
        assert sorted(part["seed"].unique()) == [1, 2, 3, 4, 5, 6]
    planned = Store(run).planned()
    assert set(planned["cell"]) == Store(run).keys()


def test_a_finished_search_trains_nothing_again(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished / "runs" / "hunt"
    before, begun = states(run), starts(run)
    assert main([str(run), "--serial"]) == 0
    assert "6 trials of 6 are done" in capsys.readouterr().out
    assert (states(run), starts(run)) == (before, begun)


def test_one_launch_has_one_record_of_its_trials_and_its_confirmation(tmp_path: Path) -> None:
    assert tune(tmp_path, hunt(trials=2, confirm=6)) == 0
    (record,) = (
        json.loads(path.read_text())
        for path in RunPaths(tmp_path / "runs" / "hunt").launches.glob("*.json")
    )
    assert (record["trials"], record["cells"]) == (2, 12)


def test_a_dry_run_counts_what_is_done_and_begins_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(finished, hunt(confirm=6, constraints=["train_accuracy >= 0.3"]), "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The search asks for 6 of them, then 12 to confirm the best. 6 trials are done." in said
    fresh = hunt() | {"name": "fresh"}
    assert tune(finished, fresh, "--dry-run") == 0
    assert "0 trials are done" in capsys.readouterr().out
    assert not (finished / "runs" / "fresh").exists()


def test_status_of_a_search_in_figures(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished / "runs" / "hunt"
    assert status([str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    best = journal(run).best_trial
    assert report["trials"] == {"asked": 6, "complete": 6, "pruned": 0, "running": 0, "failed": 0}
    assert report["best"] == [
        {
            "trial": best.number,
            "values": {"nc1_ratio": best.value},
            "settings": best.user_attrs["settings"],
        }
    ]
    assert report["confirmation"] == {
        "trial": best.number,
        "seeds": [1, 2, 3, 4, 5, 6],
        "total": 12,
        "done": 12,
        "failed": 0,
    }
    assert (report["running"], report["failures"]) == ([], {})
    assert report["disk_bytes"]["search"] == sum(
        path.stat().st_size for path in (run / "search").iterdir()
    )


def test_status_tells_the_settings_of_the_best_trial(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = finished / "runs" / "hunt"
    assert status([str(run)]) == 0
    said = capsys.readouterr().out
    best = journal(run).best_trial
    schedule = best.user_attrs["settings"]["train.schedule"]
    more = f" (warmup {schedule['warmup']:.4g})" if "warmup" in schedule else ""
    assert (
        f"(train.lr {best.params['train.lr']:.4g}, train.schedule {schedule['kind']}{more})" in said
    )
    assert "confirmation of trial" in said and "12/12 cells done" in said


def test_status_of_a_search_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking changes nothing.

    A launch was killed with one trial running; another holds the search and trains for it.
    """
    monkeypatch.setenv("COLUMNS", "200")
    run = tmp_path / "runs" / "hunt"
    space = {"train.lr": {"choice": [0.1, 1e30]}, "train.weight_decay": {"log": [1e-4, 1e-2]}}
    search = hunt(trials=4, sampler="random", space=space)
    assert tune(tmp_path, {**search, "search": search["search"] | {"trials": 2}}) == 0
    trials = trials_of(search_of(search), run)
    task = trials.next()
    assert task is not None
    before = RunPaths(run).journal.read_bytes()
    with (
        Leases(RunPaths(run).search).hold("search", "now"),
        Leases(RunPaths(run).leases).hold(task.training.key, "now"),
    ):
        assert status([str(run)]) == 0
    said = capsys.readouterr().out
    failed = states(run).count("FAIL")
    assert "no launch works on it" not in said
    assert f"2/2 trials done ({failed} failed, 1 running)" in said
    assert "trials failed: diverged" in said
    assert "ufm 4 4 epochs seed 0" in said
    assert f"best: trial {journal(run).best_trial.number}, nc1_ratio" in said
    assert status([str(run)]) == 0
    assert f"({failed} failed, 1 interrupted); no launch works on it" in capsys.readouterr().out
    assert RunPaths(run).journal.read_bytes() == before


def test_one_look_at_a_search_follows_it(tmp_path: Path) -> None:
    """The journal is read on, not anew, as a trial of another process ends."""
    search, run = search_of(hunt(trials=3)), tmp_path / "hunt"
    trials = trials_of(search, run)
    assert trials.next() is not None
    look = SearchStatus(search, run)
    assert look.states() == {"running": 1}
    (opened,) = trials.open.values()
    trials.searcher.prune(opened.trial)
    assert look.states() == {"pruned": 1}


def test_a_grid_may_extend_what_was_found_and_is_warned_of_its_seed(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished / "runs" / "hunt"
    best = journal(run).best_trial
    settings = load_study(run / "best.yaml")
    assert (
        settings.tuned is not None
        and settings.tuned.trial == best.number
        and settings.tuned.seeds == [0]
    )
    path = finished / "grid.yaml"
    grid = {
        "extends": "runs/hunt/best.yaml",
        "name": "again",
        "grid": {"precision": ["fp32"], "seed": [0, 9]},
    }
    path.write_text(yaml.safe_dump(grid))
    assert launch([str(path), "--runs", str(finished / "runs"), "--serial"]) == 0
    assert "tuned on seed 0" in capsys.readouterr().out
    again = rows(finished / "runs" / "again").filter(pl.col("seed") == 0)
    first = rows(run).filter(pl.col("cell") == best.user_attrs["cell"])
    assert again.drop("keep", strict=False).equals(first.select(again.columns))
    path.write_text(yaml.safe_dump({**grid, "grid": {"seed": [9]}}))
    assert launch([str(path), "--runs", str(finished / "runs"), "--serial"]) == 0
    assert "tuned on seed" not in capsys.readouterr().out


def test_a_search_that_extends_what_was_found_remembers_its_seeds(finished: Path) -> None:
    """A third file must be told of both searches.

    Else it would be confirmed on seeds of the first.
    """
    content = hunt(confirm=6) | {
        "name": "second",
        "extends": "runs/hunt/best.yaml",
        "grid": {"seed": [0]},
    }
    for part in ("data", "model", "train", "measure"):
        del content[part]
    content["search"]["space"] = {"train.lr": {"log": [0.05, 5]}}
    first = load_search(write_search(finished, {**content, "grid": {"seed": [2]}}))
    assert tuning_seeds(first) == {0, 2}
    assert fresh_seeds(first) == [3, 4, 5, 6, 7, 8]
    tuned = {"search": "first", "trial": 1, "seeds": [4, 5]}
    assert fresh_seeds(load_search(write_search(finished, {**content, "tuned": tuned}))) == [
        1,
        2,
        3,
        6,
        7,
        8,
    ]


def test_the_folder_of_a_search_is_no_grid_to_launch(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch([str(finished / "runs" / "hunt")]) == 2
    assert "collapse-study tune" in capsys.readouterr().err


def test_more_trials_go_on_where_the_search_was(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "hunt"
    assert tune(tmp_path, hunt(trials=2, confirm=6)) == 0
    confirmed = journal(run).user_attrs["confirmation"]
    assert tune(tmp_path, hunt(trials=4)) == 0
    assert states(run) == ["COMPLETE"] * 4
    assert set(confirmed["default"]) < set(Store(run).planned()["cell"])
    assert set(starts(run).values()) == {1}
    assert not (run / "failures").exists()


def test_diverged_trials_are_told_so_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = hunt(trials=5, sampler="random", space={"train.lr": {"choice": [0.1, 1.0, 1e30]}})
    run = tmp_path / "runs" / "hunt"
    assert tune(tmp_path, search) == 0
    assert states(run).count("COMPLETE") == 5
    failed = [trial for trial in journal(run).trials if trial.state.name == "FAIL"]
    assert failed and all(trial.params == {"train.lr": 1e30} for trial in failed)
    assert all(trial.user_attrs["reason"].startswith("diverged") for trial in failed)
    assert {record["cause"] for record in failures(run).values()} == {"diverged"}
    assert "failed (diverged" in capsys.readouterr().out


def test_without_a_trial_that_holds_the_constraints_nothing_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, hunt(trials=2, constraints=["train_accuracy >= 2"], confirm=6)) == 1
    assert "there is no best.yaml" in capsys.readouterr().out
    assert not list((tmp_path / "runs" / "hunt").glob("best*.yaml"))


def test_each_trial_on_the_front_has_its_file(tmp_path: Path) -> None:
    objective = {"nc1_ratio": "minimize", "val_loss": "maximize"}
    assert tune(tmp_path, hunt(trials=4, objective=objective, sampler="nsga2")) == 0
    run = tmp_path / "runs" / "hunt"
    front = {f"best-trial-{trial.number:04d}.yaml": trial for trial in journal(run).best_trials}
    assert {path.name for path in run.glob("best*.yaml")} == set(front)
    for name, trial in front.items():
        assert load_study(run / name).settings["train"]["lr"] == trial.params["train.lr"]


@pytest.mark.long
def test_hopeless_trials_are_pruned_when_asked(tmp_path: Path) -> None:
    search = hunt(trials=9, seed=1, pruning="median", space={"train.lr": {"log": [1e-3, 3]}})
    search["train"]["epochs"] = 200
    search["measure"]["at"] = list(range(10, 200, 10))
    run = tmp_path / "runs" / "hunt"
    assert tune(tmp_path, search) == 0
    assert len(states(run)) == 9
    pruned = [trial for trial in journal(run).trials if trial.state.name == "PRUNED"]
    assert pruned
    for trial in pruned:
        assert 0 < max(trial.intermediate_values) < 200
        assert trial.value == trial.intermediate_values[max(trial.intermediate_values)]
        assert not Store(run).has(trial.user_attrs["cell"])


def test_two_processes_do_not_search_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = hunt(trials=1)
    with Leases(RunPaths(tmp_path / "runs" / "hunt").search).hold("search", "other"):
        assert tune(tmp_path, search) == 2
    assert "another process works on this search" in capsys.readouterr().err
    assert tune(tmp_path, search) == 0


def killed_and_relaunched(
    home: RayHome, folder: Path, search: dict[str, Any], *options: str
) -> Path:
    """Kill a search that is under way with SIGKILL, run it again to its end; its run."""
    run = folder / "runs" / "hunt"
    path = write_search(folder, search)
    command = (
        sys.executable,
        "-m",
        "study.tune",
        str(path),
        "--runs",
        str(folder / "runs"),
        *options,
    )
    process = home.run(*command)
    wait_for(lambda: RunPaths(run).journal.exists() and len(Store(run).keys()) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert states(run).count("COMPLETE") < search["search"]["trials"]
    code, output = finish(home.run(*command))
    assert code == 0, output
    return run


@pytest.mark.long
def test_a_killed_search_reaches_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    search = hunt(trials=8)
    search["train"]["epochs"] = 20
    with ray_home() as home:
        run = killed_and_relaunched(home, tmp_path, search, "--serial")
    counts = Counter(states(run))
    assert counts["COMPLETE"] == 8
    assert counts.keys() <= {"COMPLETE", "FAIL"} and counts["FAIL"] <= 1
    assert len(Store(run).keys()) == 8
    assert failures(run) == {}


@pytest.mark.long
@pytest.mark.parametrize("round_number", range(3))
def test_a_search_on_ray_killed_and_relaunched_reaches_exactly_the_trials_asked_for(
    tmp_path: Path, round_number: int
) -> None:
    search = hunt(trials=10, seed=round_number, confirm=6)
    search["train"]["epochs"] = 60
    with ray_home() as home:
        run = killed_and_relaunched(home, tmp_path, search)
    counts = Counter(states(run))
    assert counts["COMPLETE"] == 10
    assert counts["FAIL"] <= 4  # what ran when the launcher was killed
    assert len(journal(run).user_attrs["confirmation"]["tuned"]) == 6
    assert failures(run) == {}
