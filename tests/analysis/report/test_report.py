"""Tables of associations, and the path from a table to report.html."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm
from places import ROOT

from analysis.__main__ import main, parser
from analysis.findings.association import Association, associations
from analysis.findings.frames import frame_of, lines_of
from analysis.reading.load import load
from analysis.reading.table import Choices, Metric, Roles, Table
from analysis.report.columns import columns_of
from analysis.report.names import SECTIONS
from analysis.report.page import build_report
from analysis.report.tables import Column, TableExhibit, number, p_value, signed
from analysis.statistics.multiplicity import benjamini_hochberg
from analysis.statistics.permutation import permutation_test

CHOICES = Choices(permutations=300, bootstrap=200, seed=7)
METRICS = {
    "nc1_cdnv": Metric("nc1_cdnv", "NC1", "lower", heavy_tailed=True),
    "nc1_cdnv_galanti": Metric("nc1_cdnv_galanti", "NC1", "lower", heavy_tailed=True),
    "nc2_log_norm_mean": Metric("nc2_log_norm_mean", "NC2"),
    "nc2_equinorm": Metric("nc2_equinorm", "NC2", "lower"),
    "nc3_distance": Metric("nc3_distance", "NC3", "lower"),
    "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
}


def rows_of_a_study(seeds: int = 5) -> pl.DataFrame:
    """2 x 2 architectures, some seeds, two checkpoints, three precisions."""
    rng = np.random.default_rng(11)
    rows = []
    for width in (32, 64):
        for depth in (1, 2):
            for seed in range(seeds):
                base = rng.standard_normal(6)
                for precision in ("fp32", "int8", "int4-g32"):
                    for epoch in (0, 2):
                        metric = base + 0.1 * rng.standard_normal(6)
                        rows.append(
                            {
                                "training": f"w{width}d{depth}s{seed}",
                                "width": width,
                                "depth": depth,
                                "seed": seed,
                                "precision": precision,
                                "epoch": epoch,
                                "weight_error": 0.0 if precision == "fp32" else 0.1 * rng.random(),
                                "val_loss": 4
                                - epoch
                                - 0.3 * np.log2(width)
                                + 0.3 * metric[4]
                                + 0.1 * rng.standard_normal(),
                                "val_accuracy": rng.random(),
                                "nc1_cdnv": float(np.exp(metric[0])),
                                "nc1_cdnv_galanti": float(np.exp(metric[1])),
                                "nc2_log_norm_mean": metric[2],
                                "nc2_equinorm": None if seed == 0 else metric[3],
                                "nc3_distance": metric[4],
                                "nc4_agreement": 0.5,
                            }
                        )
    return pl.DataFrame(rows)


def study(frame: pl.DataFrame | None = None) -> Table:
    roles = Roles(
        response="val_loss",
        responses={"val_loss": "lower", "val_accuracy": "higher"},
        metrics=METRICS,
        axes=("width", "depth"),
        architecture=("width", "depth"),
        unit="training",
        order="epoch",
        seed="seed",
        precision="precision",
    )
    return Table(rows_of_a_study() if frame is None else frame, roles, "runs/made")


def test_lines_of_the_association_table() -> None:
    table = study()
    rows = table.frame.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == 2)).sort(
        "training"
    )
    lines = associations(rows, table.roles, CHOICES)
    by_line = {row["metric"]: row for row in lines.to_dicts()}
    assert list(by_line) == ["nc4_agreement", *list(METRICS)[:-1]]  # primary ones come first
    y = rows["val_loss"].to_numpy()
    line = by_line["nc3_distance"]
    x = rows["nc3_distance"].to_numpy()
    assert (line["n"], line["cells"]) == (20, 4)
    assert line["spearman"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3")
    assert (line["slope"], line["slope_se"]) == pytest.approx((fit.params[1], fit.bse[1]))
    # Another metric is near the level, so that the permutations went on, by the fixed seed.
    assert (line["permutations"], line["exact"]) == (3_000, False)
    assert line["p"] == permutation_test(x, y, permutations=3_000, seed=0).p
    r = np.corrcoef(x, y)[0, 1]
    assert (line["estimate"], line["r2"]) == pytest.approx((r, r**2), abs=1e-12)
    # The interval of R² holds what the interval of r holds, squared.
    assert line["r2_high"] == pytest.approx(max(line["low"] ** 2, line["high"] ** 2))
    inside = line["low"] <= 0 <= line["high"]
    assert line["r2_low"] == pytest.approx(
        0.0 if inside else min(line["low"] ** 2, line["high"] ** 2)
    )
    # None of these metrics but nc4_agreement, which is constant, is a primary one.
    tested = [name for name in METRICS if name != "nc4_agreement"]
    p = [by_line[name]["p"] for name in tested]
    assert [by_line[name]["q"] for name in tested] == pytest.approx(benjamini_hochberg(p))
    lacking = by_line["nc2_equinorm"]
    assert lacking["n"] == 16
    assert lacking["note"].startswith("4 of 20 rows have no value, which ")
    constant = by_line["nc4_agreement"]
    assert (constant["note"], constant["verdict"]) == ("nc4_agreement is constant", None)
    assert constant["estimate"] is None
    # A CDNV stands beside its partial r given the norm.
    norm, cdnv = rows["nc2_log_norm_mean"].to_numpy(), rows["nc1_cdnv"].to_numpy()
    design = sm.add_constant(np.column_stack([norm, cdnv]))
    t = float(sm.OLS(y, design).fit().tvalues[2])
    expected = t / np.sqrt(t * t + 17)
    assert by_line["nc1_cdnv"]["given_norm"] == pytest.approx(expected, abs=1e-10)
    assert line["given_norm"] is None


def test_no_table_shows_cdnv_without_its_companions() -> None:
    shown = 0
    for section in build_report(study(), CHOICES).sections:
        for table in section.tables:
            column = next(
                (name for name in ("metric", "column") if name in table.frame.columns), None
            )
            if column is None:
                continue  # a table of trainings or precisions
            groups = (
                table.frame.partition_by("precision")
                if "precision" in table.frame.columns
                else [table.frame]
            )
            for part in groups:
                names = part[column].to_list()
                if "nc1_cdnv" not in names:
                    continue
                shown += 1
                assert "nc1_cdnv_galanti" in names, table.name
                assert "nc2_log_norm_mean" in names, table.name
    assert shown >= 8


def test_captions_say_once_that_intervals_are_not_adjusted_and_verdicts_are() -> None:
    judged = set()
    for section in build_report(study(), CHOICES).sections:
        for table in section.tables:
            printed = {column.heading for column in table.columns}
            expected = {"95% interval", "verdict"} <= printed and table.frame[
                "low"
            ].is_not_null().any()
            assert table.full_caption.count("not adjusted for the family") == expected, table.name
            judged |= {table.name} if expected else set()
    assert {"association", "within", "changes", "damage"} <= judged


def test_every_caption_says_rows_trainings_and_seed() -> None:
    for section in build_report(study(), CHOICES).sections:
        for table in section.tables:
            assert re.search(r"20", table.caption), table.name
            assert "training" in table.caption, table.name
            if table.name not in (
                "training",
                "epochs_at",
                "epochs_at_trainings",
                "overfitting",
                "design",
                "power",
            ):  # these hold nothing drawn
                assert "300 permutations and 200 bootstrap replicates, seed 7" in table.caption, (
                    table.name
                )
        for figure in section.figures:
            assert "training" in figure.caption, figure.name


class Page(HTMLParser):
    """Collects ids, and attributes by which a page could ask for things outside."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and tag in ("section", "table"):
                self.ids.append(value or "")
            beside = tag == "a" and re.fullmatch(r"tables/\w+\.csv", value or "")
            if (
                name in ("src", "href", "xlink:href", "data", "action")
                and not (value or "").startswith(("#", "data:"))
                and not beside
            ):
                self.outside.append(f"{tag} {name}={value}")


