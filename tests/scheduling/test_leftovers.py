"""What a launch leaves behind is ended and deleted.

By itself or, if it was killed, by the next one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from places import ROOT
from ray_home import wait_for

from study.scheduling.leftovers import NoPlace, forget_dead_launches, scratch
from study.store.leases import this_machine

SCRIPT = """
    import subprocess, sys, time
    from pathlib import Path
    from study.scheduling.leftovers import scratch
    with scratch(Path(sys.argv[1]), sockets=False) as folder:
        busy = "import os, sys, time; log = open(f'{sys.argv[1]}/log', 'a'); "
        busy += "os.chdir(sys.argv[1])\\n"
        busy += "for n in range(10**6): open(str(n), 'w').close(); time.sleep(0.01)"
        child = subprocess.Popen([sys.executable, "-c", busy, folder], start_new_session=True)
        print(folder, child.pid, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[subprocess.Popen[str], Path, psutil.Process]:
    """A launch with a detached process that fills its folder."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "launches" / "launch.stop")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    folder, child = process.stdout.readline().split()
    wait_for((Path(folder) / "0").exists)
    return process, Path(folder), psutil.Process(int(child))


def ended(process: psutil.Process) -> bool:
    """Whether it has ended, seen or unseen by its parent."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_launch_leaves_neither_processes_nor_its_folder(
    launch: tuple[subprocess.Popen[str], Path, psutil.Process],
) -> None:
    process, folder, child = launch
    assert folder.is_dir() and not ended(child)
    process.communicate()
    assert process.returncode == 0
    assert ended(child)
    assert not folder.exists()


def test_the_next_launch_clears_up_after_one_that_was_killed(
    launch: tuple[subprocess.Popen[str], Path, psutil.Process], tmp_path: Path
) -> None:
    process, folder, child = launch
    (tmp_path / "launches").mkdir()
    (tmp_path / "launches" / "launch.stop").touch()
    forget_dead_launches()
    assert folder.is_dir() and not ended(child), "its launch is alive"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not ended(child)
    forget_dead_launches()
    assert ended(child)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["launches"]


def test_what_is_not_known_to_be_of_a_dead_launch_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name, owner in {
        "study-a": "{",
        "study-b": '{"machine": "another", "pid": 1}',
        "other": "{}",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner.json").write_text(owner)
    (tmp_path / "study-c").mkdir()
    forget_dead_launches()
    assert len(list(tmp_path.iterdir())) == 4


def dead_owner(stop_file: Path) -> str:
    """What a launch that is dead left in its folder."""
    owner = {"machine": this_machine(), "pid": 2**22 + 1, "process_started": 1.0}
    return json.dumps(owner | {"stop_file": str(stop_file)})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared folder of temporary files."""
    place = tmp_path / "shared"
    place.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    return place


def abandon(place: Path, stop_file: Path) -> Path:
    """A folder of a launch that was killed."""
    folder = place / "study-abcdefgh"
    folder.mkdir()
    (folder / "owner.json").write_text(dead_owner(stop_file))
    return folder


@pytest.mark.parametrize("name", ["precious.txt", "launches/precious.txt", "other/name.stop"])
def test_no_file_but_a_stop_file_of_a_run_is_deleted(
    place: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    folder = abandon(place, path)
    forget_dead_launches()
    assert not folder.exists()
    assert path.read_text() == "mine"


def test_links_are_not_followed(place: Path, tmp_path: Path) -> None:
    """Neither a folder that is a link, nor a stop file, nor one below a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.stop").write_text("mine")
    (tmp_path / "launches").symlink_to(tmp_path / "real")
    abandon(place, tmp_path / "launches" / "a.stop")
    target = tmp_path / "target"
    target.mkdir()
    (target / "owner.json").write_text(dead_owner(tmp_path / "none"))
    (place / "study-linked00").symlink_to(target)
    forget_dead_launches()
    assert (tmp_path / "real" / "a.stop").exists()
    assert (target / "owner.json").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_what_another_user_left_is_not_believed(place: Path, tmp_path: Path) -> None:
    (tmp_path / "launches").mkdir()
    stop_file = tmp_path / "launches" / "a.stop"
    stop_file.touch()
    folder = abandon(place, stop_file)
    os.chown(folder / "owner.json", 54321, 54321)
    os.chown(folder, 54321, 54321)
    forget_dead_launches()
    assert folder.exists() and stop_file.exists()
    os.chown(folder, 0, 0)
    forget_dead_launches()
    assert stop_file.exists(), "the record alone is another user's"


def test_old_folders_without_a_record_are_deleted_if_a_launch_filled_them(place: Path) -> None:
    old = {
        "study-aaaaaaaa": "session_2026/x",
        "study-bbbbbbbb": "results.csv",
        "study-cccccccc": "",
    }
    for name, content in old.items():
        path = place / name / content
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            path.touch()
        else:
            path.mkdir()
        os.utime(place / name, (1.0, 1.0))
    (place / "study-dddddddd").mkdir()
    forget_dead_launches()
    left = sorted(path.name for path in place.iterdir())
    assert left == ["study-bbbbbbbb", "study-dddddddd"], "the last one is new"


def test_a_place_that_is_too_long_or_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(NoPlace, match="characters too long"), scratch(tmp_path / "a.stop"):
        pass
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "missing"))
    with (
        pytest.raises(NoPlace, match="cannot be written"),
        scratch(tmp_path / "a.stop", sockets=False),
    ):
        pass
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(long))
    with scratch(tmp_path / "a.stop") as folder:
        assert folder.parent == Path("/tmp").resolve(), "a short one is taken instead"
