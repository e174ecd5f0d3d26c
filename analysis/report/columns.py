"""The printed columns of each table of the report, in order, with their headings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import Change
from analysis.findings.checkpoints import Checkpoints, Lead
from analysis.findings.classes import ClassList
from analysis.findings.configuration import Fixed
from analysis.findings.curves import Course
from analysis.findings.damage import Damage
from analysis.findings.design import Candidate, GivenDesign, PlaceboLine
from analysis.findings.effects import Effect
from analysis.findings.forecast import Forecast
from analysis.findings.outcomes import Link
from analysis.findings.overview import Overview
from analysis.findings.power import Power
from analysis.findings.progress import GivenProgress
from analysis.findings.runs import PooledRuns, RunLine
from analysis.findings.tuning import Comparison
from analysis.findings.within import InCell, Within
from analysis.report.tables import (
    Column,
    called,
    class_named,
    estimate,
    named,
    number,
    number_or_whole,
    p_value,
    quoted,
    share,
    short,
    sign,
    signed,
    signed_number,
    text,
    whole,
    worded,
    yes_no,
)
from study.columns import noun

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def columns_of(line: type[DataclassInstance], *columns: Column) -> tuple[Column, ...]:
    """The columns of a table of such lines.

    Raises ValueError for a column that the lines lack.
    """
    names = {field.name for field in fields(line)}
    for column in columns:
        if unknown := {column.source, column.until or column.source} - names:
            raise ValueError(f"{line.__name__} has no column {sorted(unknown)}")
    return columns


NAMES = (Column("metric", "metric", of_row=named, hint="| what is given: the line is a partial r"),)
SIZES = (Column("rows", "n", whole), Column("trainings", "trainings", whole))
TRAININGS = (Column("trainings", "trainings", whole, hint="one row each"),)
NOTE = (Column("note", "note", worded),)

ADJUSTED = (
    Column("p", "p", p_value, hint="two-sided permutation, (b+1)/(n+1)"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the primary metrics"),
    Column("q", "q", p_value, hint="Benjamini-Hochberg over the exploratory metrics"),
    Column("verdict", "verdict", hint="by p maxT of primary metrics, by q of the others"),
)


def tested(heading: str, hint: str, *, rows: str = "trainings, one row each") -> tuple[Column, ...]:
    """The first columns of every table of association.

    The estimate stands under its own heading.
    """
    return (
        Column("metric", "metric", called),
        Column("family", "family"),
        Column("n", "n", whole, hint=rows),
        Column(heading, "estimate", signed, hint=hint),
        Column("95% interval", "low", signed, "high"),
        *ADJUSTED,
    )


DESCRIBED = (
    Column("R²", "r2", share),
    Column("95% interval of R²", "r2_low", share, "r2_high"),
    Column("Spearman ρ", "spearman", signed),
)
DIRECTION = (
    Column(
        "sign for collapse",
        "expected",
        sign,
        hint="sign of r if more collapse went with a better response",
    ),
    Column("agrees", "agrees", yes_no),
    Column("r given the norm", "given_norm", signed, hint="of a CDNV, which scales with it"),
    Column("p given the norm", "given_norm_p", p_value),
)
ASSOCIATION = columns_of(
    Association,
    *tested("r", "Pearson"),
    *DESCRIBED,
    Column("slope", "slope", number),
    Column("robust SE", "slope_se", number, hint="HC3"),
    *DIRECTION,
    *NOTE,
)
FIXED = columns_of(
    Fixed,
    *tested("r", "Pearson"),
    Column("p b/n", "p_paper", estimate, hint="the estimate of Wu & Papyan"),
    *DESCRIBED,
    Column("p of ρ", "spearman_p", p_value),
    Column("r leaving one out", "loo_low", signed, "loo_high"),
    Column("most influential training", "influential", short),
    Column("r without it", "r_without", signed),
    Column("r given train_loss", "given_train_loss", signed),
    Column("p given train_loss", "given_train_loss_p", p_value),
    Column("detectable R²", "detectable_r2", share, hint="80% power, alone"),
    Column("in the family", "detectable_r2_family", share, hint="80% power, of the primary ones"),
    *DIRECTION,
    *NOTE,
)
WITHIN = columns_of(
    Within,
    *tested("pooled r", "of values centred in their design cell"),
    Column("mean r of cells", "meta", signed, hint="random effects"),
    Column("95% interval of that", "meta_low", signed, "meta_high"),
    Column("Q", "heterogeneity", number, hint="Cochran: whether r differs between cells"),
    Column("p of Q", "heterogeneity_p", p_value),
    Column("I²", "i2", share),
    *NOTE,
)
WITHIN_CELLS = columns_of(
    InCell,
    Column("metric", "metric", called),
    Column("design cell", "cell", worded),
    Column("n", "n", whole),
    Column("r", "r", signed),
    Column("95% interval (Fisher)", "low", signed, "high"),
)
GIVEN_DESIGN = columns_of(
    GivenDesign, *tested("partial r", "given the chosen model of the design"), *NOTE
)
DESIGN = columns_of(
    Candidate,
    Column("model", "model", worded),
    Column("chosen", "chosen", yes_no),
    Column("parameters", "rank", whole),
    Column("degrees of freedom", "dof", whole, hint="that it leaves"),
    Column("R²", "r2", share),
    Column("Q²", "q2", share, hint="of design cells that were left out"),
    Column("F, lack of fit", "lack_f", number, hint="against the means of the design cells"),
    Column("p, lack of fit", "lack_p", p_value),
    Column("holds", "adequate", yes_no),
    Column("terms", "terms", worded),
    *NOTE,
)
PLACEBOS = columns_of(
    PlaceboLine,
    Column("function of the axes", "placebo", worded),
    Column("n", "n", whole),
    Column("partial r", "r", signed),
    Column("p", "p", p_value),
    Column("p Holm", "p_holm", p_value),
)
GIVEN_TRAIN_LOSS = columns_of(
    GivenProgress,
    Column("response", "response", called),
    Column("given", "given", worded),
    *tested("partial r", "under the control, given train_loss where it says so"),
    Column("r before", "before", signed, hint="under the same control, without train_loss"),
    Column("verdict before", "verdict_before"),
    Column("reading", "reading", worded),
    *NOTE,
)
CHECKPOINTS = columns_of(
    Checkpoints,
    *tested("r", "of values centred by design cell and epoch", rows="checkpoints"),
    Column("trainings", "trainings", whole, hint="exchanged as wholes inside their cell"),
    Column("pooled r", "pooled_r", signed, hint="of all checkpoints, what time does included"),
    Column("its null", "pooled_null", signed, hint="mean r where whole trainings are exchanged"),
    Column("p", "pooled_p", p_value, hint="two-sided, of the distance from that null"),
    *NOTE,
)
LEAD = columns_of(
    Lead,
    Column("what moves first", "order"),
    *tested("r", "of a change and the change that follows it", rows="pairs of changes"),
    Column("trainings", "trainings", whole, hint="exchanged as wholes inside their cell"),
    *NOTE,
)
FORECAST = columns_of(
    Forecast,
    Column("metric", "metric", called),
    Column("family", "family"),
    Column("n", "n", whole, hint="trainings, one row each"),
    Column("Q² without", "q2_without", share, hint="model of the design alone"),
    Column("Q² with", "q2_with", share),
    Column("difference", "estimate", signed),
    Column(
        "95% interval", "low", signed, "high", hint="by the squared errors of each architecture"
    ),
    Column("p", "p", p_value, hint="one-sided, the metric exchanged inside design cells"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the primary metrics"),
    Column("q", "q", p_value, hint="Benjamini-Hochberg over the exploratory metrics"),
    Column("verdict", "verdict"),
    *NOTE,
)
EFFECTS = columns_of(
    Effect,
    Column("column", "metric", called),
    Column("axis", "axis", called),
    Column("scale", "scale"),
    Column("trainings", "n", whole),
    Column(
        "effect (SD)", "effect", signed, hint="from the least to the greatest value of the axis"
    ),
    Column("95% interval", "low", signed, "high", hint="HC3"),
    Column("partial R²", "partial_r2", share, hint="given the other axes"),
    Column("p", "p", p_value, hint="Freedman-Lane"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the columns"),
    *NOTE,
)
LINKS = columns_of(
    Link,
    Column("outcome", "response", called),
    *tested("partial r", "under the control of the line"),
    Column("more collapse", "collapse", hint="goes with a better or worse outcome, by the sign"),
    Column("control", "control"),
    *NOTE,
)
CHANGES = columns_of(
    Change,
    Column("precision", "precision"),
    Column("against", "baseline"),
    Column("column", "column", called),
    Column("trainings with", "level"),
    Column("trainings", "n", whole),
    Column("change", "estimate", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    Column("p maxT", "p_maxt", p_value, hint="over the precisions, by joint sign flips"),
    Column("verdict", "verdict"),
    Column("margin", "margin", number, hint="a change that counts as none"),
    Column("p within margin", "p_margin", p_value, hint="two one-sided tests"),
    Column("got worse", "worse", whole),
    Column("SD between seeds", "seed_sd", number, hint="within design cells"),
    Column("change / that SD", "in_seed_sd", number),
    *NOTE,
)
DAMAGE = columns_of(
    Damage,
    Column("kind", "kind", hint="baseline: the metric before; change: what it changed by"),
    Column("precision", "precision"),
    Column("against", "baseline"),
    *tested("partial r", "under the control, and of what is given"),
    Column(
        "q over precisions",
        "q_precisions",
        p_value,
        hint="Benjamini-Hochberg of p maxT; decides on primary metrics",
    ),
    Column("given", "given", worded),
    *NOTE,
)
OVERVIEW = columns_of(
    Overview,
    Column("precision", "precision"),
    Column("against", "baseline"),
    Column("trainings", "n", whole),
    Column("bits per weight", "bits", number, hint="scales included; median over trainings"),
    Column("MiB", "mib", number),
    Column("share quantized", "share", share, hint="of the parameters"),
    Column("weight error", "weight_error", number, hint="relative to the checkpoint's"),
    Column("logits error", "logits_error", number, hint="relative to the checkpoint's"),
    Column("mean drift", "mean_drift", number, hint="of the class means, in units of tr Sigma_B"),
    Column("baseline", "before", number, hint="median of the response at the baseline"),
    Column("here", "after", number, hint="median of the response at this precision"),
    Column("change", "change", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    Column("p maxT", "p_maxt", p_value, hint="over the precisions, by joint sign flips"),
    Column("verdict", "verdict"),
    Column("got worse", "worse", whole, hint="trainings"),
    *NOTE,
)
COURSE = columns_of(
    Course,
    Column("metric", "metric", called),
    Column("trainings", "n", whole),
    Column("first checkpoint", "first", number, hint="median over trainings"),
    Column("last checkpoint", "last", number, hint="median over trainings"),
    Column(
        "last / first",
        "ratio",
        number,
        hint="median over trainings of the quotient, where all are positive",
    ),
    Column("more collapse is", "direction"),
    Column("moved that way", "towards", whole, hint="trainings"),
)
CLASSES = (
    Column("class", "name", quoted, of_row=class_named),
    Column("why", "why"),
    Column("precision", "precision"),
    Column("samples", "count", number_or_whole),
    Column("norm", "norm", number, hint="of the centred class mean"),
    Column("of average", "norm_times", share),
    Column("scaled norm", "scaled_norm", number, hint="‖m‖² / √d; Wu & Papyan 2024, table 4"),
    Column("of average  ", "scaled_norm_times", share),
    Column("variance", "variance_norm", number),
    Column("CDNV", "cdnv", number, hint="mean over the other classes"),
    Column("of average ", "cdnv_times", share),
    Column("CDNV (Galanti)", "cdnv_galanti", number),
    Column("interference", "interference", signed, hint="mean cosine to the other class means"),
    Column("cosine to head", "head_cosine", signed),
    Column("agreement", "agreement", share, hint="NC4, on the validation samples of the class"),
    Column("nearest-centre accuracy", "ncc_accuracy", share),
    Column("accuracy", "accuracy", share),
)
CLASS_LISTS = columns_of(
    ClassList,
    Column("list", "list"),
    Column("precision", "precision"),
    Column("classes", "classes", whole, hint="of the list that are measured"),
    Column("scaled norm", "scaled_norm", number, hint="‖m‖² / √d, mean of the list"),
    Column("of all", "scaled_norm_all", number),
    Column("below", "scaled_norm_below", whole, hint="classes below the mean of all"),
    Column("CDNV", "cdnv", number, hint="mean over the other classes, then of the list"),
    Column("of all ", "cdnv_all", number),
    Column("below ", "cdnv_below", whole, hint="classes below the mean of all"),
    Column("interference", "interference", signed_number, hint="mean cosine to other class means"),
    Column("of all  ", "interference_all", signed_number),
    Column("below  ", "interference_below", whole, hint="classes below the mean of all"),
)
CLASS_CHANGES = (
    Column("class", "name", quoted, of_row=class_named),
    Column("why", "why"),
    Column("precision", "precision"),
    Column("against", "baseline"),
    Column("norm, times", "norm", share, hint="norm here by that at the baseline"),
    Column("CDNV, times", "cdnv", share, hint="CDNV here by that at the baseline"),
    Column("interference", "interference", signed, hint="change"),
    Column("cosine to head", "head_cosine", signed, hint="change"),
    Column("agreement", "agreement", signed, hint="change, on its validation samples"),
    Column("accuracy", "accuracy", signed, hint="change, on its validation samples"),
)
METRICS = (
    Column("metric", "metric", called),
    Column("identifier", "metric"),
    Column("range", "range"),
    Column("family", "family"),
    Column("more collapse is", "direction"),
    Column("heavy tails", "heavy_tailed", yes_no, hint="also tested as logarithm"),
    Column("what it is", "description"),
    Column("source", "citation"),
)


def data_columns(frame: pl.DataFrame) -> tuple[Column, ...]:
    """Columns of the table of data sets: the name and whatever facts there are."""
    return tuple(
        Column(noun(name).replace("_", " "), name, text if kind == pl.String else number_or_whole)
        for name, kind in frame.schema.items()
    )


def overfitting(axes: tuple[str, ...], seed: str | None) -> tuple[Column, ...]:
    """Columns of the table of trainings, with the axes that tell them apart."""
    return (
        Column("training", "training", short),
        *(Column(noun(name), name, hint=name) for name in (*axes, *([seed] if seed else []))),
        Column("best epoch", "best_epoch", number_or_whole),
        Column("best validation loss", "best_loss", number),
        Column("last epoch", "last_epoch", number_or_whole),
        Column("last validation loss", "last_loss", number),
        Column("excess", "excess", number),
        Column("flagged", "flagged", yes_no, hint="an earlier checkpoint was better"),
    )


def floor_columns(axes: tuple[str, ...], seed: str | None) -> tuple[Column, ...]:
    """Columns of the table of trainings against the least possible loss."""
    return (
        Column("training", "training", short),
        *(Column(noun(name), name, hint=name) for name in (*axes, *([seed] if seed else []))),
        Column("entropy floor", "entropy_floor", number, hint="least expected loss of any model"),
        Column("validation loss", "val_loss", number),
        Column("above", "val_loss_above_floor", signed_number),
        Column("above / floor", "share", share),
    )


def layers(metrics: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of the table of layers."""
    return (
        Column("place", "place", whole),
        Column("layer", "layer"),
        Column("trainings", "trainings", whole),
        *(Column(noun(name), name, number, hint=name) for name in metrics),
    )


