"""Tables that others wrote: the same table is read alike, whatever it is written with."""

from __future__ import annotations

import gzip
import math
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from polars.testing import assert_frame_equal

from analysis.__main__ import main
from analysis.reading.load import load
from analysis.reading.naming import ColumnNames
from analysis.reading.sources import read_file
from analysis.reading.table import LONGEST, ROW, AnalysisError

TABLES = Path(__file__).parent / "tables"
TOLD = ColumnNames(unit=("run",), axes=("width",), metrics=("nc1", "nc4"), seed="seed")
MISSING = {"NA", "", "nan", "NULL", "n/a", "#N/A", ".", "?", "-"}


def rows() -> list[dict[str, Any]]:
    """24 trainings; one lacks a metric; widths that have thousands."""
    return [
        {
            "run": f"Zürich {number}",
            "width": (64, 1032, 12048)[number % 3],
            "seed": number // 3,
            "nc1": None if number == 5 else 1234.5 + number,
            "nc4": 0.5 - number / 64,
            "loss": 4 + number / 8,
        }
        for number in range(24)
    ]


def written(value: Any, *, decimal: str, thousands: str, null: str) -> str:
    if value is None:
        return null
    if isinstance(value, str):
        return value
    text = f"{value:,}" if thousands else str(value)
    return text.translate({ord(","): thousands, ord("."): decimal})


def write(
    path: Path,
    *,
    separator: str = ",",
    decimal: str = ".",
    thousands: str = "",
    null: str = "",
    encoding: str = "utf-8",
    end: str = "\n",
) -> Path:
    """The rows as a text file in one of the many ways."""
    table = rows()
    lines = [separator.join(table[0])]
    for row in table:
        cells = [
            written(value, decimal=decimal, thousands=thousands, null=null)
            for value in row.values()
        ]
        quoted = [f'"{cell}"' if separator in cell else cell for cell in cells]
        lines.append(separator.join(quoted))
    content = "".join(line + end for line in lines).encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, **options: Any) -> pl.DataFrame:
    return load(path, names=TOLD, response="loss", **options).frame


