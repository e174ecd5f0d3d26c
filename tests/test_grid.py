"""The grid: cells, stable keys, trainings shared by precisions, plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from study.config import COLUMNS, study_from
from study.data import Estimate
from study.grid import Cell, Cost, cost, expand, plan, trainings
from study.models.transformer_config import GPTNeoModel
from study.settings.base import Settings
from study.settings.schema import column_names, flat, plain

BASE = """
name: base
data: {kind: text, source: python-docs}
model: {kind: gpt_neo, heads: 4}
train: {lr: 1e-3}
grid: {width: [32], depth: [1], epochs: [1]}
"""


def cells(**changes: Any) -> tuple[Cell, ...]:
    content = yaml.safe_load(BASE)
    for key, value in changes.items():
        both = isinstance(content.get(key), dict) and isinstance(value, dict)
        content[key] = {**content[key], **value} if both else value
    return expand(study_from(content, folder=Path("/nowhere"), source="test"))


def gpt(cell: Cell) -> GPTNeoModel:
    """The settings of a cell's model."""
    assert isinstance(cell.config.model, GPTNeoModel)
    return cell.config.model


def test_grid_is_the_product_of_its_axes_in_order() -> None:
    grid_cells = cells(grid={"width": [32, 64], "epochs": [1, 2, 3], "seed": [0, 1]})
    assert len(grid_cells) == 12
    assert [(gpt(c).width, c.config.train.epochs, c.config.seed) for c in grid_cells[:3]] == [
        (32, 1, 0),
        (32, 1, 1),
        (32, 2, 0),
    ]


def test_grids_unite_without_duplicates() -> None:
    grid_cells = cells(
        grid=[
            {"width": [32, 64], "depth": [1], "epochs": [1]},
            {"width": [64], "depth": [1, 2], "epochs": [1]},
        ]
    )
    assert sorted((gpt(c).width, gpt(c).depth) for c in grid_cells) == [
        (32, 1),
        (64, 1),
        (64, 2),
    ]


def test_precisions_share_one_training_and_seeds_do_not() -> None:
    grid_cells = cells(grid={"precision": ["fp32", "int8", "int4-g32"], "seed": [0, 1]})
    groups = trainings(grid_cells)
    assert [len(group.cells) for group in groups] == [3, 3]
    assert len({cell.key for cell in grid_cells}) == 6


def test_measuring_differently_is_another_cell_of_the_same_training() -> None:
    grid_cells = cells(grid={"measure.min_count": [1, 10]})
    assert len({cell.key for cell in grid_cells}) == 2
    assert len({cell.training_key for cell in grid_cells}) == 1


def test_where_it_runs_is_no_part_of_the_key() -> None:
    here = cells(resources={"cpus": 1}, keep="all")[0]
    there = cells(resources={"cpus": 2, "gpus": 0.5}, keep="none")[0]
    assert here.key == there.key
    assert here != there


def test_a_default_written_out_changes_no_key() -> None:
    assert cells()[0].key == cells(train={"weight_decay": 0.0, "init_seed": 0}, seed=0)[0].key


def test_seeds_follow_the_seed_unless_given() -> None:
    train_config = cells(grid={"seed": [3]})[0].config.train
    assert (train_config.init_seed, train_config.shuffle_seed) == (3, 3)
    train_config = cells(grid={"seed": [3]}, train={"init_seed": 7})[0].config.train
    assert (train_config.init_seed, train_config.shuffle_seed) == (7, 3)


def test_a_cell_takes_only_the_options_its_precision_uses() -> None:
    plain_cell, other = cells(), cells(precision_options={"qat": {"epochs": 5}})
    assert plain_cell[0].key == other[0].key
    tuned = cells(grid={"precision": ["qat-int4"]})
    longer = cells(grid={"precision": ["qat-int4"]}, precision_options={"qat": {"epochs": 5}})
    assert tuned[0].key != longer[0].key
    assert tuned[0].training_key == longer[0].training_key == plain_cell[0].training_key
    assert longer[0].settings()["qat_epochs"] == 5
    assert "qat_epochs" not in plain_cell[0].settings()


def test_a_field_added_later_changes_no_key_while_neutral() -> None:
    class Before(Settings):
        width: int = 3

    class After(Settings):
        width: int = 3
        dropout: float = Field(default=0.0, json_schema_extra={"neutral": 0.0})

    assert plain(Before()) == plain(After())
    assert plain(After(dropout=0.5)) == {"width": 3, "dropout": 0.5}


class Part(Settings):
    draws: int = 10


class Whole(Settings):
    width: int = 3
    part: Part | None = Field(default=None, json_schema_extra={"neutral": None})


