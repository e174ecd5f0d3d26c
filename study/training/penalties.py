"""Penalties that make a network collapse, or keep it from collapsing.

A step descends its mean loss + sum_k x_k P_k, with the coefficients x_k of `train.penalty`. Every
P_k falls as the network collapses: x > 0 pulls towards collapse, x < 0 pushes away from it.

    penalty       P                                             range
    nc1           2 W / (W + T)                                 [0, 2)
    nc2           1 - (mean_c ||m_c||)^2 / mean_c ||m_c||^2     [0, 1)
    nc3           1 - mean_c cos(w_c, m_c)                      [0, 2]
    uniformity    log mean_(c != c') exp(-2 ||u_c - u_c'||^2)   [-8, 0]
    feature_norm  mean_i log(1 + ||h_i||^2 / d)                 [0, inf)
    entropy       mean_i H(p_i) in nats                         [0, log V]

nc1: W = sum_i ||h_i - mu_(y_i)||^2, T = sum_i ||h_i - mu_G||^2. With r the ratio of within-class
to between-class variance (`nc1_ratio`; Tirer et al. 2023) P = 2 r / (1 + 2 r): 2 r near collapse, 1
where class means coincide. nc2: with v the coefficient of variation of norms (`nc2_equinorm`;
Papyan et al. 2020) P = v^2 / (1 + v^2). nc3: self-duality as Xu et al. 2025 train it (with
cosines: Wu & Papyan 2024, eq. 8). uniformity: hyperspherical energy of class means (Liu et al.
2023) with the kernel of Wang & Isola 2020, section 4.1, which is finite where two classes coincide;
the simplex frame has the least (Cohn & Kumar 2007, theorem 1.2). feature_norm: for short features
the squared norm over d, which makes them collapse to points (Sbailo & Ghiringhelli 2023); the
logarithm bounds the gradient, so that x < 0 lets norms grow like the square root of steps at most.
entropy: x = -beta is the penalty of confidence of Pereyra et al. 2017, section 3.

nc1, nc2, nc3 and uniformity do not depend on the scale of features. A class weighs by how often it
occurs in a pass, not by its samples.

mu_c is the mean of the samples of class c in the pass and of those before, which together weigh as
`REMEMBERED` samples: few samples a pass need others, many would only be held back by them. mu_G is
the unweighted mean of all mu_c. The gradient of mu_c is that of the mean over the pass, so that x
has the same meaning at every batch size, and the gradient is that of P at the means of all data
where those move slowly. Of nc1 means are constants: where they are exact, W and T do not depend on
them to first order.

Shapes: N samples of a pass, d entries of features, K classes among the samples, V of the head.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from study.models.base import FeatureModel
from study.settings.penalty import PenaltyConfig
from study.training.losses import CHUNK_ELEMENTS

REMEMBERED = 16
"""Samples that all earlier ones of a class weigh in its mean, at most."""


class Penalties:
    """The penalties of a training, and the class means that they are about.

    `settings` has a coefficient that is not zero, or `decay` is not: the coefficient of
    mean_i ||h_i||^2 / 2 (`train.decay.features`). The means live where the head of `model` does.
    """

    def __init__(self, settings: PenaltyConfig, model: FeatureModel, *, decay: float = 0.0) -> None:
        self.coefficients, self.model = settings.active, model
        if decay != 0:
            self.coefficients["decay"] = decay
        weight = model.head.weight
        self.dtype, self.device = torch.promote_types(weight.dtype, torch.float32), weight.device
        self.means: ClassMeans | None = None
        if OF_MEANS.keys() & self.coefficients.keys():
            self.means = ClassMeans(*weight.shape, dtype=self.dtype, device=self.device)

    def tensors(self) -> dict[str, Tensor]:
        """What a killed training needs to go on."""
        return {} if self.means is None else self.means.tensors()

    def __call__(self, features_Nxd: Tensor, targets_N: Tensor) -> Tensor:
        """sum_k x_k P_k of the samples of a pass, a scalar with its gradient.

        Targets (N,) lie on the CPU, and none is ignored: so nothing waits for the device.
        """
        weight, bias = self.model.head_rows
        active, values = self.coefficients, {}
        if "entropy" in active:
            values["entropy"] = mean_entropy(features_Nxd, weight, bias, self.model.logit_cap)
        autocast = torch.is_autocast_enabled(self.device.type)
        with torch.autocast(self.device.type, enabled=False) if autocast else nullcontext():
            h = features_Nxd.to(self.dtype)
            values |= {name: P(h) for name, P in OF_FEATURES.items() if name in active}
            if self.means is not None:
                means = self.means.update(h, targets_N, weight)
                values |= {name: P(means) for name, P in OF_MEANS.items() if name in active}
        return torch.stack([x * values[name] for name, x in active.items()]).sum()


class ClassMeans:
    """Running means of features by class.

    `means` (V, d), `counts` (V,) what their samples weigh, `seen` (V,) 1 for a class that has
    occurred; the centre mu_G is the unweighted mean of those.
    """

    def __init__(self, classes: int, dim: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.means = torch.zeros(classes, dim, dtype=dtype, device=device)
        self.counts, self.seen = torch.zeros(2, classes, dtype=dtype, device=device).unbind()

    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered, by name."""
        return {"means": self.means, "counts": self.counts, "seen": self.seen}

    def centre(self) -> Tensor:
        """mu_G (d,)."""
        return self.seen @ self.means / self.seen.sum()

    def update(self, h_Nxd: Tensor, targets_N: Tensor, weight_Vxd: Tensor) -> PassMeans:
        """Take up the samples of a pass; return the means after it."""
        classes_K, members_N, counts_K = (
            part.to(h_Nxd.device, non_blocking=True)
            for part in torch.unique(targets_N, return_inverse=True, return_counts=True)
        )
        sums_Kxd = h_Nxd.new_zeros(len(classes_K), h_Nxd.shape[1]).index_add(0, members_N, h_Nxd)
        own_Kxd = sums_Kxd / counts_K[:, None]
        with torch.no_grad():
            before = self.counts[classes_K]
            total = before + counts_K
            means_Kxd = torch.lerp(
                self.means[classes_K], own_Kxd, (counts_K / total)[:, None].to(own_Kxd.dtype)
            )
            self.means.index_copy_(0, classes_K, means_Kxd)
            self.counts.index_copy_(0, classes_K, total.clamp_max(REMEMBERED))
            self.seen.index_fill_(0, classes_K, 1)
            centre_d, seen = self.centre(), self.seen.sum()
        change = own_Kxd - own_Kxd.detach()
        centred_Kxd = means_Kxd - centre_d + change - change.sum(0) / seen
        # A mean at the centre has no direction, and 1 / eps in place of a gradient of one.
        apart = centred_Kxd.detach().any(dim=1, keepdim=True)
        centred_Kxd = torch.where(apart, centred_Kxd, centred_Kxd.detach())
        rows_Kxd = weight_Vxd[classes_K].to(h_Nxd.dtype)
        return PassMeans(h_Nxd, members_N, means_Kxd, centre_d, centred_Kxd, rows_Kxd)


