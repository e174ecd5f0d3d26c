"""Settings in place of those of a file, by the command and by the call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from tiny_search import hunt, write_search
from tiny_study import tiny, write_study

from study.config import load_study
from study.grid import expand
from study.launch import main
from study.launching import launch
from study.launching.overrides import overridden
from study.launching.runs import open_study
from study.search.runs import open_search
from study.settings.faults import StudyError
from study.store import Store

CONTENT: dict[str, Any] = {
    "name": "x",
    "train": {"lr": 0.1, "epochs": 3},
    "grid": {"width": [4], "train.batch_size": [8]},
}


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.lr=1e-3", ("train", "lr"), "1e-3"),
        ("train.lr=0.001", ("train", "lr"), 0.001),
        ("epochs=5", ("train", "epochs"), 5),
        ("train.schedule={kind: cosine, warmup: 0.1}", ("train", "schedule", "warmup"), 0.1),
        ("train.clip=", ("train", "clip"), None),
        ("keep=none", ("keep",), "none"),
        ("precision_options.qat.lr=1.0", ("precision_options", "qat", "lr"), 1.0),
        ("grid.seed=[0,1]", ("grid", "seed"), [0, 1]),
        ("grid.model.width=[8]", ("grid", "width"), [8]),
        ("grid.train.batch_size=[1]", ("grid", "train.batch_size"), [1]),
    ],
)
def test_a_value_is_read_as_in_the_file(
    override: str, path: tuple[str, ...], value: object
) -> None:
    node: Any = overridden(CONTENT, [override])
    for part in path:
        node = node[part]
    assert node == value
    assert overridden(CONTENT, []) == CONTENT


def test_an_axis_is_set_in_each_grid_of_a_list() -> None:
    grids = overridden({"grid": [{"seed": [0]}, {"width": [4]}]}, ["grid.seed=[7]"])["grid"]
    assert grids == [{"seed": [7]}, {"width": [4], "seed": [7]}]


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["train.lr"], "'train.lr' is no setting with a value. Write `train.lr=1e-3`"),
        (["=3"], "is no setting with a value"),
        (["train..lr=3"], "is no setting with a value"),
        (["train.lr=[1"], "train.lr: '[1' is not valid YAML"),
        (["train.lr=1\nname: y"], "is more than one value"),
        (["grid.seed=[010]"], "grid.seed: `010` is read as 8. Write 8"),
        (["train.lr=1", "train.lr=2"], "train.lr: is given twice"),
        (["extends=other.yaml"], "extends: is read before other settings"),
        (["width=8"], "model.width: is an axis of the grid. Set the axis: `grid.width=[...]`"),
    ],
)
def test_an_override_that_cannot_be_used_is_a_fault_with_a_fix(
    overrides: list[str], text: str
) -> None:
    with pytest.raises(StudyError) as caught:
        overridden(CONTENT, overrides)
    assert text in str(caught.value)
    assert all(fault.path in str(fault) for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("train.lrr=1", "Did you mean `lr`?"),
        ("train.lr=-1", "train.lr: is -1"),
        ("grid.sed=[0]", "grid.sed: unknown axis"),
        ("modle.depth=2", "Did you mean `model`?"),
        ("train.lr", "is no setting with a value"),
    ],
)
def test_overrides_go_through_the_checks_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, text: str
) -> None:
    path = write_study(tmp_path, tiny())
    assert main([str(path), "--runs", str(tmp_path), "--dry-run", override]) == 2
    assert text in capsys.readouterr().err


def test_the_command_and_the_call_give_the_study_that_the_file_would(tmp_path: Path) -> None:
    changed = tiny(train={"lr": 0.003}, grid={"epochs": [1], "seed": [4]})
    keys = {cell.key for cell in expand(load_study(write_study(tmp_path, changed)))}
    path = write_study(tmp_path, tiny())
    overrides = ["train.lr=3e-3", "grid.epochs=[1]", "grid.seed=[4]"]
    launched = launch(path, runs=tmp_path / "call", serial=True, overrides=overrides)
    assert (launched.code, launched.paths.root) == (0, tmp_path / "call" / "tiny")
    assert Store(launched.paths.root).keys() == keys
    again = launch(load_study(path), runs=tmp_path / "call", serial=True, overrides=overrides)
    assert (again.code, Store(again.paths.root).keys()) == (0, keys)
    assert open_study(launched.paths.root, tmp_path)[0].settings["train"]["lr"] == "3e-3"
    command = [str(path), *overrides[:1], "--runs", str(tmp_path / "command"), "--serial"]
    assert main([*command, *overrides[1:]]) == 0
    assert Store(tmp_path / "command" / "tiny").keys() == keys


def test_the_call_raises_what_is_wrong_with_a_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such file"):
        launch(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match="holds no run"):
        launch(tmp_path)


def test_a_search_takes_overrides_too(tmp_path: Path) -> None:
    path = write_search(tmp_path, hunt())
    overrides = ["search.trials=9", "search.space.train.lr={log: [0.1, 1]}", "epochs=2"]
    search, run = open_search(path, tmp_path, overrides)
    assert (search.config.trials, run) == (9, tmp_path / "hunt")
    assert search.space.settings["train.lr"].values == (0.1, 1.0)
    assert search.default.first.config.train.epochs == 2


def test_the_call_can_be_imported_without_torch_and_ray() -> None:
    code = (
        "import sys; from study.launching import launch; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
