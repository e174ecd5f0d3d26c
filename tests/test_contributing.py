"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

COPIED = ("study", "analysis", "tests", "docs", "pyproject.toml")
SECTION = re.compile(r"^### Recipe: (.+)$", flags=re.MULTILINE)
BLOCK = re.compile(r"(?:^`([^`\n]+)`\n\n)?^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
RECIPES = (
    "a model",
    "a kind of data",
    "a metric",
    "a precision",
    "an optimizer",
    "a penalty",
    "a statistic",
)
SLOW = ("a model", "a precision", "an optimizer", "a penalty", "a metric")
"""Recipes of the long tests; the others stand for them in the fast ones."""


@dataclass(frozen=True)
class Step:
    """A block of a recipe: a file where `path` names one, else a diff or code to run."""

    path: str
    language: str
    text: str

    def __str__(self) -> str:
        first = self.text.partition("\n")[0]
        return f"the file {self.path}" if self.path else f"the {self.language} block '{first}'"


def steps_of(markdown: str) -> list[Step]:
    """Blocks of a part of the page, in order."""
    return [Step(*block) for block in BLOCK.findall(markdown)]


def page() -> tuple[list[Step], dict[str, list[Step]]]:
    """Blocks that all recipes share, and those of each recipe by its name."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shared, *parts = SECTION.split(text.partition("## Recipes")[2])
    recipes = dict(zip(parts[::2], parts[1::2], strict=True))
    return steps_of(shared), {name: steps_of(part) for name, part in recipes.items()}


def follow(step: Step, folder: Path) -> None:
    """Take a step in a copy of the project; fails with what the step said."""
    if step.path:
        path = folder / step.path
        assert not path.exists(), f"{step}: there is one already"
        path.write_text(step.text, encoding="utf-8")
        return
    commands = {
        "diff": ["git", "apply", "-"],
        "console": ["bash", "-e", "-"],
        "python": [sys.executable, "-"],
    }
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    done = subprocess.run(
        commands[step.language],
        input=step.text,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{step} fails:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project to work in."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("*.pyc.*")  # another process is writing them
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in RECIPES],
)
def test_recipe(name: str, copy: Path) -> None:
    shared, recipes = page()
    steps = recipes[name]
    assert steps[-1].language in ("python", "console")
    assert not steps[-1].path
    for step in (*shared, *steps):
        follow(step, copy)


def test_every_recipe_is_followed() -> None:
    shared, recipes = page()
    assert tuple(recipes) == RECIPES
    assert [step.path for step in shared] == ["digits.yaml"]


def test_a_recipe_that_no_longer_applies_names_the_step(copy: Path) -> None:
    diffs = [step for step in page()[1]["a model"] if step.language == "diff"]
    registry = copy / "study" / "models" / "kinds.py"
    registry.write_text(registry.read_text().replace("PretrainedModel", "AnotherModel"))
    with pytest.raises(AssertionError, match=r"the diff block '--- a/study/models/kinds.py' fails"):
        follow(diffs[0], copy)
    with pytest.raises(AssertionError, match="the python block 'assert 1 == 2' fails"):
        follow(Step("", "python", "assert 1 == 2\n"), copy)
