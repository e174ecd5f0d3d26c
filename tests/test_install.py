"""`make install` and the Dockerfile: what they take, and what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from places import ROOT

BUILDS = "torch 2.13.0+cpu 2.12.0+cpu torchvision 0.28.0+cpu"
"""Packages with CPU builds, each followed by its versions, the newest first."""
NO_DRIVER = pytest.mark.skipif(
    Path("/proc/driver/nvidia/version").exists(), reason="this computer has a GPU"
)
PIP = r"""
case "$*" in
*"index versions"*)
    name=${!#}
    versions=$(tr ' ' '\n' <<< "$BUILDS" | awk -v name="$name" '
        /^[a-z]/ { on = $0 == name; next } on { printf "%s, ", $0 }')
    echo "$name (9.0)"; echo "Available versions: 9.0, ${versions}1.0" ;;
*--dry-run*) [[ " $REFUSED " != *" ${!#} "* ]] ;;
*" install "*) echo "$*" >> "$LOG" ;;
esac
"""
"""A Python whose pip knows an index, and writes down what it is to install."""


def install(folder: Path, variables: dict[str, str], *, gpu: bool = False) -> tuple[int, str, str]:
    """Exit code, output and the packages that pip was given."""
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    smi = folder / "nvidia-smi"
    for path, body in ((python, PIP), (smi, f"exit {0 if gpu else 9}")):
        path.write_text(f"#!/usr/bin/env bash\n{body}")
        path.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TORCH"},
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LOG": str(folder / "log"),
        "BUILDS": BUILDS,
        "REFUSED": "",
    }
    done = subprocess.run(
        [str(ROOT / "install.sh"), str(python), "-e", ".[dev]"],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    log = folder / "log"
    first, *asked = [line.partition("--quiet ")[2] for line in log.read_text().splitlines()]
    assert first == "--upgrade pip" and len(asked) <= 1
    packages = asked[0] if asked else ""
    return done.returncode, done.stdout + done.stderr, packages


@NO_DRIVER
@pytest.mark.parametrize(
    ("variables", "packages", "said"),
    [
        ({}, "-e .[dev] torch==2.13.0+cpu", "No GPU is found: the CPU build is taken"),
        ({"REFUSED": "torch==2.13.0+cpu"}, "-e .[dev] torch==2.12.0+cpu", "torch==2.12.0+cpu"),
        ({"BUILDS": "torch 2.13.0+cpu"}, "-e .[dev]", "the default build is taken"),
        ({"BUILDS": "torchvision 0.28.0+cpu"}, "-e .[dev]", "the default build is taken"),
        ({"TORCH": "cuda"}, "-e .[dev]", "about 7 GB"),
        ({"TORCH": "cpu"}, "-e .[dev] torch==2.13.0+cpu", "about 2.5 GB"),
    ],
)
def test_the_build_of_torch_where_no_gpu_is(
    tmp_path: Path, variables: dict[str, str], packages: str, said: str
) -> None:
    code, output, given = install(tmp_path, variables)
    assert (code, given) == (0, packages), output
    assert said in output
    assert f"{tmp_path}/venv has " in output and ", before it had " in output


def test_the_default_build_where_a_gpu_is(tmp_path: Path) -> None:
    code, output, given = install(tmp_path, {}, gpu=True)
    assert (code, given) == (0, "-e .[dev]") and "A GPU is found" in output


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TORCH": "cpu", "BUILDS": ""}, "PIP_EXTRA_INDEX_URL"),
        ({"TORCH": "rocm"}, "give cpu or cuda"),
    ],
)
def test_what_cannot_be_had_is_refused(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    code, output, given = install(tmp_path, variables)
    assert (code, given) == (2, "") and said in output


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and what follows each, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)
    ]


def test_the_image_is_built_from_what_is_there() -> None:
    copied = [shlex.split(rest)[:-1] for word, rest in instructions() if word == "COPY"]
    sources = {source for each in copied if not each[0].startswith("--from") for source in each}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert sources == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {folder.rstrip("*") for folder in
              project["tool"]["setuptools"]["packages"]["find"]["include"]}  # fmt: skip
    data = project["tool"]["setuptools"]["data-files"].values()
    needed |= {glob.partition("/")[0] for globs in data for glob in globs}
    assert needed | {project["project"]["readme"]} <= sources


def test_the_image_runs_the_command_as_a_user_without_rights() -> None:
    words = [word for word, _ in instructions()]
    said = dict(instructions())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert said["ENTRYPOINT"] == f'["{next(iter(project["project"]["scripts"]))}"]'
    assert said["USER"] == "1000" and words.index("USER") > words.index("RUN")
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases) and bases
    extras = project["project"]["optional-dependencies"]
    (run,) = [rest for word, rest in instructions() if word == "RUN" and "install.sh" in rest]
    (asked,) = re.findall(r"\.\[([\w,]+)\]", run)
    assert {"train", "large", "cluster"} == set(asked.split(",")) <= set(extras)
