"""Trackers of a launch: what they are given, and that their faults stay theirs."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from base_study import BASE, write_base
from followed_run import Curves, events, rounded
from ray_home import finish, ray_home, wait_for
from tiny_study import launch, rows, write_study

from study.config import load_study
from study.grid import expand
from study.launch import main
from study.launching import tracking
from study.launching.progress import Watch
from study.launching.tracking import Subjects, cell_labels
from study.settings.schema import Scalar
from study.store import Store

STUDY: dict[str, Any] = {
    "name": "digits",
    "data": {"kind": "images", "quota": 20},
    "model": {"kind": "mlp", "width": 16, "depth": 2},
    "train": {"lr": 0.01, "batch_size": 32},
    "grid": {"epochs": [1], "precision": ["fp32", "int4"], "seed": [0]},
}
LIBRARY = """
import os, time

class Run:
    name = "run"
    logged = 0
    def log(self, values, step):
        self.logged += 1
        if self.logged > 2:
            {log}
    def finish(self):
        {finish}

def init(*arguments, **options):
    {init}
    return Run()
"""
"""A library that is like trackio, and fails."""
RAISES = "raise RuntimeError('no room for values')"
FAULTS = {
    "import": "raise ImportError('no such symbol')",
    "init": LIBRARY.format(init=RAISES, log="pass", finish="pass"),
    "log": LIBRARY.format(init="pass", log=RAISES, finish="pass"),
    "finish": LIBRARY.format(init="pass", log="pass", finish=RAISES),
    "death": LIBRARY.format(init="pass", log="os.abort()", finish="pass"),
    "hang": LIBRARY.format(init="pass", log="time.sleep(1000)", finish="pass"),
    "loop": LIBRARY.format(init="pass", log="\n            while True: pass", finish="pass"),
}
CAUSES = {
    "import": "ImportError: no such symbol",
    "init": "RuntimeError: no room for values",
    "log": "RuntimeError: no room for values",
    "finish": "RuntimeError: no room for values",
    "death": "its process ended with code -6",
    "hang": "it hangs, and is given up after 2 s",
    "loop": "it hangs, and is given up after 2 s",
}


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run that no tracker has seen."""
    folder = tmp_path_factory.mktemp("untracked")
    assert launch(folder, STUDY) == 0
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tracker_that_fails_costs_one_warning(
    untracked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "trackio.py").write_text(FAULTS[fault])
    monkeypatch.syspath_prepend(tmp_path / "library")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    if fault in ("hang", "loop"):
        monkeypatch.setattr(tracking, "PATIENCE", 2.0)
    live = fault in ("log", "hang", "loop")  # the others fail over what was trained before
    folder = tmp_path if live else Path(shutil.copytree(untracked, tmp_path / "copy"))
    assert launch(folder, STUDY, "--track", "trackio") == 0
    out = capsys.readouterr().out
    assert out.count("Warning: ") == 1
    assert f"Warning: trackio: {CAUSES[fault]}. Trainings go on without it" in out
    assert rows(folder / "runs" / "digits").equals(rows(untracked / "runs" / "digits"))


def test_what_a_failing_tracker_lacks_is_logged_by_the_next_launch(
    untracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(untracked, tmp_path / "copy"))
    library = tmp_path / "library" / "trackio.py"
    library.parent.mkdir()
    monkeypatch.syspath_prepend(library.parent)
    values = tmp_path / "values"
    note = f"open({str(values)!r}, 'a').write(f'{{step}}\\n')"
    for log in (RAISES, note):
        library.write_text(
            LIBRARY.format(init="pass", log=log, finish="pass").replace("self.logged > 2", "True")
        )
        assert launch(folder, STUDY, "--track", "trackio") == 0
    (losses,) = (folder / "runs").glob("digits/trainings/*/loss_log.jsonl")
    steps = list(range(1, 1 + len(losses.read_text().splitlines())))
    assert [int(line) for line in values.read_text().split()] == [
        *steps,
        0,
        steps[-1],
        0,
        steps[-1],
    ]


def test_a_launch_refuses_names_that_no_tracker_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, STUDY)
    assert main([str(path), "--runs", str(tmp_path / "runs"), "--track", "tensorbord, mlfow"]) == 2
    error = capsys.readouterr().err
    assert "'tensorbord' is no tracker. Did you mean `tensorboard`?" in error
    assert "'mlfow' is no tracker. Did you mean `mlflow`?" in error
    assert not (tmp_path / "runs").exists()


def test_a_launch_refuses_to_track_with_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, STUDY)
    with pytest.raises(SystemExit) as ended:
        main([str(path), "--runs", str(tmp_path / "runs"), "--track", ", "])
    assert ended.value.code == 2
    assert "argument --track: ', ' names no tracker: give one" in capsys.readouterr().err


