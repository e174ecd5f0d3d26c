"""What the command line asks for, and where its report goes.

Nothing heavy is imported before the arguments are read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.names import SECTIONS, STYLES, TABLES
from analysis.report.serving import add_serving_arguments

if TYPE_CHECKING:
    from analysis.report.page import Page

MOST_DRAWS = 1_000_000  # permutations or replicates; more change no third digit of a p
LONGEST_NAME = 80  # characters of a folder that is named by several runs
EPILOG = """\
exit codes: 0 the report is written, 1 it could not be written, 2 the request or the table is wrong

examples:
  collapse-study report runs/quickstart
  collapse-study report runs/a runs/b
  collapse-study report s3://BUCKET/runs/quickstart
  collapse-study report hub:ada/quickstart
  collapse-study report lc-2024_10_24.csv \\
      --columns search_spaces/columns/linguistic_collapse_2024_10.yaml
  collapse-study report runs/quickstart --table within --metrics nc1_ratio,nc4_agreement \\
      --columns metric,symbol,n,estimate,low,p_maxt,verdict
  collapse-study report results.tsv --unit run --response loss --metrics nc1,nc4 --axes width,lr
"""


def add_report_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add what the command takes, and what it is for."""
    arguments.description = (
        "Relate collapse metrics to loss, say how sure that is, and write report.html, tables and "
        "figures."
    )
    arguments.epilog = EPILOG
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_argument(
        "source",
        nargs="+",
        help="run directory, also s3://BUCKET/runs/NAME, or a table: .csv, .tsv, .txt (also .gz), "
        ".xlsx, .parquet; or one of the Hub, hub:OWNER/NAME[@REVISION][/FILE]; several are "
        "reported one by one and pooled",
    )
    arguments.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="where to write (default: SOURCE/report; of a table, of the Hub or of s3:// "
        "NAME-report; of several NAME+NAME-report)",
    )
    arguments.add_argument(
        "--response", metavar="COLUMN", help="outcome column (default: val_loss, or the map's)"
    )
    arguments.add_argument(
        "--primary",
        type=names,
        metavar="LIST",
        help="metrics to decide about (default: those the study or the map declares, else one a "
        "property); all others are exploratory",
    )
    arguments.add_argument(
        "--margin",
        type=changes,
        metavar="LIST",
        help="changes that count as none, such as val_loss=0.01",
    )
    arguments.add_argument(
        "--intervention",
        type=names,
        metavar="LIST",
        help="axes whose effect is asked for (default: those the study or the map declares); "
        "trainings are paired that agree in all others and the seed",
    )
    arguments.add_argument(
        "--permutations", type=draws, default=10_000, metavar="N", help="of each test (10000)"
    )
    arguments.add_argument(
        "--bootstrap", type=draws, default=2_000, metavar="N", help="replicates (2000)"
    )
    arguments.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of permutations and bootstrap (0)"
    )
    arguments.add_argument(
        "--formats",
        metavar="LIST",
        help="of figure files: svg,png,pdf (svg; all three with --style paper)",
    )
    arguments.add_argument(
        "--style",
        choices=STYLES,
        default="page",
        help="of figure files: as the page has them, or for a paper, each one and two columns "
        "wide (3.3 and 6.9 inches) with letters of 8 points (page)",
    )
    arguments.add_argument(
        "--readme",
        action="store_true",
        help="also write README.md in the folder of the run: limits, verdicts, a table a question",
    )
    arguments.add_argument(
        "--only", default="", metavar="LIST", help=f"sections to build: {','.join(SECTIONS)} (all)"
    )
    arguments.add_argument(
        "--table",
        metavar="NAME",
        help="write nothing but this table, as LaTeX that fits a page, to DIR/print/NAME.tex: "
        "--metrics and --columns choose its lines and columns (headings, names in csv, `symbol`)",
    )
    arguments.add_argument(
        "--classes",
        default="",
        metavar="LIST",
        help="classes (tokens) that tables of classes list: names with commas between them, a .txt "
        "of one a line, or a .yaml of lists by name",
    )
    arguments.add_argument(
        "--allow-missing",
        action="store_true",
        help="analyse an incomplete grid and list what it lacks",
    )
    add_serving_arguments(arguments)
    _add_columns(arguments.add_argument_group("columns of a foreign table"))


def _add_columns(group: argparse._ArgumentGroup) -> None:
    """What its columns are, by a map or one by one."""
    group.add_argument(
        "--columns",
        action="append",
        metavar="MAP.yaml",
        help="a file that says what they are; with --table also a list, the columns to print",
    )
    group.add_argument(
        "--unit",
        type=names,
        metavar="LIST",
        help="what names the training of a row; several columns do it together",
    )
    group.add_argument("--metrics", type=names, metavar="LIST", help="metrics (nc1..., nc2...)")
    group.add_argument(
        "--axes",
        type=names,
        metavar="LIST",
        help="settings that differ between trainings, apart from seed and precision; or `none`",
    )
    group.add_argument(
        "--architecture", type=names, metavar="LIST", help="axes that describe the model"
    )
    group.add_argument("--order", metavar="COLUMN", help="epoch or step of a checkpoint")
    group.add_argument("--seed-column", metavar="COLUMN", help="seed of the training")
    group.add_argument("--precision-column", metavar="COLUMN", help="precision of a row")
    group.add_argument(
        "--decimal", choices=(".", ","), help="mark of decimals, where the file does not tell it"
    )
    group.add_argument(
        "--write-map",
        type=Path,
        metavar="FILE",
        help="write the map that these options amount to, and no report",
    )


