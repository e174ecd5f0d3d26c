"""Tables for print: what is chosen is printed, and TeX sets it on a page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from report_study import write_study

from analysis import report
from analysis.__main__ import main
from analysis.reading.table import AnalysisError
from analysis.report.latex import escape_latex
from analysis.report.names import SECTIONS, TABLES
from analysis.report.page import Report
from analysis.report.tables import Column, TableExhibit, called, number, p_value, signed, text
from analysis.report.typeset import MOST_LINES, TEXT_WIDTH, typeset, width
from study.columns import METRICS

FEW = ["--permutations", "50", "--bootstrap", "50"]


def exhibit(rows: int = 3, columns: int = 4) -> TableExhibit:
    """Lines of metrics, one of them another's, and columns of numbers."""
    names = ["nc1_ratio", "nc3_cosine_mean", "theirs|x", *(f"m{n}" for n in range(rows - 3))]
    frame = pl.DataFrame(
        {
            "metric": names[:rows],
            "estimate": [0.5] * rows,
            "low": [-0.25] * rows,
            "high": [0.75] * rows,
            "p_maxt": [1e-6] * rows,
            "note": ["a sentence of its own"] * rows,
            **{f"x{n}": [1.0] * rows for n in range(columns)},
        }
    )
    printed = (
        Column("metric", "metric", called),
        Column("r", "estimate", signed),
        Column("95% interval", "low", signed, "high"),
        Column("p maxT", "p_maxt", p_value),
        *(Column(f"column number {n}", f"x{n}", number) for n in range(columns)),
        Column("note", "note", text),
    )
    return TableExhibit("made", "Made", "As it is.", frame, printed)


def body(latex: str) -> list[list[str]]:
    """Head and lines of a table in LaTeX, cell by cell."""
    inside = latex.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = inside.replace(r"\midrule", "").strip().splitlines()
    return [row.removesuffix(r" \\").split(" & ") for row in rows if row]


def test_lines_and_columns_are_those_that_are_asked_for_in_their_order() -> None:
    latex = typeset(exhibit(), ["nc3_cosine_mean", "nc1_ratio"], ["P maxT", "symbol", "low"])
    assert body(latex) == [
        ["p maxT", "", r"95\% interval"],
        [r"$<$ 0.0001", r"$\overline{\cos(w, m)}$", r"$-$0.250 to +0.750"],
        [r"$<$ 0.0001", rf"${METRICS['nc1_ratio'].symbol}$", r"$-$0.250 to +0.750"],
    ]


def test_of_itself_a_table_prints_what_judges_and_no_notes() -> None:
    latex = typeset(exhibit(), None, None)
    assert [row[0] for row in body(latex)] == [
        "metric", "within / between variance", "self-duality, mean cosine", r"theirs$\mid$x"
    ]  # fmt: skip
    assert body(latex)[0] == ["metric", "", "r", r"95\% interval", "p maxT"]


def test_what_all_lines_share_stands_in_the_caption_where_room_is_scarce() -> None:
    frame = exhibit().frame.with_columns(
        pl.Series("estimate", [0.5, 0.25, 0.125]), note=pl.lit(""), n=128, q=pl.lit(0.5)
    )
    sizes = (Column("number of trainings of this line", "n", number),)
    columns = (*exhibit().columns[:4], *sizes, Column("q", "q", p_value))
    table = TableExhibit("made", "Made", "As it is.", frame, columns)
    assert "In all lines" not in typeset(table, None, None)
    long = [f"{name} and more words than a page has room for" for name in frame["metric"]]
    long_lines = frame.with_columns(pl.Series("metric", long))
    latex = typeset(TableExhibit("made", "Made", "As it is.", long_lines, columns), None, None)
    assert "q 0.5000" in latex.partition("In all lines: ")[2].partition("}")[0]
    assert "number of trainings of this line 128" in latex
    assert body(latex)[0] == ["metric", "r"]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(AnalysisError) as error:
        typeset(exhibit(), ["nc1_rato"], ["metric", "pmaxt", "y"])
    assert "'nc1_rato' is in no line" in str(error.value)
    assert "Did you mean `nc1_ratio`" in str(error.value)
    assert "'pmaxt' is no column" in str(error.value) and "'y'" in str(error.value)
    with pytest.raises(AnalysisError, match="has no metrics: leave it out"):
        frame = pl.DataFrame({"a": [1]})
        typeset(TableExhibit("t", "T", "", frame, (Column("a", "a"),)), ["nc1"], None)


