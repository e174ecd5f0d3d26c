"""`python -m study.launch GRID.yaml`: run what the store lacks; resume."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse

    from study.launching.study_launch import StudyLaunch


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all stored, 1 failed or stopped, 2 wrong request, 3 no storage."""
    options = parser().parse_intermixed_args(arguments)

    from dataclasses import asdict

    from study.launching import launch
    from study.launching.options import LaunchOptions
    from study.launching.runs import open_study
    from study.launching.study_launch import StudyLaunch
    from study.launching.view import Output
    from study.settings.faults import StudyError
    from study.store import StoreError

    try:
        how = LaunchOptions(options.serial, options.address, options.retry_failed, options.track)
        if options.dry_run or options.calibrate:
            study, run_dir = open_study(options.study, options.runs, options.overrides)
            console = Output(file=sys.stdout)
            planned = StudyLaunch(study, run_dir, how, console, source=options.study)
            planned.show(calibrated=options.calibrate)
            console.print(_power(planned), soft_wrap=True, highlight=False)
            return 0
        return launch(
            options.study,
            runs=options.runs,
            **asdict(how),
            overrides=options.overrides,
        ).code
    except (StudyError, StoreError) as error:
        return refused(error)


def _power(planned: StudyLaunch) -> str:
    """What the replicates of a study can find, which is told before it is paid for."""
    from dataclasses import asdict

    from analysis.statistics.design_power import FAMILY, design_power, detectable_difference
    from study.launching.replicates import blocks, design_sizes, pairs_text, power_text

    family = len(planned.study.analysis.primary or ()) or FAMILY
    power = design_power(design_sizes(planned.cells), family=family)
    lines = [power_text(**asdict(power), family=family)]
    for name in planned.study.analysis.intervention:
        pairs = blocks(planned.cells, name)
        found = (detectable_difference(pairs, family=size) for size in (1, family))
        lines.append(pairs_text(name, pairs, *found))
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.launching.arguments import add_launch_arguments
    from study.settings.arguments import Arguments, program

    arguments = Arguments(
        prog=program("study.launch"),
        description="Train and measure every cell of a study that has no rows yet.",
    )
    arguments.add_argument(
        "study",
        help="a study's YAML file, or the folder of a run to relaunch, such as runs/quickstart or "
        "s3://BUCKET/runs/quickstart",
    )
    add_launch_arguments(arguments)
    arguments.add_argument(
        "--calibrate",
        action="store_true",
        help="as --dry-run, with times measured on a few steps here",
    )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
