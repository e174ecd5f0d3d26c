"""The distribution of features of all classes: its rank, and paths through layers.

Shapes: N samples, V classes of the head, C classes with samples, d feature entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from study.metrics.measured import nonfinite_reason
from study.metrics.moments import ClassMoments
from study.metrics.result import ROUNDING, CollapseMetrics
from study.metrics.spectra import gram
from study.metrics.vectors import BLOCK_ENTRIES

NO_SCATTER = "needs the scatter: collect with ClassMoments(..., scatter=True)"
EQUAL_FEATURES = "all features are equal: they have no covariance"


@dataclass(frozen=True)
class Gaussian:
    """Mean (d,) and covariance (d, d), float64, of features: all that a Gaussian has."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, m: ClassMoments) -> Gaussian | str:
        """Of all samples of moments, or why there is none.

        By the decomposition of the total scatter, N cov = sum over samples of
        (h - mu_y)(h - mu_y)^T + sum_c N_c (mu_c - mu)(mu_c - mu)^T, mu = sum_c N_c mu_c / N.
        """
        if reason := nonfinite_reason(m):
            return reason
        if m.scatter is None:
            return NO_SCATTER
        classes = m.counts.nonzero().squeeze(1)
        if not len(classes):
            return "there are no samples"
        parts = [
            (m.rows_of(part), m.counts[part].double())
            for part in torch.split(classes, max(1, BLOCK_ENTRIES // m.dim))
        ]
        samples = m.counts.sum().double()
        mean = sum(
            (counts @ means[rows] for (means, rows), counts in parts),
            torch.zeros_like(m.scatter[0]),
        )
        mean = mean / samples
        between = gram(
            ((means[rows] - mean) * counts.sqrt()[:, None] for (means, rows), counts in parts),
            m.dim,
            m.device,
        )
        covariance = (m.scatter + between) / samples
        if not bool(covariance.isfinite().all()):
            return "the squares of the features are beyond the range of float64"
        return cls(mean, covariance)

    def root(self) -> Tensor:
        """(d, d) the symmetric square root of the covariance.

        Eigenvalues within rounding of zero are zero, because the root of noise is no noise.
        """
        values, axes = torch.linalg.eigh(self.covariance)
        noise = len(values) * torch.finfo(values.dtype).eps * values[-1]
        root: Tensor = (axes * torch.where(values > noise, values, 0.0).sqrt()) @ axes.T
        return root


def put_effective_rank(out: CollapseMetrics, m: ClassMoments) -> None:
    """Record effective_rank = exp(- sum_i p_i log p_i), p_i = l_i / sum_j l_j.

    l_i are the eigenvalues of the covariance of all features, of all classes collected. In [1, d]:
    the effective rank (Roy & Vetterli 2007) of the covariance; C - 1 where C classes of equal size
    have collapsed to a simplex frame or to an orthogonal one.
    """
    gaussian = Gaussian.of(m)
    if isinstance(gaussian, str):
        out.undefine(gaussian, "effective_rank")
        return
    values = torch.linalg.eigvalsh(gaussian.covariance).clamp(min=0)
    if float(values[-1]) == 0:
        out.undefine(EQUAL_FEATURES, "effective_rank")
        return
    shares = values / values.sum()
    out.put("effective_rank", torch.special.entr(shares).sum().exp())


@torch.no_grad()
def bures_wasserstein(a: Gaussian, b: Gaussian) -> Tensor:
    """2-Wasserstein distance of two Gaussians in the same number of dimensions.

    sqrt(||mu_a - mu_b||^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)) (Dowson & Landau 1982). The traces
    would cancel where A and B are near, so their sum is taken as
    min over orthogonal U of ||A^1/2 - B^1/2 U||_F^2, whose U is the polar factor of B^1/2 A^1/2
    (Bhatia, Jain & Lim 2019).

    Example: the same spread 3 apart, and around the same mean spreads 1 and 2.

        >>> unit = Gaussian(torch.zeros(2).double(), torch.eye(2).double())
        >>> moved = Gaussian(torch.tensor([3., 0.]).double(), unit.covariance)
        >>> wide = Gaussian(unit.mean, 4 * unit.covariance)
        >>> round(bures_wasserstein(unit, moved).item(), 6)
        3.0
        >>> round(bures_wasserstein(unit, wide).item() ** 2, 6)
        2.0
    """
    root_a, root_b = a.root(), b.root()
    left, _, right = torch.linalg.svd(root_a @ root_b)
    spread = torch.linalg.vector_norm(root_a - root_b @ (left @ right).T)
    return torch.hypot(torch.linalg.vector_norm(a.mean - b.mean), spread)


@torch.no_grad()
def geodesic_deviation(first: Gaussian, layer: Gaussian, last: Gaussian) -> CollapseMetrics:
    """`geodesic_deviation` of a layer's features from the shortest path of features.

    It is [W(P_1, P_l) + W(P_l, P_L) - W(P_1, P_L)] / W(P_1, P_L): by how much the way from the
    first measured layer to the input of the head is longer through this layer than the geodesic,
    relative to its length. W is the 2-Wasserstein distance and P_l the Gaussian with the mean and
    covariance of the features at layer l, whatever their classes. At least 0, which is reached
    exactly on the geodesic, where residual networks that are trained with weight decay come to lie
    and collapse advances from block to block (Wang, Gai & Zhang 2024, progressive feedforward
    collapse, which rests on Gai & Zhang 2021; the reduction to one number of Gaussians is this
    project's). It does not change with a rotation, translation or scale that all layers share.

    Undefined where layers have different numbers of features or the ends coincide.
    """
    out = CollapseMetrics()
    if not len(first.mean) == len(layer.mean) == len(last.mean):
        out.undefine(
            f"the layer has {len(layer.mean)} features, the first layer {len(first.mean)}, the "
            f"head's input {len(last.mean)}: distances need equally many",
            "geodesic_deviation",
        )
        return out
    length = bures_wasserstein(first, last)
    excess = bures_wasserstein(first, layer) + bures_wasserstein(layer, last) - length
    size = first.mean.square().sum() + first.covariance.trace() + last.covariance.trace()
    noise = ROUNDING * len(first.mean) * float(size.sqrt())
    out.put_ratio(
        "geodesic_deviation",
        torch.where(excess > noise, excess, 0.0),
        length,
        noise,
        "the features of the first layer and at the head's input are alike: the path has no length",
    )
    return out
