"""How often tests of interventions reject what is not, and intervals hold what is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from intervention_studies import CAUSE, Truth, table
from scipy.stats import binom

from analysis.findings.blocks import blocks_of
from analysis.findings.dose_response import dose_response
from analysis.findings.instruments import instruments
from analysis.findings.interventions import asked, interventions
from analysis.reading.table import Choices

LEVEL, MOST, COVERED = 0.05, 0.065, (0.93, 0.97)
STUDIES = 1_000
ABSENT = {
    "nothing": Truth(),
    "spread and tails": Truth(spread=0.5, tails=True),
    "nine pairs": Truth(levels=(0.0, 1.0), seeds=3),
    "missing values": Truth(missing=0.05),
}
CAUSAL = {
    "no effect, confounded": Truth(first=-1.0, confounding=-0.4),
    "an effect, confounded": Truth(first=-1.0, effect=0.5, confounding=-0.4),
    "an effect, spread and tails": Truth(
        first=-1.5, effect=0.5, confounding=-0.4, spread=0.3, tails=True
    ),
}


@dataclass(frozen=True)
class Tables:
    """The lines of many studies, one below another."""

    contrasts: pl.DataFrame
    trends: pl.DataFrame
    ways: pl.DataFrame


def tables(truth: Truth, studies: int, permutations: int = 999) -> Tables:
    """Tables of studies whose seeds count from 0."""
    choices, parts = Choices(permutations=permutations), []
    for seed in range(studies):
        study = table(truth, seed)
        doses = [blocks_of(study, each, asked(study)) for each in study.roles.interventions]
        frames = [make(doses, study.roles, choices) for make in MADE]
        parts.append([frame.with_columns(study=pl.lit(seed)) for frame in frames])
    return Tables(*(pl.concat(frames) for frames in zip(*parts, strict=True)))


MADE = (interventions, dose_response, instruments)


def share(values: pl.Series) -> float:
    """Share that is true of those that are known."""
    return float(values.drop_nulls().cast(pl.Float64).to_numpy().mean())


def error_of_family(lines: pl.DataFrame, family: str) -> float:
    """Share of studies in which a p max-T of the family is at most 5%."""
    least = lines.filter(family=family).group_by("study").agg(pl.col("p_maxt").min())
    return share(least["p_maxt"] <= LEVEL)


def covered(lines: pl.DataFrame, effect: float) -> float:
    """Share of intervals that hold an effect; those without bounds do."""
    low, high = lines["low"].fill_null(-np.inf), lines["high"].fill_null(np.inf)
    return share((low <= effect) & (high >= effect))


def figures(found: Tables) -> dict[str, float]:
    """What must not exceed the level where nothing is to be found."""
    return {
        "contrasts": share(found.contrasts["p"] <= LEVEL),
        "trends": share(found.trends["p"] <= LEVEL),
        "instruments": share(found.ways["p"] <= LEVEL),
        "instruments claimed": share(found.ways["verdict"] == "associated"),
        "J": share(found.ways["j_p"] <= LEVEL) if found.ways["j_p"].count() else 0.0,
        **{
            f"{name}, {family}": error_of_family(lines, family)
            for name, lines in (("contrasts", found.contrasts), ("trends", found.trends))
            for family in ("primary", "outcome")
        },
    }


def test_a_few_studies_without_an_effect_find_none() -> None:
    found = tables(Truth(levels=(0.0, 0.1, 1.0), seeds=4), 40, permutations=199)
    for name, error in figures(found).items():
        assert error * 40 <= binom.ppf(0.999, 40, LEVEL), name


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", ABSENT)
def test_what_is_not_is_found_as_often_as_the_level_says(name: str) -> None:
    found = tables(ABSENT[name], STUDIES)
    errors = figures(found)
    print(name, {key: round(value, 3) for key, value in errors.items()})
    assert all(error <= MOST for error in errors.values()), errors
    for lines in (found.contrasts, found.trends):
        assert COVERED[0] <= covered(lines, 0.0) <= COVERED[1] + 0.01 * (name == "nine pairs")


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", CAUSAL)
def test_two_stages_are_right_where_least_squares_are_not(name: str) -> None:
    truth = CAUSAL[name]
    lines = tables(truth, STUDIES).ways.filter(metric=CAUSE)
    of_loss = lines.filter(response="val_loss")
    strong = of_loss.filter(pl.col("f") >= 10)
    for response, effect in (("val_loss", truth.effect), ("generalization_gap", 0.0)):
        own = lines.filter(response=response)
        print(name, response, round(covered(own, effect), 3), round(share(own["j_p"] <= LEVEL), 3))
        assert COVERED[0] <= covered(own, effect) <= COVERED[1]
        assert share(own["j_p"] <= LEVEL) <= MOST
    medians = strong.select(pl.median("estimate"), pl.median("least_squares")).row(0)
    print(name, "medians", medians, "strong", len(strong), "of", len(of_loss))
    assert medians[0] == pytest.approx(truth.effect, abs=0.03)
    assert abs(medians[1] - truth.effect) > 0.25
    if not truth.effect:
        assert share(of_loss["p"] <= LEVEL) <= MOST