def names(value: str) -> tuple[str, ...]:
    """Names between commas; none for `none`."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    return () if parts == ("none",) else parts


def changes(value: str) -> dict[str, float]:
    """`column=number` between commas."""
    by_column = {}
    for part in names(value):
        name, _, change = part.partition("=")
        try:
            by_column[name.strip()] = float(change)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no change of a column, such as val_loss=0.01"
            ) from None
    return by_column


def draws(value: str) -> int:
    """A number of permutations or replicates."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number <= MOST_DRAWS:
        message = f"{value[:80]!r} is no whole number from 1 to {MOST_DRAWS}"
        raise argparse.ArgumentTypeError(message)
    return number


def default_folder(sources: Sequence[str]) -> Path:
    """Where a report is written unless `--out` says it.

    In a run, beside a table, and of the Hub or object storage where the command is called. Raises
    AnalysisError for what is no name of the Hub and no place of a run.
    """
    # with polars, so not before the arguments are read
    from analysis.reading.table import AnalysisError
    from study.hub.names import is_hub, parse_name
    from study.store import RunPaths, StoreError
    from study.store.places import is_object, place

    first = sources[0]
    try:
        if len(sources) == 1 and not is_hub(first) and (run := place(first)).is_dir():
            return RunPaths(run).report
        stems = [parse_name(each).short if is_hub(each) else place(each).stem for each in sources]
    except StoreError as error:
        raise AnalysisError(str(error)) from None
    name = "+".join(stems)
    if len(sources) > 1 and len(name) > LONGEST_NAME:
        name = f"{stems[0]}+{len(sources) - 1}-more"
    folder = Path() if is_hub(first) or is_object(place(first)) else Path(first).parent
    return folder / f"{name}-report"


def obstacle(folder: Path) -> str:
    """Why nothing can be written in a folder, which need not exist; '' where it can."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def report_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `analysis.report` is asked for.

    Raises AnalysisError for an unknown `--table`, and for several maps.
    """
    of_lines = options.table is not None and not _names_columns(options)
    only = options.only if options.table is None else _section_of(options.table)
    return {
        "columns": _map_file(options),
        "unit": options.unit,
        "response": options.response,
        "metrics": None if of_lines else options.metrics,
        "axes": options.axes,
        "architecture": options.architecture,
        "order": options.order,
        "seed_column": options.seed_column,
        "precision_column": options.precision_column,
        "decimal": options.decimal,
        "primary": options.primary,
        "margin": options.margin,
        "intervention": options.intervention,
        "permutations": options.permutations,
        "bootstrap": options.bootstrap,
        "seed": options.seed,
        "allow_missing": options.allow_missing,
        "only": tuple(part.strip() for part in only.split(",") if part.strip()),
        "classes": options.classes,
    }


def printed_table(document: Page, options: argparse.Namespace, folder: Path) -> Path:
    """Write the table that `--table` names for print; returns its path.

    Raises AnalysisError where the report has no such table, and as `typeset`.
    """
    from analysis.reading.table import AnalysisError, nearest
    from analysis.report.paths import ReportPaths
    from analysis.report.typeset import typeset

    tables = {table.name: table for section in document.sections for table in section.tables}
    if options.table not in tables:
        raise AnalysisError(
            f"--table: the report has no {options.table!r}.{nearest(options.table, tables)}"
        )
    chosen = [name for part in options.columns or () if not _is_map(part) for name in names(part)]
    text = typeset(tables[options.table], options.metrics, chosen or None)
    path = ReportPaths(folder).printed(options.table)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _is_map(value: str) -> bool:
    """Whether `--columns` names a file."""
    return value.endswith((".yaml", ".yml"))


def _map_file(options: argparse.Namespace) -> str | None:
    """The map of the columns, if there is one."""
    from analysis.reading.table import AnalysisError

    files = [part for part in options.columns or () if options.table is None or _is_map(part)]
    if len(files) > 1:
        raise AnalysisError(f"--columns: {len(files)} maps are given; give one")
    return files[0] if files else None


def _names_columns(options: argparse.Namespace) -> bool:
    """Whether the columns of a foreign table are named without a map.

    Its metrics must be named, too, so that `--metrics` then does both: it says which they are and
    which lines of a table are printed.
    """
    others = (options.unit, options.axes, options.architecture, options.order)
    named = any(each is not None for each in (*others, options.seed_column))
    return named and _map_file(options) is None


def _section_of(table: str) -> str:
    """The section that has a table."""
    from analysis.reading.table import AnalysisError, nearest

    name = "classes" if table.startswith("classes") else table
    if name not in TABLES:
        raise AnalysisError(f"--table: unknown table {table!r}.{nearest(table, TABLES)}")
    return TABLES[name]


def write_map(options: argparse.Namespace) -> None:
    """Write the map that the options amount to where `--write-map` says.

    Raises AnalysisError as `written_map`, and where the file cannot be made or is there already.
    """
    from analysis.reading.load import written_map
    from analysis.reading.naming import ColumnNames
    from analysis.reading.table import AnalysisError

    names = ColumnNames(
        options.unit,
        options.metrics,
        options.axes,
        options.architecture,
        options.order,
        options.seed_column,
        options.precision_column,
    )
    text = written_map(
        options.source[0],
        columns=_map_file(options),
        names=names,
        response=options.response,
        primary=options.primary,
        margin=options.margin,
        intervention=options.intervention,
        decimal=options.decimal,
    )
    try:
        with options.write_map.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise AnalysisError(f"{options.write_map}: cannot be written ({error.strerror})") from None
