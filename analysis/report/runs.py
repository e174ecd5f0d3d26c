"""Several runs on one page: each question run by run, and pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from analysis.figures.forest import LABELLED, forest
from analysis.findings.frames import lines_of
from analysis.findings.runs import (
    DESCRIBED,
    FORECAST,
    GIVEN_DESIGN,
    QUESTIONS,
    WITHIN,
    PooledRuns,
    pooled_runs,
    run_lines,
)
from analysis.findings.verdicts import PRIMARY
from analysis.reading.places import Place
from analysis.reading.table import AnalysisError, Choices, Metric, Table
from analysis.report.columns import POOLED_RUNS, RUNS
from analysis.report.descriptions import Paragraph
from analysis.report.exhibits import Exhibit, Section, seeds_used
from analysis.report.names import Style
from analysis.report.page import Page, Report, build_report, metrics_of, software
from analysis.report.paths import ReportPaths
from analysis.report.pictures import FigureExhibit
from analysis.report.sentences.answers import SENTENCES
from analysis.report.sentences.words import are
from analysis.report.tables import KEY, TableExhibit, signed
from analysis.statistics.decide import ASSOCIATED, NOT_FOUND
from analysis.statistics.levels import ALPHA

TITLES = {
    WITHIN: "within design cells",
    GIVEN_DESIGN: "given a model of the design",
    "given_train_loss": "given train_loss",
    "with_gap": "with generalization_gap as response",
    FORECAST: "forecast of architectures left out",
    DESCRIBED: "described, without a control",
}

ESTIMATES = {FORECAST: "gain in Q²"}  # what is not r


@dataclass(frozen=True)
class RunsReport(Page):
    """The page of several runs.

    `reports` has each run's own report, by the name of the run.
    """

    reports: Mapping[str, Report]

    def write(
        self, folder: Path, *, formats: tuple[str, ...] = ("svg",), style: Style = "page"
    ) -> Path:
        """As `Page.write`, and the report of each run in a folder of its own."""
        for name, report in self.reports.items():
            report.write(ReportPaths(folder).run(name).folder, formats=formats, style=style)
        return super().write(folder, formats=formats, style=style)


def build_runs_report(
    tables: Mapping[str, Table],
    choices: Choices,
    *,
    only: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> RunsReport:
    """The report of each table, by the name of its run, and the page that pools them.

    Raises AnalysisError as `build_report` does, for tables with different responses or with
    trainings in common, and where no section was asked for that can be pooled.
    """
    names = list(tables)
    response = _one_response(tables.values())
    _no_training_twice(tables)
    reports: dict[str, Report] = {}
    for name, table in tables.items():
        if say is not None:
            say(f"{name}:")
        reports[name] = build_report(table, choices, only=only, say=say)
    lines = run_lines({name: report.frames for name, report in reports.items()})
    if lines.is_empty():
        raise AnalysisError(
            f"nothing to pool: no table of {', '.join(dict.fromkeys(QUESTIONS.values()))} is in "
            "the reports of these runs"
        )
    pooled = pooled_runs(lines)
    metrics: dict[str, Metric] = {}
    for table in reversed(list(tables.values())):
        metrics |= table.roles.metrics
    beside = ReportPaths(Path())
    facts = [("Response", response), ("Chance", seeds_used(choices))]
    facts += [
        (f"Run {name}", f"{report.table.source}; its own report is {beside.run(name).page}")
        for name, report in reports.items()
    ]
    paragraphs = tuple(replace(part, section="runs") for part in summary(pooled, response, names))
    return RunsReport(
        title=f"Neural collapse and {response} in {len(names)} runs: {', '.join(names)}",
        sections=(_section(lines, pooled, names, choices),),
        metrics=metrics_of(metrics),
        facts=tuple(facts),
        provenance=(("Computed with", software()),),
        summary=paragraphs,
        sentences=paragraphs[:SENTENCES],
        glance=(),
        contents={"runs": f"{len(names)} runs, {len(metrics)} metrics"},
        reports=reports,
    )


def run_names(places: Sequence[Place]) -> list[str]:
    """What the runs at some places are called.

    By their own name, with those of folders where two share it. Raises AnalysisError where a place
    is given twice.
    """
    if len({place.path.resolve() for place in places}) < len(places):
        raise AnalysisError("the same run is given twice: leave one out")
    parts = [place.parts for place in places]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [place.path.name for place in places]  # a.csv beside a.parquet


def _one_response(tables: Iterable[Table]) -> str:
    responses = {table.roles.response: table.source for table in tables}
    if len(responses) > 1:
        (one, first), (other, second), *_ = responses.items()
        raise AnalysisError(
            f"runs with different responses cannot be pooled: {one} of {first}, {other} of "
            f"{second}; choose one by --response"
        )
    return next(iter(responses))


def _no_training_twice(tables: Mapping[str, Table]) -> None:
    """Refuse a training that two runs have: it would count twice."""
    owner: dict[str, str] = {}
    for name, table in tables.items():
        for unit in map(str, table.frame[table.roles.unit].unique(maintain_order=True)):
            # Keys are hashes of all settings; names such as `run1` may be those of two trainings.
            if KEY.fullmatch(unit) and owner.setdefault(unit, name) != name:
                raise AnalysisError(
                    f"{owner[unit]} and {name} both have the training {unit[:8]}: it would count "
                    "twice; leave one of them out, or report one study that holds both"
                )


def _section(
    lines: pl.DataFrame, pooled: pl.DataFrame, names: Sequence[str], choices: Choices
) -> Section:
    used = (
        f"{len(names)} runs: {', '.join(names)}. A run's variance is that of its own interval. "
        f"p max-T is by Holm here. p and interval are of Student's t with {len(names) - 1} "
        f"degree{'s' * (len(names) > 2)} of freedom, or fewer where runs are left out (Knapp and "
        "Hartung): a few runs say little of the mean, and less of the next run, whose r lies in "
        f"the prediction interval. {seeds_used(choices)}."
    )
    exhibits: list[Exhibit] = [
        TableExhibit("pooled_runs", "Pooled over runs", used, pooled, POOLED_RUNS, more=_described)
    ]
    for question, title in TITLES.items():
        drawn = _drawn(lines, pooled, question)
        if not drawn.is_empty():
            exhibits.append(
                FigureExhibit(
                    f"runs_{question}",
                    f"{ESTIMATES.get(question, 'r')} of each run, and pooled, {title}",
                    "Bars are 95% intervals; the diamond is the mean over runs. It is filled where "
                    "the metric is associated, as is the dot of a run.",
                    partial(
                        forest,
                        drawn,
                        xlabel="what the metric adds to Q²"
                        if question == FORECAST
                        else "(partial) correlation with the response",
                        whole=question != FORECAST,
                    ),
                    folded=question not in (WITHIN, GIVEN_DESIGN),
                )
            )
    exhibits.append(
        TableExhibit("runs", "Run by run", f"{seeds_used(choices)}.", lines, RUNS, folded=True)
    )
    return Section(
        "runs",
        "Each question, run by run and pooled",
        (
            "Every run answers a question under its own control; trainings of different runs are "
            "never compared with each other. The answers are pooled by random effects, as runs "
            "differ in more than chance: in data, in models, in how they were trained.",
        ),
        tuple(exhibits),
    )


def _described(row: Mapping[str, object]) -> bool:
    """Lines that are folded: those of no control, and the exploratory ones."""
    return row["question"] == DESCRIBED or row["family"] != PRIMARY


def _drawn(lines: pl.DataFrame, pooled: pl.DataFrame, question: str) -> pl.DataFrame:
    """Lines of the forest plot of a question.

    Primary metrics, or the first ones where there are none.
    """
    answers = pooled.filter((pl.col("question") == question) & pl.col("estimate").is_not_null())
    chosen = answers.filter(pl.col("family") == PRIMARY)
    metrics = (answers if chosen.is_empty() else chosen)["metric"].to_list()[:LABELLED]
    parts = [
        frame.filter(
            (pl.col("question") == question)
            & pl.col("metric").is_in(metrics)
            & pl.col("estimate").is_not_null()
        ).select(
            panel="metric",
            label=label,
            estimate="estimate",
            low="low",
            high="high",
            solid=(pl.col("verdict") == ASSOCIATED).fill_null(False),
            summary=pl.lit(value=summed),
        )
        for frame, label, summed in (
            (lines, pl.col("run"), False),
            (pooled, pl.lit("pooled"), True),
        )
    ]
    return pl.concat(parts)


def summary(pooled: pl.DataFrame, response: str, names: Sequence[str]) -> Iterator[Paragraph]:
    """What was asked of the runs, and what holds and what does not under each control."""
    yield Paragraph(
        "What was asked",
        f"Does a metric of collapse go with {response} in {len(names)} runs ({', '.join(names)})? "
        "Each run answers under its own control, and the answers are pooled by random effects.",
    )
    for question, title in TITLES.items():
        if question == DESCRIBED:
            continue
        lines = [
            line
            for line in lines_of(PooledRuns, pooled.filter(pl.col("question") == question))
            if line.family == PRIMARY
        ]
        if lines:
            yield Paragraph(title.capitalize(), _sentences(lines))


def _sentences(lines: Sequence[PooledRuns]) -> str:
    holds = [line for line in lines if line.verdict == ASSOCIATED]
    missed = [line.metric for line in lines if line.verdict == NOT_FOUND]
    others = [line for line in lines if line not in holds and line.metric not in missed]
    parts = [
        f"{len(holds)} of {len(lines)} primary metrics {are(holds)} associated over the runs"
        + (f": {'; '.join(map(_effect, holds))}." if holds else ".")
    ]
    if missed:
        parts.append(f"No association was found for {', '.join(missed)}.")
    if others:
        reasons = ", ".join(f"{line.metric} ({line.verdict or 'not tested'})" for line in others)
        parts.append(f"Nothing is said of {reasons}.")
    differing = [
        line.metric
        for line in lines
        if line.heterogeneity_p is not None and line.heterogeneity_p <= ALPHA
    ]
    if differing:
        parts.append(f"The runs differ by more than chance in {', '.join(differing)}.")
    return " ".join(parts)


def _effect(line: PooledRuns) -> str:
    """A metric with its mean r, how sure it is, and what a new run would show."""
    text = (
        f"{line.metric} (mean {ESTIMATES.get(line.question, 'r')} {signed(line.estimate)}, 95% "
        f"interval {signed(line.low)} to {signed(line.high)}, {line.n} trainings of {line.runs} "
        "runs"
    )
    if line.prediction_low is not None:
        text += f"; a new run: {signed(line.prediction_low)} to {signed(line.prediction_high)}"
    return f"{text})"
