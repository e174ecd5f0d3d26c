"""What a study can find, from the seeds of its design cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from study.config import COLUMNS, full_path
from study.grid import Cell, trainings
from study.launching.units import counted
from study.settings.faults import Fault

CHANCE: Mapping[str, bool | set[str]] = {
    "seed": True,
    "precision": True,
    "precision_options": True,
    "data": {"seed"},
    "train": {"init_seed", "shuffle_seed"},
}
"""Settings in which trainings of one design cell may differ."""
MEASURED = "precision"
"""How columns begin in which cells of one training may differ."""


def design_sizes(cells: Iterable[Cell]) -> list[int]:
    """Trainings of each design cell: of those that differ in their seed alone."""
    designs = Counter(
        training.first.config.model_dump_json(exclude=CHANCE) for training in trainings(cells)
    )
    return list(designs.values())


def blocks(cells: Iterable[Cell], name: str) -> int:
    """Groups of trainings that differ in one setting alone, with two levels of it.

    Settings that some of the trainings do not have, such as those of one kind of schedule, belong
    to what differs.
    """
    column = COLUMNS[full_path(name)]
    settings = [training.first.settings() for training in trainings(cells)]
    shared = set(settings[0]).intersection(*settings) if settings else set[str]()
    others = sorted(each for each in shared if each != column and not each.startswith(MEASURED))
    levels: dict[tuple[object, ...], set[object]] = {}
    for each in settings:
        levels.setdefault(tuple(each[other] for other in others), set()).add(each.get(column))
    return sum(len(each) > 1 for each in levels.values())


def unpaired_faults(cells: Iterable[Cell], names: Iterable[str]) -> Iterator[Fault]:
    """Interventions in which no two trainings differ alone."""
    cells = tuple(cells)
    for number, name in enumerate(names):
        if blocks(cells, name) == 0:
            yield Fault(
                f"analysis.intervention[{number}]",
                f"no two trainings differ in {name} alone",
                "List two levels of it beside the same other settings and seeds, or leave it out",
            )


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
        f"Design: {counted(trainings, 'training')}; {counted(cells, 'design cell')} with "
        f"replicates, {r_w} beyond the first seeds. These {finds}; "
        f"seeds in each cell that this takes: {needs}."
    )