def test_a_group_that_is_null_has_no_settings_and_changes_no_key() -> None:
    assert plain(Whole()) == flat(Whole()) == {"width": 3}
    assert plain(Whole(part=Part())) == {"width": 3, "part": {"draws": 10}}
    assert flat(Whole(part=Part())) == {"width": 3, "part.draws": 10}


def test_rules_change_settings_of_some_cells() -> None:
    rules = [{"when": {"depth": [8, 12]}, "set": {"train.batch_size": 4, "resources.gpus": 1}}]
    grid_cells = cells(grid={"depth": [1, 8, 12]}, rules=rules)
    assert [(c.config.train.batch_size, c.resources.gpus) for c in grid_cells] == [
        (16, 0.0),
        (4, 1.0),
        (4, 1.0),
    ]


class Inner(Settings):
    head: float = 0.0
    rate: float = 0.0


class Outer(Settings):
    rate: float = 0.0
    inner: Inner = Inner()


class Root(Settings):
    head: str = "learned"
    train: Outer = Outer()


def test_columns_of_sections_apart_are_paths_and_change_no_other() -> None:
    counted = column_names(Root)
    assert [counted["train.rate"], counted["train.inner.head"]] == [
        "train_rate",
        "train_inner_head",
    ]
    apart = column_names(Root, apart=("train.inner",))
    assert apart == {
        "head": "head",
        "train.rate": "rate",
        "train.inner.head": "inner_head",
        "train.inner.rate": "inner_rate",
    }


def test_columns_are_leaf_names_where_unique() -> None:
    expected = {
        "train.lr": "lr",
        "train.weight_decay": "weight_decay",
        "train.epochs": "epochs",
        "model.width": "width",
        "train.precision": "train_precision",
        "precision": "precision",
        "seed": "seed",
        "data.seed": "data_seed",
        "data.kind": "data_kind",
        "measure.train_tokens": "measure_train_tokens",
    }
    assert {path: COLUMNS[path] for path in expected} == expected
    assert len(set(COLUMNS.values())) == len(COLUMNS)


def test_a_cell_survives_the_way_to_a_worker() -> None:
    cell = cells(
        grid={"precision": ["qat-int4-g32"], "train.schedule": ["cosine"], "measure.at": [[1, 2]]}
    )[0]
    again = Cell.from_json(cell.to_json())
    assert again == cell
    assert again.key == cell.key


SIZE = Estimate(
    train_rows=10, train_samples=1_000, val_samples=100, classes=50_257, input_shape=(127,)
)


def test_plan_leaves_out_what_is_done_or_failed() -> None:
    grid_cells = cells(grid={"precision": ["fp32", "int8"], "seed": [0, 1, 2]})
    done = {grid_cells[0].key, grid_cells[2].key, grid_cells[3].key}
    seen = plan(grid_cells, done=done, failed={grid_cells[4].key}, size=lambda cell: SIZE)
    assert [[cell.key for cell in t.cells] for t in seen.pending] == [
        [grid_cells[1].key],
        [grid_cells[5].key],
    ]
    assert seen.retrained == {grid_cells[5].training_key}
    assert seen.measured_only == set()
    measured_plan = plan(
        grid_cells, done=done, has_checkpoints=lambda training: True, size=lambda cell: SIZE
    )
    assert measured_plan.retrained == set()
    assert all(measured_plan.costs[key].tokens == 0 for key in measured_plan.measured_only)


@pytest.mark.parametrize(
    ("width", "depth", "millions"),
    [
        (64, 1, 3.4),
        (1024, 12, 205),
    ],  # Wu & Papyan 2024: "Our models range from 3.4M (small) to 205M (large)"
)
def test_cost_counts_the_parameters_that_the_paper_states(
    width: int, depth: int, millions: float
) -> None:
    cell = cells(model={"heads": 16}, grid={"width": [width], "depth": [depth], "epochs": [2]})[0]
    price = cost(trainings([cell])[0], SIZE)
    assert price.parameters is not None
    assert price.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert price.tokens == 2 * 10 * 127  # two epochs of ten rows of 127 tokens, 100 of them samples
    # at each epoch 0, 1, 2: samples of the training subset 1,000, validation 100;
    # 1.27 tokens each
    assert price.flops == pytest.approx(price.parameters * (6 * 2_540 + 2 * 3 * 1_100 * 1.27))
    assert price.disk == 4 * price.parameters * 3


