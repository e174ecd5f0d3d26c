"""A killed and resumed training equals an unbroken one bit for bit.

Weights, optimizer, batch order, random state.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from places import HELPERS
from safetensors.torch import load_file
from token_rows import cell, dataset
from transformers import GPT2Config, GPT2LMHeadModel

from study.training.loss_log import read_losses
from study.training.states import ResumeError, State, load_state, save_state
from study.training.train import STATE_SECONDS, train

CPU = torch.device("cpu")

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "accumulation": {"batch_size": 2, "accumulation": 2},
    "bf16-accumulation-clip": {
        "precision": "bf16",
        "batch_size": 2,
        "accumulation": 2,
        "clip": 0.5,
    },
    "sgd": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9},
    "ternary-bf16": {"quantize": "ternary", "precision": "bf16", "clip": 0.5},
    "penalties": {
        "penalty": {"nc1": 0.5, "nc3": -0.1, "uniformity": 0.1, "entropy": -0.1},
        "precision": "bf16",
        "batch_size": 2,
        "accumulation": 2,
    },
    "pgd": {"adversary": {"eps": 0.2, "norm": "l2", "steps": 2}},
    "trades-bf16": {
        "adversary": {"kind": "trades", "eps": 0.2, "steps": 2, "beta": 3},
        "precision": "bf16",
        "batch_size": 2,
        "accumulation": 2,
    },
    "cosine-wsd": {"schedule": {"kind": "wsd", "warmup": 0.2}, "beta2": 0.95},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "weight_decay": 0.1, "decay": {"bias": 0.2}},
    "sgdw": {"optimizer": "sgdw", "lr": 0.1, "weight_decay": 0.1, "nesterov": True},
    "signum": {"optimizer": "signum", "weight_decay": 0.1},
    "signumw": {"optimizer": "signumw", "weight_decay": 0.1},
    "lion": {"optimizer": "lion", "weight_decay": 0.1},
    "muon": {"optimizer": "muon", "weight_decay": 0.1, "precision": "bf16", "clip": 0.5},
}


class Killed(BaseException):
    """Ends a training without any handler of it seeing an Exception."""


def run(
    config,
    folder: Path,
    *,
    kill_before: int | None = None,
    minutes: float = 0.0,
    base: Path = Path(),
) -> list[tuple[int, float, float]]:
    """Train to the end, or die just before a batch.

    (epoch, running loss, running accuracy) of what was yielded.
    """

    def before(batches: int) -> None:
        if batches == kill_before:
            raise Killed

    data, values = dataset(before=before), []
    try:
        for checkpoint in train(
            config, data, CPU, folder=folder, checkpoint_minutes=minutes, base=base
        ):
            values.append(
                (checkpoint.epoch, checkpoint.train_loss_running, checkpoint.train_accuracy_running)
            )
    except Killed:
        assert kill_before is not None
    return values


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max(folder.glob("state-*.safetensors")))


def assert_equal_ends(folder: Path, unbroken: Path) -> None:
    mine, other = final(folder), final(unbroken)
    assert mine.keys() == other.keys()
    assert any(name.startswith("optimizer.") for name in mine)
    for name, tensor in mine.items():
        assert torch.equal(tensor, other[name]), name
    assert (folder / "loss_log.jsonl").read_bytes() == (unbroken / "loss_log.jsonl").read_bytes()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("minutes", "seconds"), [(0.0, 0.0), (60.0, 0.0), (60.0, 60.0)])
def test_killed_at_any_step_it_ends_as_if_unbroken(
    recipe: str, minutes: float, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States after every step (0 minutes), after epochs only (0 seconds) or at the end only.

    Killed in turn at batches 1, 4 and 2 of each life.
    """
    monkeypatch.setattr("study.training.train.STATE_SECONDS", seconds)
    config = cell(**RECIPES[recipe])
    whole = run(config, tmp_path / "whole", minutes=minutes)
    seen = []
    for kill_before in (1, 4, 2, None):
        seen += run(config, tmp_path / "broken", kill_before=kill_before, minutes=minutes)
    assert sorted(set(seen), key=lambda one: one[0]) == whole
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_an_optimizer_outlives_its_training(optimizer: str, tmp_path: Path) -> None:
    config = cell(**OPTIMIZERS[optimizer], epochs=2)
    run(config, tmp_path / "whole")
    for kill_before in (4, 2, None):
        run(config, tmp_path / "broken", kill_before=kill_before)
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("kill_before", range(1, 9))
def test_every_kill_point_of_a_short_training(kill_before: int, tmp_path: Path) -> None:
    config = cell(precision="bf16")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "broken", kill_before=kill_before)
    run(config, tmp_path / "broken")
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


