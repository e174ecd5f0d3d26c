"""The report: one self-contained html file, tables and figures beside it.

Every table is there as csv, md and tex.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.reading.selection import final_rows, precisions
from analysis.reading.table import AnalysisError, Choices, Metric, Table, nearest
from analysis.report.columns import METRICS
from analysis.report.descriptions import Paragraph
from analysis.report.exhibits import Builder, Context, Exhibit, Section, seeds_used
from analysis.report.glance import glance
from analysis.report.names import SECTIONS, Style
from analysis.report.paths import ReportPaths
from analysis.report.pictures import FigureExhibit
from analysis.report.points import names, trainings
from analysis.report.sentences.answers import answers
from analysis.report.sentences.contents import contents
from analysis.report.summary import summarise
from analysis.report.tables import TableExhibit
from analysis.report.wording import named
from study.columns import in_words, noun, quantity
from study.store.atomic import write_atomically

OF_A_SEARCH = (
    "tuning",
    "data",
)  # its trials are no sample: what the other sections test does not apply to them
LIBRARIES = ("numpy", "scipy", "polars", "matplotlib")
VALUES_SHOWN = 12


@dataclass(frozen=True)
class Page:
    """A page: three sentences, what stands beside them, facts, and sections in order.

    `sentences` are the answers by which it begins, `glance` figures and a table beside them,
    `summary` has all paragraphs of the sections, `contents` the answer of each section in one line.
    `frames` and `figures` are those of the page, by name.
    """

    title: str
    sections: tuple[Section, ...]
    metrics: TableExhibit
    facts: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    summary: tuple[Paragraph, ...]
    sentences: tuple[Paragraph, ...]
    contents: Mapping[str, str]
    glance: tuple[Exhibit, ...]

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """Every table and figure, those of the first screen before those of the sections."""
        return (*self.glance, *(part for section in self.sections for part in section.exhibits))

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """Every table of the report in full."""
        return {part.name: part.frame for part in self.exhibits if isinstance(part, TableExhibit)}

    @property
    def figures(self) -> dict[str, Figure]:
        """Every figure of the report."""
        return {part.name: part.figure for part in self.exhibits if isinstance(part, FigureExhibit)}

    def __str__(self) -> str:
        """The report in words: its three sentences, then what its sections say.

        Columns have their display names, as on the page.
        """
        parts = (*self.sentences, *(part for part in self.summary if not self._begins_with(part)))
        return "\n".join(in_words(f"{part.title}: {part.text}") for part in parts)

    def _begins_with(self, paragraph: Paragraph) -> bool:
        """Whether a paragraph of the summary is one of the sentences."""
        return any(paragraph.text == sentence.text for sentence in self.sentences)

    def answer(self, section: Section) -> str:
        """What a section answers in one line; what it is about where no line is known."""
        about = section.text[0].partition(". ")[0] if section.text else ""
        return self.contents.get(section.name, about)

    def paragraphs(self, section: str) -> tuple[Paragraph, ...]:
        """What the summary says of the tables of a section, and the page not at its head."""
        own = (part for part in self.summary if part.section == section)
        return tuple(part for part in own if not self._begins_with(part))

    def write(
        self, folder: Path, *, formats: tuple[str, ...] = ("svg",), style: Style = "page"
    ) -> Path:
        """Write report.html, tables/ and figures/ in `folder`; returns the page's path.

        The folder is made.
        """
        paths = ReportPaths(folder)
        try:
            for place in (paths.tables, paths.figures):
                place.mkdir(parents=True, exist_ok=True)
            for part in self.exhibits:
                if isinstance(part, TableExhibit):
                    part.write(paths.tables)
                else:
                    part.write(paths.figures, formats, style)
            self.metrics.write(paths.tables)
            write_atomically(paths.page, self.html().encode("utf-8"))  # readers see it whole
        except OSError as error:
            raise AnalysisError(
                f"{folder}: cannot write the report there ({error.strerror})"
            ) from None
        return paths.page

    def html(self) -> str:
        """The page as text; it refers to nothing outside itself."""
        environment = Environment(
            loader=PackageLoader("analysis.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["named"] = named
        environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
        script = (resources.files("analysis.report") / "templates/page.js").read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        template = environment.get_template("report.html")
        return template.render(report=self, script=Markup(script), digest=digest)

    @property
    def trainings(self) -> dict[str, Any] | None:
        """What the page tells of single trainings; None where it shows none."""
        return None

    def marks(self, figure: FigureExhibit) -> dict[str, Any] | None:
        """Which training each point of a figure is, and where; None where it shows none."""
        return None

    def _repr_html_(self) -> str:
        """The three sentences, where a notebook shows a report."""
        items = "".join(
            f"<p><b>{named(part.title)}.</b> {named(part.text)}</p>" for part in self.sentences
        )
        return f"<h3>{named(self.title)}</h3>{items}"


@dataclass(frozen=True)
class Report(Page):
    """The page of a table: what was analysed, and how."""

    table: Table
    choices: Choices

    @property
    def trainings(self) -> dict[str, Any] | None:
        """Settings and curves of all trainings, where a figure shows single ones."""
        figures = (part for part in self.exhibits if isinstance(part, FigureExhibit))
        return trainings(self.table) if any(part.marks for part in figures) else None

    def marks(self, figure: FigureExhibit) -> dict[str, Any] | None:
        """Points of a figure, with the numbers that `trainings` gives to trainings."""
        return None if figure.marks is None else figure.marks.placed(names(self.table))


def build_report(
    table: Table,
    choices: Choices,
    *,
    only: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Report:
    """Every exhibit of a table, or those of the sections `only`.

    `say` is told each section as it begins.

    Deterministic: the same table and choices give the same report. Raises AnalysisError for an
    unknown section, and if the table has rows for none of those asked for.
    """
    for name in only:
        if name not in SECTIONS:
            raise AnalysisError(f"unknown section {name!r}.{nearest(name, SECTIONS)}")
    context = Context(table, choices)
    search = table.search is not None
    requested = only or (OF_A_SEARCH if search else tuple(SECTIONS))
    chosen = [name for name in SECTIONS if name in requested]
    parts = []
    for number, name in enumerate(chosen, start=1):
        if say is not None:
            say(f"[{number}/{len(chosen)}] {name}")
        builder: Builder = resolve_name(f"analysis.report.{SECTIONS[name]}")
        section = builder(context)
        if section is not None:
            parts.append(section)
    if not parts:
        raise AnalysisError(
            f"{table.source}: has no rows for the section{'s' * (len(chosen) > 1)} "
            f"{', '.join(chosen)}"
        )
    frames = {exhibit.name: exhibit.frame for part in parts for exhibit in part.tables}
    return Report(
        title=f"{'A search' if search else f'Neural collapse and {table.roles.response}'}: "
        f"{table.name or table.source}",
        table=table,
        choices=choices,
        sections=tuple(parts),
        metrics=metrics_of(table.roles.metrics),
        facts=tuple(_facts(table, choices)),
        provenance=tuple(_provenance(table)),
        summary=summarise(frames, table.roles),
        sentences=answers(frames, table.roles),
        contents=contents(frames, table.roles.response),
        glance=glance(context, frames),
    )


def metrics_of(metrics: Mapping[str, Metric]) -> TableExhibit:
    """What each metric is."""
    names = ("family", "direction", "heavy_tailed", "description", "citation")
    known = ("name", "symbol", "unit", "range", "invariances", "formula")
    rows = [
        {
            "metric": name,
            **{key: getattr(metric, key) for key in names},
            **{key: getattr(quantity(name), key, "") for key in known},
        }
        for name, metric in metrics.items()
    ]
    kinds = {
        name: pl.Boolean if name == "heavy_tailed" else pl.String
        for name in ("metric", *names, *known)
    }
    frame = pl.DataFrame(rows, schema=kinds)
    caption = f"{len(frame)} metrics, in the order of all tables and figures."
    return TableExhibit("metrics", "The metrics", caption, frame, METRICS, folded=True)


def _facts(table: Table, choices: Choices) -> list[tuple[str, str]]:
    """What a reader must know to judge the numbers.

    Rows, axes, seeds, what is missing, how chance entered.
    """
    roles, frame = table.roles, table.frame
    facts = [
        *([("About", table.about)] if table.about else []),
        *_outcomes(table),
        ("Rows", f"{len(frame):,} of {frame[roles.unit].n_unique():,} trainings"),
        (
            "Rows of the main tables",
            f"{len(final_rows(table)):,}: one per training, its last checkpoint",
        ),
        (
            "Axes",
            "; ".join(f"{noun(axis)}: {_values(frame[axis])}" for axis in roles.axes) or "none",
        ),
    ]
    if roles.precision is not None:
        facts.append(("Precisions", ", ".join(precisions(table))))
    if roles.seed is not None:
        facts.append(("Seeds of the trainings", _values(frame[roles.seed])))
    for part in table.missing:
        reason = part.reason or "not in the table; allowed by --allow-missing"
        points = "; ".join(
            ", ".join(f"{k} {v}" for k, v in row.items()) for row in part.points.head(40).to_dicts()
        )
        more = f"; and {len(part.points) - 40} more" if len(part.points) > 40 else ""
        facts.append((f"Missing points ({len(part.points)})", f"{reason}: {points}{more}"))
    facts += [(f"Left out: {what}", f"{count:,}") for what, count in table.left_out.items()]
    facts.append(("Chance", seeds_used(choices)))
    return facts


def _outcomes(table: Table) -> list[tuple[str, str]]:
    """The response, or what a search made small or large under which constraints."""
    if table.search is None:
        better = table.roles.responses.get(table.roles.response)
        return [("Response", f"{table.roles.response}{f', {better} is better' if better else ''}")]
    objectives = [
        f"{each.column}, {'lower' if each.lower else 'higher'} is better"
        for each in table.search.objectives
    ]
    constraints = table.search.constraints
    return [
        (f"Objective{'s' * (len(objectives) > 1)}", "; ".join(objectives)),
        *([("Constraints", "; ".join(constraints))] if constraints else []),
    ]


def _values(column: pl.Series) -> str:
    """The values of a setting, or how many and their range."""
    values = column.unique().sort().to_list()
    listed = [
        "none given"
        if value is None
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
        for value in values
    ]
    known = [value for value in values if value is not None]
    if len(listed) <= VALUES_SHOWN:
        return ", ".join(listed)
    least, most = (
        f"{value:.4g}" if isinstance(value, float) else str(value)
        for value in (known[0], known[-1])
    )
    return f"{len(listed)} values, {least} to {most}"


def _provenance(table: Table) -> list[tuple[str, str]]:
    """Where the rows came from and what computed the report."""
    facts = [("Source", table.source)]
    named = {"git_sha": "Code of the trainings (git)", "device": "Devices", "host": "Hosts"}
    facts += [
        (title, _values(table.frame[name]))
        for name, title in named.items()
        if name in table.frame.columns
    ]
    if "finished_at" in table.frame.columns:
        facts.append(("Measured", _span(table.frame["finished_at"])))
    return [*facts, ("Computed with", software())]


@cache
def software() -> str:
    """What computed the report, with its versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    return f"Python {platform.python_version()}, {versions}"


def _span(column: pl.Series) -> str:
    values = column.drop_nulls().sort().to_list()
    return f"{values[0]} to {values[-1]}" if values else "unknown"
