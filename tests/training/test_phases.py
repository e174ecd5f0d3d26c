"""Phases of a training on some classes each, and what they leave of the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import launch

from study.config import CellConfig
from study.data import load_data
from study.data.images import Images
from study.measuring.columns import Measurement
from study.measuring.forgetting import put_first_phase, with_forgetting
from study.metrics import Agreement
from study.models import load_checkpoint
from study.models.base import FeatureModel
from study.precision import quantize
from study.settings.phases import Phase
from study.store import RunPaths, Store
from study.training.phases import EpochRows
from study.training.train import train

CPU = torch.device("cpu")


class Killed(BaseException):
    """Ends a training from outside."""


FIRST, SECOND = [0, 1, 2], [3, 7]
PHASES = [{"classes": FIRST, "epochs": 2}, {"classes": SECOND, "epochs": 3}]
STUDY: dict[str, Any] = {
    "name": "phases",
    "data": {"kind": "images", "quota": 100},
    "model": {"kind": "mlp", "width": 12, "depth": 1},
    "train": {"lr": 0.01, "batch_size": 32, "phases": PHASES},
    "measure": {"at": "each"},
    "grid": {"epochs": [5], "precision": ["fp32", "int2"], "seed": [0]},
    "keep": "all",
}
CONFIG = CellConfig.model_validate(
    {
        **{name: STUDY[name] for name in ("data", "model", "measure")},
        "train": {**STUDY["train"], "epochs": 5},
    }
)


LANGUAGE = {
    "data": {"kind": "stories"},
    "model": {"kind": "nanogpt", "width": 8, "depth": 1, "heads": 2},
}
HELD_OUT = {
    "data": {"held_out_classes": [5, 6, 7]},
    "train": {"phases": [PHASES[0], {"classes": [7], "epochs": 3}]},
}


def test_each_epoch_takes_the_rows_of_its_phase(tmp_path: Path) -> None:
    data = load_data(CONFIG.data, base=tmp_path, cache=tmp_path)
    rows = EpochRows.of(CONFIG.train.phases, data.train, 5)
    assert isinstance(data.train, Images)
    labels = data.train.content.labels
    for epoch, classes in enumerate([FIRST, FIRST, SECOND, SECOND, SECOND, SECOND]):
        assert rows.at(epoch).tolist() == np.flatnonzero(np.isin(labels, classes)).tolist()
    assert rows.steps(32) == 2 * -(-300 // 32) + 3 * -(-200 // 32)
    whole = EpochRows.of(None, data.train, 5)
    assert whole.at(4).tolist() == list(range(1000))
    assert whole.steps(32) == 5 * -(-1000 // 32)
    with pytest.raises(ValueError, match="no training sample is of the classes"):
        EpochRows.of([Phase(classes=[11], epochs=1)], data.train, 1)


def weights(model: FeatureModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("step", [13, 20, 21, 30])
def test_a_training_goes_on_bit_for_bit_across_the_boundary(step: int, tmp_path: Path) -> None:
    data = load_data(CONFIG.data, base=tmp_path, cache=tmp_path)
    whole = {each.epoch: (each.step, weights(each.model)) for each in train(CONFIG, data, CPU)}
    assert [number for number, _ in whole.values()] == [0, 10, 20, 27, 34, 41]

    def kill(progress: Any) -> None:
        if progress.step >= step:
            raise Killed

    folder = tmp_path / "training"
    with pytest.raises(Killed):
        for _ in train(CONFIG, data, CPU, folder=folder, checkpoint_minutes=1e-9, beat=kill):
            pass
    resumed = [
        (each.epoch, each.step, weights(each.model))
        for each in train(CONFIG, data, CPU, folder=folder)
    ]
    assert resumed[0][0] > 0
    for epoch, number, own in resumed:
        assert number == whole[epoch][0]
        assert all(torch.equal(tensor, whole[epoch][1][name]) for name, tensor in own.items())


def accuracy(model: FeatureModel, data: Any) -> float:
    """Of validation samples of the first classes, one by one."""
    inputs, targets = data.val.batch(np.arange(len(data.val)))
    right, total = 0, 0
    for x, y in zip(inputs, targets, strict=True):
        if int(y) in FIRST:
            total += 1
            right += int(model(x[None])[0].argmax()) == int(y)
    return right / total


def test_forgetting_is_counted_by_hand_at_every_precision(tmp_path: Path) -> None:
    assert launch(tmp_path, STUDY) == 0
    run = tmp_path / "runs" / "phases"
    data = load_data(CONFIG.data, base=run, cache=run)
    rows = Store(run).read()
    for precision in ("fp32", "int2"):
        own = rows.filter(precision=precision).sort("epoch")
        assert own["epoch"].to_list() == [0, 1, 2, 3, 4, 5]
        by_hand = []
        for epoch in range(1, 6):
            model = load_checkpoint(RunPaths(run).checkpoint(own["training"][0], epoch=epoch))
            with torch.no_grad():
                at = quantize(model.eval(), precision) if precision != "fp32" else model.eval()
                by_hand.append(accuracy(at.eval(), data))
        assert own["first_phase_accuracy"].to_list()[1:] == pytest.approx(by_hand, abs=1e-12)
        assert own["forgetting"].to_list()[:2] == [None, None]
        expected = [by_hand[1] - each for each in by_hand[1:]]
        assert own["forgetting"].to_list()[2:] == pytest.approx(expected, abs=1e-12)
        assert len(set(expected)) > 1
    phases = '[{"classes":[0,1,2],"epochs":2},{"classes":[3,7],"epochs":3}]'
    assert set(rows["phases"]) == {phases}


def test_rows_of_layers_and_other_trainings_have_no_forgetting() -> None:
    phases = [Phase(classes=[0], epochs=1), Phase(classes=[1], epochs=1)]
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "first_phase_accuracy": 0.75},
        {"epoch": 1, "layer": "block1"},
        {"epoch": 2, "first_phase_accuracy": None},
        {"epoch": 2, "first_phase_accuracy": 0.5},
    ]
    assert with_forgetting(rows, None) == rows
    told = with_forgetting(rows, phases)
    assert [row.get("forgetting") for row in told] == [0.0, None, None, 0.25]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"phases": PHASES[:1]}}, "fewer than two phases"),
        ({"grid": {"epochs": [4]}}, "have 5 epochs together, train.epochs is 4"),
        ({"measure": {"at": "last"}}, "the first ends at epoch 2"),
        (LANGUAGE, "data.kind is stories"),
        ({"grid": {"precision": ["qat-int4"]}}, "would train on all classes again"),
        (HELD_OUT, "names class 7, but there are 7 classes"),
        (
            {"train": {"phases": [{"classes": [1, 1], "epochs": 2}, PHASES[1]]}},
            "names a class twice",
        ),
        ({"train": {"phases": [{"classes": [], "epochs": 2}, PHASES[1]]}}, "phases[0].classes"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_phases_that_cannot_be_are_refused(
    change: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {**STUDY}
    for name, part in change.items():
        study[name] = part if "kind" in part else {**STUDY[name], **part}
    assert launch(tmp_path, study, "--dry-run") == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_where_nothing_is_decided_the_reason_is_told() -> None:
    """Without a class centre, and with features that are not finite."""
    phases = [Phase(classes=[0], epochs=1), Phase(classes=[1], epochs=1)]
    one = torch.tensor([3, 2])
    whole = Agreement(one, one, one, one, torch.tensor(0), torch.tensor(False))
    cases = {
        "few": Agreement.empty(2, CPU, "few"),
        "infinite or NaN": replace(whole, broken=torch.tensor(True)),
    }
    for words, decisions in cases.items():
        head = Measurement({}, {}, decisions=decisions)
        put_first_phase(head, phases)
        assert head.values["first_phase_accuracy"] is None
        assert words in head.reasons["first_phase_accuracy"]
