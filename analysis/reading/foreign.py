"""Files of tables that others wrote, as columns of texts.

Delimited text and workbooks.

Separator, encoding and compression are told from the file itself.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analysis.reading.numbers import Mark, typed
from analysis.reading.table import ROW, AnalysisError, shown

TEXT = (".csv", ".tsv", ".txt")
WORKBOOK = ".xlsx"
GZIP = b"\x1f\x8b"
SEPARATORS = (",", ";", "\t", "|")
MARKED = {
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNMARKED = ("utf-8-sig", "cp1252", "latin-1")  # the last reads any bytes
HEAD = 1000  # bytes that tell UTF-16 without a mark by its zeros
MOST_COLUMNS = 2_000
"""Columns of a table; the types of more are not found out within seconds."""


def is_text(path: Path) -> bool:
    """Whether a file is named as delimited text, compressed or not."""
    return _suffix(path) in TEXT


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def read_text(path: Path, mark: Mark | None) -> pl.DataFrame:
    """The table of a delimited text file; see `_frame`."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw.startswith(GZIP) else raw
    except (OSError, EOFError, zlib.error) as error:
        raise AnalysisError(f"{path}: cannot be read: {error}") from None
    text = _decoded(raw)
    first, _, rest = text.partition("\n")
    if separator := re.fullmatch(r"sep=(.)\s*", first):  # a line that Excel reads and writes
        text, skipped = rest, 1
        mark_between = separator[1]
    else:
        skipped = 0
        mark_between = "\t" if _suffix(path) == ".tsv" else _separator(text)
    rows, places = [], []
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=mark_between, skipinitialspace=True, strict=True
    )
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                places.append(f"line {reader.line_num + skipped}")
    except csv.Error as error:
        raise AnalysisError(
            f"{path}: line {reader.line_num + skipped} cannot be read: {error}"
        ) from None
    prefer: Mark | None = "." if mark_between == "," else None
    return _frame(path, rows, places, mark=mark, prefer=prefer)


def _decoded(raw: bytes) -> str:
    for start, encoding in MARKED.items():
        if raw.startswith(start):
            return raw.decode(encoding, errors="replace")
    head = raw[:HEAD]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 4 * max(even, odd) > len(head):  # half of the bytes of Latin text; a stray zero is none
        return raw.decode("utf-16-le" if odd > even else "utf-16-be", errors="replace")
    for encoding in UNMARKED:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 reads any bytes")


def _separator(text: str) -> str:
    """The separator that stands most often in the header, outside quotes."""
    header = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(SEPARATORS, key=header.count)


def read_workbook(path: Path, mark: Mark | None) -> pl.DataFrame:
    """The table of an .xlsx workbook, on the one sheet that has rows; see `_frame`."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        values = {sheet.title: list(sheet.values) for sheet in book.worksheets}
        book.close()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, InvalidFileException) as error:
        raise AnalysisError(f"{path}: cannot be read as a workbook: {error}") from None
    sheets = {
        title: [row for row in enumerate(rows, start=1) if any(cell is not None for cell in row[1])]
        for title, rows in values.items()
    }
    filled = {title: rows for title, rows in sheets.items() if rows}
    if len(filled) > 1:
        names = ", ".join(map(shown, filled))
        raise AnalysisError(
            f"{path}: {len(filled)} sheets hold rows ({names}); save the one to analyse as .csv"
        )
    numbered = next(iter(filled.values()), [])
    rows = [row for _, row in numbered]
    places = [f"row {number}" for number, _ in numbered]
    return _frame(path, rows, places, mark=mark, prefer=None)


def _frame(
    path: Path,
    rows: Sequence[Sequence[object]],
    places: list[str],
    *,
    mark: Mark | None,
    prefer: Mark | None,
) -> pl.DataFrame:
    """Rows below their header as typed columns.

    The column `ROW` has the place of each in its file.

    Raises AnalysisError for a table without rows, a name that stands twice, and a row that is
    longer or shorter than the header.
    """
    if len(rows) < 2:
        content = f"has a header ({len(rows[0])} columns) and no row" if rows else "is empty"
        raise AnalysisError(f"{path}: {content}; give a table with a row for each measurement")
    if len(rows[0]) > MOST_COLUMNS:
        raise AnalysisError(
            f"{path}: has {len(rows[0]):,} columns, at most {MOST_COLUMNS:,} can be read; keep "
            "those of units, axes, metrics and responses"
        )
    header = ["" if name is None else str(name).strip() for name in rows[0]]
    for row, place in zip(rows, places, strict=True):
        if len(row) != len(header):
            raise AnalysisError(
                f"{path}: {place} has {len(row)} values, the header {len(header)} names; "
                "separators are comma, semicolon, tab or |, and text that holds one is quoted"
            )
    filled = [  # a spreadsheet may write empty columns beside a table
        (name, values)
        for name, values in zip(header, zip(*rows[1:], strict=True), strict=True)
        if name or any(value not in (None, "") for value in values)
    ]
    if twice := [name for name, count in Counter(name for name, _ in filled).items() if count > 1]:
        raise AnalysisError(f"{path}: two columns are named {shown(twice[0])}; rename one of them")
    columns = dict(filled)
    numbers, texts = {}, {}
    for name, values in columns.items():
        if any(isinstance(value, str) for value in values):
            texts[name] = pl.Series(
                name, [None if value is None else _text(value) for value in values], pl.String
            )
        else:
            numbers[name] = pl.Series(name, _numbers(values), strict=False)
    where = pl.Series(ROW, places[1:])
    try:
        parsed = typed(texts, where, mark=mark, prefer=prefer)
    except AnalysisError as error:
        raise AnalysisError(f"{path}: {error}") from None
    return pl.DataFrame([*({**numbers, **parsed}[name] for name in columns), where])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(values: tuple[object, ...]) -> list[object]:
    """Cells of a workbook without texts: numbers and truths; dates become texts."""
    known = (bool, int, float, type(None))
    return [value if isinstance(value, known) else str(value) for value in values]