CONFIRMATION = columns_of(
    Comparison,
    Column("trial", "trial", whole),
    Column("still the best", "stands", yes_no),
    Column("metric", "metric", called),
    Column("scale", "scale"),
    Column("pairs", "n", whole, hint="seeds that are sound in both arms"),
    Column("seeds tuned", "tuned_n", whole),
    Column("seeds default", "default_n", whole),
    Column("mean tuned", "tuned_mean", number, hint="geometric on the log scale"),
    Column("mean default", "default_mean", number, hint="geometric on the log scale"),
    Column("difference", "difference", signed_number, hint="tuned - default, on the scale named"),
    Column(
        "95% interval",
        "low",
        signed_number,
        "high",
        hint="shifts that the exact test of the pairs does not reject",
    ),
    Column("ratio", "ratio", number, hint="tuned / default"),
    Column("95% interval ", "ratio_low", number, "ratio_high"),
    Column("p", "p", p_value, hint="two-sided, exact"),
    Column("patterns of signs", "patterns", whole),
    Column(
        "default is beaten",
        "beats",
        yes_no,
        hint="the interval lies on the better side; no seed left out",
    ),
    *NOTE,
)
IMPORTANCE = (
    Column("objective", "objective", called),
    Column("parameter", "parameter", called),
    Column("importance", "importance", share),
    Column("trials", "n", whole, hint="that had the parameter"),
)


