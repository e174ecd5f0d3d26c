"""Losses and accuracies of logits, additive over batches.

Shapes: N samples, V classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 15


class Scores:
    """Sums over samples of cross-entropy, hits, hits among the five largest logits, and calibration bins.

    Calibration: expected calibration error over 15 equal bins of the largest softmax probability (Guo et al. 2017, eq. 3):
    sum over bins of (share of samples) |accuracy - mean confidence|, in [0, 1].
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.samples = 0
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, correct, correct among five
        self._bins_3xK = torch.zeros(3, BINS, dtype=torch.float64, device=device)  # samples, correct, confidence

    @torch.no_grad()
    def update(self, logits_NxV: Tensor, targets_N: Tensor) -> Tensor:
        """Add samples; returns the predicted classes (N,): the largest logit, the lowest index among equals."""
        z_NxV = logits_NxV.float()
        z_y_N = z_NxV.gather(1, targets_N[:, None]).squeeze(1)
        top_N, predicted_N = z_NxV.max(dim=1)
        log_normaliser_N = top_N + (z_NxV - top_N[:, None]).exp_().sum(dim=1).log()
        # the rank of the target: how many classes have a larger logit (ties count for the target)
        above_N = (z_NxV > z_y_N[:, None]).sum(dim=1)
        hit_N = (predicted_N == targets_N).double()
        self.samples += len(targets_N)
        self._sums += torch.stack(
            [(log_normaliser_N - z_y_N).double().sum(), hit_N.sum(), (above_N < 5).double().sum()]
        )
        confidence_N = (top_N - log_normaliser_N).exp().double()
        bin_N = (confidence_N * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
        added_3xN = torch.stack([torch.ones_like(hit_N), hit_N, confidence_N])
        self._bins_3xK.index_add_(1, bin_N, added_3xN)
        return predicted_N

    def row(self, split: str) -> dict[str, float]:
        """`<split>_loss` in nats, `<split>_accuracy`, `<split>_top5_accuracy`, `<split>_calibration_error`.

        Raises ValueError before the first sample.
        """
        if not self.samples:
            raise ValueError(f"no {split} samples were scored")
        loss, correct, five = (self._sums / self.samples).tolist()
        samples, hits, confidence = self._bins_3xK
        error = (hits - confidence).abs().sum().item() / self.samples
        return {
            f"{split}_loss": loss,
            f"{split}_accuracy": correct,
            f"{split}_top5_accuracy": five,
            f"{split}_calibration_error": error,
        }

    def perplexity(self) -> float:
        """exp of the mean loss; infinite where that is beyond float64."""
        mean = self._sums[0].item() / self.samples
        return math.exp(mean) if mean < 700 else math.inf
