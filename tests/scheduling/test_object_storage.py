"""Studies whose run lies on object storage, on a real server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from base_study import BASE, CELLS, every_cell_once, write_base, write_long
from object_server import BUCKET, SECRET, ObjectServer, object_server
from ray_home import finish, ray_home, wait_for
from tiny_study import rows

from study import clean, measure, pack, status, tune
from study.launch import main
from study.launching import launch, launcher
from study.store import Store, cells, objects, outage
from study.store.atomic import create
from study.store.leases import Leases
from study.store.places import place


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def runs(server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of runs of its own for each test, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"


def test_a_launch_that_is_killed_goes_on_and_equals_one_in_a_folder(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_base(tmp_path, keep="last")
    left = [3]

    def until_the_third(path: Path, content: bytes) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        create(path, content)

    monkeypatch.setattr(cells, "create", until_the_third)
    assert main([str(study), "--runs", runs, "--serial"]) == 1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = f"{runs}/base"
    assert len(Store(run).keys()) == 3
    assert status.main([run]) == 0
    assert f"3/{CELLS} cells done" in capsys.readouterr().out
    assert main([run, "--serial"]) == 0
    every_cell_once(run)
    assert launch(study, runs=tmp_path / "runs", serial=True).code == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "base"))
    paths = Store(run).paths
    assert not any(SECRET in path.read_bytes().decode(errors="replace")
                   for path in paths.root.rglob("*"))  # fmt: skip
    assert list(Leases(paths.leases).all()) == []
    assert paths.unfinished() == set()
    capsys.readouterr()
    kept = next(iter(paths.all_checkpoints.glob("*"))) / "epoch-00004"
    assert measure.main([str(kept), "--precision", "int8"]) == 0
    assert "nc1" in capsys.readouterr().out.lower()
    assert pack.main([run, "--in-place"]) == 0
    assert pack.main([run, str(tmp_path / "packed")]) == 0
    assert rows(tmp_path / "packed").equals(rows(tmp_path / "runs" / "base"))
    assert clean.main([run]) == 0
    assert not paths.all_checkpoints.exists()


def test_a_relaunch_reads_each_cell_once(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has nothing to run, and folds what a killed launch has left."""
    study, run = write_base(tmp_path), f"{runs}/base"
    assert launch(study, runs=runs, serial=True).code == 0
    assert len(Store(run).single_keys()) == CELLS
    monkeypatch.setattr(launcher, "MANY", CELLS)
    counts = []
    for _ in range(2):
        server.requests.clear()
        assert launch(study, runs=runs, serial=True).code == 0
        counts.append(server.requests.copy())
    assert len(Store(run).parts.files()) == 1
    folds, reads = counts
    # metadata and the new part; the part, for its check and its cells; three of the probe
    assert folds["GET"] == CELLS + 2 + 1 + 3
    assert reads["GET"] == 2 + 3
    assert max(sum(folds.values()) - CELLS, sum(reads.values())) < 50
    server.requests.clear()
    assert status.main([run]) == 0
    assert sum(server.requests.values()) < 25


