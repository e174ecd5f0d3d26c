"""What a study can find, from the seeds of its design cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from study.grid import Cell, trainings

CHANCE: Mapping[str, bool | set[str]] = {
    "seed": True,
    "precision": True,
    "precision_options": True,
    "data": {"seed"},
    "train": {"init_seed", "shuffle_seed"},
}
"""Settings in which trainings of one design cell may differ."""


def design_sizes(cells: Iterable[Cell]) -> list[int]:
    """Trainings of each design cell: of those that differ in their seed alone."""
    designs = Counter(
        training.first.config.model_dump_json(exclude=CHANCE) for training in trainings(cells)
    )
    return list(designs.values())


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