def test_cost_counts_the_fine_tuning_of_every_measured_checkpoint() -> None:
    """Two precisions, each fine-tuned for two epochs at each of epochs 0, 1, 2.

    Beside two epochs of training.
    """
    options = {"precision_options": {"qat": {"epochs": 2}}}
    axes = {"width": [64], "depth": [1], "epochs": [2], "seed": [0]}
    plain, tuned = (
        cost(
            trainings(cells(model={"heads": 16}, grid={**axes, "precision": names}, **options))[0],
            SIZE,
        )
        for names in (["int4", "int3"], ["qat-int4", "ft-fp32"])
    )
    assert plain.flops is not None and tuned.flops is not None and plain.parameters is not None
    assert tuned.flops - plain.flops == pytest.approx(6 * plain.parameters * 2 * 2 * 3 * 1_270)
    assert tuned.tokens == plain.tokens


def test_cost_counts_the_passes_of_attacks_and_adversaries() -> None:
    def flops(measure: dict[str, Any] | None = None, **train: Any) -> float:
        """FLOPs over parameters of three epochs, with two measured checkpoints."""
        changes = {"train": {"epochs": 3, **train}, "measure": {"at": "last", **(measure or {})}}
        given = cells(grid={"epochs": [3], "width": [32], "depth": [1]}, **changes)
        of = cost(trainings(given)[0], SIZE)
        assert of.flops is not None and of.parameters is not None
        return of.flops / of.parameters

    # An attack takes a pass and a gradient a step, and four passes around them, of the validation
    # samples and of so many of training.
    attack = {"attack": {"kind": "pgd", "eps": 0.1, "steps": 7}, "agreement_samples": 500}
    read = 1_270 / 1_000  # tokens that a model reads for a sample
    assert flops(attack) - flops() == pytest.approx(2 * 2 * read * (500 + 100) * (2 * 7 + 4))
    for kind, more in (("pgd", 4 * 7), ("trades", 4 * 7 + 6 + 2)):
        adversary = {"kind": kind, "eps": 0.1, "steps": 7}
        assert flops(adversary=adversary) - flops() == pytest.approx(3 * 1_270 * more)
    assert flops(adversary={"kind": "trades", "eps": 0}) == flops()


def test_cost_counts_phases_probes_and_derivatives() -> None:
    """Of three classes of 20, 30 and 50 images, and a probe of 70."""
    size = Estimate(100, 100, 40, 3, (1, 8, 8), class_counts=(20, 30, 50), probe_samples=70)
    phases = [{"classes": [2, 0], "epochs": 1}, {"classes": [1], "epochs": 3}]

    def of(size: Estimate, train: dict[str, Any], **measure: Any) -> Cost:
        content = {
            "name": "images",
            "data": {"kind": "images", "held_out_classes": [8, 9]},
            "model": {"kind": "mlp", "width": 16, "depth": 1},
            "train": {"epochs": 4, **train},
            "measure": {"at": [1], "initial": "never", **measure},
        }
        study = study_from(content, folder=Path(), source="test")
        return cost(trainings(expand(study))[0], size)

    plain = replace(size, probe_samples=0)
    before, later = of(plain, {}), of(plain, {"phases": phases})
    assert (before.tokens, later.tokens) == (4 * 100, 20 + 50 + 3 * 30)
    # Beside both splits each of two checkpoints sees the probe, and 9 images once forwards and
    # once backwards for each of 16 features.
    probe, asked = {"data": "held_out"}, {"complexity_samples": 9}
    for of_size, measure, passes in ((size, {"probe": probe}, 70), (plain, asked, 9 * 17)):
        after = of(of_size, {}, **measure).measuring_flops
        assert after is not None and before.measuring_flops and before.parameters
        assert after - before.measuring_flops == 2 * before.parameters * 2 * passes
    unknown = of(replace(size, probe_samples=None), {}, probe=probe)
    assert unknown.measuring_flops is None and unknown.parameters == before.parameters


GOLDEN = {
    "fp32": ("82800d365316f9538c0d2f95785fcded", "caecfcd4577010c15e9a7a0a605da02c"),
    "int4-g32": ("3bab7b240deca5df752df42743ee8435", "caecfcd4577010c15e9a7a0a605da02c"),
    "qat-int4": ("8de0bcd659589924b9acbe2c2306e45b", "caecfcd4577010c15e9a7a0a605da02c"),
}


@pytest.mark.parametrize("precision", sorted(GOLDEN))
def test_keys_are_what_they_were(precision: str) -> None:
    """Golden keys: computed once by this code.

    They change only with `DEFINITIONS`, or every store would be orphaned.
    """
    cell = cells(
        grid={"precision": [precision], "seed": [3]}, measure={"at": "log", "min_count": 5}
    )[0]
    assert (cell.key, cell.training_key) == GOLDEN[precision]
