"""Collapse in Lightning: a small network on scikit-learn's digits, with a log as csv.

python examples/lightning_digits.py
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from study.integrations.lightning import CollapseCallback


class Net(L.LightningModule):
    """The callback measures `forward`, and finds the head by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main(folder: str = "lightning_logs", epochs: int = 5) -> None:
    L.seed_everything(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    train, validation = random_split(TensorDataset(x, torch.tensor(digits.target)), [0.8, 0.2])
    trainer = L.Trainer(
        max_epochs=epochs,
        logger=CSVLogger(folder, name="digits"),
        callbacks=[CollapseCallback()],  # at the end of each epoch, on the training samples
        enable_progress_bar=False,
        enable_checkpointing=False,
        log_every_n_steps=20,
    )
    trainer.fit(Net(), DataLoader(train, 64, shuffle=True), DataLoader(validation, 256))
    log = Path(str(trainer.log_dir)) / "metrics.csv"
    with log.open(newline="") as file:
        for line in csv.DictReader(file):
            if line["collapse/nc1_ratio"]:
                print(f"epoch {line['epoch']}: NC1 {float(line['collapse/nc1_ratio']):.3f}")
    print(f"All columns are in {log}")


if __name__ == "__main__":
    main()
