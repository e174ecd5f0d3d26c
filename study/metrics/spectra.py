"""Spectra and cosine statistics of C vectors without a C x C matrix, except where it is the smaller one.

Shapes: C vectors of d entries around their mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.metrics.measured import Vectors
from study.metrics.result import mean_std

GRAM_BLOCKS = 4  # 10 of 16 blocks computed


def gram(vectors_Cxd: Tensor) -> Tensor:
    """(d, d) X^T X: blocks of the upper triangle are computed and mirrored."""
    dim = vectors_Cxd.shape[1]
    result = vectors_Cxd.new_empty(dim, dim)
    step = -(-dim // GRAM_BLOCKS)
    for start in range(0, dim, step):
        stop = min(start + step, dim)
        block = vectors_Cxd[:, start:stop].T @ vectors_Cxd[:, start:]
        result[start:stop, start:] = block
        result[start:, start:stop] = block.T
    return result


def frame_rank(count: int, dim: int) -> int:
    """Rank of C centred vectors in d dimensions at most: min(d, C - 1)."""
    return min(dim, count - 1)


def etf_error(gram_dxd: Tensor, count: int) -> Tensor:
    """|| A/||A||_F - G* ||_F for A = X X^T, G* = (I - 11^T/C) / sqrt(C-1), from X^T X of C >= 2 centred vectors.

    Through the eigenvalues l_i of X^T X normalised to unit norm, which does not cancel at collapse:
    sqrt(sum_{i<=r} (l_i - 1/sqrt(C-1))^2 + (C-1-r)/(C-1)), r = min(d, C-1). Range [0, sqrt 2]. NaN if all vectors vanish.
    Kothapalli 2023.
    """
    rank = frame_rank(count, len(gram_dxd))
    eigenvalues = torch.linalg.eigvalsh(gram_dxd)
    eigenvalues = eigenvalues[-rank:] / torch.linalg.vector_norm(eigenvalues)
    beyond = (count - 1 - rank) / (count - 1)
    return torch.sqrt((eigenvalues - 1 / math.sqrt(count - 1)).square().sum() + beyond)


def etf_floor(count: int, dim: int) -> float:
    """Least `etf_error` of any C vectors in d dimensions: sqrt(2 - 2 sqrt(r / (C-1))), r = min(d, C-1)."""
    return math.sqrt(2 - 2 * math.sqrt(frame_rank(count, dim) / (count - 1)))


def cosine_mean_std(units_Cxd: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std over pairs of the cosine of C >= 2 unit vectors.

    With e = u - mean u, cos(u, u') = 1 - ||e - e'||^2 / 2. Over the ordered pairs of C vectors that sum to zero, with
    t = ||e||^2, the squared distances sum to 2 C sum t and their squares to 2 C sum t^2 + 2 (sum t)^2 + 4 ||E^T E||_F^2.
    Nothing cancels when all vectors share a large offset. Only equal distances would cancel in the variance, and those
    need C <= d + 1: there the C x C distances are no larger than the vectors and are formed.
    """
    count, dim = units_Cxd.shape
    around = Vectors.around_mean(units_Cxd)
    squares = around.norms.square()
    if count <= dim + 1:
        distances = squares[:, None] + squares - 2 * (around.centred @ around.centred.T)
        above = torch.ones_like(distances, dtype=torch.bool).triu_(1)
        mean, std = mean_std(distances[above])
    else:
        ordered = count * (count - 1)
        total = squares.sum()
        mean = 2 * total / (count - 1)
        second = 2 * count * squares.square().sum() + 2 * total.square() + 4 * gram(around.centred).square().sum()
        std = (second / ordered - mean.square()).clamp(min=0).sqrt()
    return 1 - mean / 2, std / 2
