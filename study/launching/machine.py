"""Whether a computer can train, measure and report, and what is broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import psutil

from study.launching.units import size_text
from study.scheduling.joining import ClusterError, agree
from study.settings.arguments import COMMAND
from study.store import StoreError
from study.store.places import is_object
from study.store.probe import probe

if TYPE_CHECKING:
    from packaging.requirements import Requirement

State = Literal["ok", "absent", "broken"]
IMPORT_SECONDS = 180
"""Seconds after which an import hangs: on a busy computer torch alone takes many."""
KILLED_SECONDS = 10
"""Seconds that a killed process has for its end: one that its driver holds has none."""
LEAST_FREE = 2 * 2**30
"""Free bytes of a run's disk that a study with kept weights soon needs."""
LEAST_SHARED = 64 * 2**20
"""Bytes of /dev/shm, which PyTorch and Ray share data through; containers often have so few."""
IMPORTED = ("torch", "torchvision", "torchao", "transformers", "ray", "optuna")
"""Libraries of training whose import shows whether they go together."""
_DEVICES = """
import torch
print(torch.__version__)
for number in range(torch.cuda.device_count()):
    gpu = torch.cuda.get_device_properties(number)
    torch.ones(8, device=f"cuda:{number}").sum().item()
    print(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    state  `ok`; `absent`: of a part that is not installed; `broken`: with `fix`, what to do
    """

    name: str
    state: State
    text: str
    fix: str = ""


def examine(runs: Path, address: str | None = None) -> Iterator[Finding]:
    """What this computer has for runs in a folder, and a Ray cluster if one is named.

    Nothing that it tries stays: the folder of runs is made and written in a place beside it.
    """
    yield Finding("python", "ok", f"{sys.version.split()[0]}, {sys.executable}")
    groups = list(_packages())
    yield from groups
    training = any(group.name == "[train]" and group.state != "absent" for group in groups)
    if training:
        yield from _imports()
        yield from _devices()
    yield _cores()
    yield _run_folder(runs)
    yield from _shared_memory()
    address = address or os.environ.get("RAY_ADDRESS")
    if training and address not in (None, "local"):
        yield _cluster(address)


def _packages() -> Iterator[Finding]:
    """The requirements of the package and of training, as its metadata list them."""
    from packaging.requirements import Requirement

    try:
        listed = [Requirement(line) for line in requires(COMMAND) or ()]
    except PackageNotFoundError:
        fix = "In its checkout: pip install -e '.[all]'"
        yield Finding("packages", "broken", f"{COMMAND} is not installed", fix)
        return
    plain = {str(each) for each in listed if _holds(each, "")}
    yield _group("packages", COMMAND, [each for each in listed if _holds(each, "")])
    training = [each for each in listed if _holds(each, "train") and str(each) not in plain]
    yield _group("[train]", f"'{COMMAND}[train]'", training)


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _group(name: str, install: str, group: list[Requirement]) -> Finding:
    lacking, old = [], []
    for each in group:
        try:
            if not each.specifier.contains(there := version(each.name), prereleases=True):
                old.append(f"{each.name} {there} is not {each.specifier}")
        except PackageNotFoundError:
            lacking.append(each.name)
    if "torch" in lacking:  # other extras bring some of the rest
        return Finding(name, "absent", f"no training here; pip install {install} adds it")
    if lacking or old:
        parts = [f"missing: {', '.join(lacking)}"] * bool(lacking) + old
        return Finding(name, "broken", "; ".join(parts), f"Run pip install {install}")
    return Finding(name, "ok", f"{len(group)} requirements are met")


def _imports() -> Iterator[Finding]:
    """Whether each library of training can be imported, in a process of its own."""
    running = {name: _python(f"import {name}; print({name}.__version__)") for name in IMPORTED}
    for name, process in running.items():
        sound, lines = _output(process)
        if sound:
            yield Finding(name, "ok", lines[-1])
        else:
            fix = f"Run pip install --force-reinstall '{COMMAND}[train]'"
            yield Finding(name, "broken", f"its import fails: {lines[-1]}", fix)


def _devices() -> Iterator[Finding]:
    sound, (torch, *gpus) = _output(_python(_DEVICES))
    if not sound:
        reason = [torch, *gpus][-1]
        fix = "See nvidia-smi; `resources: {device: cpu}` trains without the GPU"
        yield Finding("device", "broken", f"PyTorch cannot use it: {reason}", fix)
    elif gpus:
        yield Finding("device", "ok", "; ".join(gpus))
    elif shutil.which("nvidia-smi") is not None:
        text = f"a GPU's driver is there, but PyTorch {torch} sees no GPU"
        fix = "See nvidia-smi; a PyTorch with +cpu in its version needs the build for CUDA"
        yield Finding("device", "broken", text, fix)
    else:
        yield Finding("device", "ok", "cpu: no GPU here")


def _cores() -> Finding:
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = f"{size_text(memory.available)} of {size_text(memory.total)} free"
    return Finding("computer", "ok", f"{cores} cores, memory: {free}")


def _run_folder(runs: Path) -> Finding:
    """What a launch does in a run's folder, done in a passing one at the same place."""
    if is_object(runs):
        return _run_objects(cast(Path, runs))
    place = next(path for path in (runs, *runs.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            probe(Path(folder))
        free = shutil.disk_usage(place).free
    except (OSError, StoreError) as error:
        reason = str(error).partition(":")[0] if isinstance(error, StoreError) else error.strerror
        fix = "Give another folder with --runs"
        return Finding("runs", "broken", f"{runs} cannot be written ({reason})", fix)
    text = f"{runs.absolute()} can be written, {size_text(free)} free"
    if free < LEAST_FREE:
        fix = "Make room, or give another folder with --runs; `keep: none` keeps no weights"
        return Finding("runs", "broken", text, fix)
    return Finding("runs", "ok", text)


def _run_objects(runs: Path) -> Finding:
    try:
        probe(runs)
    except StoreError as error:
        return Finding("runs", "broken", str(error), "Give another place with --runs")
    return Finding("runs", "ok", f"{runs} can be written, with conditions")


def _shared_memory() -> Iterator[Finding]:
    place = Path("/dev/shm")
    if place.is_dir() and (free := shutil.disk_usage(place).free) <= LEAST_SHARED:
        fix = "Give the container more: docker run --shm-size 2g"
        yield Finding("shared memory", "broken", f"{size_text(free)} in {place}", fix)


def _cluster(address: str) -> Finding:
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE",)}
    try:
        agree(address)
    except ClusterError as error:
        fix = "Start it (ray start --head), or give the address that it prints"
        return Finding("cluster", "broken", str(error), fix)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    return Finding("cluster", "ok", f"{address} answers")


def _python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _output(process: subprocess.Popen[str]) -> tuple[bool, list[str]]:
    """Whether a process ended well, and the lines that it printed or complained with.

    One that does not answer is killed, and left behind where that does not end it either: a driver
    may hold it, or what it has started its output.
    """
    silence = [f"no answer within {IMPORT_SECONDS} s"]
    try:
        out, err = process.communicate(timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            out, err = process.communicate(timeout=KILLED_SECONDS)
        except subprocess.TimeoutExpired:
            return False, silence
        if process.returncode:  # it may have ended by itself just then
            return False, silence
    sound = process.returncode == 0
    text = out if sound else err
    return sound, [line for line in text.strip().splitlines() if re.search(r"\w", line)] or [""]