@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    marks=st.sampled_from(
        [(".", ""), (".", ","), (".", " "), (".", "'"), (",", ""), (",", "."), (",", "\u202f")]
    ),
    null=st.sampled_from(sorted(MISSING)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]),
    suffix=st.sampled_from([".csv", ".txt", ".csv.gz", ".CSV"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_table_is_read_alike_however_it_is_written(
    tmp_path: Path,
    separator: str,
    marks: tuple[str, str],
    null: str,
    encoding: str,
    suffix: str,
    end: str,
) -> None:
    decimal, thousands = marks
    if encoding == "latin-1" and thousands == "\u202f":
        thousands = "\u00a0"
    path = write(
        tmp_path / f"table{suffix}",
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        null=null,
        encoding=encoding,
        end=end,
    )
    frame = read(path)
    expected = pl.DataFrame(rows()).select(frame.columns)
    assert_frame_equal(frame, expected, rel_tol=1e-15)


def test_a_tsv_has_tabs_and_excel_says_its_separator(tmp_path: Path) -> None:
    expected = read(write(tmp_path / "table.csv"))
    tabs = write(tmp_path / "table.tsv", separator="\t")
    assert_frame_equal(read(tabs), expected)
    marked = write(tmp_path / "marked.csv", separator=";")
    marked.write_text("sep=;\n" + marked.read_text(encoding="utf-8"), encoding="utf-8")
    assert_frame_equal(read(marked), expected)
    marked.write_text(
        marked.read_text(encoding="utf-8").replace("4.125", "4.125x"), encoding="utf-8"
    )
    with pytest.raises(AnalysisError, match=r"line 4 has '4\.125x'"):
        read(marked)


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, table in sheets.items():
        sheet = book.create_sheet(title)
        for row in table:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_keeps_its_digits(tmp_path: Path) -> None:
    table = rows()
    table[0]["nc4"] = 1e17 / 3
    cells: list[list[Any]] = [[*table[0]], *([*row.values()] for row in table)]
    path = workbook(tmp_path / "table.xlsx", empty=[], rows=cells)
    frame = read(path)
    assert_frame_equal(
        frame,
        pl.DataFrame(table).select(frame.columns),
        rel_tol=1e-15,
        abs_tol=0,
        check_dtypes=False,
    )
    assert frame["width"].dtype == pl.Int64
    texts = [[None if cell is None else str(cell) for cell in row] for row in cells]
    assert_frame_equal(
        read(workbook(tmp_path / "texts.xlsx", rows=texts)), frame, rel_tol=1e-15, abs_tol=0
    )
    cells[7][3] = "diverged"
    with pytest.raises(AnalysisError, match="'nc1' must hold numbers, but row 8 has 'diverged'"):
        read(workbook(tmp_path / "table.xlsx", rows=cells))
    with pytest.raises(AnalysisError, match=r"2 sheets hold rows \('a', 'b'\); save the one"):
        read(workbook(tmp_path / "two.xlsx", a=cells, b=cells))
    (tmp_path / "none.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(AnalysisError, match="cannot be read as a workbook"):
        read(tmp_path / "none.xlsx")


@pytest.mark.parametrize("name", ["eu", "na", "thousands", "zeros", "onenull"])
def test_tables_of_cases_are_numbers(name: str) -> None:
    table = load(TABLES / f"{name}.csv", columns=TABLES / "map.yaml")
    assert len(table.frame) == 24
    assert table.frame["width"].dtype == pl.Int64
    assert {table.frame[column].dtype for column in ("nc1", "nc4", "loss")} == {pl.Float64}
    assert table.frame["nc1"].null_count() == {"na": 5, "onenull": 1}.get(name, 0)
    assert (1032 in table.frame["width"]) == (name == "thousands")


def lines(*cells: str) -> str:
    return "run;width;seed;nc1;nc4;loss\n" + "".join(f"{line}\n" for line in cells)


FAULTS = {
    "a header alone": (lines(), r"has a header \(6 columns\) and no row; give a table"),
    "nothing": ("", "is empty; give a table"),
    "a short row": (lines("a;1;0;.5;.5;1", "b;2;0;.5"), "line 3 has 4 values, the header 6 names"),
    "a long row": (lines("a;1;0;.5;.5;1;9"), "line 2 has 7 values, the header 6 names"),
    "an open quote": (lines('a;1;0;.5;.5;"1'), "line 2 cannot be read"),
    "a name twice": ("run;nc1;nc1\na;1;2\n", "two columns are named 'nc1'; rename"),
    "a text axis in part": (
        lines("a;64;0;.5;.5;1", "b;wide;0;.5;.5;1"),
        r"'width' mixes numbers and text: 'wide' \(line 3\) beside '64' \(line 2\)",
    ),
    "a letter for a digit": (
        lines("a;64;0;.5;.5;1", "b;1O24;0;.5;.5;1"),
        r"'1O24' \(line 3\) beside '64' \(line 2\); write all of them as numbers, or none",
    ),
    "a unit with a number": (
        lines("a;64px;0;.5;.5;1", "b;1.024;0;.5;.5;1"),
        r"'64px' \(line 2\) beside '1\.024' \(line 3\)",
    ),
    "a text metric": (lines("a;1;0;.5;x;1"), "'nc4' must hold numbers, but line 2 has 'x'"),
    "a stray zero": (lines("a;1;0;.5;\0.5;1"), "'nc4' must hold numbers, but line 2 has"),
    "a text outcome": (lines("a;1;0;.5;.5;5%"), "'loss' must hold numbers, but line 2 has '5%'"),
    "no axis": (lines("a;1;0;.5;.5;1", "b;NA;0;.5;.5;1"), "null in 1 rows, the first: line 3"),
    "no unit": (lines(";1;0;.5;.5;1"), "column 'run' is null in 1 rows, the first: line 2"),
    "two marks": (
        lines("a;1;0;0,5;.5;1"),
        r"'\.5' \(line 2, column 'nc4'\) has a decimal point, '0,5' \(line 2, column 'nc1'\) a "
        r"decimal comma: say which with --decimal",
    ),
    "one reading too many": (
        lines("a;1,032;0;5;7;1"),
        r"'1,032' \(line 2, column 'width'\) may have a decimal comma or thousands: say which",
    ),
    "rows that are one": (
        lines("a;1;0;.5;.5;1", "a;1;0;.5;.5;1"),
        r"2 rows share their run, the first: run 'a' \(line 2\)",
    ),
}


@pytest.mark.parametrize("content, message", FAULTS.values(), ids=FAULTS)
def test_faults_name_the_value_its_row_and_the_remedy(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AnalysisError, match=message) as caught:
        read(path)
    assert len(str(caught.value)) <= LONGEST


def test_what_a_spreadsheet_leaves_around_a_table_is_left_out(tmp_path: Path) -> None:
    plain = write(tmp_path / "table.csv")
    around = tmp_path / "around.csv"
    text = plain.read_text(encoding="utf-8")
    around.write_text(
        "".join(f"{line},,\n" for line in text.splitlines()) + ",,,,,,,\n\n", encoding="utf-8"
    )
    assert_frame_equal(read(around), read(plain))


def test_numbers_that_are_texts_in_parquet_or_a_pattern_are_numbers(tmp_path: Path) -> None:
    frame = pl.DataFrame(rows())
    frame.with_columns(pl.col("width").cast(pl.String)).write_parquet(tmp_path / "table.parquet")
    assert read(tmp_path / "table.parquet")["width"].to_list() == frame["width"].to_list()
    frame.with_columns(
        pl.when(pl.col("seed") == 3).then(pl.lit("wide")).otherwise(pl.lit("64")).alias("width")
    ).write_parquet(tmp_path / "table.parquet")
    with pytest.raises(AnalysisError, match=r"'wide' \(row 10\) beside '64' \(row 1\)"):
        read(tmp_path / "table.parquet")
    content = yaml.safe_load((TABLES / "map.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "map.yaml"
    pattern = r"^t(?P<half>\d+)$"
    path.write_text(
        yaml.safe_dump(
            {
                **content,
                "extract": {"column": "run", "pattern": pattern},
                "axes": ["half"],
                "architecture": [],
            }
        )
    )
    table = load(TABLES / "eu.csv", columns=path)
    assert table.frame["half"].to_list() == [*range(24)]


def test_the_mark_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(lines("a;1,032;0;5;7;1", "b;2;0;5;7;1"), encoding="utf-8")
    assert read(path, decimal=".")["width"].to_list() == [1032, 2]
    assert read(path, decimal=",")["width"].to_list() == [1.032, 2]


def test_levels_are_texts_and_infinite_metrics_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(lines("a;none;0;inf;1e-3;1", "b;cosine;1;−2;+.5;1"), encoding="utf-8")
    frame = read(path)
    assert frame["width"].to_list() == ["none", "cosine"]
    assert frame["nc1"].to_list() == [None, -2]
    assert frame["nc4"].to_list() == [0.001, 0.5]


def test_long_numbers_are_names(tmp_path: Path) -> None:
    """As floats the two trainings would be one."""
    path = tmp_path / "table.csv"
    long = 12345678901234567890123
    path.write_text(lines(f"{long};1;0;1;.5;1", f"{long + 1};1;1;1;.5;1"), encoding="utf-8")
    assert read(path)["run"].to_list() == [str(long), str(long + 1)]


def test_long_messages_keep_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    many = ";".join(f"{'x' * 90}{number}" for number in range(200))
    path.write_text(f"{many}\n{many}\n", encoding="utf-8")
    with pytest.raises(
        AnalysisError, match=r"table\.csv: --unit: 'run' is no column.* more\.$"
    ) as caught:
        read(path)
    assert len(str(caught.value)) <= LONGEST


def test_options_amount_to_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "my table.csv", separator=";", decimal=",")
    target = tmp_path / "map.yaml"
    options = ["--unit", "run", "--response", "loss", "--metrics", "nc1,nc4", "--axes", "width"]
    said = [*options, "--primary", "nc4", "--margin", "loss=0.5", "--decimal", ","]
    assert main([str(table), *said, "--write-map", str(target)]) == 0
    assert yaml.safe_load(target.read_text(encoding="utf-8"))["primary"] == ["nc4"]
    assert f"collapse-study report {shlex.quote(table.name)} --" in target.read_text("utf-8")
    by_map = load(table, columns=target)
    by_options = load(
        table, names=TOLD, response="loss", primary=["nc4"], margin={"loss": 0.5}, decimal=","
    )
    assert by_map.roles == by_options.roles
    assert by_map.roles.primary == ("nc4",)
    assert by_map.roles.margin == {"loss": 0.5}
    assert_frame_equal(by_map.frame, by_options.frame)
    assert ROW not in by_map.frame.columns
    assert main([str(table), *said, "--write-map", str(target)]) == 2
    assert "File exists" in capsys.readouterr().err
    assert not (tmp_path / "my table-report").exists()


def test_several_columns_name_a_training(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv")
    names = ColumnNames(unit=("width", "seed"), axes=("width",))
    frame = load(table, names=names, response="loss").frame
    assert frame["training"].to_list()[:2] == ["64/0", "1032/0"]
    assert frame["training"].n_unique() == 24


def test_what_cannot_be_known_is_asked_for(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("run,size,nc1,loss\na,1,.5,1\nb,2,.6,2\n", encoding="utf-8")
    with pytest.raises(AnalysisError, match=r"--unit COLUMN \(and --response"):
        load(table)
    with pytest.raises(AnalysisError, match="Say it with --unit COLUMN, or with --unit A,B"):
        load(table, names=ColumnNames(axes=("size",)), response="loss")
    with pytest.raises(AnalysisError, match=r"--response: 'val_loss' is no column"):
        load(table, names=ColumnNames(unit=("run",)))
    with pytest.raises(AnalysisError, match=r"--axes A,B, or --axes none.*several values: size"):
        load(table, names=ColumnNames(unit=("run",)), response="loss")
    with pytest.raises(AnalysisError, match="--metrics A,B"):
        load(table, names=ColumnNames(unit=("run",), metrics=()), response="loss")
    with pytest.raises(AnalysisError, match=r"--axes: 'sizes' is no column. Did you mean `size`"):
        load(table, names=ColumnNames(unit=("run",), axes=("sizes",)), response="loss")
    roles = load(table, names=ColumnNames(unit=("run",), axes=()), response="loss").roles
    assert (roles.axes, roles.seed, roles.order, roles.precision) == ((), None, None, None)
    assert roles.metrics["nc1"].family == "NC1"


def test_a_map_and_names_contradict(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="leave it out, or the options that name columns"):
        load(TABLES / "na.csv", columns=TABLES / "map.yaml", names=TOLD)
    with pytest.raises(AnalysisError, match=r"is a run directory.*leave names of columns out"):
        load(tmp_path, names=TOLD)


def test_primary_metrics_and_margins_are_columns() -> None:
    def roles(**said: Any) -> Any:
        return load(TABLES / "na.csv", columns=TABLES / "map.yaml", **said).roles

    assert roles().primary == ()
    assert roles(primary=["nc4", "nc1"], margin={"loss": 0.1}).primary == ("nc4", "nc1")
    with pytest.raises(AnalysisError, match=r"primary: 'nc5' is no metric of the table. Did you"):
        roles(primary=["nc5"])
    with pytest.raises(AnalysisError, match="margin: 'los' is no metric or response"):
        roles(margin={"los": 0.1})
    for change in (0, -1, math.inf, math.nan):
        with pytest.raises(AnalysisError, match="is no positive number"):
            roles(margin={"loss": change})


def test_a_map_declares_what_is_decided(tmp_path: Path) -> None:
    content = yaml.safe_load((TABLES / "map.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({**content, "primary": ["nc4"], "margin": {"loss": 1}}))
    roles = load(TABLES / "na.csv", columns=path).roles
    assert (roles.primary, roles.margin) == (("nc4",), {"loss": 1})
    assert load(TABLES / "na.csv", columns=path, primary=["nc1"]).roles.primary == ("nc1",)
    path.write_text(yaml.safe_dump({**content, "primary": ["nc7"]}))
    with pytest.raises(AnalysisError, match="primary: 'nc7' is no metric"):
        load(TABLES / "na.csv", columns=path)
    path.write_text(yaml.safe_dump({**content, "margin": {"loss": 0}}))
    with pytest.raises(AnalysisError, match=r"margin\.loss: Input should be greater than 0"):
        load(TABLES / "na.csv", columns=path)


def test_expressions_over_text_name_it(tmp_path: Path) -> None:
    content = yaml.safe_load((TABLES / "map.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({**content, "columns": {"half": "loss / 2"}}))
    with pytest.raises(AnalysisError, match=r"'loss' holds text: 'diverged' \(line 7\)"):
        load(TABLES / "mixed.csv", columns=path)


def test_a_place_that_cannot_be_written_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("analysis.report", never)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for place in (tmp_path / "file" / "report", Path("/proc/report")):
        assert main([str(TABLES / "na.csv"), "--out", str(place)]) == 2
        assert "cannot write the report there" in capsys.readouterr().err


def test_a_table_of_very_many_columns_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(
        "\n".join(",".join(f"{start}{n}" for n in range(20_000)) for start in ("c", ""))
    )
    with pytest.raises(AnalysisError, match=r"has 20,000 columns, at most 2,000 can be read"):
        read_file(path)
