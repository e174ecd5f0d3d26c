"""How and where a launch runs or a run is shown, as arguments.

Nothing heavy is imported for them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from study.settings.arguments import whole


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that launches of studies and of searches share."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING=VALUE",
        help="settings in place of the file's, such as train.lr=1e-3 grid.seed=[0,1]",
    )
    parser.add_argument(
        "--runs",
        default="runs",
        metavar="DIR",
        help="where runs lie: a folder (default: runs), or of studies s3://BUCKET/PREFIX",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would run and what it costs; run nothing"
    )
    parser.add_argument(
        "--serial",
        action="store_true",
        help="run in this process, one training after another, no Ray; "
        "a library that hangs for good is found by Ray alone",
    )
    parser.add_argument(
        "--address", metavar="ADDR", help="address of a Ray cluster (default: this computer alone)"
    )
    parser.add_argument(
        "--retry-failed",
        nargs="?",
        const="all",
        metavar="CAUSE",
        help="run failed cells again: all, or those of one cause (see collapse-study status); "
        "in a search, those of the confirmation (failed trials are replaced by others)",
    )
    parser.add_argument(
        "--track",
        type=trackers,
        default=(),
        metavar="TRACKERS",
        help="show curves of losses and metrics in tensorboard, mlflow, wandb, trackio "
        "(several with commas); nothing leaves this computer unless their own settings say so",
    )


def trackers(text: str) -> tuple[str, ...]:
    """Each of the names between commas once.

    Raises argparse.ArgumentTypeError where there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError(
            f"{text!r} names no tracker: give one or several with commas, such as tensorboard"
        )
    return names


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what shows the report of a run in a browser."""
    group = parser.add_argument_group("in a browser")
    group.add_argument(
        "--serve",
        action="store_true",
        help="show the report at an address of this computer alone, built anew as cells arrive, "
        "with how far the run is, until Ctrl-C",
    )
    group.add_argument(
        "--port",
        type=partial(whole, least=1, most=65_535),
        metavar="N",
        help="of --serve (default: any that is free)",
    )
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="of --serve: the report's folder (RUN/report)"
    )
    group.add_argument(
        "--report",
        nargs=argparse.REMAINDER,
        metavar="ARGUMENT",
        help="of --serve: arguments of collapse-study report, up to the end (default: RUN)",
    )


def wrong_serving(options: argparse.Namespace) -> str:
    """What of the arguments does not go together; '' where all does."""
    from study.hub.names import is_hub  # with what reads tables, after the arguments are read

    if options.serve and is_hub(options.run):
        return f"--serve: what lies on the Hub does not change: collapse-study report {options.run}"
    if options.serve:
        others = [f"--{name}" for name in ("watch", "json") if getattr(options, name)]
        return f"--serve: leave out {others[0]}, which prints here" if others else ""
    given = [name for name in ("port", "out", "report") if getattr(options, name) is not None]
    return f"--{given[0]}: this is of --serve, which is not asked for" if given else ""
