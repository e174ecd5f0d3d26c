"""Effects of interventions, by dose, and as instruments, on studies whose truth is known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
import scipy.stats
from intervention_studies import CAUSE, OTHER, Truth, frame, table

from analysis.findings.blocks import Blocks, Response, blocks_of
from analysis.findings.dose_response import LevelMean, dose_levels, dose_response, level_means
from analysis.findings.instruments import instruments
from analysis.findings.interventions import asked, interventions
from analysis.reading.interventions import interventions as declared
from analysis.reading.table import Choices, Table

CHOICES = Choices(permutations=999)
NOTHING = Truth()
MOVED = Truth(first=-0.8, effect=0.5, damage=0.1, confounding=-0.4)
SMALL = Truth(levels=(0.0, 0.1, 1.0), widths=(8, 16), seeds=1, first=-1.0, damage=0.3)


def doses(study: Table) -> list[Blocks]:
    return [blocks_of(study, each, asked(study)) for each in study.roles.interventions]


def contrasts(study: Table) -> pl.DataFrame:
    return interventions(doses(study), study.roles, CHOICES)


@cache
def effects(truth: Truth, seed: int = 0) -> pl.DataFrame:
    return contrasts(table(truth, seed))


def one(lines: pl.DataFrame, **values: object) -> dict[str, object]:
    """The one line with these values."""
    (line,) = lines.filter(**values).to_dicts()
    return line


def by_pairs(rows: pl.DataFrame, column: str, level: float, precision: str = "fp32") -> list[float]:
    """Differences from level 0, one a width and seed, by a loop over the rows."""
    values = {
        (row["width"], row["seed"], row["penalty_nc1"]): row[column]
        for row in rows.filter(precision=precision).to_dicts()
    }
    points = sorted({(width, seed) for width, seed, _ in values})
    return [values[(*point, level)] - values[(*point, 0.0)] for point in points]


@pytest.mark.parametrize("level", [0.1, 1.0])
def test_a_contrast_is_the_signed_rank_test_of_pairs(level: float) -> None:
    rows = frame(MOVED, 0)
    line = one(effects(MOVED), metric="val_loss", level=f"{level:g}")
    d = by_pairs(rows, "val_loss", level)
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2)]
    assert line["n"] == len(d) == 18
    assert line["estimate"] == pytest.approx(np.median(walsh), rel=1e-9)
    assert line["p"] == pytest.approx(scipy.stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    assert line["baseline"] == "0"


def test_a_heavy_tailed_metric_is_compared_by_ratios() -> None:
    line = one(effects(MOVED), metric=CAUSE, level="1")
    rows = frame(MOVED, 0).with_columns(pl.col(CAUSE).log10())
    d = by_pairs(rows, CAUSE, 1.0)
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2)]
    assert line["scale"] == "log10"
    assert line["ratio"] == pytest.approx(10 ** np.median(walsh), rel=1e-9)
    assert (line["ratio_low"], line["ratio_high"]) == pytest.approx(
        (10 ** line["low"], 10 ** line["high"])  # type: ignore[operator]
    )
    margin = contrasts(table(MOVED, 0, margin={CAUSE: 0.5}))
    assert one(margin, metric=CAUSE, level="1")["scale"] == "raw"


def test_damage_is_the_change_of_the_response_at_a_precision() -> None:
    line = one(effects(MOVED), metric="damage", level="1")
    rows = frame(MOVED, 0)
    at_int4 = by_pairs(rows, "val_loss", 1.0, "int4")
    d = np.subtract(at_int4, by_pairs(rows, "val_loss", 1.0))
    assert line["p"] == pytest.approx(scipy.stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    assert line["precision"] == "int4"
    assert line["verdict"] == "changed"
    # A margin of the response is one of its damage.
    margin = contrasts(table(MOVED, 0, margin={"val_loss": 0.07}))
    assert one(margin, metric="damage", level="1")["margin"] == 0.07


def test_families_are_adjusted_apart() -> None:
    lines = effects(MOVED)
    family = dict(lines.select("metric", "family").unique().rows())
    assert family == {
        "val_loss": "outcome",
        "train_loss": "outcome",
        "generalization_gap": "outcome",
        "damage": "outcome",
        CAUSE: "primary",
        OTHER: "primary",
        "nc4_agreement": "exploratory",
    }
    for name, chosen in (("p_maxt", ("primary", "outcome")), ("q", ("exploratory",))):
        known = lines.filter(pl.col(name).is_not_null())
        assert set(known["family"]) == set(chosen)
        assert (known[name] >= known["p"]).all()
    others = lines.filter(family="exploratory")
    expected = scipy.stats.false_discovery_control(others["p"].to_numpy())
    assert others["q"].to_list() == pytest.approx(expected.tolist())


def test_verdicts_follow_margin_family_and_number() -> None:
    lines = effects(MOVED)
    assert one(lines, metric=CAUSE, level="1")["verdict"] == "changed"
    wide = contrasts(table(NOTHING, 4, margin={"val_loss": 3.0, "train_loss": 1e-9}))
    assert set(wide.filter(metric="val_loss")["verdict"]) == {"no more than"}
    assert set(wide.filter(metric="train_loss")["verdict"]) == {"undecided"}
    few = contrasts(table(SMALL, 0))
    assert set(few["verdict"]) == {"cannot reject"}
    assert set(few["note"].to_list()) == {"cannot reject with n = 2"}
    lost = lines.filter((pl.col("p") <= 0.05) & (pl.col("p_maxt") > 0.05))
    assert len(lost)
    assert set(lost["verdict"]) == {"undecided"}


def test_without_replicates_there_is_no_margin() -> None:
    single = Truth(widths=tuple(range(8, 16)), seeds=1, first=-5.0)
    line = one(effects(single), metric=CAUSE, level="1")
    assert (line["margin"], line["seed_sd"], line["verdict"]) == (None, None, "changed")


def test_blocks_agree_in_all_else_and_in_every_seed() -> None:
    study = table(SMALL, 0)
    twice = study.frame.with_columns(
        init_seed=pl.lit(1), training=pl.col("training") + "b", val_loss=pl.col("val_loss") + 9
    )
    both = replace(study, frame=pl.concat([study.frame.with_columns(init_seed=0), twice]))
    (blocks,) = doses(both)
    assert blocks.values[Response("val_loss")].shape == (4, 3)
    assert blocks.most == 1
    same = replace(both, frame=both.frame.drop("init_seed"))
    (blocks,) = doses(same)
    (alone,) = doses(study)
    averaged = blocks.values[Response("val_loss")]
    assert averaged == pytest.approx(alone.values[Response("val_loss")] + 4.5)
    averages = "up to 2 trainings with the same settings and seeds are averaged"
    assert all(averages in note for note in contrasts(same)["note"])


def test_levels_without_a_partner_are_said() -> None:
    study = table(SMALL, 0)
    level = {8: 0.0, 16: 1.0}
    apart = study.frame.filter(pl.col("penalty_nc1") == pl.col("width").replace_strict(level))
    lines = contrasts(replace(study, frame=apart))
    assert set(lines["note"]) == {"no two trainings differ in this setting alone"}
    assert set(lines["verdict"]) == {"cannot reject"}
    one_way = replace(study, frame=apart)
    way = instruments(doses(one_way), study.roles, CHOICES)
    assert set(way["verdict"]) == {"cannot reject"}
    assert dose_response(doses(one_way), study.roles, CHOICES).is_empty()


@pytest.mark.parametrize("name", ["level", "block", "cell", "trainings", "value", "0"])
def test_an_axis_may_have_any_name(name: str) -> None:
    study = table(SMALL, 0)
    rows = study.frame.rename({"penalty_nc1": name})
    roles = replace(study.roles, axes=("width", name), interventions=())
    roles = replace(roles, interventions=declared(rows, roles, [name]))
    renamed = contrasts(replace(study, frame=rows, roles=roles))
    assert renamed.drop("intervention").equals(contrasts(study).drop("intervention"))


def test_trainings_of_another_intervention_are_in_no_block() -> None:
    study = table(SMALL, 0)
    other = study.frame.filter(penalty_nc1=0.0).with_columns(
        lr=pl.lit(0.1), training=pl.col("training") + "lr"
    )
    axes = ("width", "penalty_nc1", "lr")
    both = replace(
        study,
        frame=pl.concat([study.frame.with_columns(lr=pl.lit(0.01)), other]),
        roles=replace(study.roles, axes=axes),
    )
    (blocks,) = doses(both)
    (alone,) = doses(study)
    response = Response("val_loss")
    assert blocks.values[response].tolist() == alone.values[response].tolist()
    assert set(contrasts(both)["note"]) == {"cannot reject with n = 2"}


def test_a_trend_permutes_levels_inside_blocks() -> None:
    study = table(SMALL, 1)
    line = one(dose_response(doses(study), study.roles, CHOICES), metric="val_loss")
    values = doses(study)[0].values[Response("val_loss")]
    left = values - values.mean(axis=1, keepdims=True)

    def t(orders: tuple[tuple[int, ...], ...]) -> float:
        products = left * (np.array(orders) - 1.0)
        return float(abs(products.sum()) / np.sqrt(np.square(products).sum()))

    observed = t(((0, 1, 2), (0, 1, 2)))
    every = [t(pair) for pair in itertools.product(itertools.permutations(range(3)), repeat=2)]
    assert line["p"] == pytest.approx(np.mean(np.array(every) >= observed - 1e-12))
    assert line["exact"] is True
    assert line["slope"] == pytest.approx((left * [-1, 0, 1]).sum() / 4)
    r = scipy.stats.pearsonr(left.ravel(), np.tile([-1, 0, 1], 2)).statistic
    assert line["estimate"] == pytest.approx(r)


def test_a_dose_that_moves_all_is_seen_and_none_is_not() -> None:
    study = table(MOVED, 0)
    lines = dose_response(doses(study), study.roles, CHOICES)
    verdict = dict(lines.select("metric", "verdict").rows())
    assert verdict[CAUSE] == verdict["damage"] == "associated"
    assert verdict[OTHER] == verdict["train_loss"] == "not found"


def test_means_have_intervals_of_what_differs_between_levels() -> None:
    study = table(MOVED, 0)
    (blocks,) = doses(study)
    lines = level_means(blocks, Response("val_loss"))
    values = blocks.values[Response("val_loss")]
    for at, line in enumerate(lines):
        left = values[:, at] - values.mean(axis=1) + values.mean()
        size = scipy.stats.t.ppf(0.975, 17) * scipy.stats.sem(left) * np.sqrt(4 / 3)
        assert line.mean == pytest.approx(values[:, at].mean())
        assert (line.low, line.high) == pytest.approx((line.mean - size, line.mean + size))
    (geometric, *_) = level_means(blocks, Response(CAUSE, log10=True))
    own = frame(MOVED, 0).filter(penalty_nc1=0.0, precision="fp32")[CAUSE].to_numpy()
    assert geometric.mean == pytest.approx(scipy.stats.gmean(own))
    assert dose_levels([blocks]).columns == list(LevelMean.__dataclass_fields__)


def test_two_stages_find_what_least_squares_misses() -> None:
    study = table(Truth(first=-1.0, effect=0.5, confounding=-0.4), 0)
    lines = instruments(doses(study), study.roles, CHOICES)
    line = one(lines, metric=CAUSE, response="val_loss")
    assert line["verdict"] == "associated"
    assert line["low"] < 0.5 < line["high"]  # type: ignore[operator]
    assert line["least_squares"] < line["low"]  # type: ignore[operator]
    trend = one(dose_response(doses(study), study.roles, CHOICES), metric="val_loss")
    assert line["p"] == trend["p"]


def test_a_weak_instrument_claims_nothing() -> None:
    study = table(Truth(direct=0.5), 0)
    lines = instruments(doses(study), study.roles, CHOICES).filter(metric=OTHER)
    assert (lines["f"] < 10).all()
    assert set(lines["verdict"]) == {"undecided"}
    assert lines["estimate"].null_count() == lines["se"].null_count() == len(lines)
    assert all("the instrument is weak: F " in note for note in lines["note"])


def test_levels_that_are_not_of_one_effect_leave_no_claim() -> None:
    study = table(Truth(levels=(0.0, 0.1, 1.0), seeds=20, first=-2.0), 0)
    bent = pl.when(pl.col("penalty_nc1") == 0.1).then(pl.col("val_loss") + 2).otherwise("val_loss")
    lines = instruments(
        doses(replace(study, frame=study.frame.with_columns(val_loss=bent))), study.roles, CHOICES
    )
    line = one(lines, metric=CAUSE, response="val_loss")
    assert line["verdict"] == "control inadequate"
    assert "the levels are not of one effect" in str(line["note"])


def test_levels_that_are_no_numbers_stand_against_the_baseline() -> None:
    study = table(Truth(levels=("sgd", "adam", "lion"), first=-1.0, effect=0.5), 0)
    assert study.roles.interventions == declared(study.frame, study.roles, ["train.penalty.nc1"])
    lines = contrasts(study)
    assert set(lines["baseline"]) == {"sgd"}
    assert set(lines["level"]) == {"adam", "lion"}
    assert dose_response(doses(study), study.roles, CHOICES).is_empty()
    ways = instruments(doses(study), study.roles, CHOICES)
    assert ways["levels"].unique(maintain_order=True).to_list() == ["sgd to adam", "sgd to lion"]
    assert ways["j"].null_count() == len(ways)
    line = one(ways, metric=CAUSE, response="val_loss", levels="sgd to lion")
    d = {name: by_level(study.frame, name) for name in ("val_loss", CAUSE)}
    assert line["estimate"] == pytest.approx(d["val_loss"].mean() / d[CAUSE].mean())


def by_level(rows: pl.DataFrame, column: str) -> np.ndarray:
    """Differences of lion from sgd, of logarithms where the column is `CAUSE`."""
    at = {
        level: rows.filter(penalty_nc1=level, precision="fp32").sort("width", "seed")[column]
        for level in ("lion", "sgd")
    }
    value = {name: own.log10() if column == CAUSE else own for name, own in at.items()}
    return (value["lion"] - value["sgd"]).to_numpy()


def test_missing_values_leave_their_pairs_out() -> None:
    truth = replace(MOVED, missing=0.2)
    lines = effects(truth).filter(metric=CAUSE)
    assert (lines["n"] < 18).all()
    assert all("p max-T by Holm: trainings are missing" in note for note in lines["note"])
    for count, note in lines.select("n", "note").rows():
        assert f"{18 - count} of 18 blocks lack a value at one of the two levels" in note
    study = table(truth, 0)
    trend = one(dose_response(doses(study), study.roles, CHOICES), metric=CAUSE)
    assert trend["n"] < 72  # type: ignore[operator]
    assert "with the level (p " in str(trend["note"])
    way = one(instruments(doses(study), study.roles, CHOICES), metric=CAUSE, response="val_loss")
    assert way["n"] == trend["n"]
