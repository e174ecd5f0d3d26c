"""The summary in plain words, from the tables of the report and nothing else.

Each paragraph belongs to the section whose tables it tells; `sentences` has a file a topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import Change
from analysis.findings.checkpoints import Checkpoints, Lead
from analysis.findings.classes import ClassList
from analysis.findings.configuration import Fixed
from analysis.findings.curves import Course
from analysis.findings.damage import Damage
from analysis.findings.design import Candidate, GivenDesign
from analysis.findings.effects import Effect
from analysis.findings.forecast import Forecast
from analysis.findings.frames import lines_of
from analysis.findings.methods import MethodLine
from analysis.findings.within import Within
from analysis.reading.table import Roles
from analysis.report import descriptions
from analysis.report.descriptions import Paragraph
from analysis.report.sentences import association, checkpoints, precision
from analysis.report.sentences.classes import class_lists
from analysis.report.sentences.damage import damage
from analysis.report.sentences.forecast import forecast
from analysis.report.sentences.groups import groups
from analysis.report.sentences.headline import headline, of_headline
from analysis.report.sentences.interventions import interventions
from analysis.report.sentences.matched import matched
from analysis.report.sentences.ood import ood
from analysis.report.sentences.progress import given_progress, progress_lines
from analysis.report.sentences.robustness import robustness
from analysis.report.sentences.targets import targets
from analysis.report.sentences.transfer import transfer

Topic = tuple[str, Iterable[Paragraph]]  # the section that paragraphs belong to, and these


def summarise(frames: Mapping[str, pl.DataFrame], roles: Roles) -> tuple[Paragraph, ...]:
    """Paragraphs for the tables that the report has, `frames` by their names."""
    return tuple(
        replace(paragraph, section=section)
        for section, paragraphs in (*_first(frames, roles), *_later(frames, roles.response))
        for paragraph in paragraphs
    )


def _first(frames: Mapping[str, pl.DataFrame], roles: Roles) -> Iterator[Topic]:
    """What was asked of the trainings, and what holds under which control."""
    response = roles.response
    if "trials" in frames:
        yield "tuning", descriptions.search(frames)
    if (head := headline(frames)) is not None:
        yield head.section, of_headline(head, frames, roles)
    if "interventions" in frames:
        yield "interventions", interventions(frames)
    if "matched" in frames:
        yield "matched", matched(frames["matched"])
    if "association" in frames:
        over_all = lines_of(Association, frames["association"])
        yield "association", association.over_all(over_all, response)
        yield "association", association.under_control(over_all, frames, response)
    if "within" in frames:
        yield "within", [association.within(lines_of(Within, frames["within"]), response)]
    if "given_design" in frames:
        given = lines_of(GivenDesign, frames["given_design"])
        models = lines_of(Candidate, frames["design"])
        yield "design", [association.given_design(given, models, response)]
    if lines := progress_lines(frames):
        yield "progress", [given_progress(lines, response)]
    if "fixed" in frames:
        yield "fixed", [association.fixed(lines_of(Fixed, frames["fixed"]), response)]


def _later(frames: Mapping[str, pl.DataFrame], response: str) -> Iterator[Topic]:
    """What precisions do, what forecasts gain, and what is described."""
    if "changes" in frames:
        yield "precision", [precision.changes(lines_of(Change, frames["changes"]), response)]
    if "methods" in frames:
        yield "methods", descriptions.methods(lines_of(MethodLine, frames["methods"]), response)
    if "robustness" in frames:
        yield "robustness", robustness(frames)
    if "transfer_links" in frames:
        yield "transfer", transfer(frames)
    if "ood" in frames:
        yield "ood", ood(frames)
    if "groups" in frames:
        yield "groups", groups(frames)
    if "regression" in frames:
        yield "regression", targets(frames)
    if "damage" in frames:
        yield "precision", [damage(lines_of(Damage, frames["damage"]), response)]
    if "forecast" in frames:
        yield "forecast", [forecast(lines_of(Forecast, frames["forecast"]), response)]
    if "checkpoints" in frames:
        lead = lines_of(Lead, frames["lead"]) if "lead" in frames else []
        pooled = lines_of(Checkpoints, frames["checkpoints"])
        yield "checkpoints", [checkpoints.over_training(pooled, lead, response)]
    if "effects" in frames:
        yield "axes", descriptions.axes(lines_of(Effect, frames["effects"]), response)
    if "overfitting" in frames:
        yield "overfitting", [descriptions.overfitting(frames["overfitting"])]
    if "training" in frames:
        yield "training", descriptions.course(lines_of(Course, frames["training"]))
    if "floor" in frames:
        yield "data", [descriptions.floor(frames["floor"])]
    if "class_lists" in frames:
        yield "classes", class_lists(lines_of(ClassList, frames["class_lists"]))
