"""Mutated column maps: each gives a table, or is refused in a sentence."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from mutated_files import VALUES, in_little_memory, is_used, mutated, mutated_tree

from analysis.reading.load import load
from analysis.reading.table import AnalysisError

MAP: dict[str, Any] = {
    "about": "two axes, two epochs, two seeds",
    "extract": {"column": "model", "pattern": "^(?P<depth_text>\\d)x(?P<width_text>\\d+)$"},
    "columns": {
        "depth": "CAST(depth_text AS INTEGER)",
        "width": "CAST(width_text AS INTEGER)",
        "run": "model || '-' || seed",
        "val_loss": "loss",
    },
    "where": "depth < 9",
    "axes": ["width", "depth"],
    "architecture": ["width"],
    "unit": "run",
    "order": "epoch",
    "seed": "seed",
    "response": "val_loss",
    "responses": {"val_loss": "lower"},
    "primary": ["nc1"],
    "margin": {"val_loss": 0.01},
    "metrics": {
        "nc1": {"sql": "within / between", "family": "NC1", "direction": "lower"},
        "within": {"heavy_tailed": True},
    },
    "known_missing": [{"where": "width = 8 AND depth = 2", "reason": "left out"}],
}
ROWS = "model,seed,epoch,loss,within,between\n" + "".join(
    f"{depth}x{width},{seed},{epoch},{2.5 - epoch / 10 + seed / 99},{depth / width},{epoch + 1}\n"
    for depth, width in ((1, 4), (2, 4), (1, 8))
    for seed in (0, 1)
    for epoch in (1, 2)
)
PATTERNS = (
    "(", "[", "(?P<a>", "(?P<a>x)(?P<a>x)", "(?P<depth>.*)", "(?P<model>.*)", "(?P<\u00e9>.*)",
    "(.*)",
    "(?P<a>(?:x{1000}){1000})", "(?P<a>(a+)+$)", "(?P<a>.*)" * 50, "(?<=x)(?P<a>.)", "(?P<a>.)\\1",
    "\\p{Greek}(?P<a>.)", "(?P<a>x){5000000}",
)  # fmt: skip
COLUMNS = ("model", "seed", "epoch", "loss", "within", "width", "run", "depth_text")
EXPRESSIONS = (
    "loss * 2", "", "(", "SELECT 1", "1 / 0", "loss; loss", "'x'", "NULL", "loss + model",
    "COUNT(*)", "*",
    "(" * 3000 + "1" + ")" * 3000, "loss LIKE 'x'", "CAST(model AS INTEGER)", "CAST(loss AS x)",
    "sum(loss) OVER (PARTITION BY model)", "no_such", '"loss', "CASE WHEN 1 THEN 2", "loss[1]",
    "ARRAY[1, 2]", "EXTRACT(year FROM loss)", "loss IN (SELECT loss FROM x)", "10 ** 400",
    "x" * 5000, "REPEAT('x', 1000000)", "SUBSTR(model, -1)", "{'a': 1}", "DATE '2020-13-45'",
)  # fmt: skip


def _read_mutated(folder: Path, count: int, first: int) -> int:
    """How many mutated maps give a table; the others are refused."""
    table, columns = folder / "table.csv", folder / "map.yaml"
    table.write_text(ROWS)
    used = 0
    for seed in range(first, first + count):
        columns.write_bytes(_mutated(random.Random(seed)).encode("utf-8", "surrogatepass"))
        used += is_used(lambda: load(table, columns=columns), AnalysisError, f"seed {seed}")
    return used


def _mutated(chance: random.Random) -> str:
    """A map whose text, entries, pattern or expressions are not what they were."""
    changed = copy.deepcopy(MAP)
    match chance.randrange(6):
        case 0:
            return mutated(yaml.safe_dump(MAP, sort_keys=False), chance.getrandbits(32))
        case 1:
            changed["extract"]["pattern"] = chance.choice(PATTERNS)
        case 2:
            changed["columns"][chance.choice(("val_loss", "width", "new", "run"))] = chance.choice(
                EXPRESSIONS
            )
        case 3:
            changed["metrics"]["nc1"]["sql"] = chance.choice(EXPRESSIONS)
        case 4:
            role = chance.choice(("where", "unit", "order", "seed", "precision", "response"))
            changed[role] = chance.choice((*EXPRESSIONS, *COLUMNS))
        case _:
            changed = mutated_tree(MAP, chance, (*VALUES, *COLUMNS))
    return yaml.safe_dump(changed)


def test_a_sound_map_gives_a_table(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(ROWS)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAP))
    assert load(tmp_path / "table.csv", columns=tmp_path / "map.yaml").frame.height == 12


def test_mutated_maps_give_a_table_or_are_refused(tmp_path: Path) -> None:
    with in_little_memory():
        assert 5 < _read_mutated(tmp_path, 200, first=0) < 195


@pytest.mark.long
def test_many_mutated_maps_give_a_table_or_are_refused(tmp_path: Path) -> None:
    with in_little_memory():
        assert 15 < _read_mutated(tmp_path, 600, first=200) < 585
