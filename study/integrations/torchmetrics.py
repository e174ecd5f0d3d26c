"""Collapse as a metric of torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from study.columns import METRICS
from study.integrations.log import COLUMNS, check_columns
from study.metrics import ClassMoments, collapse_metrics
from study.metrics.moments import check_batch

ONE_PASS = tuple(collapse_metrics(ClassMoments(classes=1, dim=1), torch.zeros(1, 1)))
"""Columns that class moments and a head give, without another pass for decisions."""
LOGGED = tuple(name for name in COLUMNS if name in ONE_PASS)
"""Columns that are computed unless others are asked for."""


class NeuralCollapse(Metric):
    """Columns of collapse of features at the input of a head.

    Its states are the class moments, packed into one tensor (V, d + 2) of a count, a mean and a sum
    of squared deviations a class, in float64 whatever the features are. Processes and `merge_state`
    merge them by the pairwise update of `ClassMoments`, so that they give what one process would.
    `compute` takes the head's weight as it is then. NC4 decides samples by class means, which needs
    a second pass: `study.measuring.measure` makes it.

    Args:
        head: the linear layer (V, d) whose input the features are. It is no part of the metric, so
            that it is neither moved nor saved with it; a clone of the metric has the same head.
        columns: names of `ONE_PASS`, as in `study.metrics.METRICS`.
        min_count: least samples of a measured class.
        options: of `torchmetrics.Metric`.

    Attributes:
        reasons: column -> why it was undefined at the last `compute`.

    Raises ValueError for a column that moments do not give, TypeError for a head that is no
    nn.Linear.

    Example: classes collapsed to the corners of a triangle, with a head that points at them.

        >>> head = nn.Linear(3, 3, bias=False)
        >>> _ = head.weight.data.copy_(torch.eye(3) - 1 / 3)
        >>> metric = NeuralCollapse(head, columns=["nc1_ratio", "nc3_cosine_mean"])
        >>> labels = torch.arange(3).repeat(20)
        >>> metric.update(head.weight.detach()[labels], labels)
        >>> {name: round(float(value), 6) for name, value in metric.compute().items()}
        {'nc1_ratio': 0.0, 'nc3_cosine_mean': 1.0}
    """

    is_differentiable = False
    full_state_update = False

    moments: Tensor
    nonfinite: Tensor

    def __init__(
        self,
        head: nn.Linear,
        *,
        columns: Collection[str] = LOGGED,
        min_count: int = 10,
        **options: Any,
    ) -> None:
        # What was computed before is no answer, as the head changes between two updates.
        super().__init__(**{"compute_with_cache": False, **options})
        if not isinstance(head, nn.Linear):
            raise TypeError(
                f"head: a {type(head).__name__} is no nn.Linear: give the layer that reads "
                "the features"
            )
        check_columns(columns, METRICS)
        for name in columns:
            if name not in ONE_PASS:
                raise ValueError(
                    f"columns: {name!r} does not follow from one pass over features: leave it out, "
                    "or use study.measuring.measure"
                )
        self.columns, self.min_count = tuple(columns), min_count
        self.reasons: dict[str, str] = {}
        self._head = _Elsewhere(head)
        empty = torch.zeros(head.out_features, head.in_features + 2, dtype=torch.float64)
        self.add_state("moments", empty, dist_reduce_fx=_merged)
        self.add_state("nonfinite", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Fold in features (B, d) of any floating type with labels (B,) in [0, V).

        Raises MomentsError for shapes, types or labels that do not fit; then nothing is added.
        """
        head = self._head.module
        check_batch(features, labels, head.out_features, head.in_features)
        classes_K, labels_B = torch.unique(labels, return_inverse=True)
        classes_K = classes_K.long().to(self.moments.device)
        if not len(classes_K):
            return
        present = _unpacked(self.moments[classes_K])
        present.update(features, labels_B)
        self.moments[classes_K] = _packed(present)
        self.nonfinite += present.nonfinite

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Any = "") -> nn.Module:
        """Move to a device; the moments stay float64 also where a model becomes float16."""
        super()._apply(fn, exclude_state=(*exclude_state, "moments"))
        self.moments = self.moments.to(fn(self.moments[:0]).device)
        return self

    def compute(self) -> dict[str, Tensor]:
        """Float64 scalars by column; those that are undefined are in `reasons` instead."""
        moments = _unpacked(self.moments)
        moments.nonfinite = int(self.nonfinite)
        metrics = collapse_metrics(moments, self._head.module.weight, min_count=self.min_count)
        values = {name: metrics[name] for name in self.columns}
        self.reasons = {name: metrics.reasons[name] for name in values if values[name] is None}
        return {
            name: torch.tensor(value, dtype=torch.float64, device=self.moments.device)
            for name, value in values.items()
            if value is not None
        }


class _Elsewhere:
    """A module of another: a copy refers to the copy of that module, if any."""

    def __init__(self, module: nn.Linear) -> None:
        self.module = module

    def __deepcopy__(self, memo: dict[int, Any]) -> _Elsewhere:
        return _Elsewhere(memo.get(id(self.module), self.module))


def _packed(moments: ClassMoments) -> Tensor:
    """(V, d + 2) float64: counts, means and squared deviations of moments."""
    parts = (moments.counts[:, None].double(), moments.means, moments.deviations[:, None])
    return torch.cat(parts, dim=1)


def _unpacked(packed_VxD: Tensor) -> ClassMoments:
    """Moments of a packed tensor, which is left as it is."""
    moments = ClassMoments(len(packed_VxD), packed_VxD.shape[1] - 2, packed_VxD.device)
    counts, means = packed_VxD[:, 0].long(), packed_VxD[:, 1:-1]
    state = {"counts": counts, "means": means, "deviations": packed_VxD[:, -1]}
    moments.load_state_dict({**moments.state_dict(), **state})
    return moments


def _merged(packed_PxVxD: Tensor) -> Tensor:
    """The packed moments of all of P shares of the samples."""
    first, *others = (_unpacked(packed_VxD) for packed_VxD in packed_PxVxD)
    for other in others:
        first.merge(other)
    return _packed(first)
