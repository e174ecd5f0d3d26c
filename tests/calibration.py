"""Whether the tables of a report keep their promises, on studies whose truth is known.

python tests/calibration.py                       # a thousand studies of every scenario: hours
python tests/calibration.py --studies 60 --only "reference, inverse" --out figures.json

Every figure is read from the tables of `analysis.report`. All are printed at the end, and written
to the file as they come, a hundred studies of every scenario at a time; begun again with the same
file and code it goes on from there. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Of many small tables threads take more time than they save.
os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
# In place of the folder of this file, whose folder `analysis` would hide the package.
sys.path[0] = str(Path(__file__).parent / "helpers")

from simulated_studies import SCENARIOS, Counts, Scenario, Tally, faults, tally  # noqa: E402

BATCH = 20  # studies that a process takes at once
MODELLED = "given_design"  # the one table whose control may be inadequate
SETTINGS = ("width", "depth", "epochs", "weight_decay")
ROUND = 100  # studies of every scenario before any has more


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
    chosen = [SCENARIOS[name] for name in options.only or SCENARIOS]
    counts = _before(options.out) if options.out is not None else {}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for start in range(0, options.studies, ROUND):
            numbers = range(start, min(start + ROUND, options.studies))
            for scenario in chosen:
                before = counts.get(scenario.name, {})
                left = numbers[max(_studies(before) - start, 0) :]
                if not left:
                    continue
                counts[scenario.name] = _sum(before, _together(pool, scenario, left))
                if options.out is not None:
                    _write(options.out, counts)
                print(f"{numbers.stop} of {options.studies} studies: {scenario.name}", flush=True)
    chosen_counts = {scenario.name: counts[scenario.name] for scenario in chosen}
    missed = _figures(chosen_counts)["missed"]
    print(_page(chosen_counts), *(missed or ["every figure is met"]), sep="\n")
    return int(bool(missed))


def _studies(tally: Tally) -> int:
    """How many studies a tally is of: the numbers from 0 on."""
    return max((one.studies for one in tally.values()), default=0)


def _code() -> str:
    """A digest of all that decides what a study says."""
    root = Path(__file__).parents[1]
    files = [
        *sorted((root / "analysis").rglob("*.py")),
        root / "tests/helpers/simulated_studies.py",
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _before(path: Path) -> dict[str, Tally]:
    """The counts that the same code wrote there; none where there are none of it."""
    if not path.exists():
        return {}
    written = json.loads(path.read_text(encoding="utf-8"))
    if written["code"] != _code():
        print(f"{path} is of other code: begun anew", flush=True)
        return {}
    return {
        name: {table: Counts(**one) for table, one in tally.items()}
        for name, tally in written["counts"].items()
    }


def _write(path: Path, counts: Mapping[str, Tally]) -> None:
    """The figures, and the counts to go on from; a file is never half written."""
    content = _figures(counts) | {
        "code": _code(),
        "counts": {
            name: {table: asdict(one) for table, one in tally.items()}
            for name, tally in counts.items()
        },
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)


def _figures(counts: Mapping[str, Tally]) -> dict[str, Any]:
    """Figures by scenario and table, and sentences on those that are missed."""
    tables = {
        name: {
            table: {key: value for key, value in one.shares().items() if value is not None}
            for table, one in tally.items()
        }
        for name, tally in counts.items()
    }
    missed = [line for name, tally in counts.items() for line in faults(SCENARIOS[name], tally)]
    return {"missed": missed, "tables": tables}


def _page(counts: Mapping[str, Tally]) -> str:
    """The worst figures of each scenario over its tables, in markdown."""
    lines = [
        "| scenario | studies | p <= .05 | given_design | inadequate | p max-T <= .05 | covered | "
        "power (best test) |",
        "| --- " * 8 + "|",
    ]
    for name, families in counts.items():
        shares = {table: one.shares() for table, one in families.items()}
        null = {} if SCENARIOS[name].r else shares
        others = {table: one for table, one in null.items() if table != MODELLED}
        covered = [one["covered"] for one in shares.values() if one["covered"] is not None]
        power = [
            f"{table.split(',')[0]} {one['power']:.3f} ({one['best power']:.3f})"
            for table, one in shares.items()
            if SCENARIOS[name].r and one["best power"]
        ]
        cells = [
            name,
            f"{_studies(families):,}",
            _worst(others, "rejected"),
            _worst({table: one for table, one in null.items() if table == MODELLED}, "rejected"),
            _worst(
                {table: one for table, one in shares.items() if table == MODELLED}, "inadequate"
            ),
            _worst(null, "family-wise"),
            f"{min(covered):.3f} to {max(covered):.3f}",
            ", ".join(power),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _worst(shares: Mapping[str, Mapping[str, float | int | None]], figure: str) -> str:
    """The largest figure, with its table where there are several; nothing without any."""
    known = [
        (one[figure] or 0.0, table) for table, one in shares.items() if one[figure] is not None
    ]
    if not known:
        return ""
    value, table = max(known)
    return f"{value:.3f}" if len(shares) == 1 else f"{value:.3f} {_short(table)}"


def _short(table: str) -> str:
    """The name of a table and of its family, without the settings of a configuration."""
    return ", ".join(part for part in table.split(", ") if not part.startswith(SETTINGS))


def _together(pool: ProcessPoolExecutor, scenario: Scenario, numbers: range) -> Tally:
    """The counts of some studies of a scenario."""
    batches = [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]
    return reduce(_sum, pool.map(partial(tally, scenario), batches))


def _sum(one: Tally, other: Tally) -> Tally:
    names = dict.fromkeys([*one, *other])
    return {
        name: one[name] + other[name] if name in one and name in other else (one | other)[name]
        for name in names
    }


if __name__ == "__main__":
    sys.exit(main())
