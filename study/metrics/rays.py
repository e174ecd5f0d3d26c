"""Whether the features of a class lie on one ray, as in shallow ReLU networks.

Shapes: N samples, n of one class, d feature entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.result import CollapseMetrics


@torch.no_grad()
def ray_share(features: Tensor, labels: Tensor, *, min_count: int = 10) -> CollapseMetrics:
    """`ray_share` of features (N, d) of any floating type with labels (N,).

    Mean over classes with at least `min_count` samples of l_1 / sum_i l_i, l_i the eigenvalues of
    the class's second moment about the origin, (1/n) sum h h^T. In [1 / min(n, d), 1]: 1 where all
    features of a class lie on one line through the origin, whatever their lengths, as on the rays
    of shallow ReLU networks with small weights (this project; the share of the first principal
    direction, uncentred). It does not change with rotation or scale.

    A class with few samples looks more like a ray, so compare equal counts. The smaller of the Gram
    matrices (n, n) and (d, d) of each class gives the eigenvalues, so that time is O(N d min(n, d))
    and memory that of the features. Undefined without such a class, with features that are not
    finite, or where all features of a class are zero.

    Example: the first class lies on a ray, the second on two of equal weight.

        >>> features = torch.tensor([[1., 1.], [3., 3.], [2., 0.], [0., 2.]])
        >>> round(ray_share(features, torch.tensor([0, 0, 1, 1]), min_count=2)["ray_share"], 6)
        0.75
    """
    out = CollapseMetrics()
    if not bool(features.isfinite().all()):
        out.undefine("some of the features are infinite or NaN", "ray_share")
        return out
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels).cpu().tolist() if len(labels) else []
    shares = []
    for of_class, count in zip(torch.split(order, counts), counts, strict=True):
        if count < min_count or not count:
            continue
        h = features[of_class].double()
        gram = h @ h.T if count < h.shape[1] else h.T @ h
        total = gram.trace()
        if float(total) == 0:
            out.undefine("all features of a class are zero: they have no direction", "ray_share")
            return out
        shares.append(torch.linalg.eigvalsh(gram / total)[-1])
    if shares:
        out.put("ray_share", torch.stack(shares).mean())
    else:
        out.undefine(
            f"no class has at least {min_count} samples among those whose agreement is measured",
            "ray_share",
        )
    return out
