"""Every module lies in a room, and rooms import only what the table below lets them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

ROOMS: dict[str, set[str]] = {
    "study doors": {
        "analysis.statistics",
        "study.data",
        "study.hub",
        "study.launching",
        "study.measuring",
        "study.models",
        "study.precision",
        "study.reference",
        "study.scheduling",
        "study.search",
        "study.settings",
        "study.store",
        "study.training",
    },
    "study.reference": {"study.config", "study.search", "study.settings"},
    "study.integrations": {"study.columns", "study.measuring", "study.metrics", "study.settings"},
    "study.search": {
        "study.columns",
        "study.config",
        "study.data",
        "study.grid",
        "study.hub",
        "study.launching",
        "study.scheduling",
        "study.settings",
        "study.store",
    },
    "study.launching": {
        "study.columns",
        "study.config",
        "study.data",
        "study.grid",
        "study.hub",
        "study.measuring",
        "study.models",
        "study.precision",
        "study.scheduling",
        "study.settings",
        "study.store",
        "study.tracking",
        "study.training",
    },
    "study.tracking": {"study.columns", "study.settings", "study.store"},
    "study.scheduling": {
        "study.columns",
        "study.config",
        "study.data",
        "study.grid",
        "study.measuring",
        "study.precision",
        "study.settings",
        "study.store",
        "study.training",
    },
    "study.measuring": {
        "study.columns",
        "study.config",
        "study.data",
        "study.grid",
        "study.metrics",
        "study.models",
        "study.precision",
        "study.settings",
        "study.store",
        "study.training",
    },
    "study.training": {
        "study.config",
        "study.data",
        "study.grid",
        "study.models",
        "study.precision",
        "study.settings",
        "study.store",
    },
    "study.grid": {
        "study.config",
        "study.data",
        "study.models",
        "study.precision",
        "study.settings",
    },
    "study.config": {"study.data", "study.models", "study.precision", "study.settings"},
    "study.data": {"study.settings", "study.store"},
    "study.models": {"study.settings", "study.store"},
    "study.precision": {"study.settings"},
    "study.settings": set(),
    "study.hub": {"study.columns", "study.settings", "study.store"},
    "study.store": set(),
    "study.metrics": {"study.columns"},
    "study.columns": set(),
    "analysis doors": {
        "analysis.reading",
        "analysis.report",
        "analysis.statistics",
        "study.settings",
    },
    "analysis.report": {
        "analysis.figures",
        "analysis.findings",
        "analysis.reading",
        "analysis.statistics",
        "study.columns",
        "study.hub",
        "study.store",
    },
    "analysis.figures": {
        "analysis.findings",
        "analysis.reading",
        "analysis.statistics",
        "study.columns",
    },
    "analysis.findings": {"analysis.reading", "analysis.statistics", "study.store"},
    "analysis.statistics": set(),
    "analysis.reading": {"study.columns", "study.hub", "study.search", "study.store"},
}
"""Room -> rooms that it imports: exactly these arrows exist."""

DOORS = {"study": "study doors", "analysis": "analysis doors"}
DOOR_MODULES = {
    "study",
    "study.__main__",
    "study.clean",
    "study.completion",
    "study.doctor",
    "study.init",
    "study.launch",
    "study.measure",
    "study.pack",
    "study.status",
    "study.tune",
    "analysis",
    "analysis.__main__",
    "analysis.permutation",
    "analysis.regression",
}


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file: that of its folder for `__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of a module: the doors, else its folder, or itself where it lies in none."""
    package, *rest = module.split(".")
    return DOORS[package] if module in DOOR_MODULES else f"{package}.{rest[0]}"


def modules(root: Path) -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    paths = (path for package in DOORS for path in (root / package).rglob("*.py"))
    return {module_name(path, root): path for path in sorted(paths)}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of both packages that a file imports, those inside functions too.

    Fails for a relative import, which says a room only together with where it stands.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            assert node.level == 0, f"{path}: relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in whole}
    return names & known.keys()


