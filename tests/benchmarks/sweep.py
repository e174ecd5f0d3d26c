"""Time to plan, relaunch, read and report 10,000 real cells, in fresh processes.

The cells have columns and values of rows of runs/scale, and the keys and settings of a grid of
this file. The first 500 lie in files of their own until a launch folds them. Then 100,000 cells are
read.

    python tests/benchmarks/sweep.py [--rounds 3]

Exit code 1 beyond the bounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import polars as pl
import yaml
from _machine import machine

from study.columns import METRICS
from study.config import COLUMN_KINDS, load_study
from study.grid import Cell, expand
from study.store import Store
from study.store.folding import write_parts

ROOT = Path(__file__).resolve().parent.parent.parent
STUDY = {
    "name": "large",
    "data": {"kind": "stories", "context": 64, "train_tokens": 100_000},
    "model": {"kind": "gpt_neo", "heads": 4},
    "train": {"lr": 1e-3},
    "measure": {"at": "last"},
    "grid": {
        "width": [32, 64, 96, 128],
        "depth": [1, 2, 3, 4, 5],
        "epochs": [1, 3],
        "precision": ["fp32", "bf16", "int8", "int4-g32", "int4"],
        "seed": list(range(50)),
    },
}
SINGLE, MANY = 500, 100_000
READ = """
import sys, time
from pathlib import Path
from study.store import Store
columns = sys.argv[2:] or None
began = time.perf_counter()
rows = Store(sys.argv[1]).read(columns=columns)
seconds = time.perf_counter() - began
status = Path("/proc/self/status").read_text()  # what `getrusage` tells begins with the parent's
print(seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024, *rows.shape)
"""
LAZY = ["training", "precision", "val_loss", "nc1_ratio", "nc4_agreement"]


class Bounds:
    """Prints figures beside their bounds, and remembers whether one is missed."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.met = rounds, True

    def show(self, what: str, values: list[float], most: float, unit: str = "s") -> None:
        """The median and the extremes."""
        middle = statistics.median(values)
        self.met &= middle <= most
        print(
            f"{what}: {middle:.1f} {unit} ({min(values):.1f} to {max(values):.1f}), target "
            f"{most:g} {unit}{'' if middle <= most else ' MISSED'}",
            flush=True,
        )

    def time(self, what: str, most: float, command: list[str]) -> None:
        """Seconds of a command."""
        seconds, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(self.rounds):
            began = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        self.show(f"{what} (processor {spent / self.rounds:.1f} s)", seconds, most)

    def read(
        self, what: str, run: Path, seconds: float, mib: float, columns: Iterable[str]
    ) -> None:
        """Seconds and memory of `Store.read` in a process of its own."""
        command = [sys.executable, "-c", READ, str(run), *columns]
        values = []
        for _ in range(self.rounds):
            output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            values.append([float(each) for each in output.stdout.split()])
        rows, width = map(int, values[0][2:])
        self.show(f"{what}, {rows:,} rows of {width} columns", [v[0] for v in values], seconds)
        self.show(f"{what}, memory of the process", [v[1] for v in values], mib, "MiB")


def rows_of(cells: Iterable[Cell]) -> pl.DataFrame:
    """Two measured rows of the study of scale for each cell, under its own key and settings."""
    measured = Store(ROOT / "runs" / "scale").read()
    own = pl.DataFrame(
        [{"cell": cell.key, "training": cell.training_key, **cell.settings()} for cell in cells],
        infer_schema_length=None,
    )
    both = pl.concat(own.with_columns((end * pl.col("epochs")).alias("epoch")) for end in (0, 1))
    times = -(-len(both) // len(measured))
    values = pl.concat([measured] * times).head(len(both)).drop(both.columns, strict=False)
    return pl.concat([both, values], how="horizontal")


def fill(store: Store, cells: list[Cell]) -> None:
    """The cells of a store: the first in files of their own, the others in parts."""
    rows = rows_of(cells)
    metadata = {name: asdict(metric) for name, metric in METRICS.items()}
    single = {cell.key for cell in cells[:SINGLE]}
    for key in single:
        values = rows.filter(pl.col("cell") == key).to_dicts()
        store.write(key, values, types=COLUMN_KINDS, metrics=metadata)
    write_parts(store, rows.filter(~pl.col("cell").is_in(list(single))), metadata)


def multiply(run: Path, target: Path, copies: int) -> None:
    """A run with the rows of another several times, under other keys."""
    rows = Store(run).read()
    for copy in range(copies):
        key = pl.format("{}{}", pl.lit(f"{copy:02x}"), pl.col("cell").str.slice(2))
        write_parts(Store(target), rows.with_columns(key.alias("cell")), {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    bounds = Bounds(parser.parse_args().rounds)
    print(machine("polars", threads=pl.thread_pool_size()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        path, run = Path(name) / "large.yaml", Path(name) / "large"
        path.write_text(yaml.safe_dump(STUDY))
        command = [sys.executable, "-m", "study.launch", str(path), "--runs", name, "--serial"]
        bounds.time("dry run of 10,000 cells", 5.0, [*command, "--dry-run"])
        fill(Store(run), list(expand(load_study(path))))
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        print(f"launch that folds {SINGLE} of them: {time.perf_counter() - began:.1f} s")
        bounds.time("relaunch of 10,000 finished cells", 5.0, command)
        bounds.time("status", 5.0, [sys.executable, "-m", "study.status", str(run)])
        bounds.read("Store.read", run, 3.0, 400.0, [])
        bounds.time("report", 60.0, [sys.executable, "-m", "analysis", str(run)])
        multiply(run, Path(name) / "larger", MANY // 10_000)
        bounds.read("100,000 cells", Path(name) / "larger", 15.0, 2000.0, LAZY)
    return 0 if bounds.met else 1


if __name__ == "__main__":
    sys.exit(main())