def test_command_line_writes_a_self_contained_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rows.parquet"
    rows_of_a_study().write_parquet(source)
    code = main(
        [
            str(source),
            "--permutations",
            "300",
            "--bootstrap",
            "200",
            "--seed",
            "7",
            "--formats",
            "svg,png,pdf",
        ]
    )
    folder = tmp_path / "rows-report"
    assert code == 0
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.outside == []
    assert "url(http" not in text
    assert "@import" not in text
    tables = [
        "association",
        "within",
        "within_cells",
        "design",
        "given_design",
        "checkpoints",
        "changes",
        "damage",
        "forecast",
    ]
    assert {f"table-{name}" for name in tables} <= set(page.ids)
    assert {
        "association",
        "within",
        "design",
        "checkpoints",
        "precision",
        "statistics",
        "provenance",
    } <= set(page.ids)
    for name in tables:
        for kind in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{kind}").stat().st_size > 100
    for kind, magic in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (folder / "figures" / f"association.{kind}").read_bytes().startswith(magic)
    table = load(source)
    rows = table.frame.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == 2)).sort(
        "training"
    )
    expected = associations(rows, table.roles, CHOICES)
    written = pl.read_csv(folder / "tables" / "association.csv")
    assert written["r2"].to_list() == pytest.approx(expected["r2"].to_list(), nan_ok=True)