def arrows(root: Path) -> dict[str, set[str]]:
    """Room -> other rooms that it imports, as the code is."""
    known = modules(root)
    rooms: dict[str, set[str]] = {}
    for name, path in known.items():
        room = room_of(name)
        rooms.setdefault(room, set()).update(room_of(other) for other in imports(path, known))
    return {room: others - {room} for room, others in rooms.items()}


def faults(root: Path) -> list[str]:
    """What contradicts the table: rooms that it does not name, arrows that it lacks or invents."""
    actual = arrows(root)
    lines = [f"{room} is no room of the table" for room in sorted(actual.keys() - ROOMS.keys())]
    for room, allowed in ROOMS.items():
        others = actual.get(room, set())
        lines += [f"{room} imports {other}" for other in sorted(others - allowed)]
        lines += [f"{room} no longer imports {other}" for other in sorted(allowed - others)]
    return lines


def test_rooms_import_what_the_table_says() -> None:
    assert faults(ROOT) == []


def test_rooms_form_no_circle() -> None:
    tuple(TopologicalSorter(ROOMS).static_order())


def test_every_door_is_there() -> None:
    assert modules(ROOT).keys() >= DOOR_MODULES


def test_modules_form_no_circle() -> None:
    known = modules(ROOT)
    graph = {name: imports(path, known) for name, path in known.items()}
    tuple(TopologicalSorter(graph).static_order())


def test_analysis_knows_of_searches_the_journal_alone() -> None:
    known = modules(ROOT)
    names = {
        other
        for name, path in known.items()
        if room_of(name) == "analysis.reading"
        for other in imports(path, known)
        if room_of(other) == "study.search"
    }
    assert names == {"study.search.journal"}


def test_a_stray_file_and_a_forbidden_arrow_are_faults(tmp_path: Path) -> None:
    for package in DOORS:
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert faults(tmp_path) == []
    (tmp_path / "study" / "attic").mkdir()
    (tmp_path / "study" / "attic" / "junk.py").write_text("import os\n")
    (tmp_path / "analysis" / "loose.py").write_text("import os\n")
    upward = tmp_path / "study" / "metrics" / "pairs.py"
    upward.write_text(upward.read_text() + "\nfrom study.training import train\n")
    assert {
        "study.attic is no room of the table",
        "analysis.loose is no room of the table",
        "study.metrics imports study.training",
    } <= set(faults(tmp_path))


def test_the_tree_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = text.partition("## The tree")[2].partition("```\n")[2].partition("```")[0]
    names = [room.partition(".")[2] for room in ROOMS if room not in DOORS.values()]
    assert [name for name in names if not re.search(rf"^  {name}(/|\.py) ", tree, flags=re.M)] == []


def test_architecture_shows_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w. ]+)` \| ([^|]*) \|", text, flags=re.M)
    shown = {room: set(re.findall(r"`([\w. ]+)`", cell)) for room, cell in rows}
    assert shown == ROOMS


def users_of(package: str) -> set[str]:
    """Modules that import a library."""
    users = set()
    for name, path in modules(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(other.split(".")[0] == package for other in names):
                users.add(name)
    return users


def test_ray_has_one_door() -> None:
    assert users_of("ray") == {"study.scheduling.crew", "study.scheduling.ray_tune"}


def test_data_sets_of_the_hub_have_one_room() -> None:
    for room in {room_of(name) for name in users_of("huggingface_hub")}:
        assert room in ("study.hub", "study.models", "study.data")  # checkpoints and tokenizers


def test_torchao_has_one_room() -> None:
    assert {room_of(name) for name in users_of("torchao")} == {"study.precision"}


@pytest.mark.parametrize("door", sorted(DOOR_MODULES))
def test_doors_are_short(door: str) -> None:
    assert len(modules(ROOT)[door].read_text(encoding="utf-8").splitlines()) < 100


LIGHT = (
    "study.config",
    "study.grid",
    "study.store",
    "study.launching",
    "study.search.journal",
    "study.status",
    "study.launch",
    "study.tune",
    "study.pack",
    "study.precision",
    "analysis",
)


@pytest.mark.parametrize("module", LIGHT)
def test_plans_and_errors_do_not_wait_for_torch(module: str) -> None:
    heavy = "('torch', 'torchao', 'ray')"
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
