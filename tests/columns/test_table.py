"""What columns are called: every entry is complete, readable and held to the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
from matplotlib.mathtext import MathTextParser
from places import ROOT
from torch import Tensor

from study.columns import METRICS, Metric, Quantity, label, noun
from study.columns.attacks import ROBUST
from study.columns.document import document
from study.columns.metric import LONGEST_NAME
from study.columns.settings import SETTINGS
from study.columns.sources import OURS, STANDARD
from study.config import COLUMN_KINDS
from study.metrics import (
    ClassMoments,
    OodScorer,
    OtherData,
    ScoredSamples,
    collapse_metrics,
    held_out_collapse,
    imbalance_geometry,
    minority_collapse,
    ood_metrics,
    ray_share,
)

PAGE = ROOT / "docs" / "metrics.md"
QUANTITIES: dict[str, Quantity] = {**SETTINGS, **METRICS}
COLLAPSE = re.compile("NC|GNC|UNC|NRC|ONC")  # beginnings of families that need a formula
COMMANDS = re.compile(
    "mathrm|neq|geq|frac|sum|sqrt|overline|bar|hat|log|exp|cos|arg|min|max|Vert|[lr]angle|dagger|mu|"
    "tau|Sigma|Delta|theta|eta|lambda|beta|epsilon|gamma"
)
"""What both LaTeX without packages and mathtext know; add to it what both do."""


def faults(column: str, metric: Metric) -> list[str]:
    """What an entry of the table lacks, each with what to do."""
    lines = []
    if COLLAPSE.match(metric.family) and not metric.formula:
        lines.append("give `formula`, the definition in LaTeX")
    if not metric.symbol and metric.range != "text":
        lines.append("give `symbol`, a short sign in LaTeX")
    if metric.range != "text":
        try:
            low, high = metric.bounds
        except ValueError as error:
            lines.append(f"range: {error}")
        else:
            if not low < high:
                lines.append(f"range {metric.range}: the lower end comes first")
    if not re.fullmatch("R?T?S?", metric.invariances):
        lines.append(f"invariances {metric.invariances!r}: letters of RTS in this order")
    if not re.search(r"\b(19|20)\d\d\b", metric.citation) and not metric.citation.startswith(
        (OURS, STANDARD)
    ):
        lines.append(f"citation {metric.citation!r}: name author and year, and arXiv or pages")
    if not metric.description or metric.description.endswith("."):
        lines.append("description: one line without a full stop")
    return [f"{column}: {line}" for line in lines]


def naming_faults(column: str, quantity: Quantity) -> list[str]:
    """What is wrong with a name, a symbol or a unit."""
    lines = []
    if not 0 < len(quantity.name) <= LONGEST_NAME:
        lines.append(f"name {quantity.name!r}: 1 to {LONGEST_NAME} characters")
    if re.search(r"[_%&#$\\{}~^|]", quantity.name + quantity.unit):
        lines.append(f"name {quantity.name!r}: letters that LaTeX takes as they are")
    for text in (quantity.symbol, getattr(quantity, "formula", "")):
        commands = re.findall(r"\\([A-Za-z]+)", text)
        if unknown := [name for name in commands if not COMMANDS.fullmatch(name)]:
            lines.append(f"{text!r}: {unknown} are not known to LaTeX and mathtext alike")
    return [f"{column}: {line}" for line in [*lines, *mathtext_faults(quantity.symbol)]]


def mathtext_faults(text: str) -> list[str]:
    """Why matplotlib does not take a formula."""
    try:
        MathTextParser("path").parse(f"${text}$" if text else "")
    except ValueError as error:
        return [f"{text!r}: {str(error).splitlines()[-1]}"]
    return []


def test_every_metric_says_what_it_is() -> None:
    lines = [line for column, metric in METRICS.items() for line in faults(column, metric)]
    assert lines == [], "in study/columns/ (CONTRIBUTING.md, the recipe of a metric)"


def test_names_and_symbols_can_be_printed() -> None:
    lines = [line for column, each in QUANTITIES.items() for line in naming_faults(column, each)]
    assert lines == [], "in study/columns/"


@pytest.mark.long
def test_mathtext_takes_every_formula() -> None:
    assert [fault for each in METRICS.values() for fault in mathtext_faults(each.formula)] == []


def test_no_two_columns_share_a_name() -> None:
    names = Counter(quantity.name for quantity in QUANTITIES.values())
    symbols = Counter(metric.symbol for metric in METRICS.values() if metric.symbol)
    assert [name for name, count in (names + symbols).items() if count > 1] == []


def test_a_bad_entry_is_told_with_its_remedy() -> None:
    metric = Metric("NC9", None, "review", "", name="x_1", symbol=r"\foo", range="0 to 1")
    text = "\n".join(faults("nc9", metric) + naming_faults("nc9", metric))
    for part in ("`formula`", "range: '0 to 1'", "author and year", "one line", "'x_1'", "foo"):
        assert part in text


def test_settings_are_columns_of_rows() -> None:
    known = {*COLUMN_KINDS, "n_params", "epoch", "step", "tokens", "layer", "attack", "training"}
    assert SETTINGS.keys() - known == {"val_loss_above_floor", *ROBUST}


def test_labels_have_units_and_other_peoples_columns_their_own_name() -> None:
    assert label("val_loss") == "validation loss (nats)" != noun("val_loss")
    assert label("weight_decay") == noun("weight_decay") == "weight decay"
    assert noun("train.lr") == noun("lr") and noun("train.precision") == noun("train_precision")
    assert noun("their.x") == "their.x"
    assert label("their_nc1") == noun("their_nc1") == "their_nc1"


def test_the_page_is_the_generators_output() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run: python -m study.columns > docs/metrics.md"
    )


def test_the_module_prints_the_page_without_torch() -> None:
    code = (
        "import runpy, sys; runpy.run_module('study.columns', run_name='__main__'); "
        "assert not {'torch', 'pydantic', 'polars'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == document()


CLASSES, DIM = 12, 16


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SIZES = torch.tensor([8, 8, 8, 9, 10, 10, 20, 20, 30, 40, 40, 40])
LABELS = torch.arange(CLASSES).repeat_interleave(SIZES)
MEANS = 3 * drawn(CLASSES, DIM, seed=1) + 1
FEATURES = MEANS[LABELS] + drawn(len(LABELS), DIM, seed=2)
HELD_OUT = MEANS[LABELS] + drawn(len(LABELS), DIM, seed=3)
OTHER = 2 * drawn(50, DIM, seed=4) + 1
WEIGHT = MEANS + drawn(CLASSES, DIM, seed=5)
BIAS = 30 * drawn(CLASSES, seed=8)


def measured(change: str) -> dict[str, float]:
    """Columns after a rotation, translation or scaling; "" for none."""
    rotation = torch.linalg.qr(drawn(DIM, DIM, seed=6)).Q if change == "R" else torch.eye(DIM)
    rotation = rotation.to(FEATURES.dtype)
    shift = 5 * drawn(DIM, seed=7) if change == "T" else 0.0
    factor = 2.5 if change == "S" else 1.0

    def moments(features: Tensor, labels: Tensor, classes: int = CLASSES) -> ClassMoments:
        sums = ClassMoments(classes, DIM, scatter=True)
        sums.update(features, labels)
        return sums

    def moved(features: Tensor) -> Tensor:
        return factor * features @ rotation + shift

    m, weight = moments(moved(FEATURES), LABELS), WEIGHT @ rotation
    other = moments(moved(OTHER), torch.zeros(len(OTHER), dtype=torch.int64), 1)
    scorer = OodScorer(m, min_count=2)
    inside, outside = ScoredSamples(scorer.reasons), ScoredSamples(scorer.reasons)
    for samples, features in ((inside, HELD_OUT), (outside, OTHER)):
        logits = moved(features) @ weight.T + BIAS
        samples.update(scorer.score(moved(features), logits))
    parts = [
        collapse_metrics(m, weight, min_count=2),
        held_out_collapse(m, moments(moved(HELD_OUT), LABELS), min_count=2),
        imbalance_geometry(m, weight, SIZES, min_count=2),
        minority_collapse(m, weight, SIZES, min_count=2),
        ood_metrics(m, inside, {"other": OtherData(other, outside)}, min_count=2),
        ray_share(moved(FEATURES), LABELS, min_count=2),
    ]
    return {name: value for part in parts for name, value in part.items() if value is not None}


def test_values_lie_in_the_range_that_the_table_gives() -> None:
    values = measured("")
    assert len(values) > 45
    outside = {
        name: value
        for name, value in values.items()
        if not METRICS[name].bounds[0] <= value <= METRICS[name].bounds[1]
    }
    assert outside == {}


@pytest.mark.parametrize("change", ["R", "T", "S"])
def test_exactly_the_invariances_of_the_table_hold(change: str) -> None:
    still, moved = measured(""), measured(change)
    assert still.keys() - moved.keys() <= {"nc2_log_equinorm"}  # log-norms of both signs
    unchanged = {name for name in moved if moved[name] == pytest.approx(still.get(name), rel=1e-8)}
    assert unchanged == {name for name in moved if change in METRICS[name].invariances}
