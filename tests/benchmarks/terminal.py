"""Time of the terminal phase: 100,000 epochs of one step each.

The unconstrained-features model of 60 samples and width 8, launched by the command line, measured
at 18 checkpoints; then the status of its run.

    python tests/benchmarks/terminal.py [--before COMMIT] [--threads 1]

With `--before`, both versions run 1,500 epochs three times, in turns, the former in a worktree;
every column that is not volatile must be equal bit for bit. Exit code 1 beyond the bounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from _machine import machine
from polars.testing import assert_frame_equal

from study.store import VOLATILE, RunPaths, Store
from study.store.usage import folder_size

ROOT = Path(__file__).resolve().parent.parent.parent
EPOCHS, FEW, ROUNDS = 100_000, 1_500, 3
MOST_SECONDS, MOST_STATUS, MOST_BYTES = 60.0, 5.0, 20e6
STUDY = {
    "data": {"kind": "free", "classes": 5, "quota": 12},
    "model": {"kind": "ufm"},
    "train": {
        "optimizer": "sgd", "lr": 0.5, "momentum": 0.9, "batch_size": 60, "weight_decay": 5e-3,
    },
    "measure": {"at": "log", "min_count": 1},
}  # fmt: skip


def run(code: Path, folder: Path, module: str, *arguments: str) -> float:
    """Seconds of a command of the code in a folder."""
    environment = os.environ | {"PYTHONPATH": str(code)}
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def launch(code: Path, folder: Path, epochs: int, threads: int) -> float:
    """Seconds of a launch of a number of epochs, whose run is `folder/runs/terminal`."""
    grid = {"width": [8], "epochs": [epochs], "precision": ["fp32"], "seed": [0]}
    study = STUDY | {"name": "terminal", "grid": grid, "resources": {"cpus": threads}}
    folder.mkdir()
    (folder / "terminal.yaml").write_text(yaml.safe_dump(study))
    return run(code, folder, "study.launch", "terminal.yaml", "--serial")


def compare(folder: Path, commit: str, threads: int) -> bool:
    """Print how long few epochs take at a commit and here; whether their rows are equal."""
    worktree = folder / "code"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(worktree), commit], check=True)
    try:
        times = [
            [
                launch(tree, folder / f"{side}-{number}", FEW, threads)
                for side, tree in (("before", worktree), ("after", ROOT))
            ]
            for number in range(ROUNDS)
        ]
    finally:
        subprocess.run([*git, "remove", "--force", str(worktree)], check=True)
    before, after = (statistics.median(side) for side in zip(*times, strict=True))
    old, new = (Store(folder / name / "runs/terminal").read() for name in ("before-0", "after-0"))
    columns = [name for name in old.columns if name not in VOLATILE]
    try:
        assert_frame_equal(new.select(columns), old.select(columns), check_exact=True)
        equal = True
    except AssertionError as error:
        print(error)
        equal = False
    print(
        f"{FEW:,} epochs: {before:.1f} s at {commit}, {after:.1f} s here, ratio "
        f"{before / after:.2f}; {len(columns)} columns {'equal' if equal else 'NOT equal'}"
    )
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", help="a commit to compare with")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(machine("torch", threads=options.threads), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        equal = options.before is None or compare(folder, options.before, options.threads)
        seconds = launch(ROOT, folder / "whole", EPOCHS, options.threads)
        paths = RunPaths(folder / "whole/runs/terminal")
        status = run(ROOT, folder, "study.status", str(paths.root))
        size = folder_size(paths.root)
    print(f"{EPOCHS:,} epochs, measured and stored: {seconds:.0f} s, target {MOST_SECONDS:.0f} s")
    print(f"status: {status:.1f} s, target {MOST_STATUS:.0f} s")
    print(f"run directory: {size / 1e6:.1f} MB, target {MOST_BYTES / 1e6:.0f} MB")
    met = seconds <= MOST_SECONDS and status <= MOST_STATUS and size <= MOST_BYTES
    return 0 if met and equal else 1


if __name__ == "__main__":
    sys.exit(main())