def test_the_same_request_gives_the_same_page(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    rows_of_a_study(2).write_parquet(source)
    arguments = [str(source), "--permutations", "50", "--bootstrap", "50"]
    pages = []
    for name in ("a", "b"):
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize("trainings", [1, 2, 3])
@pytest.mark.filterwarnings("error::UserWarning:analysis")
def test_few_trainings_are_reported_without_what_needs_more(tmp_path: Path, trainings: int) -> None:
    frame = rows_of_a_study(1)
    few = frame["training"].unique(maintain_order=True).to_list()[:trainings]
    made = build_report(study(frame.filter(pl.col("training").is_in(few))), CHOICES)
    assert {"association", "precision"} <= {section.name for section in made.sections}
    assert all(len(figure.figure.axes) for section in made.sections for figure in section.figures)


def test_the_response_can_be_any_column(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    metadata = {"metrics": json.dumps({name: asdict(metric) for name, metric in METRICS.items()})}
    rows_of_a_study(2).write_parquet(source, metadata=metadata)
    for response in ("val_accuracy", "nc3_distance"):
        out = tmp_path / response
        assert (
            main([str(source), "--response", response, "--permutations", "50", "--out", str(out)])
            == 0
        )
        frame = pl.read_csv(out / "tables" / "association.csv")
        assert response not in frame["metric"]
        agrees = frame.filter(pl.col("metric") == "nc1_cdnv")["agrees"].to_list()[0]
        assert (agrees is None) == (response == "nc3_distance")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv"], "no such file"),
        (["rows.csv", "--formats", "gif"], "'gif' is none of svg, png, pdf"),
        (["rows.csv", "--seed", "-1"], "negative"),
        (["rows.csv", "--response", "val_los"], "Did you mean `val_loss`"),
        (["rows.csv", "--columns", "absent.yaml"], "cannot be read"),
        (
            ["rows.csv", "--only", "within,precison"],
            "unknown section 'precison'. Did you mean `precision`",
        ),
        (["rows.csv", "--only", "layers"], "has no rows for the section layers"),
    ],
)
def test_wrong_requests_end_with_2_and_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows_of_a_study(2).write_csv("rows.csv")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_a_folder_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rows.parquet"
    rows_of_a_study(2).write_parquet(source)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert main([str(source), "--permutations", "50", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write the report there" in capsys.readouterr().err


def test_the_name_report_is_the_function_whatever_was_imported() -> None:
    """The room `analysis.report` must not take the name of the function."""
    code = (
        "import analysis.report.page, analysis; from analysis import report; print(report.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "report"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, analysis.__main__; from analysis.__main__ import parser; "
        "parser().format_help(); "
        "print(sorted(set(sys.modules) & {HEAVY}))"
    )
    heavy = (
        "{'numpy', 'polars', 'scipy', 'matplotlib', 'statsmodels', 'torch', 'yaml', 'pydantic', "
        "'jinja2'}"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{HEAVY}", heavy)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert (
        time.perf_counter() - start < 5
    )  # .1 s where nothing else runs; the bound is for a busy machine


def test_no_section_has_the_anchor_of_what_the_page_always_holds() -> None:
    template = (ROOT / "analysis/report/templates/report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(template)
    assert "statistics" in page.ids
    assert not set(page.ids) & set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_has_a_builder_and_is_in_the_help(name: str) -> None:
    assert callable(resolve_name(f"analysis.report.{SECTIONS[name]}"))
    text = "".join(parser().format_help().partition("sections to build:")[2].split())
    assert name in text.partition("(all)")[0].split(",")


def test_a_printed_column_is_one_of_the_lines() -> None:
    with pytest.raises(ValueError, match="Association has no column \\['slop'\\]"):
        columns_of(Association, Column("slope", "slop"))
    with pytest.raises(ValueError, match="hihg"):
        columns_of(Association, Column("interval", "low", until="hihg"))


def test_a_table_has_what_it_prints() -> None:
    frame = pl.DataFrame({"metric": ["nc1_ratio"], "low": [0.1]})
    with pytest.raises(ValueError, match="'course' has no column \\['high'\\]"):
        TableExhibit("course", "", "", frame, (Column("interval", "low", until="high"),))


def test_lines_survive_their_table() -> None:
    """Columns without a value keep their type, so that lines come back as they were."""
    lines = [
        Association("nc1_ratio", 7, note="constant"),
        Association("nc2_etf_error", 9, 0.5, exact=True, expected=-1),
    ]
    frame = frame_of(Association, lines)
    assert lines_of(Association, frame) == lines
    assert frame.schema["p"] == pl.Float64 and frame.schema["verdict"] == pl.String
    assert frame_of(Association, []).schema == frame.schema


def test_numbers_in_print() -> None:
    assert [number(v) for v in (1234.5, 0.012345, -1e-7, 0.0, None)] == [
        "1234",
        "0.01235",
        "−1.000×10⁻⁷",
        "0",
        "–",
    ]
    assert [p_value(v) for v in (0.5, 0.00099, 2e-6, 1e-300, None)] == [
        "0.5000",
        "0.0010",
        "< 0.0001",
        "< 0.0001",
        "–",
    ]
    assert signed(-0.25) == "−0.250"


def test_tables_in_markdown_and_latex(tmp_path: Path) -> None:
    frame = pl.DataFrame({"metric": ["nc1_cdnv", "a|b"], "r": [0.5, None], "empty": [None, None]})
    columns = (Column("metric", "metric"), Column("r", "r", signed), Column("empty", "empty"))
    exhibit = TableExhibit("t", "Title", "20 rows, 5% level.", frame, columns)
    assert exhibit.markdown().splitlines()[2:] == [
        "| metric | r |",
        "| --- | ---: |",
        "| nc1_cdnv | +0.500 |",
        "| a\\|b | – |",
    ]
    latex = exhibit.latex()
    assert r"nc1\_cdnv & +0.500 \\" in latex
    assert r"20 rows, 5\% level." in latex
    assert [line for line in latex.splitlines() if "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]


def test_a_note_of_most_rows_is_told_once() -> None:
    notes = ["few", "few", "few", "constant", ""]
    columns = (Column("metric", "metric"), Column("note", "note"))
    exhibit = TableExhibit(
        "t", "Title", "5 rows.", pl.DataFrame({"metric": list("abcde"), "note": notes}), columns
    )
    assert exhibit.markdown().splitlines() == [
        "**Title.** 5 rows. In 3 of 5 lines: few.",
        "",
        "| metric | note |",
        "| --- | --- |",
        "| a |  |",
        "| b |  |",
        "| c |  |",
        "| d | constant |",
        "| e |  |",
    ]
    assert "In 3 of 5 lines: few." in exhibit.latex()
    assert exhibit.frame["note"].to_list() == notes
    other = TableExhibit(
        "t", "Title", "5 rows.", pl.DataFrame({"metric": list("abcd"), "note": notes[1:]}), columns
    )
    assert other.full_caption == "5 rows."  # half of them is not most
