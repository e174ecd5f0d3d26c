"""Errors of predicted target vectors, additive over batches.

Shapes: N samples, n entries of a target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.moments import ClassMoments


class TargetScores:
    """Squared error and R^2 of predictions z of targets y, as float64 sums.

    Example:
        >>> scores = TargetScores(1)
        >>> scores.update(torch.tensor([[1.], [2.]]), torch.tensor([[0.], [2.]]))
        >>> scores.loss, scores.r2  # (1 + 0) / 2 / 2, and 1 - 1 / 2
        (0.25, 0.5)
    """

    def __init__(self, targets: int, device: str | torch.device = "cpu") -> None:
        self.samples = 0
        self.errors = torch.zeros(targets, dtype=torch.float64, device=device)
        self.targets = ClassMoments(1, targets, device, scatter=True)

    @torch.no_grad()
    def update(self, predictions_Nxn: Tensor, targets_Nxn: Tensor) -> None:
        """Add samples of any float types."""
        z_Nxn = predictions_Nxn.to(self.errors.device).double()
        y_Nxn = targets_Nxn.to(self.errors.device).double()
        self.errors += (z_Nxn - y_Nxn).square().sum(dim=0)
        self.targets.update(y_Nxn, torch.zeros(len(y_Nxn), dtype=torch.int64))
        self.samples += len(y_Nxn)

    def merge(self, other: TargetScores) -> None:
        """Add the samples of another, wherever it collected them."""
        self.samples += other.samples
        self.errors += other.errors.to(self.errors.device)
        self.targets.merge(other.targets)

    @property
    def loss(self) -> float:
        """mean_i ||z_i - y_i||^2 / 2. Raises ValueError before the first sample."""
        if not self.samples:
            raise ValueError("no samples were scored")
        return float(self.errors.sum()) / (2 * self.samples)

    @property
    def r2(self) -> float | None:
        """mean_j 1 - sum_i (z_ij - y_ij)^2 / sum_i (y_ij - mean_i y_ij)^2, at most 1.

        The share of a target's variance that is explained (Draper & Smith 1998, section 1.3), in
        the mean over targets. None where a target does not vary.
        """
        assert self.targets.scatter is not None
        total = self.targets.scatter.diagonal()
        if not bool((total > 0).all()):
            return None
        return float((1 - self.errors / total).mean())
