"""A slice of search_spaces/reference.yaml, by this version and by an earlier one.

    python tests/benchmarks/reference_slice.py

16 trainings at ten precisions on the documentation of Python, from both parts of the reference
study: nine of three widths and three numbers of epochs, which share three untrained models, and
seven orders of the data that share one (4 of 16; 37 of 129 in the whole study). Both versions run
the same file in processes of their own and take turns; the earlier one runs from a `git worktree`
of the base, by default the version before equal weights were measured once. The exit code is 1
where the median of the ratios of time is below 1.6, or a number of a row differs by more than 1e-9
of itself.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml
from _machine import machine

from study.store import VOLATILE, Store

HERE = Path(__file__).resolve().parents[2]
REFERENCE = HERE / "search_spaces" / "reference.yaml"
TARGET, TOLERANCE = 1.6, 1e-9
BASE = "5366be2"  # the last commit before equal weights were measured once
WIDTHS, DEPTH, ORDERS = [32, 64, 128], 2, 7


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(HERE), *arguments], check=True, stdout=subprocess.DEVNULL)


def write_slice(folder: Path, widths: list[int], orders: int) -> Path:
    """The study on other prose, with few of its points."""
    study = yaml.safe_load(REFERENCE.read_text())
    scale, seeds = study["grid"]
    grid = [
        scale | {"width": widths, "depth": [DEPTH], "seed": [1]},
        seeds | {"width": [widths[len(widths) // 2]], "seed": list(range(2, 2 + orders))},
    ]
    data = study["data"] | {"source": "python-docs"}
    kept = {name: study[name] for name in ("model", "train", "measure")}
    path = folder / "slice.yaml"
    path.write_text(yaml.safe_dump({"name": "slice", "data": data, **kept, "grid": grid}))
    return path


def seconds(tree: Path, study: Path, runs: Path) -> float:
    """Of one launch by the version of a tree, in one process."""
    command = [sys.executable, "-m", "study.launch", str(study), "--serial", "--runs", str(runs)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    began = time.perf_counter()
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def largest_difference(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[float, str]:
    """The largest relative difference of a number, and its column."""
    order = ["cell", "epoch"]
    ours, theirs = ours.sort(order), theirs.sort(order)
    if not ours.select(order).equals(theirs.select(order)):
        return math.inf, "cell"
    worst = (0.0, "none")
    for name in ours.columns:
        if name in VOLATILE or name not in theirs.columns or not ours[name].dtype.is_numeric():
            continue
        for mine, other in zip(ours[name].to_list(), theirs[name].to_list(), strict=True):
            if mine is None or other is None:
                difference = 0.0 if mine is other else math.inf
            else:
                difference = abs(mine - other) / max(abs(mine), abs(other), TOLERANCE)
            worst = max(worst, (difference, name))
    return worst


def main() -> int:
    """Print times, their ratio and the largest difference; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", default=BASE, help="commit of the version before")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--orders", type=int, default=ORDERS)
    options = parser.parse_args()
    print(machine("torch", threads=1), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = folder / "before"
        _git("worktree", "add", "--quiet", "--detach", str(before), options.base)
        try:
            study = write_slice(folder, options.widths, options.orders)
            times = []
            for number in range(options.rounds):
                runs = [folder / f"{side}-{number}" for side in ("earlier", "ours")]
                times.append((seconds(before, study, runs[0]), seconds(HERE, study, runs[1])))
            theirs, ours = (Store(run / "slice").read() for run in runs)
        finally:
            _git("worktree", "remove", "--force", str(before))
    ratio = statistics.median(earlier / now for earlier, now in times)
    difference, column = largest_difference(ours, theirs)
    rounds = ", ".join(f"{earlier:.1f}/{now:.1f} s" for earlier, now in times)
    print(f"{len(ours)} rows; before / now {ratio:.2f} (target at least {TARGET}), {rounds}")
    print(f"largest relative difference {difference:.2g} ({column}; target at most {TOLERANCE})")
    return int(ratio < TARGET or difference > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
