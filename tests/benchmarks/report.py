"""Time and size of a report of 10,000 rows.

250 trainings x 5 checkpoints x 8 precisions, every metric of a run, figures as svg.

    python tests/benchmarks/report.py              # seconds of each part, MB of the page
    python tests/benchmarks/report.py --profile    # and where the time goes

The report is written by the command line in a process of its own, so imports count. Exit code 1
beyond the bounds.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _machine import machine

from analysis.__main__ import main as analyse
from study.metrics import METRICS

TRAININGS, CHECKPOINTS = 250, 5
BITS = {
    "fp32": 32.0,
    "bf16": 16.0,
    "int8": 8.1,
    "int6": 6.1,
    "int5": 5.1,
    "int4": 4.1,
    "int3": 3.1,
    "int2": 2.1,
}
MOST_SECONDS, MOST_BYTES = 30.0, 15e6


def write_rows(path: Path) -> int:
    """A table with an association in it; returns its rows."""
    rng = np.random.default_rng(0)
    names = [
        name
        for name, metric in METRICS.items()
        if metric.family.upper().startswith(("NC", "GNC", "UNC"))
    ]
    rows = []
    for number in range(TRAININGS):
        axes = {
            "width": (32, 64, 128, 256)[rng.integers(4)],
            "depth": (1, 2, 4, 8)[rng.integers(4)],
        }
        own = rng.standard_normal(len(names))
        for epoch in range(CHECKPOINTS):
            for precision, bits in BITS.items():
                values = own + 0.1 * rng.standard_normal(len(names))
                row: dict[str, Any] = {
                    "training": f"t{number:05}",
                    **axes,
                    "weight_decay": (0.0, 0.1)[number % 2],
                    "seed": number,
                }
                row |= {"epoch": epoch, "precision": precision, "bits_per_weight": bits}
                row["weight_error"] = 0.0 if precision == "fp32" else 0.1 * rng.random()
                row["val_loss"] = (
                    4
                    - 0.3 * epoch
                    - 0.1 * np.log2(row["width"])
                    + 0.2 * values[3]
                    + 0.1 * rng.standard_normal()
                )
                row["train_loss"] = 3 - 0.3 * epoch + 0.1 * rng.standard_normal()
                row["generalization_gap"] = 1 + 0.1 * rng.standard_normal()
                heavy = {name: METRICS[name].heavy_tailed for name in names}
                rows.append(
                    row
                    | {
                        n: float(np.exp(v) if heavy[n] else v)
                        for n, v in zip(names, values, strict=True)
                    }
                )
    metadata = {"metrics": json.dumps({name: asdict(METRICS[name]) for name in names})}
    pl.DataFrame(rows).write_parquet(path, metadata=metadata)
    return len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", action="store_true", help="run once more under cProfile")
    profile = parser.parse_args().profile
    print(machine("numpy", "scipy", "polars", threads=pl.thread_pool_size()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.parquet"
        rows = write_rows(table)
        arguments = [str(table), "--out", str(Path(folder) / "report")]
        begun = last = time.perf_counter()
        command = [sys.executable, "-m", "analysis", *arguments]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stderr is not None
            doing = "imports, reading"
            for line in process.stderr:
                now = time.perf_counter()
                print(f"{now - last:6.1f} s  {doing}", flush=True)
                doing, last = line.strip(), now
        seconds = time.perf_counter() - begun
        print(f"{time.perf_counter() - last:6.1f} s  {doing}")
        size = (Path(folder) / "report" / "report.html").stat().st_size
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{rows:,} rows: {seconds:.1f} s, report.html {size / 1e6:.1f} MB")
        print(
            f"processor time {used.ru_utime + used.ru_stime:.1f} s, memory "
            f"{used.ru_maxrss / 2**20:.2f} GiB"
        )
        if profile:
            with cProfile.Profile() as profile:
                analyse(arguments)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    return int(process.returncode != 0 or seconds > MOST_SECONDS or size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