def test_dropout_of_a_pretrained_model_repeats(tmp_path: Path) -> None:
    """GPT-2 trains with dropout, whose masks depend on the step.

    They do not depend on what was drawn before.
    """
    sizes: dict[str, Any] = {
        "vocab_size": 23,
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
    }
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(
        tmp_path / "start"
    )
    config = cell(model={"kind": "pretrained", "path": "start"})
    run(config, tmp_path / "whole", base=tmp_path)
    run(config, tmp_path / "broken", kill_before=5, base=tmp_path)
    torch.manual_seed(999)
    run(config, tmp_path / "broken", base=tmp_path)
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from token_rows import cell, dataset
from study.training.train import train
torch.set_num_threads(int(sys.argv[3]))
def before(batches):
    if batches == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
config = cell(precision="bf16", batch_size=2, accumulation=2)
cpu, data = torch.device("cpu"), dataset(before=before)
for _ in train(config, data, cpu, folder=Path(sys.argv[1]), checkpoint_minutes=0.0):
    pass
"""


def test_sigkill_of_the_process(tmp_path: Path) -> None:
    """The killed life is a process of its own.

    It draws the same numbers as this one.
    """
    script = SCRIPT.format(tests=str(HELPERS))
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", script, str(tmp_path / "broken"), "7", threads]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    config = cell(precision="bf16", batch_size=2, accumulation=2)
    assert read_losses(tmp_path / "broken/loss_log.jsonl")[-1]["step"] == 3
    run(config, tmp_path / "broken")
    run(config, tmp_path / "whole")
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


class Stop(Exception):
    """What an observer raises to end a training in good order."""


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6, 9])
def test_ended_by_its_observer_it_goes_on_from_that_step(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the last step of an epoch (3, 6) and of the training (9)."""
    monkeypatch.setattr("study.training.train.FLUSH_STEPS", 1)

    def stop(progress) -> None:
        if progress.step == stop_at:
            raise Stop

    with pytest.raises(Stop):
        list(
            train(
                cell(), dataset(), CPU, folder=tmp_path / "broken", checkpoint_minutes=60, beat=stop
            )
        )
    assert f"state-{stop_at:09d}.json" in {path.name for path in (tmp_path / "broken").iterdir()}
    run(cell(), tmp_path / "broken")
    run(cell(), tmp_path / "whole")
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


def test_a_finished_training_yields_its_last_checkpoint_again(tmp_path: Path) -> None:
    whole = run(cell(), tmp_path)
    assert run(cell(), tmp_path) == whole[-1:]


def test_short_epochs_share_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written once the last is old enough, and at the end of the training."""
    clock = [0.0]
    monkeypatch.setattr("study.training.train.time.monotonic", lambda: clock[0])
    states = []
    for _ in train(cell(epochs=9), dataset(), CPU, folder=tmp_path):
        states.append(
            max((int(path.stem[6:]) for path in tmp_path.glob("state-*.json")), default=0)
        )
        clock[0] += 0.3 * STATE_SECONDS
    assert states == [0, 0, 0, 0, 12, 12, 12, 12, 24, 27]


@pytest.mark.parametrize(("seconds", "again"), [(0.0, [1, 2, 3]), (60.0, [0, 1, 2, 3])])
def test_the_epoch_of_the_last_state_is_yielded_again(
    seconds: float, again: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the consumer measures epoch 1."""
    monkeypatch.setattr("study.training.train.STATE_SECONDS", seconds)
    config = cell()
    for checkpoint in train(config, dataset(), CPU, folder=tmp_path):
        if checkpoint.epoch == 1:
            break
    assert [epoch for epoch, *_ in run(config, tmp_path)] == again


