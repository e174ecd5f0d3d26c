"""Computers, file systems and users that differ from ours: said in a line, or no matter."""

from __future__ import annotations

import errno
import getpass
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from base_study import CELLS, write_base
from places import ROOT
from ray_home import wait_for

from study.launch import main
from study.measure import main as measure
from study.scheduling.joining import ClusterError, agree
from study.settings.doors import at_door
from study.status import main as status
from study.store import RunPaths, Store, StoreError
from study.store.atomic import create
from study.store.leases import Leases
from study.store.probe import check_target


def launch(folder: Path, *options: str) -> int:
    """Launch the fastest study in this process."""
    return main([str(write_base(folder)), "--runs", str(folder / "runs"), "--serial", *options])


def command(folder: Path, *options: str) -> list[str]:
    """The same as a command."""
    path = str(write_base(folder))
    return [sys.executable, "-m", "study.launch", path, "--runs", str(folder / "runs"), *options]


def refuse(number: int, *, folders_only: bool = False) -> object:
    """A call of the operating system that fails."""
    sound = os.fsync

    def call(handle: object, *more: object) -> None:
        if folders_only and not os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            sound(handle)  # type: ignore[arg-type]
            return
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    assert launch(tmp_path) == 0
    assert len(Store(tmp_path / "runs" / "base").keys()) == CELLS
    with pytest.raises(FileExistsError):
        create(write_base(tmp_path), b"other")
    leases = Leases(tmp_path / "leases")
    with leases.hold("training", "a") as first, leases.hold("training", "b") as second:
        assert first is not None and second is None


def test_a_file_system_that_cannot_synchronize_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL, folders_only=True))
    assert launch(tmp_path) == 0


def test_a_disk_that_fails_is_no_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EIO))
    assert launch(tmp_path) == 2
    assert "takes no files (Input/output error)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_runs_below_a_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    (tmp_path / "runs").write_text("a file")
    assert launch(tmp_path, *options) == 2
    assert "is no folder: give another place with --runs" in capsys.readouterr().err


def test_a_user_without_a_name_is_known_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert launch(tmp_path) == 0
    (path,) = RunPaths(tmp_path / "runs" / "base").launches.glob("*.json")
    assert json.loads(path.read_text())["user"] == f"uid {os.getuid()}"


