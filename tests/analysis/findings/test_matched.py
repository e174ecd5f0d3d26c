"""Levels at equal training loss, on studies whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests

from analysis.findings.changes import CHANGED
from analysis.findings.matched import matched
from analysis.findings.verdicts import INADEQUATE, PRIMARY
from analysis.reading.interventions import matched_axis
from analysis.reading.mapping import MatchedAxis
from analysis.reading.table import AnalysisError, Choices, Matched, Metric, Roles, Table
from analysis.report.page import build_report
from analysis.statistics.decide import CANNOT_REJECT

CHOICES = Choices(permutations=999)
METRICS = {
    "nc1_ratio": Metric("nc1_ratio", "NC1", "lower", heavy_tailed=True),
    "nc3_cosine_mean": Metric("nc3_cosine_mean", "NC3", "higher"),
}
AXIS = Matched("train.optimizer", "optimizer", "adamw", ("adam",), ("decay",))
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower", "train_loss": "lower"},
    metrics=METRICS,
    axes=("width", "optimizer", "decay"),
    architecture=("width",),
    unit="training",
    seed="seed",
    primary=tuple(METRICS),
    matched=AXIS,
)


def study(
    *,
    offset: float = 0.0,
    lower: float = 0.3,
    seeds: int = 8,
    widths: tuple[int, ...] = (8,),
    start: int = 0,
) -> Table:
    """Trainings whose nc1_ratio follows train_loss, in adam `offset` decades above adamw.

    adam ends `lower` decades of loss below adamw; nc3_cosine_mean is noise.
    """
    rng = np.random.default_rng(start)
    rows: list[dict[str, Any]] = []
    for width in widths:
        for optimizer in ("adamw", "adam"):
            for seed in range(seeds):
                for decay in range(4):
                    own = optimizer == "adam"
                    x = -2 + 0.3 * decay - lower * own + 0.02 * rng.standard_normal()
                    log_ratio = 0.5 * x + offset * own + 0.02 * rng.standard_normal()
                    rows.append(
                        {
                            "training": f"{width}-{optimizer}-{seed}-{decay}",
                            "width": width,
                            "optimizer": optimizer,
                            "decay": decay + 10 * own,
                            "seed": seed,
                            "train_loss": 10**x,
                            "val_loss": 1 + 0.1 * rng.standard_normal(),
                            "nc1_ratio": 10**log_ratio,
                            "nc3_cosine_mean": 0.9 + 0.01 * rng.standard_normal(),
                        }
                    )
    return Table(pl.DataFrame(rows), ROLES, "made")


def one(lines: pl.DataFrame, **values: object) -> dict[str, Any]:
    (line,) = lines.filter(**values).to_dicts()
    return line


def test_what_follows_the_loss_alone_does_not_differ() -> None:
    table = study()
    raw = table.frame.group_by("optimizer").agg(pl.col("nc1_ratio").log10().mean())
    assert abs(raw["nc1_ratio"][0] - raw["nc1_ratio"][1]) > 0.1
    lines = matched(table, ["val_loss", *METRICS])
    line = one(lines, metric="nc1_ratio")
    assert line["verdict"] != CHANGED
    assert line["low"] < 0 < line["high"]
    assert one(lines, metric="nc3_cosine_mean")["verdict"] != CHANGED


def test_a_known_ratio_is_found_with_its_size() -> None:
    line = one(matched(study(offset=0.2), list(METRICS)), metric="nc1_ratio")
    assert line["verdict"] == CHANGED
    assert line["ratio_low"] < 10**0.2 < line["ratio_high"]
    assert line["family"] == PRIMARY
    assert line["n"] == 8


def test_difference_of_a_seed_is_that_of_the_analysis_of_covariance() -> None:
    table = study(offset=0.1, seeds=1)
    line = one(matched(table, ["nc1_ratio"]), metric="nc1_ratio")
    frame = table.frame
    level = (frame["optimizer"] == "adam").cast(pl.Float64).to_numpy()
    x = frame["train_loss"].log10().to_numpy()
    design = np.column_stack([np.ones(len(x)), level, x])
    fit = sm.OLS(frame["nc1_ratio"].log10().to_numpy(), design).fit()
    assert line["estimate"] == pytest.approx(fit.params[1], rel=1e-9)
    assert line["verdict"] == CANNOT_REJECT


def test_lines_are_t_tests_of_the_seeds_adjusted_by_holm() -> None:
    table = study(offset=0.02)
    lines = matched(table, list(METRICS))
    differences = [
        matched(Table(table.frame.filter(seed=seed), ROLES, "made"), list(METRICS))
        for seed in range(8)
    ]
    for place, line in enumerate(lines.to_dicts()):
        d = [each["estimate"][place] for each in differences]
        test = scipy.stats.ttest_1samp(d, 0)
        assert line["p"] == pytest.approx(test.pvalue, rel=1e-9)
        low, high = test.confidence_interval(0.95)
        assert (line["low"], line["high"]) == pytest.approx((low, high), rel=1e-9)
    _, adjusted, *_ = multipletests(lines["p"].to_numpy(), method="holm")
    assert lines["p_holm"].to_list() == pytest.approx(adjusted.tolist())


@pytest.mark.long
def test_null_studies_are_rejected_as_often_as_asked() -> None:
    """Of 1,000 studies without a difference at equal loss, in each of which levels differ in it."""
    rejected = [
        one(matched(study(seeds=6, start=number), ["nc1_ratio"]), metric="nc1_ratio")["p"] <= 0.05
        for number in range(1000)
    ]
    assert 0.03 < np.mean(rejected) < 0.07


def test_losses_that_do_not_meet_are_no_control() -> None:
    line = one(matched(study(offset=0.2, lower=2.0), ["nc1_ratio"]), metric="nc1_ratio")
    assert line["verdict"] == INADEQUATE
    assert line["within"] == 0
    assert line["note"].endswith("lies among those of adamw in 0% of the seeds")


def test_groups_agree_in_axes_that_are_not_free() -> None:
    lines = matched(study(widths=(8, 16)), ["nc1_ratio"])
    assert lines["group"].to_list() == ["8", "16"]
    assert lines["n"].to_list() == [8, 8]


def test_report_says_which_metric_differs() -> None:
    report = build_report(study(offset=0.2), CHOICES, only=("matched",))
    (text,) = [each.text for each in report.summary if each.section == "matched"]
    assert text.startswith("adam against adamw differs in nc1_ratio (times 1.")
    (first,) = report.sentences
    assert first.title == "train.optimizer at equal train_loss: changed"
    assert "nc1_ratio differs in 1 of 1 (times 1." in first.text
    assert "nc3_cosine_mean differs in 0 of 1" in first.text
    absent = build_report(study(), CHOICES, only=("matched",))
    assert "differs in 0 of 1" in absent.sentences[0].text
    far = build_report(study(offset=0.2, lower=2.0), CHOICES, only=("matched",))
    assert far.sentences[0].title.endswith("control inadequate")
    (text,) = [each.text for each in absent.summary if each.section == "matched"]
    assert "differs" not in text


def test_unknown_axes_are_named_and_planned_ones_waited_for() -> None:
    frame = study().frame
    declared = MatchedAxis(axis="train.optimizer", baseline="adamw", free=["decay", "train.beta"])
    with pytest.raises(AnalysisError, match=r"matched: 'train.beta' is no axis"):
        matched_axis(frame, ROLES, declared, ())
    axis = matched_axis(frame, ROLES, declared, ("beta",))
    assert axis == AXIS
    later = declared.model_copy(update={"baseline": "sgd"})
    assert matched_axis(frame, ROLES, later, ("beta",)) is None
