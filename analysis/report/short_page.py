"""The page of a study for its folder: limits first, then what its tables say.

Every sentence and every cell is made of lines of the report; nothing is written by hand, so that
the page changes with the rows and claims what a verdict does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from analysis.findings.changes import CHANGED, NO_MORE_THAN, TOTAL
from analysis.findings.effects import Effect
from analysis.findings.frames import lines_of
from analysis.findings.interventions import OUTCOME, Contrast
from analysis.findings.matched import MatchedContrast
from analysis.findings.power import Power
from analysis.findings.verdicts import INADEQUATE, PRIMARY
from analysis.reading.selection import final_rows, telling
from analysis.reading.table import AnalysisError
from analysis.report.page import Report
from analysis.report.sentences.precision import of_tuned
from analysis.report.tables import TableExhibit, number, share
from analysis.statistics.decide import ASSOCIATED, CANNOT_REJECT
from analysis.statistics.levels import ALPHA
from study.columns import in_words, noun
from study.store.atomic import write_atomically

CONTROLS = {
    "association": "described",
    "within": "within design cells",
    "given_design": "given the settings",
    "given_train_loss": "given the training loss",
    "fixed": "one configuration",
    "checkpoints": "over training",
    "forecast": "added to the forecast",
}
"""Table -> what it holds alike, or what it asks, as a heading."""
CLAIMS = (ASSOCIATED, CHANGED)
"""Verdicts that claim something; their cells are bold."""
MARKS = {NO_MORE_THAN: "≈", INADEQUATE: "✗", CANNOT_REJECT: "–"}
"""What stands behind the numbers of other verdicts; `?` behind those that are open."""
LEGEND = (
    "**Bold**: the verdict claims it. ≈: no more than the margin. ?: not found or undecided. ✗: "
    "the control is inadequate. –: too few to reject anything. Brackets are 95% intervals."
)
FOLD = "<details>\n<summary>The tables, with their intervals</summary>"
"""What opens the part of the page that is folded, so that the rest fits on a screen."""
LEAST = 1e-4
"""The least number that is not written as 0."""
MOST_PRECISIONS = 6
"""Precisions whose damage has a column in the table of interventions."""
CAUTION = (
    "An association does not show that collapse causes a better outcome, or the reverse. What is "
    "not found is absent only as far as it would have been found."
)


def short_page(report: Report) -> str:
    """The page as Markdown.

    Limits, the sentences of the report, collapse at a glance, and a table a question: metrics
    under each control, axes, interventions, levels at equal loss, precisions. The tables of
    questions are folded; a question without rows has no part. Bold cells are those whose verdict
    claims something; all others do not.
    """
    frames = report.frames
    blocks = [
        f"# {report.table.name or report.table.source}",
        "**Limits.** " + " ".join(_limits(report)),
        *(f"**{part.title}.** {in_words(part.text)}" for part in report.sentences),
        *_glance(report),
    ]
    tables = [*_controls(report)]
    if "effects" in frames:
        tables += _axes(report)
    if "interventions" in frames:
        tables += _interventions(report)
    if "matched" in frames:
        tables += _matched(report)
    if "changes" in frames:
        tables += _precisions(report)
    if tables:
        blocks += [FOLD, LEGEND, *tables, "</details>"]
    blocks.append("Every verdict with its reason: [report](report/report.html).")
    return "\n\n".join(blocks) + "\n"


def write_short_page(report: Report, run: Path) -> Path:
    """Write the page as README.md of a run directory; returns its path.

    Raises AnalysisError where it cannot be written.
    """
    path = run / "README.md"
    try:
        write_atomically(path, short_page(report).encode())
    except OSError as error:
        raise AnalysisError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def _limits(report: Report) -> Iterator[str]:
    """What was run, how far it got, and what it could have found."""
    table, roles = report.table, report.table.roles
    rows = final_rows(table)
    axes = telling(rows, roles.axes)
    yield f"{len(rows):,} trainings, which differ in {', '.join(map(noun, axes)) or 'their seed'}."
    if table.data:
        sources = dict.fromkeys(str(each.settings.get("source", each.name)) for each in table.data)
        yield f"Data: {', '.join(sources)}."
    for name in dict.fromkeys((roles.response, "train_loss")):
        if name in rows.columns and rows[name].count():
            low, median, high = (
                rows[name].quantile(at, interpolation="linear") for at in (0.05, 0.5, 0.95)
            )
            yield (
                f"{noun(name).capitalize()} at the end: median {number(median)}, nine in ten "
                f"from {number(low)} to {number(high)}."
            )
    if "power" in report.frames:
        (line,) = lines_of(Power, report.frames["power"])
        yield _found(line)
    left_out = sum(table.left_out.values()) + sum(len(part.points) for part in table.missing)
    if left_out:
        yield f"{left_out:,} rows or points are left out or missing; the report says which."
    yield CAUTION


def _found(line: Power) -> str:
    """What the replicates could have shown."""
    if line.within_family is None:
        return "Too few trainings share a design cell to find any correlation in it."
    return (
        f"{line.cells} design cells with replicates find a correlation of "
        f"{share(line.within_family)} among {line.family} primary metrics four times in five."
    )


def _glance(report: Report) -> Iterator[str]:
    for part in report.glance:
        if isinstance(part, TableExhibit):
            yield part.markdown().rstrip()


def _controls(report: Report) -> Iterator[str]:
    """The primary metrics, a column a control, and what they add to a forecast."""
    frames, response = report.frames, report.table.roles.response
    columns: dict[str, dict[str, str]] = {}
    told: list[str] = []
    for name, heading in CONTROLS.items():
        if name not in frames:
            continue
        lines = frames[name].filter(pl.col("family") == PRIMARY)
        if "response" in lines.columns:
            lines = lines.filter(pl.col("response") == response)
        if name == "fixed":
            lines = lines.filter(pl.col("configuration") == pl.col("configuration").first())
        cells = {
            line["metric"]: _cell(line, described=name == "association")
            for line in lines.to_dicts()
        }
        if any(cells.values()):
            columns[heading] = cells
            told += _of_control(name, lines)
    if columns:
        title = f"**Primary metrics and {noun(response)}.** Correlations under each control."
        yield " ".join((title, *told))
        yield _matrix("metric", report.table.roles.primary, columns, row=noun)


def _of_control(name: str, lines: pl.DataFrame) -> Iterator[str]:
    """What a heading leaves out: which configuration, and how well the axes forecast."""
    first = lines.row(0, named=True)
    if name == "fixed":
        yield f"One configuration: {first['n']} trainings of {in_words(first['configuration'])}."
    elif name == "forecast":
        for line in lines.drop_nulls("q2_without").head(1).to_dicts():
            yield (
                f"Added to the forecast: Q² of architectures left out, over {line['n']} trainings, "
                f"beyond the {share(line['q2_without'])} that the axes alone have."
            )


def _axes(report: Report) -> Iterator[str]:
    """A row an outcome or primary metric, a column an axis."""
    roles, frame = report.table.roles, report.frames["effects"]
    shown = (roles.response, *roles.primary)
    columns: dict[str, dict[str, str]] = {}
    for line in lines_of(Effect, frame.filter(pl.col("metric").is_in(shown))):
        claimed = CHANGED if line.p_maxt is not None and line.p_maxt <= ALPHA else None
        columns.setdefault(in_words(line.axis), {})[line.metric] = _written(
            line.effect, line.low, line.high, claimed
        )
    if columns:
        yield (
            "**Collapse along the axes.** Standard deviations from the least to the greatest value "
            "of an axis, the others held; bold where p maxT is at most 0.05."
        )
        yield _matrix("outcome", shown, columns, row=noun)


def _interventions(report: Report) -> Iterator[str]:
    """A row a level, a column a primary metric, an outcome or damage."""
    lines = lines_of(Contrast, report.frames["interventions"])
    shown = [line for line in lines if line.family in (PRIMARY, OUTCOME)]
    damaged = _most_damaged([line for line in shown if line.precision is not None])
    columns: dict[str, dict[str, str]] = {}
    for line in shown:
        if line.precision is not None and line.precision not in damaged:
            continue
        heading = noun(line.metric)
        if line.precision is not None:
            heading = f"{heading} at {line.precision}"
        level = f"{line.intervention} {line.baseline} → {line.level}"
        columns.setdefault(heading, {})[level] = _effect(line)
    levels = [f"{line.intervention} {line.baseline} → {line.level}" for line in shown]
    yield (
        "**What interventions do.** Differences of trainings alike in every other setting and the "
        "seed, as ratios (×) where a metric is heavy-tailed."
    )
    yield _matrix("intervention", tuple(dict.fromkeys(levels)), columns)


def _most_damaged(lines: Sequence[Contrast]) -> list[str]:
    """Precisions at which interventions change the damage most often, at most a few."""
    names = dict.fromkeys(str(line.precision) for line in lines)
    count = {
        name: sum(line.precision == name and line.verdict == CHANGED for line in lines)
        for name in names
    }
    chosen = sorted(names, key=lambda name: -count[name])[:MOST_PRECISIONS]
    return [name for name in names if name in chosen]


def _matched(report: Report) -> Iterator[str]:
    """A row a level and group, a column a primary metric."""
    lines = lines_of(MatchedContrast, report.frames["matched"])
    shown = [line for line in lines if line.family == PRIMARY]
    columns: dict[str, dict[str, str]] = {}
    for line in shown:
        columns.setdefault(noun(line.metric), {})[_of_group(line)] = _effect(line)
    if shown:
        yield f"**{shown[0].intervention} against {shown[0].baseline}, at equal training loss.**"
        yield _matrix("level", tuple(dict.fromkeys(map(_of_group, shown))), columns)


def _of_group(line: MatchedContrast) -> str:
    return f"{line.level} ({line.group})"


def _precisions(report: Report) -> Iterator[str]:
    """A row a precision, a column the response or a metric of each property."""
    roles, frame = report.table.roles, report.frames["changes"]
    of_property = [
        metric
        for part in report.glance
        if isinstance(part, TableExhibit)
        for metric in part.frame["metric"]
    ]
    total = frame.filter(pl.col("level") == TOTAL)
    columns: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys((roles.response, *(of_property or roles.primary))):
        own = total.filter(pl.col("column") == name).to_dicts()
        cells = {line["precision"]: _cell(line) for line in own}
        if any(cells.values()):
            columns[noun(name)] = cells
    order = tuple(total["precision"].unique(maintain_order=True).to_list())
    baselines = ", ".join(total["baseline"].unique(maintain_order=True).to_list())
    pairs = total.select("precision", "baseline").unique(maintain_order=True).rows()
    yield " ".join(
        filter(
            None,
            [
                f"**What precisions change**, against {baselines}: pseudo-medians over trainings.",
                of_tuned(pairs),
            ],
        )
    )
    yield _matrix("precision", order, columns)


def _effect(line: Contrast) -> str:
    """The difference of a line, or its ratio, with interval and verdict."""
    if line.ratio is None:
        return _written(line.estimate, line.low, line.high, line.verdict)
    return _written(line.ratio, line.ratio_low, line.ratio_high, line.verdict, ratio=True)


def _cell(line: Mapping[str, Any], *, described: bool = False) -> str:
    """Estimate, interval and verdict of a line of a table.

    A correlation that is `described` has no verdict here: size and time of training are in it.
    """
    verdict = None if described else line["verdict"]
    return _written(line["estimate"], line["low"], line["high"], verdict)


def _written(
    estimate: float | None,
    low: float | None,
    high: float | None,
    verdict: str | None,
    *,
    ratio: bool = False,
) -> str:
    """A cell: bold where the verdict claims something, else with its mark."""
    mark = "" if verdict is None else MARKS.get(verdict, "?")
    if estimate is None:
        return mark
    text = f"×{_brief(estimate)}" if ratio else _brief(estimate, sign=True)
    if low is not None and high is not None:
        text += f" [{_brief(low, sign=not ratio)}, {_brief(high, sign=not ratio)}]"
    return f"**{text}**" if verdict in CLAIMS else f"{text} {mark}".rstrip()


def _brief(value: float, *, sign: bool = False) -> str:
    """Two significant digits; nothing smaller than 0.0001."""
    if abs(value) < LEAST:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _matrix(
    corner: str,
    rows: Sequence[str],
    columns: dict[str, dict[str, str]],
    *,
    row: Callable[[str], str] = str,
) -> str:
    """A pipe table of cells by column and row; rows without a cell are left out."""
    names = [name for name in rows if any(name in cells for cells in columns.values())]
    lines = [
        "| " + " | ".join([corner, *columns]) + " |",
        "|" + "---|" * (1 + len(columns)),
        *(
            "| "
            + " | ".join([row(name), *(cells.get(name, "") for cells in columns.values())])
            + " |"
            for name in names
        ),
    ]
    return "\n".join(lines)
