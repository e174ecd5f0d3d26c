"""`CollapseCallback` in Lightning's Trainer, on small data."""

from __future__ import annotations

import csv
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from two_processes import in_two_processes

from study.integrations.lightning import CollapseCallback
from study.measuring import measure
from study.measuring.loaders import LoaderError

CLASSES, DIM, COUNT = 3, 4, 13
NAMES = ("nc1_ratio", "nc3_cosine_mean", "nc4_agreement_train")


class Net(LightningModule):
    """A body with dropout and a head that is found by its name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(2, DIM), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(DIM, CLASSES)
        self.dtypes: set[torch.dtype] = set()
        self.head.register_forward_hook(lambda _, __, output: self.dtypes.add(output.dtype))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))

    def training_step(self, batch: Any, _: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % CLASSES
    return TensorDataset(torch.randn(COUNT, 2, generator=generator) + labels[:, None], labels)


def fitted(
    folder: Path,
    *callbacks: Any,
    validation: bool = False,
    module: LightningModule | None = None,
    **options: Any,
) -> Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": CSVLogger(folder),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "callbacks": list(callbacks),
    }
    trainer = Trainer(**{**settings, **options})
    torch.manual_seed(1)
    if module is not None:
        trainer.fit(module)
    else:
        train = DataLoader(data(), 4, shuffle=True)
        trainer.fit(Net(), train, DataLoader(data(), 4) if validation else None)
    return trainer


def logged(trainer: Trainer) -> dict[int, dict[str, float]]:
    """Step -> the columns in the log on the disk."""
    with Path(trainer.logger.log_dir, "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        int(line["step"]): {
            name: float(value) for name, value in line.items() if "collapse/" in name and value
        }
        for line in lines
        if any(value for name, value in line.items() if "collapse/" in name)
    }


def columns_of(trainer: Trainer, **options: Any) -> dict[str, float]:
    whole = [next(iter(DataLoader(data(), COUNT)))]
    columns = measure(trainer.lightning_module, whole, min_count=2, **options)
    return {f"collapse/{name}": columns[name] for name in NAMES}


def test_columns_are_logged_every_so_many_steps_and_training_is_undisturbed(
    tmp_path: Path,
) -> None:
    callback = CollapseCallback(every=3, columns=NAMES, min_count=2)
    alone, measured = fitted(tmp_path / "alone"), fitted(tmp_path / "measured", callback)
    modules = alone.lightning_module, measured.lightning_module
    for one, other in zip(*(module.parameters() for module in modules), strict=True):
        assert torch.equal(one, other)
    log = logged(measured)
    assert list(log) == [3, 6, 8]
    assert log[8] == pytest.approx(columns_of(measured), rel=1e-5)
    assert log[3] != log[6]
    monitored = {name: float(measured.callback_metrics[name]) for name in log[8]}
    assert monitored == pytest.approx(log[8])


def test_without_a_number_of_steps_it_measures_at_validations_and_epochs(tmp_path: Path) -> None:
    stopping = EarlyStopping("collapse/train_nc1_ratio", patience=5)
    callback = CollapseCallback([*DataLoader(data(), 5)], min_count=2, prefix="collapse/train_")
    trainer = fitted(tmp_path, stopping, callback, validation=True, val_check_interval=2)
    log = logged(trainer)
    assert list(log) == [2, 4, 6, 8]
    assert "collapse/train_nc1_ratio" in log[2]
    assert trainer.lightning_module.training
    assert float(stopping.best_score) == pytest.approx(
        min(line["collapse/train_nc1_ratio"] for line in log.values())
    )


def test_steps_are_those_of_the_optimizer_and_columns_of_the_precision(tmp_path: Path) -> None:
    callback = CollapseCallback(every=1, columns=NAMES, min_count=2)
    trainer = fitted(tmp_path, callback, accumulate_grad_batches=2, precision="bf16-mixed")
    assert list(logged(trainer)) == [1, 2, 3, 4]
    assert trainer.lightning_module.dtypes == {torch.bfloat16}


def test_a_module_in_half_precision_is_given_such_inputs(tmp_path: Path) -> None:
    trainer = fitted(tmp_path, CollapseCallback(min_count=2), precision="bf16-true")
    assert "collapse/nc1_ratio" in logged(trainer)[8]


def test_columns_that_do_not_exist_are_left_out_and_said(tmp_path: Path) -> None:
    callback = CollapseCallback(columns=["nc1_ratio"], min_count=COUNT)
    with pytest.warns(UserWarning, match=f"0 classes have at least {COUNT} samples"):
        trainer = fitted(tmp_path, callback)
    assert "collapse/nc1_ratio" not in trainer.callback_metrics


class OfSeveral(Net):
    """Trains on several loaders at once."""

    def training_step(self, batch: Any, number: int) -> Any:
        return super().training_step(batch["a"], number)

    def train_dataloader(self) -> Any:
        return {"a": DataLoader(data(), 4), "b": DataLoader(data(), 4)}


def test_errors_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(LoaderError, match=r"the last linear layers are body\.0, head"):
        fitted(tmp_path, CollapseCallback(head="neck"))
    with pytest.raises(LoaderError, match=r"from a dict, .* give CollapseCallback\(loader="):
        fitted(tmp_path, CollapseCallback(), module=OfSeveral())
    with pytest.raises(ValueError, match="Did you mean `nc1_ratio`"):
        CollapseCallback(columns=["nc1_rato"])


def test_the_other_package_of_lightning_takes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    other = import_module("pytorch_lightning")
    monkeypatch.delitem(sys.modules, "study.integrations.lightning")
    again = import_module("study.integrations.lightning")
    assert issubclass(again.CollapseCallback, other.Callback)
    assert not issubclass(CollapseCallback, other.Callback)


def _trained(folder: Path) -> dict[str, Any]:
    trainer = fitted(
        folder,
        CollapseCallback(columns=NAMES, min_count=2),
        devices=2,
        strategy="ddp",
        precision="64-true",
    )
    columns = {name: float(trainer.callback_metrics[f"collapse/{name}"]) for name in NAMES}
    return {"columns": columns, "state": trainer.lightning_module.state_dict()}


@pytest.mark.long
def test_two_processes_log_the_columns_of_one(tmp_path: Path) -> None:
    first, second = in_two_processes(_trained, tmp_path)
    module = Net().double()
    module.load_state_dict(first["state"])
    x, y = data().tensors
    alone = measure(module, [(x.double(), y)], min_count=2)
    for each in (first, second):
        assert each["columns"] == pytest.approx({name: alone[name] for name in NAMES}, rel=1e-10)
