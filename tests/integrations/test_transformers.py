"""`CollapseCallback` in transformers' own Trainer, on a tiny GPT-2."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from two_processes import in_two_processes

from study.integrations.transformers import CollapseCallback
from study.measuring import measure


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Chunks of random tokens, which are their labels, too."""

    def __init__(self, count: int = 12) -> None:
        self.tokens = torch.randint(7, (count, 8), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[number], "labels": self.tokens[number]}


def trainer(folder: Path, count: int = 12, **options: Any) -> Trainer:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 7,
        "n_positions": 8,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 2,
    }
    arguments = TrainingArguments(
        str(folder),
        max_steps=4,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=2,
        **options,
    )
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = GPT2LMHeadModel(GPT2Config(**sizes))
    return Trainer(model, arguments, train_dataset=Rows(count), eval_dataset=Rows())


def logged(run: Trainer) -> dict[int, dict[str, float]]:
    """Step -> the columns in the Trainer's log."""
    return {
        int(line["step"]): {name: value for name, value in line.items() if "collapse/" in name}
        for line in run.state.log_history
        if any("collapse/" in name for name in line)
    }


def test_columns_are_logged_every_so_many_steps_and_training_is_undisturbed(
    tmp_path: Path,
) -> None:
    alone = trainer(tmp_path / "alone")
    alone.train()
    measured = trainer(tmp_path / "measured")
    names = ("nc1_ratio", "nc3_cosine_mean", "nc4_agreement_train")
    callback = CollapseCallback(measured, every=2, columns=names, min_count=1)
    measured.add_callback(callback)
    measured.train()
    for one, other in zip(alone.model.parameters(), measured.model.parameters(), strict=True):
        assert torch.equal(one, other)
    log = logged(measured)
    assert list(log) == [2, 4]
    batches = DataLoader(Rows(), batch_size=12)
    columns = measure(measured.model, batches, shift=True, min_count=1)
    for name in names:
        assert log[4][f"collapse/{name}"] == pytest.approx(columns[name], rel=1e-5)
    assert log[2] != log[4]


def test_without_a_number_of_steps_it_measures_at_evaluations(tmp_path: Path) -> None:
    run = trainer(tmp_path, eval_strategy="steps", eval_steps=3)
    batches = DataLoader(Rows(), batch_size=12)
    run.add_callback(CollapseCallback(run, batches, min_count=1, prefix="collapse/train_"))
    run.train()
    log = logged(run)
    assert list(log) == [3, 4]
    assert "collapse/train_nc1_ratio" in log[3]


def test_each_training_is_measured_and_no_best_model_taken_for_the_last(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.add_callback(CollapseCallback(run, min_count=1))
    for _ in range(2):
        run.train()
        assert list(logged(run)) == [4]
    best = trainer(tmp_path, eval_strategy="steps", eval_steps=2)
    best.args.load_best_model_at_end = True
    callback = CollapseCallback(best, every=3, min_count=1)
    callback.on_train_end(best.args, best.state, best.control)
    assert logged(best) == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every: 0 is no number of steps"),
        ({"every": 0.5}, "every: 0.5 is no number of steps: give an integer"),
        ({"min_count": 0}, "min_count: 0 is no number of samples"),
        ({"columns": "nc1_ratio"}, "columns: 'nc1_ratio' is no list of names"),
        ({"columns": []}, "columns: [] is no list of names"),
        ({"columns": ["nc1_rato"]}, "Did you mean `nc1_ratio`?"),
    ],
)
def test_a_wrong_request_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        CollapseCallback(None, **options)
    assert text in str(caught.value)


def test_a_loader_in_place_of_the_trainer_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"a list is no Trainer.* CollapseCallback\(trainer, loader"
    ):
        CollapseCallback([])


NAMES = ("nc1_ratio", "nc3_cosine_mean", "nc4_agreement_train", "samples_measured")


def _trained(folder: Path) -> dict[str, Any]:
    run = trainer(folder, count=13, ddp_backend="gloo")
    run.model.double()
    run.add_callback(CollapseCallback(run, columns=NAMES, min_count=1))
    run.train()
    log = logged(run)
    assert list(log) == [4]
    return {"columns": log[4], "state": run.model.state_dict()}


@pytest.mark.long
def test_two_processes_log_the_columns_of_one(tmp_path: Path) -> None:
    first, second = in_two_processes(_trained, tmp_path)
    model = trainer(tmp_path).model.double()
    model.load_state_dict(first["state"])
    alone = measure(model, DataLoader(Rows(13), batch_size=13), shift=True, min_count=1)
    expected = {f"collapse/{name}": alone[name] for name in NAMES}
    assert expected["collapse/samples_measured"] == 13 * 7
    for each in (first, second):
        assert each["columns"] == pytest.approx(expected, rel=1e-10)