def test_names_tell_trainings_apart_and_settings_are_shared_ones(tmp_path: Path) -> None:
    study = copy.deepcopy(STUDY)
    study["grid"] |= {"train.lr": [0.01, 0.1], "seed": [0, 1]}
    cells = expand(load_study(write_study(tmp_path, study)))
    watch = Watch(tmp_path, cells)
    subjects = [Subjects(watch).subject(training).subject for training in watch.trainings]
    names = [subject.name.removesuffix(f" {subject.key[:8]}") for subject in subjects]
    assert sorted(names) == [
        f"mlp 2x16 1 epoch seed {seed} lr {lr}" for seed in (0, 1) for lr in (0.01, 0.1)
    ]
    assert all("precision" not in subject.settings for subject in subjects)
    assert {subject.settings["lr"] for subject in subjects} == {0.01, 0.1}
    assert None not in {value for subject in subjects for value in subject.settings.values()}


def test_a_name_is_short_whatever_a_search_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copy.deepcopy(STUDY)
    study["grid"]["train.lr"] = [0.17227193848220543, 0.01]
    watch = Watch(tmp_path, expand(load_study(write_study(tmp_path, study))))
    subject = Subjects(watch).subject(watch.trainings[0]).subject
    assert subject.name == f"mlp 2x16 1 epoch seed 0 lr 0.172 {subject.key[:8]}"
    assert subject.settings["lr"] == 0.17227193848220543
    monkeypatch.setattr(tracking, "LONGEST", 8)
    assert Subjects(watch).subject(watch.trainings[0]).subject.name == f"mlp 2x16 {subject.key[:8]}"


def test_cells_of_one_precision_are_told_apart_by_what_differs() -> None:
    settings: dict[str, dict[str, Scalar]] = {
        "a": {"precision": "fp32", "calibration_samples": None},
        "b": {"precision": "gptq-int4", "calibration_samples": 8},
        "c": {"precision": "gptq-int4", "calibration_samples": 64},
    }
    assert cell_labels(settings) == {
        "a": "fp32",
        "b": "gptq-int4 calibration_samples 8",
        "c": "gptq-int4 calibration_samples 64",
    }


def test_only_trainings_that_have_begun_are_handed_on(untracked: Path, tmp_path: Path) -> None:
    study = copy.deepcopy(STUDY)
    study["grid"]["seed"] = [0, 1]
    cells = expand(load_study(write_study(tmp_path, study)))
    subjects = Subjects(Watch(untracked / "runs" / "digits", cells))
    (begun,) = subjects.begun(set())
    assert begun.subject.settings["seed"] == 0
    assert subjects.begun({begun.subject.key}) == []
    assert Subjects(Watch(tmp_path, cells)).begun(set()) == []


@pytest.mark.long
def test_a_launch_on_ray_that_is_killed_is_logged_once(tmp_path: Path) -> None:
    """Each training has one run, in which no step is missing or there twice."""
    steps, seeds, run = 1_500, [0, 1, 2], tmp_path / "runs" / "base"
    study = write_base(
        tmp_path,
        train={**BASE["train"], "epochs": steps},
        grid={**BASE["grid"], "seed": seeds},
        resources={"checkpoint_minutes": 0.02, "parallel": 2},
    )
    places = ("--runs", str(tmp_path / "runs"), "--track", "tensorboard")
    command = [sys.executable, "-m", "study.launch", str(study), *places]
    store = Store(run)
    shown = store.paths.tracker("tensorboard")
    with ray_home() as home:
        process = home.run(*command)
        wait_for(lambda: store.keys() and len(list(shown.glob("*/*tfevents*"))) > 1, 600)
        process.kill()
        process.wait()
        code, output = finish(home.run(*command), 1200)
    assert code == 0, output
    assert "Warning" not in output
    stored = store.read()
    trainings = set(stored["training"])
    folders = {next(key for key in trainings if path.parent.name.endswith(key[:8])): path.parent
               for path in shown.glob("*/*tfevents*")}  # fmt: skip
    assert len(folders) == len({path.parent for path in shown.glob("*/*tfevents*")}) == len(seeds)
    for key, folder in folders.items():
        lines = [json.loads(line) for line in store.paths.loss_log(key).read_text().splitlines()]
        expected: Curves = {"train/loss": {line["step"]: line["loss"] for line in lines}}
        mine = stored.filter(training=key)
        for precision in BASE["grid"]["precision"]:
            measured = mine.filter(precision=precision)["step", "nc2_equinorm"].drop_nulls().rows()
            expected[f"{precision}/nc2_equinorm"] = dict(measured)
        curves = events(folder)
        assert {name: curves[name] for name in expected} == rounded(expected)
        assert list(curves["train/loss"]) == list(range(1, steps + 1))
