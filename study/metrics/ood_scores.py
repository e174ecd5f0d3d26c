"""Scores of samples by which other data are told from those of the training.

Shapes: B samples of a batch, V classes of the head, C measured classes, d feature entries, r the
rank of a covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.agreement import NearestCentre
from study.metrics.covariance import EQUAL_FEATURES, NO_SCATTER, Gaussian
from study.metrics.decisions import AffineScores
from study.metrics.moments import ClassMoments

SCORES = ("msp", "maxlogit", "energy", "ncc", "mahalanobis", "neco")
"""Names of the scores, in the order of their columns."""


class OodScorer:
    """Scores of samples, each larger where a sample is more like the training data.

    With logits z, features h, means mu_c of the C measured classes, the covariance Sigma_W within
    all classes, and mean mu and covariance Sigma of all training features:

        msp          log max_c p_c, p = softmax(z) (Hendrycks & Gimpel 2017: the maximum of the
                     softmax; its logarithm orders samples alike, and has no ties by rounding to 1)
        maxlogit     max_c z_c (Hendrycks et al. 2022)
        energy       log sum_c exp(z_c) (Liu et al. 2020, eq. 4, at temperature 1, negated)
        ncc          - min_c ||h - mu_c||
        mahalanobis  - min_c (h - mu_c)^T Sigma_W^+ (h - mu_c) (Lee et al. 2018, eq. 2); the
                     pseudo-inverse leaves out directions without variance, that is of eigenvalues
                     of at most d eps times the largest
        neco         ||P (h - mu)|| / ||h - mu||, P the projection on the C - 1 leading eigenvectors
                     of Sigma, in [0, 1] (Ben Ammar et al. 2024, NECO, eq. 6). As in the principal
                     component analysis of their code, features are taken from their mean; the scale
                     of entries is left alone, the dimension is that of a simplex frame instead of a
                     tuned one, and no logit is multiplied in.

    Attributes:
        reasons: score -> why it does not exist for these training features.
    """

    def __init__(self, m: ClassMoments, min_count: int = 10) -> None:
        """`m` are the moments of training features, with their scatter."""
        self.reasons: dict[str, str] = {}
        self.centres = NearestCentre(m, min_count)
        self.device = m.device
        if self.centres.reason is not None:
            self._lack(self.centres.reason, "ncc", "mahalanobis", "neco")
            return
        self.nearest = self.centres.decide
        self._whiten(m)
        self._find_axes(m)

    def _lack(self, reason: str, *scores: str) -> None:
        self.reasons |= dict.fromkeys(scores, reason)

    def _whiten(self, m: ClassMoments) -> None:
        """Find A (d, r) with A A^T = Sigma_W^+, and the class means behind it."""
        if m.scatter is None:
            self._lack(NO_SCATTER, "mahalanobis")
            return
        values_d, axes_dxd = torch.linalg.eigh(m.scatter / m.counts.sum())
        kept_d = values_d > m.dim * torch.finfo(values_d.dtype).eps * values_d[-1]
        if not bool(kept_d.any()):
            self._lack("the features do not vary within classes", "mahalanobis")
            return
        self.whitening_dxr = axes_dxd[:, kept_d] / values_d[kept_d].sqrt()
        centres_Cxr = self.nearest.weight @ self.whitening_dxr
        self.whitened = AffineScores(centres_Cxr, centres_Cxr.square().sum(dim=1) / -2)

    def _find_axes(self, m: ClassMoments) -> None:
        """Find mu and the C - 1 leading axes of all training features."""
        gaussian, count = Gaussian.of(m), len(self.centres.indices) - 1
        if isinstance(gaussian, str):
            self._lack(gaussian, "neco")
        elif not 0 < count < m.dim:
            self._lack(
                f"{count + 1} measured classes ask for {count} of {m.dim} axes: a projection on "
                "none or on all of them tells nothing apart",
                "neco",
            )
        elif not bool((gaussian.covariance.diagonal() > 0).any()):
            self._lack(EQUAL_FEATURES, "neco")
        else:
            self.mean_d = gaussian.mean
            self.axes_dxk = torch.linalg.eigh(gaussian.covariance)[1][:, -count:]

    @torch.no_grad()
    def score(self, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Score (B,), float64, of features (B, d) and logits (B, V), by name.

        Scores that do not exist are left out; of a sample that is not finite they are not either.
        """
        z_BxV = logits.double()
        top_B, winner_B = z_BxV.max(dim=1)
        others_BxV = (z_BxV - top_B[:, None]).exp_().scatter_(1, winner_B[:, None], 0.0)
        log_p_B = -torch.log1p(others_BxV.sum(dim=1))
        scores = {"msp": log_p_B, "maxlogit": top_B, "energy": top_B - log_p_B}
        if "ncc" not in self.reasons:
            winner_B = self.nearest.argmax(features.to(self.device))
            apart_Bxd = self.centres.centred(features) - self.nearest.weight[winner_B]
            scores["ncc"] = -torch.linalg.vector_norm(apart_Bxd, dim=1)
        if "mahalanobis" not in self.reasons:
            x_Bxr = self.centres.centred(features) @ self.whitening_dxr
            apart_Bxr = x_Bxr - self.whitened.weight[self.whitened.argmax(x_Bxr)]
            scores["mahalanobis"] = -apart_Bxr.square().sum(dim=1)
        if "neco" not in self.reasons:
            from_mean_Bxd = features.to(self.device).double() - self.mean_d
            part_B = torch.linalg.vector_norm(from_mean_Bxd @ self.axes_dxk, dim=1)
            scores["neco"] = part_B / torch.linalg.vector_norm(from_mean_Bxd, dim=1)
        return scores


class ScoredSamples:
    """Scores of samples, collected batch by batch: 8 bytes a sample and score.

    Attributes:
        reasons: score -> why no sample has it.
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        self._parts: dict[str, list[Tensor]] = {}

    def update(self, scores: dict[str, Tensor]) -> None:
        """Add a batch: score -> (B,)."""
        for name, score_B in scores.items():
            self._parts.setdefault(name, []).append(score_B.cpu())

    def merge(self, other: ScoredSamples) -> None:
        """Add the samples of another, wherever it collected them."""
        for name, parts in other._parts.items():
            self._parts.setdefault(name, []).extend(parts)

    def values(self, name: str) -> Tensor:
        """(N,) float64 scores of all samples so far."""
        return torch.cat(self._parts.get(name, [torch.empty(0, dtype=torch.float64)]))
