"""Collapse as a metric of torchmetrics: gathered while an epoch trains, for nothing extra.

python examples/torchmetrics_digits.py

The features of an epoch are those of the weights that change within it. Where that matters, update
in an epoch without training, as after the last one here.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from study.integrations.torchmetrics import NeuralCollapse


def line(columns: dict[str, Tensor]) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in columns.items())


def main(epochs: int = 10) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    head = nn.Linear(32, 10)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    collapse = NeuralCollapse(head, columns=["nc1_ratio", "nc2_etf_error", "nc3_cosine_mean"])

    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            features = body(x[batch])
            nn.functional.cross_entropy(head(features), y[batch]).backward()
            optimizer.step()
            collapse.update(features, y[batch])
        print(f"during epoch {epoch:2}  {line(collapse.compute())}")
        collapse.reset()

    collapse.update(body(x), y)
    print(f"after training   {line(collapse.compute())}")


if __name__ == "__main__":
    main()
