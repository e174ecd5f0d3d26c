"""`python -m study` and the doors that it lists."""

from __future__ import annotations

import subprocess
import sys

from places import ROOT


def test_every_door_is_listed_in_a_line_at_once() -> None:
    code = (
        "import runpy, sys; runpy.run_module('study', run_name='__main__'); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'pydantic')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    doors = {
        path.stem
        for path in (ROOT / "study").glob("[!_]*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert {line.split()[2].removeprefix("study.") for line in lines} == {*doors, "analysis"}
    assert {"launch", "status", "tune", "measure", "pack", "clean"} <= doors
    assert len(lines) == len(doors) + 1


def test_doors_are_short() -> None:
    for path in (ROOT / "study").glob("[!_]*.py"):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            assert len(text.splitlines()) < 100, path.name