def trial_columns(objectives: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of the table of a search's trials."""
    return (
        Column("trial", "trial", whole),
        Column("state", "state"),
        *(Column(noun(name), name, number, hint=name) for name in objectives),
        Column("constraints hold", "holds", yes_no),
        Column("settings", "settings", worded),
        *NOTE,
    )


POOLED_RUNS = columns_of(
    PooledRuns,
    Column("question", "question"),
    Column("runs", "runs", whole),
    *tested(
        "mean",
        "of r, or of the gain in Q² of a forecast, over the runs, by random effects",
        rows="trainings of all runs",
    ),
    Column("95% prediction", "prediction_low", signed, "prediction_high", hint="in a new run"),
    Column("τ²", "tau2", number, hint="variance between runs, of r on Fisher's scale"),
    Column("I²", "i2", share, hint="its share"),
    Column("Q", "heterogeneity", number, hint="Cochran: whether runs differ"),
    Column("p of Q", "heterogeneity_p", p_value),
    *NOTE,
)
RUNS = columns_of(
    RunLine,
    Column("question", "question"),
    Column("metric", "metric", called),
    Column("run", "run"),
    Column("family", "family"),
    Column("n", "n", whole),
    Column("estimate", "estimate", signed, hint="r, or the gain in Q² of a forecast"),
    Column("95% interval", "low", signed, "high"),
    Column("p", "p", p_value),
    Column("verdict", "verdict"),
)
POWER = columns_of(
    Power,
    *TRAININGS,
    Column("design cells", "cells", whole, hint="with replicates"),
    Column("degrees of freedom", "r_w", whole, hint="that replicates leave"),
    Column("primary metrics", "family", whole),
    Column("r found alone", "alone", share, hint="80% power"),
    Column("r found in the family", "within_family", share, hint="80% power"),
    Column("seeds for r .3", "seeds_r30", whole, hint="in each design cell, in the family"),
    Column("seeds for r .5", "seeds_r50", whole, hint="in each design cell, in the family"),
)