def test_what_does_not_fit_a_page_is_refused_and_what_fits_is_named() -> None:
    wide = exhibit(columns=20)
    every = [column.source for column in wide.columns if column.source != "note"]
    with pytest.raises(AnalysisError, match=r"columns take \d+ points, a page has 345") as error:
        typeset(wide, None, every)
    fitting = str(error.value).partition("these fit: ")[2].split(",")
    assert 3 < len(fitting) < len(every)
    assert body(typeset(wide, None, fitting))
    with pytest.raises(AnalysisError, match=f"{MOST_LINES + 1} lines, a page has {MOST_LINES}"):
        typeset(exhibit(rows=MOST_LINES + 1), None, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = write_study(tmp_path_factory.mktemp("made") / "rows.parquet", 1.0)
    return report(path, permutations=50, bootstrap=50)


def test_the_section_of_each_table_is_known(made: Report) -> None:
    tables = {table.name: part.name for part in made.sections for table in part.tables}
    assert len(tables) > 12
    assert {name: TABLES[name] for name in tables} == tables
    assert set(TABLES.values()) == SECTIONS.keys()


def test_the_command_prints_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(write_study(Path("rows.parquet"), 1.0))
    asked = ["--table", "within", "--metrics", "nc3_distance", "--columns", "metric,n,estimate"]
    assert main([source, *asked, *FEW]) == 0
    path = Path("rows-report/print/within.tex")
    assert capsys.readouterr().out == f"table: {path}\n"
    head, line = body(path.read_text())
    assert (
        head == ["metric", "n", r"\shortstack[r]{pooled \\ r}"]
        and line[0] == "self-duality, mean distance"
    )
    assert not Path("rows-report/report.html").exists()
    for wrong, message in (
        (["--table", "witin"], "unknown table 'witin'. Did you mean `within`"),
        (["--table", "within", "--columns", "metric,rr"], "'rr' is no column of table 'within'"),
        ([source, "--table", "within"], "give one source"),
        (["--table", "within", "--columns", "a.yaml", "--columns", "b.yaml"], "2 maps are given"),
    ):
        assert main([source, *wrong, *FEW]) == 2
        assert message in capsys.readouterr().err


def pdflatex(content: str, folder: Path) -> str:
    """What TeX says of an article; fails where it does not take it."""
    (folder / "made.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{content}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "made.tex"],
        cwd=folder, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def has_tex() -> bool:
    """Whether pdflatex and booktabs are there."""
    if shutil.which("pdflatex") is None:
        return False
    found = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    return found.returncode == 0


needs_tex = pytest.mark.skipif(
    not has_tex(), reason="needs texlive-latex-base and texlive-latex-recommended"
)


@pytest.mark.long
@needs_tex
def test_tex_sets_every_table_and_those_for_print_fit_a_page(made: Report, tmp_path: Path) -> None:
    tables = [table for part in made.sections for table in part.tables]
    pdflatex("\n".join(f"{table.latex()}\\clearpage" for table in tables), tmp_path)
    printed = list(_printed(tables))
    assert len(printed) > 10
    log = pdflatex("\\clearpage\n".join(printed), tmp_path)
    assert "Overfull" not in log and "too large" not in log


def _printed(tables: list[TableExhibit]) -> Iterator[str]:
    """Each table for print; one that is refused with the columns that are said to fit."""
    for table in tables:
        try:
            yield typeset(table, None, None)
        except AnalysisError as error:
            assert "columns take" in str(error) or "lines, a page" in str(error)
            if (fitting := str(error).partition("these fit: ")[2]) and "lines" not in str(error):
                yield typeset(table, None, fitting.split(","))


@pytest.mark.long
@needs_tex
def test_widths_are_those_of_tex_and_every_formula_is_set(tmp_path: Path) -> None:
    """A box for each name, symbol and number, whose width TeX tells."""
    texts = {metric.name: escape_latex(metric.name) for metric in METRICS.values()}
    texts |= {f"${m.symbol}$": f"${m.symbol}$" for m in METRICS.values() if m.symbol}
    texts |= {
        plain: escape_latex(plain)
        for plain in ("−0.12 to +0.34", "< 0.0001", "a | b", "–", "−1.903×10⁻⁵")
    }
    boxes = [f"\\setbox0\\hbox{{{each}}}\\typeout{{W \\the\\wd0}}" for each in texts.values()]
    formulas = [f"$${metric.formula}$$" for metric in METRICS.values() if metric.formula]
    log = pdflatex("\n".join([*boxes, *formulas]), tmp_path)
    theirs = [float(line[2:].removesuffix("pt")) for line in log.splitlines() if line[:2] == "W "]
    assert len(theirs) == len(texts)
    for plain, tex in zip(texts, theirs, strict=True):
        assert 0.7 * width(plain) - 1 <= tex <= 1.08 * width(plain) + 1, plain
    assert TEXT_WIDTH == 345
