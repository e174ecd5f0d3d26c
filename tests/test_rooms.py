"""Imports run downward only, and what plans need stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

LEVELS = [
    {"faults", "settings", "atomic", "quiet", "schema", "sealed", "yamlfile"},
    {"metrics", "data", "models", "precision", "schedule", "losses", "checks"},
    {"config", "journal", "losslog", "optimizer", "resume"},
    {"grid", "search_space"},
    {"train", "collect", "search_config"},
    {"qat", "searcher"},
    {"trial", "store", "provenance", "lease"},
]
"""Rooms from the bottom up; what is not listed (workers, schedulers, command lines) stands on top."""


def imported(path: Path) -> set[str]:
    """Modules that a file imports, those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("study.")}


def level(room: str) -> int:
    return next((number for number, names in enumerate(LEVELS) if room in names), len(LEVELS))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "study").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_study_imports_run_downward(path: Path) -> None:
    room = path.relative_to(ROOT / "study").parts[0].removesuffix(".py")
    above = {other for other in rooms(path) if level(other) > level(room)}
    assert not above
    assert not any(name.split(".")[0] == "analysis" for name in imported(path))


@pytest.mark.parametrize("room", ["metrics", "data", "models", "precision", "schedule", "losses"])
def test_rooms_of_the_lowest_floor_know_none_of_the_others(room: str) -> None:
    folder = ROOT / "study" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    neighbours = {"metrics", "data", "models", "precision", "schedule", "losses"} - {room}
    assert {path.name: rooms(path) & neighbours for path in files if rooms(path) & neighbours} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=lambda p: p.name)
def test_analysis_knows_the_store_alone(path: Path) -> None:
    assert rooms(path) <= {"store"}


def test_ray_has_one_door() -> None:
    users = [
        p.name
        for p in (ROOT / "study").rglob("*.py")
        if any(n.split(".")[0] == "ray" for n in imported(p))
    ]
    assert users == ["ray_tune.py"]


def test_torchao_has_one_room() -> None:
    users = {
        p.parent.name
        for p in (ROOT / "study").rglob("*.py")
        if any(n.split(".")[0] == "torchao" for n in imported(p))
    }
    assert users == {"precision"}


@pytest.mark.parametrize(
    "module",
    [
        "study.config",
        "study.grid",
        "study.store",
        "study.status",
        "study.launch",
        "study.tune",
        "study.precision",
        "analysis",
    ],
)
def test_plans_and_errors_do_not_wait_for_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'torchao', 'ray')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
