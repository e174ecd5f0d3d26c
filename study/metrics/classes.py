"""The measured classes one by one: which of them collapse, and which do not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, check_head, nonfinite_reason
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.pairs import TILE, pair_tiles
from study.metrics.vectors import inverse_or_zero


@dataclass(frozen=True)
class ClassTable:
    """One entry per measured class, as `per_class` computes it.

    Float64 unless said otherwise, NaN-free.

    Attributes:
        index: (C,) int64, the class in [0, V).
        count: (C,) int64, N_c.
        norm: ||m_c||, the norm of the centred class mean.
        variance_norm: s2_c.
        cdnv: mean over the other classes c' of (s2_c + s2_c') / (2 ||mu_c - mu_c'||^4).
        cdnv_galanti: the same with the squared distance.
        interference: mean over the other classes of <u_c, u_c'>.
        head_cosine: cos(w_c, m_c).
        defined: column -> (C,) bool; False where the value does not exist for the class (then the
            column holds 0).
    """

    index: Tensor
    count: Tensor
    norm: Tensor
    variance_norm: Tensor
    cdnv: Tensor
    cdnv_galanti: Tensor
    interference: Tensor
    head_cosine: Tensor
    defined: dict[str, Tensor]

    def columns(self) -> dict[str, list[int | float | None]]:
        """The table as lists by column name, None where undefined, for a data frame."""
        names = (
            "index",
            "count",
            "norm",
            "variance_norm",
            "cdnv",
            "cdnv_galanti",
            "interference",
            "head_cosine",
        )
        lists: dict[str, list[int | float | None]] = {}
        for name in names:
            values: Tensor = getattr(self, name)
            exists = self.defined.get(name, torch.ones_like(values, dtype=torch.bool)).tolist()
            lists["class" if name == "index" else name] = [
                value if defined else None
                for value, defined in zip(values.tolist(), exists, strict=True)
            ]
        return lists


@torch.no_grad()
def per_class(
    m: ClassMoments, weight: Tensor, *, min_count: int = 10, tile: int = TILE
) -> ClassTable:
    """Per-class values of the classes with at least `min_count` samples.

    Time and memory as `collapse_metrics`.

    Raises MomentsError if the weight does not fit, fewer than two classes are measured, or a
    feature or weight is not finite.

    Example:
        >>> moments = ClassMoments(classes=3, dim=1)
        >>> moments.update(torch.tensor([[-3.], [-1.], [4.], [8.]]), torch.tensor([0, 0, 2, 2]))
        >>> table = per_class(moments, torch.tensor([[-1.], [0.], [2.]]), min_count=2).columns()
        >>> table["class"], table["variance_norm"], table["head_cosine"]
        ([0, 2], [1.0, 4.0], [1.0, 1.0])
    """
    check_head(weight, m.classes, m.dim)
    if reason := nonfinite_reason(m):
        raise MomentsError(f"per-class values need finite features: {reason}")
    measured = MeasuredClasses.of(m, min_count)
    if len(measured) < 2:
        raise MomentsError(
            f"per-class values need two measured classes; {len(measured)} have at least "
            f"{min_count} samples"
        )
    head, means, others = measured.head(weight), measured.means, len(measured) - 1
    if not head.in_range:
        raise MomentsError(
            "per-class values need a finite head; a row of a measured class holds an infinity or "
            "NaN"
        )
    if not means.in_range:
        raise MomentsError(
            "per-class values need features whose squares are within the range of float64"
        )
    units = means.directions()
    directed = means.norms > 0
    cdnv, galanti = _mean_cdnv(measured, tile)
    apart = cdnv.isfinite() & galanti.isfinite()
    return ClassTable(
        index=measured.indices,
        count=m.counts[measured.indices],
        norm=means.norms,
        variance_norm=measured.spreads,
        cdnv=torch.where(apart, cdnv, 0.0),
        cdnv_galanti=torch.where(apart, galanti, 0.0),
        interference=torch.where(directed, (units @ units.sum(dim=0) - 1) / others, 0.0),
        head_cosine=torch.linalg.vecdot(head.raw(slice(None)), units) * inverse_or_zero(head.sizes),
        defined={
            "cdnv": apart,
            "cdnv_galanti": apart,
            "interference": directed & bool(directed.all()),
            "head_cosine": directed & (head.sizes > 0),
        },
    )


def _mean_cdnv(measured: MeasuredClasses, tile: int) -> tuple[Tensor, Tensor]:
    """(C,) mean CDNV against the other classes, by two powers of distance.

    The fourth and the second; not finite at distance 0.
    """
    sums = measured.spreads.new_zeros(2, len(measured))
    for pair in pair_tiles(measured, tile):
        scales = pair.terms.scales
        ratio, inverse = pair.ratios()
        sums[1, pair.rows] += ratio.sum(dim=1)
        sums[1, pair.columns] += ratio.sum(dim=0)
        ratio.mul_(inverse)
        sums[0, pair.rows] += scales[pair.rows] * (ratio @ scales[pair.columns])
        sums[0, pair.columns] += scales[pair.columns] * (scales[pair.rows] @ ratio)
    return tuple((sums / (len(measured) - 1)).unbind(0))  # type: ignore[return-value]
