"""A table for print: chosen lines and columns as LaTeX that fits a page.

Widths are those of the letters of Computer Modern, as matplotlib has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.reading.table import AnalysisError, nearest
from analysis.report.latex import escape_latex
from analysis.report.tables import NOTES, Column, TableExhibit, called, named
from study.columns import quantity

TEXT_WIDTH = 345.0  # points across of a page of LaTeX's article at 10 points, the narrowest
MOST_LINES = 40  # of a table on a page, with its caption
GAP = 6.0  # points between columns
SIZES = {"normalsize": 1.0, "small": 0.925, "footnotesize": 0.85, "scriptsize": 0.8}
"""Sizes of type and how wide they set a line, the largest first."""
SYMBOL = "symbol"
WHAT = ("intervention", "precision", "metric", "column", SYMBOL, "axis", "level", "given")
NUMBERS = ("n", "estimate", "effect", "change", "r", "low", "p_maxt", "q", "verdict")
SPARED = (SYMBOL, "n", "q", "given")
"""Sources of the columns that are printed of themselves, and which of them are spared first."""
FORMULAS = 1.08  # how much wider TeX sets them than matplotlib, which has narrower spaces
STAND_INS = str.maketrans("−×<>–|²_⁻⁰¹³⁴⁵⁶⁷⁸⁹", "++++nm2n-t.ttttttt")
"""Letters as wide as those that LaTeX takes from other fonts."""


@dataclass(frozen=True)
class Part:
    """A column as it is set.

    The name that `--columns` takes, lines of its heading and cells in LaTeX, whether it is flush
    right, and points across at 10 points.
    """

    name: str
    heading: tuple[str, ...]
    cells: tuple[str, ...]
    right: bool
    width: float


def typeset(
    table: TableExhibit, metrics: Sequence[str] | None, columns: Sequence[str] | None
) -> str:
    """A table as LaTeX (booktabs) that fits a page.

    Args:
        table: a table of a report.
        metrics: identifiers of its lines, in the order of print; None for those that the page shows
            at once.
        columns: of the table, by their headings or by their names in csv; `symbol` is the symbol of
            a metric. None for what a line is, its estimate with interval, and its verdict, as far
            as they fit; what all lines share then stands in the caption.

    Raises AnalysisError, which says every fault, for unknown metrics and columns, and for a table
    that is too wide or too long for a page.
    """
    faults: list[str] = []
    lines = _lines(table, metrics, faults)
    chosen = _chosen(table, columns, faults)
    if len(lines) > MOST_LINES:
        faults.append(f"--metrics: {len(lines)} lines, a page has {MOST_LINES}: name fewer")
    if faults:
        raise AnalysisError("; ".join(faults))
    parts = [_part(table, column, lines) for column in chosen]
    alike: list[Part] = []
    spared: list[str] = []
    if columns is None:
        parts = [part for part in parts if any(cell not in ("", "--") for cell in part.cells)]
        if not _fits(parts):
            alike = [part for part in parts if len(lines) > 1 and len(set(part.cells)) == 1]
            parts = [part for part in parts if part not in alike]
        for name in SPARED:
            if not _fits(parts) and name in (part.name for part in parts):
                parts = [part for part in parts if part.name != name]
                spared.append(name)
    if not _fits(parts):
        raise AnalysisError(
            f"--columns: {len(parts)} columns take {_across(parts, 'scriptsize'):.0f} points, a "
            f"page has {TEXT_WIDTH:.0f}; these fit: {','.join(_fitting(parts))}"
        )
    size = next(size for size in SIZES if _across(parts, size) <= TEXT_WIDTH)
    shared = (part for part in alike if part.name != SYMBOL)
    said = ", ".join(f"{' '.join(part.heading)} {part.cells[0]}" for part in shared)
    caption = escape_latex(table.full_caption) + (f" In all lines: {said}." if said else "")
    return _latex(table, caption, parts, size, spared)


def _lines(table: TableExhibit, metrics: Sequence[str] | None, faults: list[str]) -> list[int]:
    """Places of the lines to print."""
    if metrics is None:
        return [place for place, row in enumerate(table.rows) if not table.more(row)]
    key = next((name for name in ("metric", "column") if name in table.frame.columns), None)
    if key is None:
        faults.append(f"--metrics: table {table.name!r} has no metrics: leave it out")
        return []
    names = table.frame[key].to_list()
    faults += [
        f"--metrics: {name!r} is in no line of table {table.name!r}.{nearest(name, set(names))}"
        for name in metrics
        if name not in names
    ]
    return [place for metric in metrics for place, name in enumerate(names) if name == metric]


def _chosen(
    table: TableExhibit, columns: Sequence[str] | None, faults: list[str]
) -> list[Column | str]:
    """Columns to print: those of the table, and the symbol where metrics have one."""
    printed: list[Column | str] = []
    for column in table.printed():
        printed.append(column)
        if (column.show is called or column.of_row is named) and SYMBOL not in printed:
            printed.append(SYMBOL)
    if columns is None:
        known = [each for each in printed if _source(each) in (*WHAT, *NUMBERS)]
        judged = any(_source(each) in NUMBERS[1:] for each in known)
        return known if judged else [each for each in printed if _source(each) not in NOTES]
    by_name: dict[str, Column | str] = {}
    for each in printed:
        heading = each if isinstance(each, str) else each.heading.strip()
        for name in (heading, _source(each)):
            by_name.setdefault(name.lower(), each)
    faults += [
        f"--columns: {name!r} is no column of table {table.name!r}.{nearest(name, by_name)}"
        for name in columns
        if name.lower() not in by_name
    ]
    return [by_name[name.lower()] for name in columns if name.lower() in by_name]


def _source(column: Column | str) -> str:
    return column if isinstance(column, str) else column.source


def _part(table: TableExhibit, column: Column | str, lines: Sequence[int]) -> Part:
    rows = [table.rows[place] for place in lines]
    if isinstance(column, str):
        symbols = [quantity(row.get("metric") or row["column"]).symbol for row in rows]
        cells = [f"${symbol}$" if symbol else "" for symbol in symbols]
        return Part(column, ("",), tuple(cells), False, max(map(width, cells), default=0.0))
    texts = column.cells(rows)
    widest = max(map(width, texts), default=0.0)
    heading = _broken(column.heading.strip(), widest)
    cells = list(map(escape_latex, texts))
    widest = max(widest, *map(width, heading))
    return Part(column.source, heading, tuple(cells), column.numeric, widest)


def _broken(heading: str, room: float) -> tuple[str, ...]:
    """A heading in lines no wider than the cells below it, where words allow that."""
    lines: list[str] = []
    for word in heading.split():
        if lines and width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return tuple(lines)


def _across(parts: Sequence[Part], size: str) -> float:
    """Points across of a table at a size of type."""
    return sum(part.width for part in parts) * SIZES[size] + GAP * (len(parts) - 1)


def _fits(parts: Sequence[Part]) -> bool:
    return _across(parts, "scriptsize") <= TEXT_WIDTH


def _fitting(parts: Sequence[Part]) -> list[str]:
    """The first columns that fit a page together."""
    count = len(parts)
    while count > 1 and not _fits(parts[:count]):
        count -= 1
    return [part.name for part in parts[:count]]


def _latex(
    table: TableExhibit, caption: str, parts: Sequence[Part], size: str, spared: Sequence[str]
) -> str:
    title = escape_latex(table.title)
    form = "".join("r" if part.right else "l" for part in parts)
    without = f"; without {', '.join(spared)}, which do not fit" if spared else ""
    lines = [
        f"% needs \\usepackage{{booktabs}}{without}",
        r"\begin{table}[tp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{\textbf{{{title}.}} {caption}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\{size}",
        rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
        rf"\begin{{tabular}}{{@{{}}{form}@{{}}}}",
        r"\toprule",
        " & ".join(map(_head, parts)) + r" \\",
        r"\midrule",
        *(
            " & ".join(cells) + r" \\"
            for cells in zip(*(part.cells for part in parts), strict=True)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _head(part: Part) -> str:
    lines = r" \\ ".join(map(escape_latex, part.heading))
    side = "r" if part.right else "l"
    return rf"\shortstack[{side}]{{{lines}}}" if len(part.heading) > 1 else lines


@cache
def width(text: str) -> float:
    """Points across of text, or of a formula between dollars, at 10 points."""
    if not text:
        return 0.0
    formula = text.startswith("$") and text.endswith("$")
    if not formula:
        text = "".join(
            letter if letter.isascii() or "À" <= letter <= "ÿ" else "U+0000"
            for letter in text.translate(STAND_INS)
        )
    letters = Path(mpl.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"
    with mpl.rc_context({"mathtext.fontset": "cm"}):
        across, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(fname=str(letters), size=10), ismath=formula
        )
    return float(across) * (FORMULAS if formula else 1.0)
