"""The command line: python -m analysis runs/NAME or results.csv."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SECTIONS = (
    "tuning",
    "association",
    "fixed",
    "grid",
    "axes",
    "checkpoints",
    "training",
    "overfitting",
    "layers",
    "precision",
    "data",
    "classes",
)
EPILOG = """\
exit codes: 0 the report is written, 1 it could not be written, 2 the request or the table is wrong

examples:
  python -m analysis runs/quickstart
  python -m analysis lc-2024_10_24.csv \\
      --columns search_spaces/columns/linguistic_collapse_2024_10.yaml
"""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    arguments = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Relate collapse metrics to loss, say how sure that is, and write "
        "report.html, tables and figures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("source", help="run directory, or a csv or parquet table")
    arguments.add_argument(
        "--columns", metavar="MAP.yaml", help="what the columns of a foreign table are"
    )
    arguments.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="where to write (default: SOURCE/report, or NAME-report)",
    )
    arguments.add_argument(
        "--response", metavar="COLUMN", help="outcome column (default: val_loss, or the map's)"
    )
    arguments.add_argument(
        "--permutations", type=_positive, default=10_000, metavar="N", help="of each test (10000)"
    )
    arguments.add_argument(
        "--bootstrap", type=_positive, default=2_000, metavar="N", help="replicates (2000)"
    )
    arguments.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of permutations and bootstrap (0)"
    )
    arguments.add_argument(
        "--formats", default="svg", metavar="LIST", help="of figure files: svg,png,pdf (svg)"
    )
    arguments.add_argument(
        "--only", default="", metavar="LIST", help=f"sections to build: {','.join(SECTIONS)} (all)"
    )
    arguments.add_argument(
        "--classes", default="", metavar="LIST", help="classes (tokens) that tables of classes list"
    )
    arguments.add_argument(
        "--allow-missing",
        action="store_true",
        help="analyse an incomplete grid and list what it lacks",
    )
    return arguments


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Write a report; returns the exit code."""
    options = parser().parse_args(arguments)
    formats = tuple(part.strip() for part in options.formats.split(","))
    if unknown := [part for part in formats if part not in ("svg", "png", "pdf")]:
        return _refuse(f"--formats: {unknown[0]!r} is none of svg, png, pdf")
    if options.seed < 0:
        return _refuse(f"--seed: {options.seed} is negative")

    from analysis import report
    from analysis.reading.table import AnalysisError

    try:
        document = report(
            options.source,
            columns=options.columns,
            response=options.response,
            permutations=options.permutations,
            bootstrap=options.bootstrap,
            seed=options.seed,
            allow_missing=options.allow_missing,
            only=tuple(part.strip() for part in options.only.split(",") if part.strip()),
            classes=tuple(part for part in options.classes.split(",") if part),
            say=_say,
        )
    except AnalysisError as error:
        return _refuse(str(error))
    _say("writing")
    try:
        page = document.write(options.out or _default_folder(Path(options.source)), formats=formats)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for paragraph in document.summary:
        print(f"{paragraph.title}: {paragraph.text}")
    print(f"report: {page}")
    return 0


def _say(text: str) -> None:
    """Progress; apart from the results, so that these can be piped."""
    print(text, file=sys.stderr, flush=True)


def _default_folder(source: Path) -> Path:
    return source / "report" if source.is_dir() else source.with_name(f"{source.stem}-report")


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
