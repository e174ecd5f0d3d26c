"""Speed and memory of the permutation engine, beside scipy's on the same work.

python tests/benchmarks/permutation.py            # 10,000 permutations x 25 metrics x 230 rows
python tests/benchmarks/permutation.py --million  # and 1,000,000, with the peak memory

Exits with 1 where the studentized test takes over 2.5 times as long, or over 0.1 s.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _machine import machine
from scipy.stats import permutation_test as scipy_permutation_test

from analysis.statistics.permutation import permutation_test

ROWS, METRICS, PERMUTATIONS = 230, 25, 10_000
MOST_TIMES, MOST_SECONDS = 2.5, 0.1  # of the studentized test


def median_seconds(work: Callable[[], object], repetitions: int) -> float:
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def by_scipy(x: np.ndarray, y: np.ndarray) -> None:
    """One vectorized call a metric: |r| of the metric with permuted y, in batches of 1,000."""
    for metric in x.T:
        centred = metric - metric.mean()
        centred /= np.linalg.norm(centred)

        def statistic(values: np.ndarray, axis: int, centred: np.ndarray = centred) -> np.ndarray:
            left = values - values.mean(axis=axis, keepdims=True)
            return np.abs((left * centred).sum(axis=axis) / np.linalg.norm(left, axis=axis))

        scipy_permutation_test(
            (y,),
            statistic,
            permutation_type="pairings",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            batch=1_000,
            alternative="greater",
            rng=np.random.default_rng(0),
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--million", action="store_true", help="time 1,000,000 permutations as well"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, METRICS)), rng.standard_normal(ROWS)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    print(machine("numpy", "scipy", threads=threads), flush=True)
    covariates = rng.standard_normal((ROWS, 4))
    cells = np.repeat(np.arange(ROWS // 10), 10)
    designs: dict[str, dict[str, Any]] = {
        "free": {},
        "Freedman-Lane, four covariates": {"covariates": covariates},
        "within cells of ten": {"within": cells},
    }
    permutation_test(x, y)
    print(f"{PERMUTATIONS:,} permutations x {METRICS} metrics x {ROWS} rows, median of 5:")
    mine, misses = 0.0, []
    for name, design in designs.items():
        plain = median_seconds(partial(permutation_test, x, y, **design), 5)
        robust = median_seconds(partial(permutation_test, x, y, studentized=True, **design), 5)
        mine = mine or plain
        print(f"  {name:<32} {plain:6.3f} s, studentized {robust:6.3f} s ({robust / plain:.2f} x)")
        if robust > MOST_TIMES * plain:
            misses.append(f"{name}: studentized takes {robust / plain:.2f} times as long")
        if robust > MOST_SECONDS:
            misses.append(f"{name}: studentized takes {robust:.3f} s, over {MOST_SECONDS} s")
    theirs = median_seconds(lambda: by_scipy(x, y), 3)
    print(f"  {'scipy, metric by metric':<32} {theirs:6.3f} s, {theirs / mine:.0f} times free")
    if options.million:
        child = (
            "import numpy as np, resource, time\n"
            "from analysis.permutation import permutation_test\n"
            "rng = np.random.default_rng(0)\n"
            f"x, y = rng.standard_normal(({ROWS}, {METRICS})), rng.standard_normal({ROWS})\n"
            "start = time.perf_counter()\n"
            "permutation_test(x, y, permutations=1_000_000)\n"
            "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10\n"
            "seconds = time.perf_counter() - start\n"
            "print(f'1,000,000 permutations: {seconds:.1f} s, peak memory {peak:.0f} MiB')\n"
        )
        subprocess.run([sys.executable, "-c", child], check=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory of this process, scipy's included: {peak:.0f} MiB")
    print("\n".join(misses))
    return int(bool(misses))


if __name__ == "__main__":
    sys.exit(main())
