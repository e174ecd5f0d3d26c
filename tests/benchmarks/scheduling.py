"""What Ray, a fresh worker and bookkeeping cost a training, and the driver's memory.

    python tests/benchmarks/scheduling.py [--rounds 3] [--trainings 20] [--trials 300]

No-op trainings: a transformer of width 8 and 1,000 tokens, one epoch, two workers of one thread.
Their cost is the slope between a launch of 2 and one of 2 + TRAININGS, so that the start of Ray is
left out. Target: 2 s each.

Memory: resident size of the driver over TRIALS trials of which each does nothing, handed to Tune in
chunks of 100. Target: from the first chunk on it grows by 0.2 MiB a trial at most.

Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import yaml
from _machine import machine

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET, MOST_GROWTH = 2.0, 0.2
CHUNK, EVERY = 100, 50
STUDY: dict[str, Any] = {
    "name": "noop",
    "data": {
        "kind": "text",
        "source": "python-docs",
        "tokenizer": "char",
        "context": 32,
        "train_tokens": 1_000,
        "val_tokens": 200,
    },
    "model": {"kind": "gpt_neo", "width": 8, "depth": 1, "heads": 1},
    "train": {"lr": 1e-3, "batch_size": 32},
    "measure": {"at": "last", "min_count": 1},
    "resources": {"cpus": 1, "parallel": 2},
    "keep": "none",
}


def main() -> int:
    """Print both measurements; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trainings", type=int, default=20)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument(
        "--driver", action="store_true", help="be the driver whose memory is measured"
    )
    options = parser.parse_args()
    if options.driver:
        return int(drive(options.trials) > MOST_GROWTH)
    print(machine("ray", "torch", threads=1), flush=True)
    few, many = (
        [seconds(2 + more) for _ in range(options.rounds)] for more in (0, options.trainings)
    )
    costs = [(b - a) / options.trainings for a, b in zip(few, many, strict=True)]
    print(f"launch of 2 trainings: {statistics.median(few):.1f} s")
    print(
        f"each further training: {statistics.median(costs):.2f} s ({min(costs):.2f} to "
        f"{max(costs):.2f}), target {TARGET} s"
    )
    command = [sys.executable, __file__, "--driver", "--trials", str(options.trials)]
    grown = subprocess.run(command, check=False, cwd=ROOT).returncode != 0
    return int(grown or statistics.median(costs) > TARGET)


def write_study(folder: str, trainings: int) -> str:
    """The YAML file of a study of so many trainings."""
    path = Path(folder) / "noop.yaml"
    path.write_text(
        yaml.safe_dump(
            STUDY | {"grid": {"epochs": [1], "precision": ["fp32"], "seed": list(range(trainings))}}
        )
    )
    return str(path)


def seconds(trainings: int) -> float:
    """Wall time of a launch in a fresh run directory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "study.launch",
            write_study(folder, trainings),
            "--runs",
            folder,
        ]
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - began


def nothing(config: dict[str, Any]) -> dict[str, Any]:
    """A trial that does nothing."""
    return {"outcome": "done", "cause": None, "message": "", "node": "", "done": True}


def drive(trials: int) -> float:
    """Hand trials to Tune, and print the memory of this process as they end.

    Returns the growth from the end of the first chunk on, in MiB a trial.
    """
    import study.scheduling.ray_tune
    from study.launch import main as launch
    from study.scheduling.backlog import Backlog

    study.scheduling.ray_tune._trainable = nothing
    study.scheduling.ray_tune.TRIALS = CHUNK
    ended, count, sizes = Backlog.ended, 0, dict[int, float]()

    def counting(self: Backlog, *arguments: Any) -> None:
        nonlocal count
        ended(self, *arguments)
        count += 1
        if count % EVERY == 0:
            sizes[count] = psutil.Process().memory_info().rss / 2**20
            print(f"driver after {count} trials: {sizes[count]:.0f} MiB", flush=True)

    with patch.object(Backlog, "ended", counting), tempfile.TemporaryDirectory() as folder:
        launch([write_study(folder, trials), "--runs", folder])
    growth = (sizes[max(sizes)] - sizes[CHUNK]) / (max(sizes) - CHUNK)
    print(f"growth after {CHUNK} trials: {growth:.2f} MiB a trial, target {MOST_GROWTH} MiB")
    return growth


if __name__ == "__main__":
    sys.exit(main())