@pytest.mark.long
def test_a_report_reads_the_run_there(
    runs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis.__main__ import main as analysis

    study = write_base(tmp_path)
    assert launch(study, runs=runs, serial=True).code == 0
    assert analysis([f"{runs}/base", "--only", "data"]) == 0
    assert (tmp_path / "base-report" / "report.html").is_file()
    assert "report: base-report/report.html" in capsys.readouterr().out


def test_what_storage_cannot_do_is_refused_before_anything_runs(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    study = write_base(tmp_path)
    monkeypatch.setattr(server, "ignored", {"HTTP_IF_NONE_MATCH"})
    assert main([str(study), "--runs", runs, "--serial"]) == 2
    assert "ignores If-None-Match" in capsys.readouterr().err
    assert list(place(runs).rglob("*")) == []
    assert main([str(study), "--runs", "gs://bucket/runs", "--serial"]) == 2
    assert "gs:// is no storage" in capsys.readouterr().err
    assert main([str(study), "--runs", runs, "--track", "tensorboard"]) == 2
    assert "--track: trackers follow" in capsys.readouterr().err
    assert tune.main(["search.yaml", "--runs", runs]) == 2
    assert "a search cannot lie on object storage" in capsys.readouterr().err


def test_storage_that_fails_for_a_while_costs_nothing(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = list[Path]()

    def after_a_pause(path: Path, content: bytes) -> None:
        if not failures:
            failures.append(path)
            server.failing = True
            threading.Timer(0.3, lambda: setattr(server, "failing", False)).start()
        create(path, content)

    monkeypatch.setattr(cells, "create", after_a_pause)
    assert launch(write_base(tmp_path), runs=runs, serial=True).code == 0
    every_cell_once(f"{runs}/base")
    assert failures


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Launches wait for a second, and each request is sent once at a time."""
    monkeypatch.setattr(outage, "LONG", 1.0)
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    objects.CLIENTS.forget()
    yield
    objects.CLIENTS.forget()


def fails_after(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the server fail once so many cells are created."""
    left = [count]

    def until_then(path: Path, content: bytes) -> None:
        server.failing = not left[0]
        left[0] -= 1
        create(path, content)

    monkeypatch.setattr(cells, "create", until_then)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("new_process", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_server_that_is_gone_ends_a_launch_and_the_next_one_resumes(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], new_process: bool,
) -> None:  # fmt: skip
    study, run = write_base(tmp_path), f"{runs}/base"
    with monkeypatch.context() as patch:
        fails_after(server, patch, 3)
        assert main([str(study), "--runs", runs, "--serial"]) == 3
    out, error = capsys.readouterr()
    assert out.count("The object storage has not answered since ") == 1
    assert "requests are sent again until " in out
    assert "Nothing is lost of what was stored" in out
    assert f"launch {run} --serial" in out
    assert error.count("\n") == 1
    assert "no answer since" in error and ".stop" not in error
    server.failing = False
    assert len(Store(run).keys()) == 3
    if new_process:
        command = [sys.executable, "-m", "study.launch", run, "--serial"]
        assert subprocess.run(command, check=False).returncode == 0
    else:
        assert launch(run, serial=True).code == 0
    every_cell_once(run)
    assert launch(study, runs=tmp_path / "runs", serial=True).code == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "base"))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_answers_again_is_told(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(outage, "LONG", 60.0)
    fails_after(server, monkeypatch, 1)
    say = launcher.Launcher.say

    def mend(self: launcher.Launcher, text: str) -> None:
        say(self, text)
        if "has not answered" in text:
            server.failing = False

    monkeypatch.setattr(launcher.Launcher, "say", mend)
    assert launch(write_base(tmp_path), runs=runs, serial=True).code == 0
    out = capsys.readouterr().out
    assert out.index("The object storage has not answered since ") < out.index(
        "The object storage answers again, after "
    )


@pytest.mark.usefixtures("impatient")
def test_ctrl_c_ends_the_wait_for_a_server(
    runs: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(outage, "LONG", 600.0)
    fails_after(server, monkeypatch, 1)
    say = launcher.Launcher.say

    def interrupt(self: launcher.Launcher, text: str) -> None:
        say(self, text)
        if "has not answered" in text:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(launcher.Launcher, "say", interrupt)
    try:
        assert main([str(write_base(tmp_path)), "--runs", runs, "--serial"]) == 1
    finally:
        server.failing = False
    assert "They cannot be asked" in capsys.readouterr().out


@pytest.mark.long
def test_a_process_that_is_killed_goes_on_from_its_state(runs: str, tmp_path: Path) -> None:
    study, run = write_long(tmp_path, steps=5_000), f"{runs}/base"
    command = [sys.executable, "-m", "study.launch", str(study), "--runs", runs, "--serial"]
    with ray_home() as home:
        process = home.run(*command)
        paths = Store(run).paths
        wait_for(lambda: any(path.suffix == ".json" for path in paths.trainings.rglob("state-*")))
        process.kill()
        process.wait()
        code, output = finish(home.run(*command), 900)
        assert code == 0, output
    every_cell_once(run)
    assert launch(study, runs=tmp_path / "runs", serial=True).code == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "base"))


def begun(run: str) -> dict[str, int]:
    """How many times each training was begun, as far as its log is published."""
    logs = Store(run).paths.trainings.rglob("console.log")
    return {path.parent.name: path.read_text().count(" launch ") for path in logs}


@pytest.mark.long
def test_a_launch_on_ray_whose_driver_is_killed_goes_on(runs: str, tmp_path: Path) -> None:
    """What is stored then is not trained again, what was under way goes on from its state."""
    steps, seeds, run = 2_000, range(4), f"{runs}/base"
    study = write_base(
        tmp_path,
        train={**BASE["train"], "epochs": steps},
        grid={**BASE["grid"], "seed": list(seeds)},
        resources={"checkpoint_minutes": 0.02, "parallel": 2},
    )
    command = [sys.executable, "-m", "study.launch", str(study), "--runs", runs]
    store = Store(run)

    def trained() -> set[str]:
        keys = store.keys()
        return {str(store.rows(key)[0]["training"]) for key in keys} if len(keys) > 1 else set()

    with ray_home() as home:
        process = home.run(*command)
        wait_for(lambda: trained() and len(store.paths.unfinished() - trained()) == 2, 600)
        process.kill()
        process.wait()
        wait_for(lambda: not home.workers())
        before, done = begun(run), trained()
        assert set(before.values()) == {1}
        code, output = finish(home.run(*command), 1200)
        assert code == 0, output
        assert home.remains() == []
    after = begun(run)
    print(f"begun before {before}, after {after}, done before {done}", output, sep="\n")
    assert after == {key: 1 + (key in before and key not in done) for key in after}
    assert len(after) == len(seeds)
    for log in store.paths.trainings.rglob("loss_log.jsonl"):
        lines = [json.loads(line)["step"] for line in log.read_text().splitlines()]
        assert lines == list(range(1, steps + 1))
    assert launch(study, runs=tmp_path / "runs", serial=True).code == 0
    assert rows(run).equals(rows(tmp_path / "runs" / "base"))
