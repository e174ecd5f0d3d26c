"""Losses and accuracies of logits, additive over batches.

Shapes: N samples, V classes, K calibration bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 15


class Scores:
    """Cross-entropy, accuracy and entropy of predictions: sums over samples.

    The predicted class is that of the largest logit, the lowest index among equals. Entropy: the
    mean over samples of H(p) = -sum_c p_c log p_c in nats, in [0, log V] (Pereyra et al. 2017,
    section 3).

    Example:
        >>> scores = Scores()
        >>> scores.update(torch.tensor([[0., 0.], [9., 0.]]), torch.tensor([0, 1]))
        >>> scores.accuracy
        0.5
        >>> round(scores.loss, 4)  # (log 2 + 9 + log(1 + e^-9)) / 2
        4.8466
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.samples = 0
        self._loss, self._entropy = torch.zeros(2, dtype=torch.float64, device=device).unbind()
        self._hits = torch.zeros((), dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, logits_NxV: Tensor, targets_N: Tensor) -> None:
        """Add samples: logits of any float type, targets in [0, V)."""
        self._add(logits_NxV.float(), targets_N)

    def merge(self, other: Scores) -> None:
        """Add the samples of another, wherever it collected them."""
        self.samples += other.samples
        self._loss += other._loss.to(self._loss.device)
        self._entropy += other._entropy.to(self._entropy.device)
        self._hits += other._hits.to(self._hits.device)

    def _add(self, z_NxV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target's logit, whether it was predicted, the largest log-probability.

        Each is (N,).
        """
        log_p_NxV = torch.log_softmax(z_NxV, dim=1)
        log_p_y_N = log_p_NxV.gather(1, targets_N[:, None]).squeeze(1)
        z_y_N = z_NxV.gather(1, targets_N[:, None]).squeeze(1)
        top_N = z_NxV.amax(dim=1)
        # argmax reads slowly on a CPU, so it is asked only of rows whose target has the largest
        # logit, where ties decide; another device would have to be waited for
        hit_N = z_y_N == top_N
        if z_NxV.device.type == "cpu":
            candidates = hit_N.nonzero().squeeze(1)
            hit_N[candidates] = z_NxV[candidates].argmax(dim=1) == targets_N[candidates]
        else:
            hit_N = z_NxV.argmax(dim=1) == targets_N
        self.samples += len(targets_N)
        self._loss -= log_p_y_N.double().sum()
        # 0 log 0 = 0, also where a logarithm lies beyond the range of float32
        least = torch.finfo(log_p_NxV.dtype).min
        terms_NxV = log_p_NxV.exp().mul_(log_p_NxV.clamp_min_(least))
        self._entropy -= terms_NxV.sum(dim=1).double().sum()
        self._hits += hit_N.sum()
        return z_y_N, hit_N, top_N - z_y_N + log_p_y_N

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats. Raises ValueError before the first sample."""
        return self._mean(self._loss)

    @property
    def accuracy(self) -> float:
        """Share of samples whose class was predicted.

        Raises ValueError before the first sample.
        """
        return self._mean(self._hits)

    @property
    def entropy(self) -> float:
        """Mean entropy of predictions in nats.

        Raises ValueError before the first sample.
        """
        return self._mean(self._entropy)

    def _mean(self, total: Tensor) -> float:
        if not self.samples:
            raise ValueError("no samples were scored")
        return float(total) / self.samples


class HeldOutScores(Scores):
    """Beside those of `Scores`: hits among the five largest logits, and calibration.

    A target is among the five largest if fewer than five logits are larger. Expected calibration
    error: over 15 equal bins (lower, upper] of the largest probability, the sum of (share of
    samples) |accuracy - mean confidence|, in [0, 1] (Guo et al. 2017, eq. 3).
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self._hits_of_five = torch.zeros((), dtype=torch.int64, device=device)
        # The first row counts hits, the second sums confidences.
        self._bins_2xK = torch.zeros(2, BINS, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, logits_NxV: Tensor, targets_N: Tensor) -> None:
        """Add samples: logits of any float type, targets in [0, V)."""
        z_NxV = logits_NxV.float()
        z_y_N, hit_N, log_p_top_N = self._add(z_NxV, targets_N)
        larger_N = (z_NxV > z_y_N[:, None]).view(torch.uint8).sum(dim=1, dtype=torch.int32)
        self._hits_of_five += (larger_N < 5).sum()
        confidence_N = log_p_top_N.exp().double()
        bin_N = (confidence_N * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
        self._bins_2xK.index_add_(1, bin_N, torch.stack([hit_N.double(), confidence_N]))

    def merge(self, other: Scores) -> None:
        """Add the samples of another, wherever it collected them."""
        super().merge(other)
        assert isinstance(other, HeldOutScores)
        self._hits_of_five += other._hits_of_five.to(self._hits_of_five.device)
        self._bins_2xK += other._bins_2xK.to(self._bins_2xK.device)

    @property
    def top5_accuracy(self) -> float:
        """Share of samples whose class is among the five largest logits.

        Raises ValueError before the first sample.
        """
        return self._mean(self._hits_of_five)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error. Raises ValueError before the first sample."""
        hits_K, confidence_K = self._bins_2xK
        return self._mean((hits_K - confidence_K).abs().sum())

    @property
    def perplexity(self) -> float:
        """exp of the mean loss; infinite beyond the range of float64."""
        return math.exp(self.loss) if self.loss < 700 else math.inf
