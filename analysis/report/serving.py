"""What `--serve` hands to the command that knows how far a run is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

DOOR = "study.status"
"""The command, by its name: it knows runs, and builds their reports by this package's own."""


def add_serving_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add what shows the report of a run in a browser."""
    group = arguments.add_argument_group("in a browser")
    group.add_argument(
        "--serve",
        action="store_true",
        help="show the report of a run at an address of this computer alone, built anew as cells "
        "arrive, with how far the run is, until Ctrl-C",
    )
    group.add_argument(
        "--port", metavar="N", help="of --serve: where to listen (default: any that is free)"
    )


def serve(options: argparse.Namespace, arguments: Sequence[str] | None, folder: Path) -> int:
    """Hand over to `DOOR`; returns its exit code.

    `options` were read from `arguments`, or else from the command line; `folder` is the report's.
    Raises AnalysisError where the report is not that of one run, or something else is asked for.
    """
    from analysis.reading.table import AnalysisError  # with polars, after the arguments are read
    from study.store.places import place

    if not options.serve:
        raise AnalysisError("--port: this is of --serve, which is not asked for")
    if len(options.source) > 1 or not place(options.source[0]).is_dir():
        raise AnalysisError("--serve: give one run directory, whose report is to be shown")
    if options.table is not None:
        raise AnalysisError("--serve: leave out --table, which writes no report")
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--serve", action="store_true")
    own.add_argument("--port")
    own.add_argument("--out")
    rest = own.parse_known_args(sys.argv[1:] if arguments is None else list(arguments))[1]
    port = [] if options.port is None else ["--port", options.port]
    given = [options.source[0], "--serve", *port, "--out", str(folder), "--report", *rest]
    code: int = import_module(DOOR).main(given)
    return code
