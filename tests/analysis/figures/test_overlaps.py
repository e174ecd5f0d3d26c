"""No text of a figure lies on another or leaves the figure, at 2 lines or 200, on any sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from intervention_studies import Truth
from intervention_studies import table as intervened
from matplotlib.figure import Figure
from null_study import null_study
from overlaps import overlaps, unreadable
from places import ROOT, SHARED
from report_study import write_study

import analysis
from analysis.figures.classes import frequencies
from analysis.figures.curves import collapse_curves
from analysis.figures.effects import effect_figure
from analysis.figures.forest import forest
from analysis.figures.layers import depth_profile
from analysis.figures.methods import methods_by_format
from analysis.figures.precision import against_bits, by_precision, change_scatter
from analysis.figures.sheets import ONE_COLUMN, PAGE, TWO_COLUMNS, Sheet, drawn_for
from analysis.figures.sweeps import against_axis
from analysis.figures.tuning import front
from analysis.reading.search_record import Objective, SearchRecord
from analysis.reading.table import Choices, DataSet, Metric, Roles
from analysis.report.page import build_report
from study.store import RunPaths

PUBLISHED = SHARED / "lc-2024_10_24.csv"
MAP = ROOT / "search_spaces" / "columns" / "linguistic_collapse_2024_10.yaml"
COLUMNS = ("val_loss", "nc1_ratio", "nc2_interference_std", "a_column_of_somebody_else")
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics={name: Metric(name) for name in COLUMNS[1:]},
    axes=("train.lr", "a_setting_of_somebody_else", "epochs"),
    architecture=(),
    unit="training",
    order="epoch",
    precision="precision",
)


def rows(count: int, levels: int) -> pl.DataFrame:
    """So many configurations with values of many digits, at three epochs and two precisions."""
    rng = np.random.default_rng(count)
    lines = [
        {
            "training": f"{number}",
            "train.lr": 10.0 ** -(number % levels) if levels < 9 else 1.2345e-5 * (1 + number),
            "a_setting_of_somebody_else": f"setting number {number % min(levels, 11)}",
            "epochs": 1 + number % 3,
            "epoch": epoch,
            "place": 1 + epoch // 5_000,
            "precision": precision,
            "bits_per_weight": bits,
            "zero_error_epoch": 5_000,
            "tuned": False,
            "curve": True,
            **{name: float(rng.normal() * 10.0 ** rng.integers(-5, 4)) for name in COLUMNS},
        }
        for number in range(count)
        for epoch in (0, 5_000, 10_000)
        for precision, bits in (("fp32", 32.0), ("int2-g128-asym", 2.2))
    ]
    return pl.DataFrame(lines)


def curves(count: int) -> Figure:
    return collapse_curves(rows(count, count), ROLES, COLUMNS, axes=ROLES.axes, floor=0.1)


def trends(count: int) -> Figure:
    return against_axis(
        rows(count, count), ROLES, "train.lr", COLUMNS, facet=None, missing={None: 1234}
    )


def bits(count: int) -> Figure:
    return against_bits(rows(count, count), ROLES, COLUMNS, axes=ROLES.axes)


def layers(count: int) -> Figure:
    return depth_profile(rows(count, count), ROLES, COLUMNS, axes=ROLES.axes)


def forests(count: int) -> Figure:
    lines = [
        {
            "panel": panel,
            "label": f"width {number}, depth 24, weight_decay 0.0005, lr {1 / (1 + number):.5g}",
            "estimate": number / count,
            "low": -0.1,
            "high": 1.0,
            "solid": True,
            "summary": number == 0,
        }
        for panel in COLUMNS
        for number in range(count)
    ]
    return forest(pl.DataFrame(lines), xlabel="correlation with the response, given the design")


def changes(count: int) -> Figure:
    rng = np.random.default_rng(0)
    parts = []
    for number in range(count):
        before = pl.DataFrame({name: rng.normal(size=3) for name in COLUMNS})
        after = {f"{name}_q": rng.normal(size=3) * 10.0 ** rng.integers(-7, 3) for name in COLUMNS}
        parts.append(
            (f"smooth-int{number}-dynamic", before.with_columns(**after, training=pl.int_range(3)))
        )
    names = [name for name, _ in parts]
    return change_scatter(parts, COLUMNS, "val_loss", unit="training", precisions=names)


def of_precisions(count: int) -> Figure:
    lines = [
        {
            "column": "val_loss",
            "precision": f"rot-gptq-int{number}-g32-asym",
            "baseline": "ft-fp32",
            "level": level,
            "estimate": 1.234e-6 * 10.0 ** (number % 7),
            "low": -1e-6,
            "high": 3e-6 * 10.0 ** (number % 7),
            "verdict": "changed",
            "margin": 1e-4,
        }
        for number in range(count)
        for level in ("", "weight_decay 0.0005", "weight_decay 0.1")
    ]
    return by_precision(pl.DataFrame(lines), "val_loss")


def methods(count: int) -> Figure:
    lines = [
        {
            "model": model,
            "method": f"rot-smooth-gptq-{number}",
            "format": name,
            "change": 0.1 * number - 1e-4,
            "least": -1e-4,
            "largest": 0.2 * number + 1e-3,
        }
        for model in ("gpt_neo", "mobilenet_v3", "convnext")
        for number in range(count)
        for name in ("int3-g32-asym", "int4")
    ]
    return methods_by_format(pl.DataFrame(lines), "val_accuracy")


def effects(count: int) -> Figure:
    lines = [
        {"metric": metric, "axis": axis, "effect": 1.5, "low": 1.0, "high": 12.0, "p_maxt": 0.01}
        for metric in COLUMNS
        for axis in [f"log train_setting_{number}" for number in range(count)]
    ]
    return effect_figure(pl.DataFrame(lines))


def fronts(count: int) -> Figure:
    trials = pl.DataFrame(
        {
            "trial": range(1000, 1000 + count),
            "state": "complete",
            "holds": True,
            "nc1_ratio": [1.0 + number / count for number in range(count)],
            "val_loss": [2.0 - (number / count) ** 2 for number in range(count)],
        }
    )
    objectives = (Objective("nc1_ratio", lower=True), Objective("val_loss", lower=True))
    best = tuple(trials["trial"])
    return front(SearchRecord(RunPaths(Path("none")), objectives, (), trials, best, None))


def classes(count: int) -> Figure:
    table = pl.DataFrame({"class": [0, 1], "name": ["a", "b"], "samples": [123_456, 7]})
    names = [f"python-docs, tokenizer bpe:{number}" for number in range(count)]
    return frequencies([DataSet(name, {}, {}, table) for name in names])


DRAWN: tuple[tuple[Callable[[int], Figure], tuple[int, ...]], ...] = (
    (curves, (2, 200)),
    (trends, (2, 200)),
    (bits, (2, 200)),
    (layers, (2, 200)),
    (forests, (2, 60)),
    (changes, (2, 40)),
    (of_precisions, (1, 40)),
    (methods, (2, 20)),
    (effects, (1, 7)),
    (fronts, (2, 60)),
    (classes, (2, 8)),
)
SHEETS = (PAGE, TWO_COLUMNS, ONE_COLUMN)
FAST = (
    (curves, 200),
    (trends, 2),
    (changes, 40),
    (of_precisions, 1),
    (effects, 7),
    (fronts, 60),
    (classes, 8),
)
"""What is drawn at once, one column wide; all else takes longer."""


def cases() -> Iterator[Any]:
    for draw, counts in DRAWN:
        for count, chosen in product(counts, SHEETS):
            fast = (draw, count) in FAST and chosen == ONE_COLUMN
            marks = () if fast else pytest.mark.long
            name = f"{draw.__name__}-{count}-{chosen.name}"
            yield pytest.param(draw, count, chosen, id=name, marks=marks)


@pytest.mark.parametrize(("draw", "count", "chosen"), list(cases()))
def test_no_text_lies_on_another(draw: Callable[[int], Figure], count: int, chosen: Sheet) -> None:
    with drawn_for(chosen):
        figure = draw(count)
    assert overlaps(figure) == []


def test_texts_that_cannot_be_read_are_found() -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "one")
    assert overlaps(figure) == []
    figure.text(0.12, 0.52, "other")
    figure.text(0.9, 0.1, "long text")
    assert overlaps(figure) == ["'long text' leaves the figure", "'one' on 'other'"]
    axis = figure.add_axes((0.3, 0.7, 0.1, 0.2))
    axis.set_xticks(range(5), ["10000"] * 5)
    assert sum("'10000' on '10000'" in fault for fault in overlaps(figure)) >= 4
    axis.set_xlim(-0.5, 0.5)  # all ticks but one are beyond it
    assert not any("'10000' on '10000'" in fault for fault in overlaps(figure))


@pytest.mark.long
@pytest.mark.parametrize("name", ["linked", "axes", "interventions", "scale", "published"])
def test_every_figure_of_a_report_can_be_read(name: str, tmp_path: Path) -> None:
    report = partial(analysis.report, permutations=50, bootstrap=50)
    path = tmp_path / "rows.parquet"
    if name == "linked":
        page = report(write_study(path, 1.5))
    elif name == "axes":
        null_study("inverse", 0).write_parquet(path)
        page = report(path)
    elif name == "interventions":
        page = build_report(intervened(Truth(first=-0.8), 0), Choices(50, 50))
    elif name == "scale":
        page = report(ROOT / "runs" / "scale")
    else:
        if not PUBLISHED.exists():
            pytest.skip(f"the published measurements are not at {PUBLISHED}")
        page = report(PUBLISHED, columns=MAP)
    assert unreadable(page, SHEETS) == {}