@dataclass(frozen=True)
class PassMeans:
    """The samples of a pass, and the running means of its K classes.

    features  (N, d)
    members   (N,) which of the K classes a sample belongs to
    means     (K, d) mu_c, constants
    centre    (d,) mu_G, a constant
    centred   (K, d) m_c, with the gradient of the means of the pass
    rows      (K, d) w_c of the head
    """

    features: Tensor
    members: Tensor
    means: Tensor
    centre: Tensor
    centred: Tensor
    rows: Tensor


def within_share(means: PassMeans) -> Tensor:
    """2 W / (W + T) of samples about the means of their classes and about the centre."""
    h_Nxd = means.features
    within = (h_Nxd - means.means[means.members]).square().sum()
    total = (h_Nxd - means.centre).square().sum()
    return 2 * within / (within + total).clamp_min(torch.finfo(h_Nxd.dtype).tiny)


def norm_inequality(means: PassMeans) -> Tensor:
    """1 - (mean_c ||m_c||)^2 / mean_c ||m_c||^2; 0 where all norms are equal."""
    norms = torch.linalg.vector_norm(means.centred, dim=1)
    least = torch.finfo(norms.dtype).tiny
    mean_square = norms.square().mean()
    inequality: Tensor = 1 - norms.mean().square() / mean_square.clamp_min(least)
    return inequality.where(mean_square > 0, 0.0)


def duality_gap(means: PassMeans) -> Tensor:
    """1 - mean_c cos(w_c, m_c)."""
    return 1 - F.cosine_similarity(means.rows, means.centred).mean()


def log_energy(means: PassMeans) -> Tensor:
    """log mean_(c != c') exp(-2 ||u_c - u_c'||^2); 0 for a single class."""
    K = len(means.centred)
    if K == 1:
        return means.features.new_zeros(())
    directions = F.normalize(means.centred)
    exponents = 4 * (directions @ directions.T) - 4  # -2 ||u - u'||^2 = 4 <u, u'> - 4
    own = torch.eye(K, dtype=torch.bool, device=directions.device)
    return exponents.masked_fill(own, -torch.inf).flatten().logsumexp(0) - log(K * (K - 1))


def log_norm(h_Nxd: Tensor) -> Tensor:
    """mean_i log(1 + ||h_i||^2 / d)."""
    return h_Nxd.square().mean(1).log1p().mean()


def half_square(h_Nxd: Tensor) -> Tensor:
    """mean_i ||h_i||^2 / 2."""
    return h_Nxd.square().sum(1).mean() / 2


def mean_entropy(
    h_Nxd: Tensor, weight_Vxd: Tensor, bias_V: Tensor | None, cap: float | None
) -> Tensor:
    """mean_i -sum_c p_ic log p_ic, p_i = softmax of the logits (nats).

    Logits exist for one chunk of samples at a time; the backward pass computes them again.
    """
    size = max(1, CHUNK_ELEMENTS // len(weight_Vxd))
    if len(h_Nxd) <= size:
        return _entropies(h_Nxd, weight_Vxd, bias_V, cap) / len(h_Nxd)
    total = torch.zeros((), device=h_Nxd.device)
    head = (weight_Vxd, bias_V, cap)
    for start in range(0, len(h_Nxd), size):
        chunk = h_Nxd[start : start + size]
        total = total + checkpoint(
            _entropies, chunk, *head, use_reentrant=False, preserve_rng_state=False
        )
    return total / len(h_Nxd)


def _entropies(
    h_Nxd: Tensor, weight_Vxd: Tensor, bias_V: Tensor | None, cap: float | None
) -> Tensor:
    """Sum of the entropies of predictions."""
    logits = F.linear(h_Nxd, weight_Vxd, bias_V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if cap is not None:
        logits = (logits / cap).tanh() * cap
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum()


OF_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "feature_norm": log_norm,
    "decay": half_square,
}
"""Penalties of features (N, d) alone; `decay` is that of `train.decay.features`."""
OF_MEANS: dict[str, Callable[[PassMeans], Tensor]] = {
    "nc1": within_share,
    "nc2": norm_inequality,
    "nc3": duality_gap,
    "uniformity": log_energy,
}
"""Penalties of class means."""