DAMAGES = {
    "weights cut short": lambda tensors, record: tensors.write_bytes(tensors.read_bytes()[:-100]),
    "a bit of the weights turned": lambda tensors, record: tensors.write_bytes(
        tensors.read_bytes()[:-5]
        + bytes([tensors.read_bytes()[-5] ^ 1])
        + tensors.read_bytes()[-4:]
    ),
    "weights missing": lambda tensors, record: tensors.unlink(),
    "record cut short": lambda tensors, record: record.write_bytes(record.read_bytes()[:-20]),
    "record empty": lambda tensors, record: record.write_bytes(b""),
    "record changed": lambda tensors, record: record.write_text(
        record.read_text().replace('"step_in_epoch": ', '"step_in_epoch": 1')
    ),
    "record of another kind": lambda tensors, record: record.write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_state_gives_way_to_the_older(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = cell()
    run(config, tmp_path / "whole")
    run(config, tmp_path / "broken", kill_before=5)
    records = sorted((tmp_path / "broken").glob("state-*.json"))
    assert len(records) == 2
    DAMAGES[damage](records[-1].with_suffix(".safetensors"), records[-1])
    run(config, tmp_path / "broken")
    assert "damaged" in caplog.text
    assert records[-1].name in caplog.text
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


def test_with_both_states_damaged_it_starts_again(tmp_path: Path) -> None:
    run(cell(), tmp_path / "whole")
    run(cell(), tmp_path / "broken", kill_before=5)
    for record in (tmp_path / "broken").glob("state-*.json"):
        record.write_text("{")
    assert [epoch for epoch, *_ in run(cell(), tmp_path / "broken")] == [0, 1, 2, 3]
    assert_equal_ends(tmp_path / "broken", tmp_path / "whole")


def test_two_states_are_kept_and_nothing_else(tmp_path: Path) -> None:
    run(cell(), tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    steps = ("000000008", "000000009")
    assert names == [
        "loss_log.jsonl",
        *(f"state-{step}.{kind}" for step in steps for kind in ("json", "safetensors")),
    ]


@pytest.mark.parametrize("other", [{"lr": 2e-2}, {"epochs": 4}, {"shuffle_seed": 9}])
def test_states_of_other_settings_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    run(cell(), tmp_path, kill_before=5)
    with pytest.raises(ResumeError, match="other settings or other data"):
        run(cell(**other), tmp_path)


def test_measuring_differently_resumes_all_the_same(tmp_path: Path) -> None:
    run(cell(), tmp_path, kill_before=5)
    assert [epoch for epoch, *_ in run(cell(measure={"at": "last"}), tmp_path)] == [3]


def test_a_half_written_last_line_of_the_loss_log_is_dropped(tmp_path: Path) -> None:
    config = cell()
    run(config, tmp_path / "whole")
    run(config, tmp_path / "broken", kill_before=5, minutes=60)
    log = tmp_path / "broken/loss_log.jsonl"
    log.write_text(log.read_text() + '{"step": 99, "epo')
    run(config, tmp_path / "broken", minutes=60)
    assert log.read_bytes() == (tmp_path / "whole/loss_log.jsonl").read_bytes()
    assert [row["step"] for row in read_losses(log)] == list(range(1, 10))


def test_states_hold_plain_tensors_and_numbers(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).T.contiguous(), "b": torch.tensor(3)}
    save_state(tmp_path, State(7, {"x": 0.1, "y": [1, None]}, tensors), identity="me")
    state = load_state(tmp_path, identity="me")
    assert state is not None
    assert state.step == 7
    assert state.facts == {"x": 0.1, "y": [1, None]}
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in tensors.items())
    assert json.loads((tmp_path / "state-000000007.json").read_text())["identity"] == "me"
    assert load_state(tmp_path / "elsewhere", identity="me") is None
