"""What a study can find, from the seeds of its design cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from study.config import full_path
from study.grid import Cell, trainings

CHANCE: Mapping[str, bool | set[str]] = {
    "seed": True,
    "precision": True,
    "precision_options": True,
    "data": {"seed"},
    "train": {"init_seed", "shuffle_seed"},
}
"""Settings in which trainings of one design cell may differ."""
MEASURED: Mapping[str, bool] = {"precision": True, "precision_options": True}
"""Settings of how a checkpoint is measured, in which cells of one training may differ."""


def design_sizes(cells: Iterable[Cell]) -> list[int]:
    """Trainings of each design cell: of those that differ in their seed alone."""
    designs = Counter(
        training.first.config.model_dump_json(exclude=CHANCE) for training in trainings(cells)
    )
    return list(designs.values())


def blocks(cells: Iterable[Cell], name: str) -> int:
    """Groups of trainings that differ in one setting alone, with two levels of it."""
    levels: dict[str, set[str]] = {}
    apart: dict[str, Any] = dict(MEASURED)
    *parents, leaf = full_path(name).split(".")
    place = apart
    for parent in parents:
        place = place.setdefault(parent, {})
    place[leaf] = True
    for training in trainings(cells):
        config = training.first.config
        others = config.model_dump_json(exclude=apart)
        levels.setdefault(others, set()).add(config.model_dump_json(exclude=MEASURED))
    return sum(len(each) > 1 for each in levels.values())


def pairs_text(name: str, pairs: int, alone: float | None, within_family: float | None) -> str:
    """What the pairs of an intervention can find, in words.

    The differences are those of analysis.statistics.design_power.detectable_difference.
    """
    if alone is None:
        finds = "are too few to find a difference of any size"
    else:
        finds = f"find a difference of {alone:.2f} of its own standard deviation four times in five"
        finds += "" if within_family is None else f", of {within_family:.2f} within a family"
    return f"Intervention {name}: {pairs} pairs of trainings that differ in it alone {finds}."


def power_text(
    *,
    cells: int,
    trainings: int,
    r_w: int,
    alone: float | None,
    within_family: float | None,
    seeds: Mapping[float, int],
    family: int,
) -> str:
    """What replicates can find, in words.

    The arguments are those of analysis.statistics.design_power.DesignPower, and the number of
    primary metrics.
    """
    if alone is None or within_family is None:
        finds = "are too few to find a correlation"
    else:
        finds = (
            f"find a correlation of {alone:.2f} four times in five for a metric alone, "
            f"of {within_family:.2f} among {family} primary ones"
        )
    needs = ", ".join(f"{count} for {r:g}" for r, count in seeds.items())
    return (
        f"Design: {trainings} trainings; {cells} design cells have replicates, {r_w} beyond the "
        f"first seeds. These {finds}; seeds in each cell that this takes: {needs}."
    )
