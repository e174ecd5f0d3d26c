"""The printed columns of each table of the report, in order, with their headings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import polars as pl

from analysis.findings.association import Association
from analysis.findings.changes import Change
from analysis.findings.confounders import Confounding
from analysis.findings.curves import Course
from analysis.findings.effects import Effect
from analysis.findings.links import ChangeLink
from analysis.findings.overview import Overview
from analysis.findings.pooled import Pooled
from analysis.findings.tuning import Comparison
from analysis.report.tables import (
    Column,
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
    yes_no,
)

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
NOTE = (Column("note", "note"),)

ASSOCIATION = columns_of(
    Association,
    *NAMES,
    *TRAININGS,
    Column("r", "r", signed, hint="Pearson; the partial r where something is given"),
    Column("R²", "r2", share),
    Column("95% CI of r (Fisher)", "r_low", signed, "r_high"),
    Column("95% CI of r (bootstrap)", "boot_low", signed, "boot_high"),
    Column("p", "p", p_value, hint="two-sided permutation, (b+1)/(n+1)"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the metrics of the family"),
    Column("p Holm", "p_holm", p_value),
    Column("p BH", "p_bh", p_value),
    Column("p BY", "p_by", p_value),
    Column(
        "sign for collapse",
        "expected",
        sign,
        hint="sign of r if more collapse went with a better response",
    ),
    Column("agrees", "agrees", yes_no),
    *NOTE,
)
ROBUSTNESS = columns_of(
    Association,
    *NAMES,
    *TRAININGS,
    Column("slope", "slope", number),
    Column("robust SE", "slope_se", number, hint="HC3"),
    Column("95% CI of slope", "slope_low", number, "slope_high"),
    Column("Spearman ρ", "spearman", signed),
    Column("Kendall τ", "kendall", signed),
    Column("distance corr.", "distance", share),
    Column("r leaving one out", "loo_low", signed, "loo_high"),
    Column("most influential training", "influential", short),
    Column("r without it", "r_without", signed),
    Column("p b/n", "p_paper", estimate, hint="the estimate of Wu & Papyan"),
    Column(
        "95% interval of p", "p_low", p_value, "p_high", hint="Monte-Carlo error (Clopper-Pearson)"
    ),
    Column("permutations", "permutations", whole),
    Column("all", "exact", yes_no, hint="whether all permutations were enumerated"),
)
POOLED = columns_of(
    Pooled,
    *NAMES,
    *SIZES,
    Column("r", "r", signed),
    Column("R²", "r2", share),
    Column("95% CI of r (bootstrap)", "boot_low", signed, "boot_high"),
    Column("p", "p", p_value),
    Column("slope", "slope", number),
    Column("cluster-robust SE", "slope_se", number),
    *NOTE,
)
CONFOUNDERS = columns_of(
    Confounding,
    *NAMES,
    *TRAININGS,
    Column("architectures", "architectures", whole),
    Column("r", "r", signed),
    Column("R²", "r2", share),
    Column("partial r", "partial_r", signed, hint="given the axes"),
    Column("partial R²", "partial_r2", share),
    Column("p partial", "partial_p", p_value, hint="Freedman-Lane"),
    Column("p maxT", "partial_p_maxt", p_value, hint="step-down over the metrics"),
    Column("r within", "within_r", signed),
    Column("p within", "within_p", p_value, hint="rows permuted inside their architecture"),
    Column("r between", "between_r", signed),
    Column("p between", "between_p", p_value),
    Column("signs", "simpson"),
    Column("detectable R²", "detectable_r2", share, hint="power .8 at 5%"),
    Column("detectable partial R²", "detectable_partial_r2", share),
    *NOTE,
)
MUNDLAK = columns_of(
    Confounding,
    *NAMES,
    *TRAININGS,
    Column("architectures", "architectures", whole),
    Column("slope within", "within_slope", number),
    Column("SE", "within_slope_se", number, hint="robust to dependence inside architectures"),
    Column("slope between", "between_slope", number),
    Column("SE ", "between_slope_se", number),
    Column("mixed slope (SD)", "mixed_slope", signed),
    Column("SE  ", "mixed_se", number),
    Column("p (Wald)", "mixed_p", p_value),
    Column("architecture share", "mixed_group_share", share, hint="share of the variance left"),
    *NOTE,
)
EFFECTS = columns_of(
    Effect,
    Column("column", "metric"),
    Column("axis", "axis"),
    Column("scale", "scale"),
    Column("trainings", "n", whole),
    Column(
        "effect (SD)", "effect", signed, hint="from the least to the greatest value of the axis"
    ),
    Column("95% CI", "low", signed, "high", hint="HC3"),
    Column("partial R²", "partial_r2", share, hint="given the other axes"),
    Column("p", "p", p_value, hint="Freedman-Lane"),
    Column("p maxT", "p_maxt", p_value, hint="step-down over the columns"),
    *NOTE,
)
CHANGES = columns_of(
    Change,
    Column("precision", "precision"),
    Column("against", "baseline"),
    Column("column", "column"),
    Column("trainings with", "level"),
    Column("trainings", "n", whole),
    Column("change", "estimate", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% CI", "low", signed_number, "high", hint="inverts the signed-rank test"),
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
LINKS = columns_of(
    ChangeLink,
    Column("precision", "precision"),
    Column("against", "baseline"),
    Column("metric", "metric"),
    Column("trainings", "n", whole),
    Column("r", "r", signed),
    Column("R²", "r2", share),
    Column("p", "p", p_value),
    Column("given", "given"),
    Column("partial r", "partial_r", signed),
    Column("partial R²", "partial_r2", share),
    Column("p partial", "partial_p", p_value),
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
    Column("95% CI", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    Column("p maxT", "p_maxt", p_value, hint="over the precisions, by joint sign flips"),
    Column("verdict", "verdict"),
    Column("got worse", "worse", whole, hint="trainings"),
    *NOTE,
)
COURSE = columns_of(
    Course,
    Column("metric", "metric"),
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
METRICS = (
    Column("metric", "metric"),
    Column("family", "family"),
    Column("more collapse is", "direction"),
    Column("heavy tails", "heavy_tailed", yes_no, hint="also tested as logarithm"),
    Column("what it is", "description"),
    Column("source", "citation"),
)


def data_columns(frame: pl.DataFrame) -> tuple[Column, ...]:
    """Columns of the table of data sets: the name and whatever facts there are."""
    return tuple(
        Column(name.replace("_", " "), name, text if kind == pl.String else number_or_whole)
        for name, kind in frame.schema.items()
    )


def overfitting(axes: tuple[str, ...], seed: str | None) -> tuple[Column, ...]:
    """Columns of the table of trainings, with the axes that tell them apart."""
    return (
        Column("training", "training", short),
        *(Column(name, name) for name in (*axes, *([seed] if seed else []))),
        Column("best epoch", "best_epoch", number_or_whole),
        Column("best val_loss", "best_loss", number),
        Column("last epoch", "last_epoch", number_or_whole),
        Column("last val_loss", "last_loss", number),
        Column("excess", "excess", number),
        Column("flagged", "flagged", yes_no, hint="an earlier checkpoint was better"),
    )


def floor_columns(axes: tuple[str, ...], seed: str | None) -> tuple[Column, ...]:
    """Columns of the table of trainings against the least possible loss."""
    return (
        Column("training", "training", short),
        *(Column(name, name) for name in (*axes, *([seed] if seed else []))),
        Column("entropy floor", "entropy_floor", number, hint="least expected loss of any model"),
        Column("val_loss", "val_loss", number),
        Column("above", "val_loss_above_floor", signed_number),
        Column("above / floor", "share", share),
    )


def layers(metrics: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of the table of layers."""
    return (
        Column("place", "place", whole),
        Column("layer", "layer"),
        Column("trainings", "trainings", whole),
        *(Column(name, name, number) for name in metrics),
    )


CONFIRMATION = columns_of(
    Comparison,
    Column("trial", "trial", whole),
    Column("still the best", "stands", yes_no),
    Column("metric", "metric"),
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
    Column("objective", "objective"),
    Column("parameter", "parameter"),
    Column("importance", "importance", share),
    Column("trials", "n", whole, hint="that had the parameter"),
)


def trial_columns(objectives: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns of the table of a search's trials."""
    return (
        Column("trial", "trial", whole),
        Column("state", "state"),
        *(Column(name, name, number) for name in objectives),
        Column("constraints hold", "holds", yes_no),
        Column("settings", "settings"),
        *NOTE,
    )
