"""What a launch leaves behind is ended and deleted.

By itself or, if it was killed, by the next one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from places import ROOT
from ray_home import wait_for

from study.scheduling.leftovers import forget_dead_launches

SCRIPT = """
    import subprocess, sys, time
    from pathlib import Path
    from study.scheduling.leftovers import scratch
    with scratch(Path(sys.argv[1])) as folder:
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
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "launch.stop")],
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
    (tmp_path / "launch.stop").touch()
    forget_dead_launches()
    assert folder.is_dir() and not ended(child), "its launch is alive"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not ended(child)
    forget_dead_launches()
    assert ended(child)
    assert list(tmp_path.iterdir()) == []


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
