"""`python -m analysis SOURCE`: a report of runs/NAME or results.csv."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, own_package, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: list[str] | None = None) -> int:
    """Write a report; returns the exit code."""
    own_package("analysis", Path(__file__).parent)
    options = parser().parse_args(arguments)
    from analysis.report.request import (
        default_folder,
        obstacle,
        printed_table,
        report_options,
        write_map,
    )
    from analysis.report.serving import serve
    from analysis.report.short_page import write_short_page

    default = "svg" if options.style == "page" else "svg,pdf,png"
    formats = tuple(part.strip() for part in (options.formats or default).split(","))
    if unknown := [part for part in formats if part not in ("svg", "png", "pdf")]:
        return _refuse(f"--formats: {unknown[0]!r} is none of svg, png, pdf")
    if options.seed < 0:
        return _refuse(f"--seed: {options.seed} is negative")
    from analysis import report
    from analysis.reading.table import AnalysisError

    if options.write_map is not None:
        if len(options.source) > 1:
            return _refuse("--write-map: give one table, whose map is to be written")
        try:
            write_map(options)
        except AnalysisError as error:
            return _refuse(str(error))
        print(f"map: {options.write_map}")
        return 0
    if options.table is not None and len(options.source) > 1:
        return _refuse("--table: give one source, whose table is to be printed")
    if options.readme and (len(options.source) > 1 or not Path(options.source[0]).is_dir()):
        return _refuse("--readme: give one run directory, in which README.md is to stand")
    try:
        folder = options.out or default_folder(options.source)
        if problem := obstacle(folder):
            return _refuse(f"{folder}: cannot write the report there ({problem}); pass --out DIR")
        if options.serve or options.port is not None:
            return serve(options, arguments, folder)
        document = report(options.source, **report_options(options), say=_say)
        if options.table is not None:
            print(f"table: {printed_table(document, options, folder)}")
            return 0
    except AnalysisError as error:
        return _refuse(str(error))
    _say("writing")
    try:
        page = document.write(folder, formats=formats, style=options.style)
        if options.readme:
            write_short_page(document, Path(options.source[0]))
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(document, f"report: {page}", sep="\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from analysis.report.request import add_report_arguments
    from study.settings.arguments import Arguments, program

    arguments = Arguments(prog=program("analysis"))
    add_report_arguments(arguments)
    return arguments


def _say(text: str) -> None:
    """Progress; apart from the results, so that these can be piped."""
    print(text, file=sys.stderr, flush=True)


def _refuse(message: str) -> int:
    return refused(ValueError(f"error: {message}"))


if __name__ == "__main__":
    sys.exit(main())
