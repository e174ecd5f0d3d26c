"""What is installed: reports without PyTorch, and a wheel that has all it needs."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

from study.settings.doors import TRAINING

BLOCK = f"""
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {TRAINING!r}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if each is PathFinder else each for each in sys.meta_path]
"""
"""Hides the libraries of training, as where the plain package alone is installed."""
FEW = ("--permutations", "20", "--bootstrap", "20", "--only")


def python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_module_of_the_analysis_is_imported_without_pytorch(tmp_path: Path) -> None:
    code = (
        "import analysis, pkgutil\n"
        "names = [m.name for m in pkgutil.walk_packages(analysis.__path__, 'analysis.')]\n"
        "names.remove('analysis.reading.search')\n"  # which reads journals of Optuna
        "for name in names:\n    __import__(name)\n"
        "print(len(names))"
    )
    done = python(code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_a_table_and_a_packed_run_are_reported_without_pytorch(tmp_path: Path) -> None:
    lines = ["run,width,val_loss,nc1"]
    lines += [f"{k},{2 ** (k % 4)},{1 / (k + 1)},{1 / (k + 2)}" for k in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    code = (
        "from study.__main__ import main\n"
        "columns = ['--unit', 'run', '--response', 'val_loss', '--metrics', 'nc1', '--axes', "
        "'width']\n"
        f"few = {FEW!r}\n"
        "assert main(['report', 't.csv', *columns, *few, 'association']) == 0\n"
        "assert main(['report', sys.argv[1], '--out', 'run', *few, 'data']) == 0\n"
        "assert main(['status', sys.argv[1]]) == 0"
    )
    done = python(code, str(ROOT / "runs" / "optimizers"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t-report" / "report.html").exists()
    assert (tmp_path / "run" / "report.html").exists()


def test_a_study_is_planned_and_a_run_packed_without_pytorch(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
    code = (
        "from study.__main__ import main\n"
        "small = ['data.source=corpus.txt', 'data.train_tokens=9000', 'data.val_tokens=900', "
        "'data.context=16']\n"
        "assert main(['init', 'quickstart']) == 0\n"
        "assert main(['launch', 'quickstart.yaml', '--dry-run', *small]) == 0\n"
        "assert main(['launch', 'quickstart.yaml', *small]) == 2\n"
        "assert main(['pack', sys.argv[1], 'packed']) == 0\n"
        "assert main(['status', 'packed']) == 0"
    )
    done = python(code, str(ROOT / "runs" / "optimizers"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "64 to run: 16 trainings" in done.stdout and "Parameters " in done.stdout
    assert "not looked at without torch" in done.stdout
    assert "torch is not installed" in done.stderr and "'collapse-study[train]'" in done.stderr
    assert not (tmp_path / "runs" / "quickstart" / "launches").exists()


def test_data_that_only_training_can_read_are_said_to_be_unknown(tmp_path: Path) -> None:
    code = (
        "from study.__main__ import main\n"
        "assert main(['init', 'images']) == 0\n"
        "assert main(['launch', 'images.yaml', '--dry-run']) == 0"
    )
    done = python(code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "its size is not known without sklearn" in " ".join(done.stdout.split())


def test_no_two_requirements_are_builds_of_one_library() -> None:
    """As of faiss-cpu and faiss-gpu, or mlflow and mlflow-skinny, which write the same module."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = map(Requirement, itertools.chain(project["dependencies"], *extras))
    names = {canonicalize_name(each.name) for each in requirements} - {project["name"]}
    libraries = [re.sub(r"-(cpu|gpu|cu\d+|headless|skinny|binary)$", "", name) for name in names]
    assert len(libraries) > 40
    assert len(set(libraries)) == len(libraries), sorted(libraries)


@pytest.mark.long
def test_a_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    """Built, checked, installed apart from the checkout, and used from init to report."""
    source = tmp_path / "source"
    source.mkdir()
    files, folders = ["pyproject.toml", "README.md", "LICENSE"], ["study", "analysis", "docs"]
    parts = [*files, *folders, "examples", "search_spaces"]
    archive = subprocess.run(
        ["git", "ls-files", "-z", *parts], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in archive.stdout.split("\0")[:-1]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())

    def run(*command: str, folder: Path = tmp_path, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    run("-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source))
    packages = sorted((tmp_path / "dist").iterdir())
    assert [path.suffix for path in packages] == [".whl", ".gz"]
    run("-m", "twine", "check", "--strict", *map(str, packages))
    names = zipfile.ZipFile(packages[0]).namelist()
    for part in (
        "study/py.typed",
        "analysis/py.typed",
        "study/templates/quickstart.yaml",
        "analysis/report/templates/report.html",
        "share/collapse-study/docs/settings.md",
        "share/collapse-study/examples/own_loop.ipynb",
        "share/collapse-study/docs/study.schema.json",
        "share/collapse-study/search_spaces/reference.yaml",
        "share/collapse-study/search_spaces/cluster/slurm_array.sh",
        "share/collapse-study/search_spaces/columns/linguistic_collapse_2024_10.yaml",
    ):
        assert any(name.endswith(part) for name in names), part
    site = tmp_path / "site"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run("-m", "pip", "install", *quiet, "--target", str(site), str(packages[0]))
    empty = tmp_path / "empty"
    (empty / "analysis").mkdir(parents=True)
    (empty / "analysis" / "__init__.py").write_text("raise RuntimeError('not this one')\n")

    def command(*arguments: str) -> str:
        script = str(site / "bin" / "collapse-study")
        return run(script, *arguments, folder=empty, PYTHONPATH=str(site))

    command("init", "quickstart")
    small = ["grid.width=[32]", "grid.depth=[1]", "grid.epochs=[1]", "grid.seed=[0, 1]"]
    command("launch", "quickstart.yaml", "--serial", *small)
    command("status", "runs/quickstart")
    assert "report: " in command("report", "runs/quickstart", "--permutations", "50")
    assert (empty / "runs" / "quickstart" / "report" / "report.html").stat().st_size > 10_000