def test_a_finished_run_on_a_read_only_disk_has_nothing_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(tmp_path) == 0
    there = tmp_path / "mount"
    there.mkdir()
    more = " ".join([*command(tmp_path), "--runs", str(there), "--serial"])
    script = (
        f"mount -t tmpfs tmpfs {there} && cp -r {tmp_path}/runs/base {there} && "
        f"mount -o remount,ro {there} && {more}; echo code $?; "
        f"{more} 'grid.seed=[0,1,2]'; echo code $?"
    )
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    trial = [*own, f"mount -t tmpfs tmpfs {there} && mount -o remount,ro {there}"]
    if shutil.which("unshare") is None or subprocess.run(trial, check=False).returncode != 0:
        pytest.skip("no right to mount a file system of our own")
    done = subprocess.run(
        [*own, script], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    first, second, _ = done.stdout.split("code ")
    assert f"{CELLS} of {CELLS} cells are done: nothing to run." in first, done.stderr
    assert second.startswith("0\n")
    assert done.stdout.endswith("code 2\n")
    assert "takes no files (Read-only file system)" in done.stderr


@pytest.mark.long  # a SIGTERM does the same in the fast tests
def test_a_signal_of_the_terminals_end_saves(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--serial", "train.epochs=1000000", "measure.at=last"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run = RunPaths(tmp_path / "runs" / "base")
    wait_for(lambda: any("step" in lease.progress for lease in Leases(run.leases).all()))
    process.send_signal(signal.SIGHUP)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "Stopping: asking the trainings to save" in output
    assert list(run.trainings.glob("*/state-*.safetensors")), "a state to resume from"


@pytest.mark.parametrize("how", [">&-", pytest.param("| true", marks=pytest.mark.long)])
def test_a_launch_whose_output_nobody_takes_goes_on(tmp_path: Path, how: str) -> None:
    line = " ".join(command(tmp_path, "--serial"))
    done = subprocess.run(
        ["bash", "-c", f"{line} {how}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(Store(tmp_path / "runs" / "base").keys()) == CELLS


def test_a_dead_address_is_noticed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    began = time.monotonic()
    assert main([str(write_base(tmp_path)), "--runs", str(tmp_path / "runs")]) == 2
    assert time.monotonic() - began < 15
    assert "nobody answers at 127.0.0.1:9" in capsys.readouterr().err


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ClusterError, match="is no address: HOST:PORT, or auto"):
        agree("somewhere")


def test_the_file_of_a_study_has_no_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status([str(write_base(tmp_path))]) == 2
    assert "Give the folder of a run" in capsys.readouterr().err


def test_what_nobody_expected_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @at_door
    def door(arguments: object) -> int:
        raise OSError(errno.EIO, "broken " * 200)

    assert door() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) <= 500
    trace = Path(said.rstrip().rpartition(" ")[2])
    assert "Traceback" in trace.read_text()
    trace.unlink()


LONG = "a" * 5000
DEEP = "/".join(["b" * 200] * 30)


@pytest.mark.parametrize(
    ("door", "arguments"),
    [
        ("study.launch", (LONG,)),
        ("study.launch", ("base.yaml", "--serial", "--runs", LONG)),
        ("study.launch", ("base.yaml", "--dry-run", "--runs", DEEP)),
        (
            "study.launch",
            ("base.yaml", "--dry-run", "model={kind: pretrained, path: " + LONG + "}"),
        ),
        ("study.tune", (LONG,)),
        ("study.status", (LONG,)),
        ("study.status", ("base.yaml/x",)),
        ("study.clean", (DEEP,)),
        ("study.pack", (LONG, "target")),
        ("study.measure", (LONG,)),
        ("study.measure", (".", "--data", "python-docs", "--out", LONG)),
        ("study.measure", (".", "--data", "python-docs", "--out", ".")),
        ("study.measure", (".", "--data", "python-docs", "--out", "x", "--classes", "./x")),
        ("study.measure", (".", "--data", "python-docs", "--classes", "/dev/full")),
        ("analysis.__main__", (LONG,)),
        ("analysis.__main__", (LONG + ".csv", "--unit", "run")),
        ("analysis.__main__", ("base.yaml", "--out", DEEP)),
        ("analysis.__main__", ("base.yaml", "--columns", LONG)),
    ],
)
def test_a_path_that_cannot_be_is_refused_in_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    door: str,
    arguments: tuple[str, ...],
) -> None:
    write_base(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = import_module(door).main(list(arguments))
    said = capsys.readouterr().err
    assert code == 2, said
    assert max(map(len, said.splitlines())) <= 500
    assert "study-error" not in said
    assert Path("/dev/full").is_char_device() and [path.name for path in tmp_path.iterdir()] == [
        "base.yaml"
    ]


@pytest.mark.parametrize("name", ["pipe", "link", "pipe/x", "new/../pipe"])
@pytest.mark.parametrize("option", ["--out", "--classes"])
def test_a_pipe_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(StoreError, match=r"is a device or a pipe|cannot be written"):
        check_target(str(tmp_path / name))
    assert measure([".", "--data", "python-docs", option, str(tmp_path / name)]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "[").mkdir()
    for name in ("[/bold]x.txt", "[red]y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("the quick brown fox jumps over the lazy dog. " * 100)
    study = write_base(
        tmp_path,
        data={"kind": "text", "tokenizer": "char", "context": 8},
        model={"kind": "nanogpt", "heads": 1, "width": 8, "depth": 1},
        grid={"data.source": ["[/bold]x.txt", "[red]y.txt"]},
    )
    assert main([str(study), "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "[/bold]x.txt" in said and "[red]y.txt" in said


def test_letters_that_the_output_cannot_take_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(tmp_path) == 0
    failures = RunPaths(tmp_path / "runs" / "base").failures
    failures.mkdir(exist_ok=True)
    (failures / os.fsdecode(b"caf\xe9 \xff.json")).write_text("not a record")
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    assert launch(tmp_path) == 0
    said = content.getvalue().decode("ascii")
    assert r"caf\udce9 \udcff." in said and "nothing to run" in said


@pytest.mark.parametrize("options", [("--dry-run",), ("--serial",)])
def test_listed_epochs_that_no_training_reaches_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    study = str(write_base(tmp_path, measure={"at": [2, 9, 99], "min_count": 1}))
    overrides = ["grid.epochs=[4,9]", "grid.seed=[0]", "grid.precision=[fp32]"]
    assert main([study, "--runs", str(tmp_path / "runs"), *options, *overrides]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Warning: measure.at lists 99, and no training has so many epochs" in said


def test_doors_import_little_before_they_hear_ctrl_c() -> None:
    """Before that, Ctrl-C is a traceback of Python's own start."""
    script = (
        "import sys\n"
        "from importlib import import_module\n"
        "for door in ('launch', 'status', 'tune', 'measure', 'pack', 'clean'):\n"
        "    import_module(f'study.{door}')\n"
        "heavy = {'argparse', 'dataclasses', 'inspect', 'json', 'rich', 'yaml', 'study.store'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_what_hangs_at_an_address_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ClusterError, match="no Ray cluster, or it hangs"):
            agree(f"127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 40, "eight seconds after Ray's command has started"


def test_a_folder_of_the_users_does_not_hide_the_analysis() -> None:
    script = (
        "import sys, types; import analysis.__main__ as door\n"
        "sys.modules['analysis'] = types.ModuleType('analysis')\n"
        "code = door.main(['nothing.csv'])\n"
        "import analysis; sys.exit(code + 10 * (not callable(analysis.report)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "nothing.csv" in done.stderr, done.stderr


def test_ctrl_c_while_a_command_imports_is_one_line() -> None:
    script = (
        "import os, signal, sys, builtins; from study import launch; real = builtins.__import__\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(name, *more, **named):\n"
        "    if name == 'study.launching': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *more, **named)\n"
        "builtins.__import__ = slow; sys.exit(launch.main(['x.yaml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Stopped.\n")
