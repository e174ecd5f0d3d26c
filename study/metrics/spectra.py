"""Spectra and cosine statistics of C vectors.

There is no C x C matrix, except where it is the smaller one.

Shapes: C vectors of d entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from study.metrics.result import mean_std
from study.metrics.vectors import Vectors, inverse_or_zero

GRAM_BLOCKS = 4  # blocks of columns; by symmetry 10 of their 16 products are enough


def gram(blocks_Rxd: Iterable[Tensor], dim: int, device: torch.device) -> Tensor:
    """(d, d) X^T X of the rows of all blocks.

    The upper triangle is summed up and mirrored.
    """
    result = torch.zeros(dim, dim, dtype=torch.float64, device=device)
    step = -(-dim // GRAM_BLOCKS)
    for block in blocks_Rxd:
        for start in range(0, dim, step):
            result[start : start + step, start:].addmm_(
                block[:, start : start + step].T, block[:, start:]
            )
    return result.triu_() + result.triu(1).T


def centred_gram(vectors: Vectors) -> Tensor:
    """(d, d) X^T X of the centred vectors."""
    return gram(
        (vectors.centred(rows) for rows in vectors.blocks()), vectors.dim, vectors.norms.device
    )


def frame_rank(count: int, dim: int) -> int:
    """Rank of C centred vectors in d dimensions at most: min(d, C - 1)."""
    return min(dim, count - 1)


def etf_error(eigenvalues_d: Tensor, count: int) -> Tensor:
    """Distance of the Gram matrix of C >= 2 centred vectors X to a simplex frame's.

    It is || A/||A||_F - G* ||_F, A = X X^T, G* = (I - 11^T/C) / sqrt(C-1).

    From the ascending eigenvalues of X^T X, normalised to unit norm, which does not cancel at
    collapse: sqrt(sum_{i<=r} (l_i - 1/sqrt(C-1))^2 + (C-1-r)/(C-1)), r = min(d, C-1). Range [0,
    sqrt 2]. NaN if all vectors are zero. Kothapalli 2023.

    Example: equal eigenvalues are a frame; a single one is as far from it as any.

        >>> etf_error(torch.tensor([2.0, 2.0]), count=3).item() < 1e-7
        True
        >>> round(etf_error(torch.tensor([0.0, 2.0]), count=3).item(), 4)
        0.7654
    """
    rank = frame_rank(count, len(eigenvalues_d))
    leading = eigenvalues_d[-rank:] / torch.linalg.vector_norm(eigenvalues_d)
    beyond = (count - 1 - rank) / (count - 1)
    return torch.sqrt((leading - 1 / math.sqrt(count - 1)).square().sum() + beyond)


def etf_floor(count: int, dim: int) -> float:
    """Least `etf_error` of any C vectors in d dimensions.

    sqrt(2 - 2 sqrt(r / (C-1))), r = min(d, C-1).

    Example:
        >>> etf_floor(count=3, dim=2), round(etf_floor(count=3, dim=1), 4)
        (0.0, 0.7654)
    """
    return math.sqrt(2 - 2 * math.sqrt(frame_rank(count, dim) / (count - 1)))


def cosine_mean_std(vectors: Vectors, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Mean and std over pairs of the cosine of C >= 2 nonzero vectors.

    The vectors are taken from their centre or from the origin.

    With unit vectors u and e = u - mean u, cos(u, u') = 1 - ||e - e'||^2 / 2. Over the ordered
    pairs of C vectors that sum to zero, with t = ||e||^2, squared distances sum to 2 C sum t, their
    squares to 2 C sum t^2 + 2 (sum t)^2 + 4 ||E^T E||_F^2. Nothing cancels when all vectors share a
    large offset. Only equal distances would cancel in the variance, and those need C <= d + 1:
    there the C x C distances are no larger than the vectors and are formed.
    """
    count, dim = len(vectors), vectors.dim
    scales = vectors.scales if centred else inverse_or_zero(vectors.sizes)
    read = vectors.centred if centred else vectors.raw
    mean_unit = (
        sum(
            (scales[rows] @ read(rows) for rows in vectors.blocks()),
            torch.zeros_like(vectors.centre),
        )
        / count
    )
    squares = torch.zeros_like(scales)

    def excess(rows: slice) -> Tensor:
        e_Rxd = (read(rows) * scales[rows, None]).sub_(mean_unit)
        squares[rows] = torch.linalg.vecdot(e_Rxd, e_Rxd)
        return e_Rxd

    if count <= dim + 1:
        e_Cxd = torch.cat([excess(rows) for rows in vectors.blocks()])
        distances = squares[:, None] + squares - 2 * (e_Cxd @ e_Cxd.T)
        above = torch.ones_like(distances, dtype=torch.bool).triu_(1)
        mean, std = mean_std(distances[above])
    else:
        products = gram((excess(rows) for rows in vectors.blocks()), dim, scales.device)
        total = squares.sum()
        mean = 2 * total / (count - 1)
        second = (
            2 * count * squares.square().sum() + 2 * total.square() + 4 * products.square().sum()
        )
        std = (second / (count * (count - 1)) - mean.square()).clamp(min=0).sqrt()
    return 1 - mean / 2, std / 2
