"""Whether the tables of a report keep their promises, on studies whose truth is known.

python tests/calibration.py                       # a thousand studies of every scenario: hours
python tests/calibration.py --studies 60 --only "reference, inverse" --out figures.json

Every figure is read from the tables of `analysis.report` and printed, and all are written to the
file after each scenario. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path

# Of many small tables threads take more time than they save.
os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
# In place of the folder of this file, whose folder `analysis` would hide the package.
sys.path[0] = str(Path(__file__).parent / "helpers")

from simulated_studies import SCENARIOS, Scenario, Tally, faults, tally  # noqa: E402

BATCH = 20  # studies that a process takes at once


def main() -> int:
    """Simulate, print, judge; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures: dict[str, object] = {}
    wrong: list[str] = []
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for name in options.only or SCENARIOS:
            counts = _together(pool, SCENARIOS[name], options.studies)
            wrong += faults(SCENARIOS[name], counts)
            figures[name] = {table: one.shares() for table, one in counts.items()}
            for table, one in counts.items():
                shares = {key: value for key, value in one.shares().items() if value is not None}
                print(f"{name}: {table}: {shares}", flush=True)
            if options.out is not None:
                content = {"figures": figures, "missed": wrong}
                options.out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    print(*(wrong or ["every figure is met"]), sep="\n")
    return int(bool(wrong))


def _together(pool: ProcessPoolExecutor, scenario: Scenario, studies: int) -> Tally:
    """The counts of all studies of a scenario."""
    batches = [range(start, min(start + BATCH, studies)) for start in range(0, studies, BATCH)]
    return reduce(_sum, pool.map(partial(tally, scenario), batches))


def _sum(one: Tally, other: Tally) -> Tally:
    names = dict.fromkeys([*one, *other])
    return {
        name: one[name] + other[name] if name in one and name in other else (one | other)[name]
        for name in names
    }


if __name__ == "__main__":
    sys.exit(main())
