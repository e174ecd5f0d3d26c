"""Time to plan and to relaunch 10,000 cells, in fresh processes.

Targets: dry run 5 s, relaunch of a finished run 10 s.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from study.config import COLUMN_KINDS, load_study
from study.grid import expand
from study.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 3
STUDY = {
    "name": "large",
    "data": {"kind": "stories", "context": 64, "train_tokens": 100_000},
    "model": {"kind": "gpt_neo", "heads": 4},
    "train": {"lr": 1e-3},
    "grid": {
        "width": [32, 64, 96, 128],
        "depth": [1, 2, 3, 4, 5],
        "epochs": [1, 3],
        "precision": ["fp32", "bf16", "int8", "int4-g32", "int4"],
        "seed": list(range(50)),
    },
}


def main() -> None:
    """Print the median and the extremes of each."""
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "large.yaml"
        path.write_text(yaml.safe_dump(STUDY))
        command = [sys.executable, "-m", "study.launch", str(path), "--runs", name, "--serial"]
        report("dry run of 10,000 cells", [*command, "--dry-run"], 5.0)
        store = Store(Path(name) / "large")
        for cell in expand(load_study(path)):
            store.write(
                cell.key, [{"cell": cell.key, **cell.settings(), "epoch": 0}], types=COLUMN_KINDS
            )
        report("relaunch of 10,000 finished cells", command, 10.0)


def report(what: str, command: list[str], target: float) -> None:
    """Run a command a few times."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    print(
        f"{what}: {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f}), "
        f"target {target:.0f} s"
    )


if __name__ == "__main__":
    main()
