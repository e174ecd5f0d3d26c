"""Search files: every fault at once, and what a space suggests.

A fault has its path, the offending value and a remedy.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from places import ROOT
from tiny_search import hunt, search_of, write_search

from study.launch import main as launch
from study.search.config import load_search, search_from
from study.search.space import FAMILIES, Space, read_space
from study.settings.faults import StudyError
from study.settings.schedule import Schedule
from study.tune import main


def faults(content: dict[str, Any]) -> list[str]:
    with pytest.raises(StudyError) as caught:
        search_of(content)
    return [str(fault) for fault in caught.value.faults]


def space(**ranges: Any) -> dict[str, Any]:
    return hunt(space={name.replace("__", "."): value for name, value in ranges.items()})


def schedule(**families: Any) -> dict[str, Any]:
    return space(train__schedule=families)


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (
            hunt(objective={"nc1_ration": "minimize"}),
            "search.objective.nc1_ration",
            "Did you mean `nc1_ratio`",
        ),
        (hunt(objective={"nc1_ratio": "small"}), "search.objective.nc1_ratio", "'small'"),
        (hunt(objective={}), "search.objective", "{}"),
        (
            hunt() | {"analysis": {"primary": ["nc1_ration"]}},
            "analysis.primary[0]",
            "Did you mean `nc1_ratio`",
        ),
        (
            hunt() | {"analysis": {"margin": {"val_los": 0.1}}},
            "analysis.margin.val_los",
            "Did you mean `val_loss`",
        ),
        (hunt() | {"analysis": {"margin": {"val_loss": 0}}}, "analysis.margin.val_loss", "0"),
        (
            hunt(constraints=["train_acuracy >= 0.9"]),
            "search.constraints[0]",
            "Did you mean `train_accuracy`",
        ),
        (
            hunt(constraints=["train_accuracy > 0.9"]),
            "search.constraints[0]",
            "Write `train_accuracy >= 0.99`",
        ),
        (hunt(constraints=["train_accuracy >= high"]), "search.constraints[0]", "high"),
        (hunt(trials=0), "search.trials", "0"),
        (hunt(trials=10**12), "search.trials", "20000"),
        (hunt(trails=3), "search.trails", "Did you mean `trials`"),
        (hunt(sampler="tpee"), "search.sampler", "'tpee'"),
        (hunt(confirm=5), "search.confirm", "6 to 20"),
        (hunt(confirm=21), "search.confirm", "6 to 20"),
        (
            hunt(pruning="median", objective=dict.fromkeys(["nc1_ratio", "val_loss"], "minimize")),
            "search.pruning",
            "one",
        ),
        (hunt(space={}), "search.space", "{}"),
        (space(train__lrr={"log": [1, 2]}), "search.space.train.lrr", "Did you mean `train.lr`"),
        (space(seed={"int": [1, 2]}), "search.space.seed", "Seeds"),
        (space(train__lr=[1, 2]), "search.space.train.lr", "Write `{float: [low, high]}`"),
        (space(train__lr={"lgo": [1, 2]}), "search.space.train.lr", "Did you mean `log`"),
        (space(train__lr={"log": [0, 2]}), "search.space.train.lr.log", "above 0"),
        (space(train__lr={"log": [2, 1]}), "search.space.train.lr.log", "must come first"),
        (space(train__lr={"float": [1]}), "search.space.train.lr.float", "two ends"),
        (space(train__lr={"float": ["a", 1]}), "search.space.train.lr.float", "numbers"),
        (space(train__lr={"float": [0.1, float("inf")]}), "search.space.train.lr.float", "finite"),
        (space(train__lr={"float": [-1, 1]}), "search.space.train.lr", "-1.0"),
        (space(train__epochs={"int": [1, True]}), "search.space.train.epochs.int", "whole numbers"),
        (space(train__epochs={"int": [0, 3]}), "search.space.train.epochs", "is 0"),
        (space(train__loss={"choice": []}), "search.space.train.loss.choice", "List the values"),
        (space(train__loss={"choice": ["mse", "mse"]}), "search.space.train.loss.choice", "twice"),
        (space(train__loss={"choice": ["mse", "mze"]}), "search.space.train.loss", "'mze'"),
        (
            space(train__schedule__floor={"float": [0, 1]}),
            "search.space.train.schedule.floor",
            "Write it below",
        ),
        (space(train__schedule="cosine"), "search.space.train.schedule", "families by name"),
        (schedule(cosin={}), "search.space.train.schedule.cosin", "Did you mean `cosine`"),
        (schedule(cosine=3), "search.space.train.schedule.cosine", "3"),
        (
            schedule(cosine={"flor": {"float": [0, 0.1]}}),
            "search.space.train.schedule.cosine.flor",
            "mean `floor`",
        ),
        (
            schedule(cosine={"floor": {"float": [0, 1.5]}}),
            "search.space.train.schedule.cosine.floor",
            "1.5",
        ),
        (
            schedule(multistep={"milestones": [{"float": [0.2, 0.6]}, {"float": [0.5, 0.9]}]}),
            "search.space.train.schedule.multistep",
            "must rise strictly",
        ),
        ({**hunt(), "grid": {"seed": [0, 1]}}, "grid", "gives 2 trainings (seed: [0, 1])"),
        ({**hunt(), "grid": {"train.lr": [0.1]}}, "search.space.train.lr", "axis of the grid"),
        (
            {**hunt(), "rules": [{"when": {"width": 4}, "set": {"train.schedule": "linear"}}]},
            "search.space.train.schedule",
            "rules[0]",
        ),
        (
            {**hunt(confirm=6), "train": {"epochs": 2, "init_seed": 7}},
            "train.init_seed",
            "fresh seeds",
        ),
        (
            {**hunt(confirm=6), "grid": {"train.shuffle_seed": [7]}},
            "train.shuffle_seed",
            "fresh seeds",
        ),
        (
            {**hunt(), "grid": {"measure.min_count": [1, 2]}},
            "grid",
            "more than once at one precision",
        ),
        (
            {**hunt(pruning="median"), "grid": {"measure.at": ["last"]}},
            "search.pruning",
            "needs checkpoints",
        ),
        (space(data__seed={"int": [0, 3]}), "search.space.data.seed", "Seeds"),
        (space(train__init_seed={"int": [0, 3]}), "search.space.train.init_seed", "Seeds"),
        (
            space(precision={"choice": ["int4", "int8"]}),
            "search.space.precision",
            "how one is measured",
        ),
        (
            space(measure__min_count={"int": [1, 3]}),
            "search.space.measure.min_count",
            "how one is measured",
        ),
        (
            space(precision_options__qat__lr={"log": [1e-4, 1e-2]}),
            "search.space.precision_options.qat.lr",
            "how one is measured",
        ),
        (
            space(width={"int": [4, 8]}, model__width={"int": [10, 12]}),
            "search.space.model.width",
            "under another name already",
        ),
        (
            schedule(cosine={"kind": "linear"}),
            "search.space.train.schedule.cosine.kind",
            "Leave it out",
        ),
        (
            hunt(objective={"minority_means_cos": "minimize"}),
            "search.objective.minority_means_cos",
            "all are equally large. Set data.imbalance_ratio above 1",
        ),
        (
            hunt(constraints=["entropy_floor >= 1"]),
            "search.constraints[0]",
            "entropy_floor is known of stories alone. Use data.kind stories",
        ),
        (
            hunt(objective={"group_accuracy_gap": "minimize"}),
            "search.objective.group_accuracy_gap",
            "needs groups of samples",
        ),
        (
            hunt(objective={"leap_arrival": "minimize"}),
            "search.objective.leap_arrival",
            "is of samples under attack",
        ),
        (
            hunt(objective={"nc5_ood_orthogonality": "minimize"}),
            "search.objective.nc5_ood_orthogonality",
            "needs other data",
        ),
        ({**hunt(), "search": [1]}, "search", "[1]"),
        ({key: value for key, value in hunt().items() if key != "search"}, "search", "is missing"),
        ({**hunt(), "modle": {}}, "modle", "Did you mean `model`"),
    ],
)
def test_each_fault_names_its_place_and_what_to_do(
    content: dict[str, Any], place: str, said: str
) -> None:
    messages = faults(content)
    assert any(fault.startswith(f"{place}:") and said in fault for fault in messages), messages


def test_all_faults_are_reported_at_once_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = hunt(
        objective={"nc1_ration": "minimize"},
        constraints=["x"],
        confirm=2,
        space={
            "train.lr": {"log": [2, 1]},
            "train.schedule": {"cosine": {"flor": {"float": [0, 0.1]}}},
        },
    )
    content["grid"]["seed"] = [0, 1]
    path = write_search(tmp_path, content)
    assert main([str(path), "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    places = (
        "objective.nc1_ration",
        "constraints[0]",
        "confirm",
        "space.train.lr",
        "space.train.schedule.cosine.flor",
    )
    for place in places:
        assert f"search.{place}" in error
    assert "grid: gives 2 trainings" in error
    assert "Traceback" not in error
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert main([str(tmp_path)]) == 2
    assert "holds no search" in capsys.readouterr().err
    assert launch([str(path), "--runs", str(tmp_path)]) == 2
    assert "This is a search: collapse-study tune" in capsys.readouterr().err


def test_the_published_searches_load() -> None:
    for name in ("lr_schedules", "lr_schedules_chars"):
        search = load_search(ROOT / "search_spaces" / f"{name}.yaml")
        assert search.config.trials == 30 and search.config.confirm == 8
        assert tuple(search.space.families) == FAMILIES


def test_families_are_those_of_the_schedules() -> None:
    kinds = [kind.model_fields["kind"].default for kind in Schedule.__args__]
    assert list(FAMILIES) == kinds


def test_a_space_suggests_only_what_its_family_has() -> None:
    read: list[Any] = []
    families = {
        "linear": {"warmup": 0.1},
        "multistep": {"milestones": [{"float": [0.1, 0.4]}, 0.5], "gamma": {"log": ["1e-2", 0.5]}},
    }
    content = {
        "width": {"int": [4, 8]},
        "train.compile": {"choice": [False]},
        "train.schedule": families,
    }
    space = read_space(content, read)
    assert read == []
    multistep = {
        "model.width": 5,
        "train.compile": False,
        "train.schedule": "multistep",
        "train.schedule.multistep.milestones[0]": 0.25,
        "train.schedule.multistep.gamma": 0.3,
    }
    assert space.suggest(FixedTrial(multistep)) == {
        "model.width": 5,
        "train.compile": False,
        "train.schedule": {"kind": "multistep", "milestones": [0.25, 0.5], "gamma": 0.3},
    }
    linear = {"model.width": 8, "train.compile": False, "train.schedule": "linear"}
    assert space.suggest(FixedTrial(linear))["train.schedule"] == {"kind": "linear", "warmup": 0.1}


def test_the_longest_trial_is_that_of_the_space() -> None:
    assert search_of(hunt()).most_epochs == 4
    assert search_of(space(train__epochs={"int": [2, 9]})).most_epochs == 9
    assert search_of(space(train__epochs={"choice": [8, 2, 5]})).most_epochs == 8


def test_fresh_seeds_replace_those_of_the_file() -> None:
    search = search_of(hunt())
    cells = search.cells({"train.lr": 0.5}, seeds=[3, 4])
    assert [
        (cell.config.seed, cell.config.train.init_seed, cell.config.train.lr) for cell in cells
    ] == [
        (3, 3, 0.5),
        (4, 4, 0.5),
    ]
    assert search.default.first.config.seed == 0


_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 9),
        st.floats(),
        st.sampled_from(["cosine", "x", "1e-3", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "float",
                    "log",
                    "int",
                    "choice",
                    "train.lr",
                    "train.schedule",
                    "cosine",
                    "warmup",
                    "?",
                ]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(["objective", "constraints", "trials", "space", "confirm", "?"]), _values
    )
)
def test_any_search_section_is_a_search_or_a_study_error(section: dict[str, Any]) -> None:
    content = hunt()
    content["search"] |= section
    try:
        search = search_from(copy.deepcopy(content), folder=Path(), source="fuzz")
    except StudyError as error:
        assert error.faults
        assert all(str(fault) for fault in error.faults)
    else:
        assert isinstance(search.space, Space)


def test_minorities_can_be_looked_for_where_classes_differ() -> None:
    content = hunt(objective={"minority_means_cos": "minimize"})
    content["data"]["imbalance_ratio"] = 2
    assert search_of(content).columns == ("minority_means_cos",)


def test_the_file_of_a_run_reads_back(tmp_path: Path) -> None:
    content = hunt(constraints=["train_accuracy >= 0.5"])
    search = load_search(write_search(tmp_path, content))
    again = {**search.content, "search": search.config.model_dump(exclude_unset=True)}
    text = yaml.safe_dump(again, sort_keys=False)
    assert (
        search_from(yaml.safe_load(text), folder=tmp_path, source="again").definition()
        == search.definition()
    )
