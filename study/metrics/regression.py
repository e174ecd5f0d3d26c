"""Neural regression collapse (NRC) of features, target vectors and a linear head.

Shapes: N samples, n target dimensions, d feature entries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.metrics.covariance import put_effective_rank
from study.metrics.measured import nonfinite_reason
from study.metrics.moments import CHUNK, ClassMoments
from study.metrics.result import ROUNDING, CollapseMetrics

NRC1, NRC2 = ("nrc1", "nrc1_variance"), ("nrc2", "nrc2_variance")
OF_FEATURES = (*NRC1, *NRC2)


class RegressionMoments:
    """Moments of features and targets, in one pass, float64 and mergeable.

    Attributes:
        features: moments of all features as one class, with their scatter.
        targets: the same of the target vectors.
        directions: (d, d) sum over samples of h~ h~^T, h~ = h / ||h||; a zero feature adds nothing.
        nonzero: scalar int64, features that are not zero.
    """

    def __init__(self, targets: int, dim: int, device: str | torch.device = "cpu") -> None:
        self.features = ClassMoments(1, dim, device, scatter=True)
        self.targets = ClassMoments(1, targets, device, scatter=True)
        self.directions = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        self.nonzero = torch.zeros((), dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, features_Nxd: Tensor, targets_Nxn: Tensor) -> None:
        """Add samples: features and targets of any float type.

        Raises MomentsError for shapes that do not fit.
        """
        one_class = torch.zeros(len(features_Nxd), dtype=torch.int64)
        self.features.update(features_Nxd, one_class)
        self.targets.update(targets_Nxn, one_class)
        for rows_Rxd in torch.split(features_Nxd, CHUNK):
            h_Rxd = rows_Rxd.to(self.directions.device).double()
            lengths = torch.linalg.vector_norm(h_Rxd, dim=1, keepdim=True)
            sound = lengths.isfinite() & (lengths > 0)
            units_Rxd = torch.where(sound, h_Rxd / lengths, 0.0)
            self.directions += units_Rxd.T @ units_Rxd
            self.nonzero += sound.sum()

    def merge(self, other: RegressionMoments) -> None:
        """Add the samples of another."""
        self.features.merge(other.features)
        self.targets.merge(other.targets)
        self.directions += other.directions.to(self.directions.device)
        self.nonzero += other.nonzero.to(self.nonzero.device)

    @property
    def samples(self) -> int:
        """All samples, those with features that are not finite too."""
        return int(self.features.counts.sum()) + self.features.nonfinite

    @property
    def target_covariance(self) -> Tensor:
        """(n, n) population covariance of the targets."""
        assert self.targets.scatter is not None
        return self.targets.scatter / int(self.targets.counts.sum())


@torch.no_grad()
def regression_collapse(m: RegressionMoments, weight: Tensor | None) -> CollapseMetrics:
    """`nrc1` to `nrc3` of moments and the head's weight (n, d).

    The weight of an inner layer, which has no head, is None. With unit features h~ = h / ||h||,
    P_k the projection onto the n leading principal axes of the features (those of their covariance,
    about their mean) and P_W that onto the row space of W (Andriopoulos et al. 2024, definition of
    NRC1 to NRC3):

        nrc1   mean_i ||h~_i - P_k h~_i||^2, in [0, 1]
        nrc2   mean_i ||h~_i - P_W h~_i||^2, in [0, 1]
        nrc3   min over gamma in [0, least eigenvalue of Sigma] of
               || W W^T / ||W W^T||_F - A / ||A||_F ||_F^2, A = Sigma^(1/2) - gamma^(1/2) I,
               Sigma the covariance of the targets, in [0, 4]
        nrc1_variance, nrc2_variance
               tr((I - P) Sigma_T) / tr Sigma_T with P = P_k, P_W and Sigma_T the covariance of the
               features, in [0, 1] (this project; the former is 1 less the explained variance)

    Features are not centred in nrc1 and nrc2, as in the code of the authors, so that features that
    cannot have mean 0, such as those behind a ReLU, keep both above 0 however flat they lie about
    their mean; the shares of variance do not see the mean. All are 0 at full collapse and do not
    change with rotation or scale of the features; nrc2 and nrc3 are those of the head as it is, at
    its precision. A feature that is zero lies in every subspace. nrc1 needs features that vary in n
    directions of more, nrc3 at least two targets: with one it is always 0.

    Example: two targets; features in the plane of the head's rows, which have the lengths that
    uncorrelated targets of variances 4 and 1 call for (gamma = 0).

        >>> x = torch.tensor([[2., 0., 0.], [-2., 0., 0.], [0., 1., 0.], [0., -1., 0.]])
        >>> moments = RegressionMoments(2, 3)
        >>> moments.update(x, 2 ** 0.5 * x[:, :2])
        >>> head = torch.tensor([[2. ** 0.5, 0., 0.], [0., 1., 0.]])
        >>> columns = regression_collapse(moments, head)
        >>> [round(columns[name], 6) for name in ("nrc1", "nrc2", "nrc3", "nrc1_variance")]
        [0.0, 0.0, 0.0, 0.0]
    """
    out = CollapseMetrics()
    n = m.targets.dim
    if reason := nonfinite_reason(m.features):
        out.undefine(reason, *OF_FEATURES)
    elif not int(m.nonzero):
        out.undefine("all features are zero: they have no direction", *OF_FEATURES)
    else:
        _put_nrc1(out, m, n)
        _put_nrc2(out, m, weight)
    if weight is None:
        out.undefine("an inner layer has no head of its own", "nrc2", "nrc2_variance", "nrc3")
    else:
        _put_nrc3(out, weight.double(), m.target_covariance.to(weight.device))
    return out


@torch.no_grad()
def feature_size(features: ClassMoments) -> CollapseMetrics:
    """`effective_rank` and `feature_norm_rms` of features collected as one class.

    The formulas are those of rows of classes: exp of the entropy of the normalised eigenvalues of
    the covariance (Roy & Vetterli 2007), and sqrt(mean_i ||h_i||^2).
    """
    out = CollapseMetrics()
    put_effective_rank(out, features)
    if reason := nonfinite_reason(features):
        out.undefine(reason, "feature_norm_rms")
    else:
        squares = features.variance_norms[0] + features.means[0].square().sum()
        out.put("feature_norm_rms", squares.sqrt())
    return out


def _put_nrc1(out: CollapseMetrics, m: RegressionMoments, n: int) -> None:
    assert m.features.scatter is not None
    d = m.features.dim
    values, axes_dxd = torch.linalg.eigh(m.features.scatter)
    # Equal features differ by their rounding, whose square is no variance.
    rounding = m.samples * (ROUNDING * torch.linalg.vector_norm(m.features.means[0])).square()
    least = torch.maximum(d * torch.finfo(torch.float64).eps * values[-1], rounding)
    varied = int((values > least).sum())
    if n >= d:
        text = f"the features have {d} entries, no more than the {n} targets"
        out.undefine(f"{text}: every feature lies on their {d} axes", *NRC1)
    elif varied < n:
        text = f"the features vary in {varied} directions, fewer than the {n} targets"
        out.undefine(f"{text}: they have no {n} principal axes", *NRC1)
    else:
        out.put("nrc1", _share_in(axes_dxd[:, : d - n], m))
        out.put("nrc1_variance", values[: d - n].clamp_min(0).sum() / values.clamp_min(0).sum())


def _put_nrc2(out: CollapseMetrics, m: RegressionMoments, weight: Tensor | None) -> None:
    if weight is None:
        return
    w_nxd = weight.double().to(m.directions.device)
    if not bool(w_nxd.isfinite().all()):
        out.undefine("the head has an infinite or NaN entry", *NRC2)
        return
    _, sizes, directions = torch.linalg.svd(w_nxd, full_matrices=True)
    rank = int((sizes > max(w_nxd.shape) * torch.finfo(torch.float64).eps * sizes[0]).sum())
    if rank == 0:
        out.undefine("the head is zero: its rows span nothing", *NRC2)
        return
    off_dxk = directions[rank:].T
    out.put("nrc2", _share_in(off_dxk, m))
    assert m.features.scatter is not None
    variance = ((m.features.scatter @ off_dxk) * off_dxk).sum().clamp_min(0)
    equal = "all features are equal: they do not vary"
    out.put_ratio("nrc2_variance", variance, m.features.scatter.trace(), 0, equal)


def _share_in(basis_dxk: Tensor, m: RegressionMoments) -> Tensor:
    """mean_i of the squared length of h~_i in the span of orthonormal columns.

    The complement's directions give a small residual without the cancellation of 1 - share.
    """
    within = ((m.directions @ basis_dxk) * basis_dxk).sum()
    return within.clamp_min(0) / m.samples


def _put_nrc3(out: CollapseMetrics, w_nxd: Tensor, covariance_nxn: Tensor) -> None:
    if len(w_nxd) < 2:
        out.undefine("with one target the Gram matrix is a number: nrc3 is always 0", "nrc3")
        return
    gram = w_nxd @ w_nxd.T
    size = torch.linalg.matrix_norm(gram)
    if not bool(size.isfinite()) or float(size) == 0:
        out.undefine("the head is zero or not finite: its Gram matrix has no direction", "nrc3")
        return
    values, axes = torch.linalg.eigh(covariance_nxn)
    if float(values[-1]) <= 0:
        out.undefine("the targets do not vary", "nrc3")
        return
    roots = values.clamp_min(0).sqrt()
    distances = [
        (axes.T @ (gram / size) @ axes - torch.diag(shape)).square().sum()
        for shape in _shapes(roots, axes.T @ gram @ axes)
    ]
    out.put("nrc3", torch.stack(distances).min())


def _shapes(roots_n: Tensor, gram_nxn: Tensor) -> list[Tensor]:
    """Diagonals (n,) of A / ||A||_F, A = Sigma^(1/2) - s I, for some s.

    The nearest one is among them. Both matrices are in the eigenbasis of Sigma, and
    <W W^T, A> / ||A||_F has one stationary s, so that the best s in [0, least root] is that or an
    end.
    """
    n, least = len(roots_n), float(roots_n[0])
    trace, product = gram_nxn.trace(), gram_nxn.diagonal() @ roots_n
    slope = trace * roots_n.sum() - n * product
    candidates = [0.0, least]
    if float(slope) != 0:
        stationary = float((trace * roots_n.square().sum() - product * roots_n.sum()) / slope)
        candidates += [stationary] if 0 < stationary < least else []
    shapes = [roots_n - s for s in candidates]
    # Of equal roots A is a multiple of the identity for every s below them, and zero at the end.
    zero = ROUNDING * math.sqrt(n) * float(roots_n[-1])
    sizes = [torch.linalg.vector_norm(shape) for shape in shapes]
    return [shape / size for shape, size in zip(shapes, sizes, strict=True) if float(size) > zero]
