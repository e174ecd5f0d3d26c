"""What "Linguistic Collapse" says, beside its rows and ours, as a page.

`python -m analysis.report.reproduction lc-2024_10_24.csv > docs/reproduction.md` writes it, in a
checkout of the project. The file lies in the folder artifacts of github.com/rhubarbwu/
linguistic-collapse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.findings.design import design_tables
from analysis.findings.frames import lines_of
from analysis.findings.reproduction import (
    HALF,
    LINKS,
    MOST,
    NEGLIGIBLE,
    TRENDS,
    LinkLine,
    TableLine,
    TrendLine,
    link_lines,
    table_lines,
    trend_lines,
)
from analysis.findings.verdicts import INADEQUATE
from analysis.reading.load import load
from analysis.reading.selection import final_rows
from analysis.reading.table import AnalysisError, Choices, Table
from analysis.report.digits import DASH
from analysis.report.tables import p_value

MAP = Path("search_spaces/columns/linguistic_collapse_2024_10.yaml")
OWN = Path("runs/scale")
WHY = {
    ("Table 1", "nc2_interference_cov"): "the file has products of class means, not their angles: "
    "`interfere_*` is no longer divided by the norms",
    ("Table 1", "gnc2_log_distance_cov"): "the file takes distances of centred class means, the "
    "printed value those of uncentred ones (as the earlier file of 2024-05-18 does)",
    ("3", "nc3_cosine_mean"): "over all models R² is about what it is among the 21 seeds, 0.32, "
    "which Table 1 counts as a link",
    ("26", "unc3_cosine_std"): "it turns with the epochs: in models that train for three it falls",
}
"""Why a printed number or a statement is not that of the file."""
NOT_HERE = (
    (
        "Figures 2 (centre), 12 to 15, 21 (left, centre)",
        "angles between class means",
        "the file holds products that are not divided by norms; the earlier one of 2024-05-18 has "
        "them (`search_spaces/columns/linguistic_collapse_2024_05.yaml`)",
    ),
    (
        "Figure 4",
        "class frequencies of TinyStories",
        "no measurement of a model: the section `data` of a report draws it for any corpus",
    ),
    (
        "Tables 2, 3",
        "configuration and batch sizes",
        "`search_spaces/linguistic_collapse.yaml` is this grid",
    ),
    (
        "Tables 4, 5",
        "norms, CDNV and interference of homonyms and names",
        "single classes of one checkpoint: `collapse-study measure CHECKPOINT --classes FILE` "
        "measures them, `collapse-study report RUN --classes "
        "search_spaces/classes/linguistic_collapse.yaml` makes the tables",
    ),
)


@dataclass(frozen=True)
class Sides:
    """The published rows and our own."""

    published: Table
    own: Table

    @property
    def both(self) -> tuple[Table, Table]:
        """Both, the published first."""
        return self.published, self.own


def document(file: Path, *, columns: Path = MAP, own: Path = OWN) -> str:
    """The page of a published file, with the map of its `columns`, beside our run.

    Raises AnalysisError where one of them cannot be read.
    """
    sides = Sides(load(file, columns=columns), load(own))
    return "\n".join(_page(file, sides)) + "\n"


def _page(file: Path, sides: Sides) -> Iterator[str]:
    rows, trainings = len(sides.published.frame), len(final_rows(sides.published))
    yield from (
        '# "Linguistic Collapse", reproduced',
        "",
        "What Wu & Papyan 2024 (arXiv 2405.17767) say of their models, held against the "
        f"measurements that they published: {rows} rows of {trainings} trainings, the file "
        f"`{file.name}` in the folder `artifacts` of github.com/rhubarbwu/linguistic-collapse. "
        "Beside it stands the same of [our study of scale](../runs/scale/README.md), which is "
        f"of another corpus, other sizes and {len(final_rows(sides.own))} short trainings: their "
        f"median loss is {_median_loss(sides.own):.2f} nats, that of the published "
        f"{_median_loss(sides.published):.2f}. What does not agree there is no error of the paper.",
        "",
        "(This page is written by `python -m analysis.report.reproduction "
        f"{file.name} > docs/reproduction.md`.)",
        "",
    )
    yield from _table_1(sides)
    yield from _trends(sides)
    yield from _links(sides)
    yield from _control(sides)
    yield from ("## What the file does not allow", "")
    yield from _rows(("of the paper", "what", "why, and where it is"), NOT_HERE)


def _median_loss(table: Table) -> float:
    """Of the last checkpoints, in nats."""
    return float(np.median(final_rows(table)["val_loss"].to_numpy()))


def _table_1(sides: Sides) -> Iterator[str]:
    published, own = (lines_of(TableLine, table_lines(table)) for table in sides.both)
    yield from (
        f"## Table 1: {published[0].n} seeds of one model",
        "",
        "R² with the validation loss and its two-sided permutation p, of models that differ in "
        "the order of their data alone. Printed p are of 10,000 permutations, these of 100,000; "
        "they agree where they lie within four of their standard errors.",
        "",
    )
    cells = [
        (
            f"{line.measurement} (`{line.column}`)",
            f"{line.r2_printed:.6f}",
            _number(line.r2, ".6f"),
            p_value(line.p_printed),
            p_value(line.p),
            line.verdict,
            _number(ours.r2, ".6f"),
            p_value(ours.p),
        )
        for line, ours in zip(published, own, strict=True)
    ]
    heads = ("property", "R², printed", "R², file", "p, printed", "p, file", "verdict")
    yield from _rows((*heads, f"R², ours (n {own[0].n})", "p, ours"), cells)
    for line in published:
        yield from _reasons("Table 1", line.column)


def _trends(sides: Sides) -> Iterator[str]:
    published, own = (lines_of(TrendLine, trend_lines(table)) for table in sides.both)
    yield from (
        "## Figures 5 to 19, 23 to 26, 29, 30: along width, depth and training",
        "",
        "The share of pairs of models, alike in all but the axis, that go as the caption says "
        "(upwards, where it says that there is no trend), in all and by the epochs of the "
        f"training. A trend agrees from {MOST:g} on, in part above {HALF:g}; none is one between "
        f"{1 - MOST:g} and {MOST:g}. Seeds are averaged first.",
        "",
    )
    cells = []
    for line, ours in zip(published, own, strict=True):
        by_epochs = f" ({line.by_epochs})" if line.by_epochs else ""
        share = f"{line.share:.2f} of {line.pairs}{by_epochs}" if line.share is not None else DASH
        cells.append(
            (
                line.figure,
                f"{line.says} (`{line.column}`)",
                share,
                line.verdict,
                DASH if ours.share is None else f"{ours.share:.2f} of {ours.pairs}",
                ours.verdict,
            )
        )
    heads = ("figure", "what it says", "pairs of the file", "verdict", "our pairs", "verdict, ours")
    yield from _rows(heads, cells)
    for trend in TRENDS:
        yield from _reasons(trend.figure, trend.column)


def _links(sides: Sides) -> Iterator[str]:
    published, own = (lines_of(LinkLine, link_lines(table)) for table in sides.both)
    yield from (
        "## Figures 1 to 3, 20 to 22, 27, 28: with the validation loss",
        "",
        "Pearson's r over all checkpoints, of the logarithm of CDNV. A link agrees where its sign "
        f"does and R² is at least {NEGLIGIBLE:g}, in part below; one that is called negligible "
        f"where R² is below {NEGLIGIBLE:g}.",
        "",
    )
    cells = [
        (
            line.figure,
            f"{line.says} (`{line.column}`)",
            DASH if line.r is None else f"{_signed(line.r)} (n {line.n})",
            line.verdict,
            DASH if ours.r is None else f"{_signed(ours.r)} (n {ours.n})",
            ours.verdict,
        )
        for line, ours in zip(published, own, strict=True)
    ]
    heads = ("figure", "what it says", "r of the file", "verdict", "our r", "verdict, ours")
    yield from _rows(heads, cells)
    for link in LINKS:
        yield from _reasons(link.figure, link.column)


def _control(sides: Sides) -> Iterator[str]:
    """What is left of the links once a model of the design is given."""
    yield from ("## What is left under a control", "")
    for name, table in (("published rows", sides.published), ("study of scale", sides.own)):
        tables = design_tables(final_rows(table), table.roles, Choices(permutations=1_000))
        if tables is None:
            yield f"* {name}: no model of the design can be fitted."
            continue
        chosen = tables.design.filter("chosen").to_dicts()
        fit = f"{chosen[0]['model']}, R² {chosen[0]['r2']:.3f}" if chosen else "none"
        verdicts = tables.given_design["verdict"].to_list()
        claim = (
            "it does not hold (lack of fit), so that nothing is claimed of collapse and loss "
            "beyond scale"
            if INADEQUATE in verdicts
            else f"given it {verdicts.count('associated')} of {len(verdicts)} metrics are "
            "associated with the loss"
        )
        yield f"* {name}: the best model of the design is {fit}; {claim}."
    yield from (
        "",
        "Figures over all models mix what size and training do to collapse with what they do to "
        "the loss; Table 1 holds both still. No association shows that collapse causes a smaller "
        "loss.",
        "",
    )


def _reasons(place: str, column: str) -> Iterator[str]:
    if (place, column) in WHY:
        where = place if place.startswith("Table") else f"Figure {place}"
        yield from (f"{where}, `{column}`: {WHY[place, column]}.", "")


def _rows(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, and a line of distance."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in cells:
        yield f"| {' | '.join(row)} |"
    yield ""


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def main(arguments: Sequence[str]) -> int:
    """Print the page; exit code 2 where the file is not given or cannot be read."""
    if len(arguments) != 1:
        print("usage: python -m analysis.report.reproduction lc-2024_10_24.csv", file=sys.stderr)
        return 2
    try:
        print(document(Path(arguments[0])), end="")
    except AnalysisError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
