"""Which axes are interventions, by name, and what their baseline is."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from tiny_study import launch, tiny

from analysis.__main__ import main
from analysis.reading.interventions import interventions
from analysis.reading.load import load
from analysis.reading.table import AnalysisError, Roles
from study.store import Store

FRAME = pl.DataFrame(
    {
        "training": list("abcdef"),
        "penalty_nc1": [1.0, 0.0, -1.0, 1.0, 0.0, -1.0],
        "lr": [0.1, 0.01, 0.1, 0.01, 0.1, 0.01],
        "optimizer": ["sgd", "adam", "sgd", "adam", "sgd", "adam"],
        "quantize": ["int8", "none", "int8", "none", "int8", "none"],
        "nesterov": [True, False] * 3,
        "seed": [0, 0, 0, 1, 1, 1],
        "val_loss": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "nc1_ratio": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)
AXES = ("penalty_nc1", "lr", "optimizer", "quantize", "nesterov")
ROLES = Roles("val_loss", {}, {}, AXES, (), "training", seed="seed")


@pytest.mark.parametrize(
    "name, axis, baseline, levels, numeric",
    [
        ("train.penalty.nc1", "penalty_nc1", 0.0, (-1.0, 1.0), True),
        ("penalty_nc1", "penalty_nc1", 0.0, (-1.0, 1.0), True),
        ("train.lr", "lr", 0.01, (0.1,), True),
        ("train.optimizer", "optimizer", "sgd", ("adam",), False),
        ("quantize", "quantize", "none", ("int8",), False),
        ("train.nesterov", "nesterov", False, (True,), False),
    ],
)
def test_a_name_is_that_of_a_column_or_a_path(
    name: str, axis: str, baseline: object, levels: tuple[object, ...], numeric: bool
) -> None:
    (read,) = interventions(FRAME, ROLES, [name])
    assert (read.name, read.axis, read.numeric) == (name, axis, numeric)
    assert (read.baseline, read.levels) == (baseline, levels)


@pytest.mark.parametrize(
    "names, message",
    [
        (["train.penalty.nc2"], "'train.penalty.nc2' is no axis of the table.*Axes: penalty_nc1, "),
        (["seed"], "'seed' is no axis"),
        (["lr", "train.lr"], "'train.lr' is the axis 'lr', which is named twice"),
    ],
)
def test_other_names_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        interventions(FRAME, ROLES, names)


def test_an_axis_of_one_level_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"'lr' has one level, 0\.1"):
        interventions(FRAME.with_columns(lr=0.1), ROLES, ["lr"])


def test_foreign_tables_declare_them_by_option_or_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "rows.csv", tmp_path / "map.yaml"
    rows = FRAME.drop("quantize", "nesterov", "optimizer").rename({"nc1_ratio": "nc1"})
    rows.write_csv(path)
    options = ["--axes", "penalty_nc1,lr", "--allow-missing", "--intervention", "penalty_nc1"]
    assert main([str(path), *options, "--write-map", str(target)]) == 0
    assert yaml.safe_load(target.read_text(encoding="utf-8"))["intervention"] == ["penalty_nc1"]
    (read,) = load(path, columns=target, allow_missing=True).roles.interventions
    assert read.axis == "penalty_nc1"
    (other,) = load(
        path, columns=target, intervention=["lr"], allow_missing=True
    ).roles.interventions
    assert other.axis == "lr"
    assert main([str(path), *options[:-1], "nc1", "--out", str(tmp_path / "out")]) == 2
    assert "intervention: 'nc1' is no axis of the table" in capsys.readouterr().err


def test_an_intervention_whose_levels_are_not_measured_yet_waits(tmp_path: Path) -> None:
    settings = tiny(
        grid={"epochs": [1], "train.lr": [1e-3, 2e-3], "precision": ["fp32"]},
        analysis={"intervention": "train.lr"},
    )
    assert launch(tmp_path, settings) == 0
    run = tmp_path / "runs" / "tiny"
    (intervention,) = load(run).roles.interventions
    assert (intervention.baseline, intervention.levels) == (1e-3, (2e-3,))
    store = Store(run)
    store.paths.cell(store.planned().sort("lr")["cell"][1]).unlink()
    with pytest.raises(AnalysisError, match="the grid is incomplete"):
        load(run)
    table = load(run, allow_missing=True)
    assert table.roles.interventions == ()
    what = "interventions of which one level is measured so far (train.lr)"
    assert table.left_out == {what: 1}
    with pytest.raises(AnalysisError, match="'seed' is no axis"):
        load(run, allow_missing=True, intervention=["seed"])
