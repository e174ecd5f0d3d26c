"""Collapse in a training loop of your own: a small network on scikit-learn's digits.

python examples/own_loop.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

from study.metrics import ClassMoments, NearestCentre, collapse_metrics

COLUMNS = ("nc1_ratio", "nc2_etf_error", "nc3_cosine_mean")


def main(epochs: int = 20) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    head = nn.Linear(32, 10)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)

    print("epoch", *(f"{name:>16}" for name in (*COLUMNS, "nc4_agreement")))
    for epoch in range(epochs + 1):
        if epoch % 5 == 0:
            # Features are what the head reads; a first pass gathers the moments of their classes.
            with torch.no_grad():
                moments = ClassMoments(classes=10, dim=32)
                for features, labels in zip(body(x).split(500), y.split(500), strict=True):
                    moments.update(features, labels)
                columns = collapse_metrics(moments, head.weight)
                # A second pass decides each sample by its nearest class mean (NC4).
                decisions = NearestCentre(moments).agreement(body(x), y, head.weight, head.bias)
            values = [*(columns[name] for name in COLUMNS), decisions.nc4_agreement]
            print(f"{epoch:5}", *(f"{value:16.4f}" for value in values))
        for batch in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(body(x[batch])), y[batch]).backward()
            optimizer.step()


if __name__ == "__main__":
    main()
