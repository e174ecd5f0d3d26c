"""C vectors around their unweighted mean.

They are read in blocks of rows, so that no pass needs a copy of them all.

Shapes: C vectors of d entries; R rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from study.metrics.result import ROUNDING

BLOCK_ENTRIES = 1 << 20
"""Entries of a block, 8 MB of float64.

Products of it run at full speed, and what is made from it stays in cache.
"""


def inverse_or_zero(values: Tensor) -> Tensor:
    """1 / value, and zero for zero."""
    return torch.where(values == 0, 0.0, 1 / values)


@dataclass(frozen=True)
class Vectors:
    """Class means, or rows of the head, around their mean; all results are float64.

    Attributes:
        source: (n, d) of any floating type; indices: (C,) the rows of it that count, or None for
            all.
        centre: (d,) their unweighted mean.
        sizes: (C,) norms of the vectors themselves.
        norms: (C,) norms of the centred vectors, exactly zero where the vector equals the centre to
            rounding, because the direction of such a vector is noise.
    """

    source: Tensor
    indices: Tensor | None
    centre: Tensor
    sizes: Tensor
    norms: Tensor

    @classmethod
    def of(cls, source: Tensor, indices: Tensor | None) -> Vectors:
        """Two passes over the rows: one for the mean, one for the norms."""
        count = len(source) if indices is None else len(indices)
        sizes, norms = torch.zeros(2, count, dtype=torch.float64, device=source.device)
        uncentred = cls(
            source,
            indices,
            torch.zeros(source.shape[1], dtype=torch.float64, device=source.device),
            sizes,
            norms,
        )
        total = torch.zeros_like(uncentred.centre)
        for rows in uncentred.blocks():
            block = uncentred.raw(rows)
            total += block.sum(dim=0)
            sizes[rows] = torch.linalg.vector_norm(block, dim=1)
        vectors = cls(source, indices, total / count, sizes, norms)
        for rows in vectors.blocks():
            norms[rows] = torch.linalg.vector_norm(vectors.centred(rows), dim=1)
        noise = ROUNDING * (sizes + torch.linalg.vector_norm(vectors.centre))
        norms[norms <= noise] = 0
        return vectors

    def __len__(self) -> int:
        return len(self.norms)

    @property
    def dim(self) -> int:
        return self.source.shape[1]

    def blocks(self) -> Iterator[slice]:
        """Slices of consecutive rows that cover all."""
        step = max(1, BLOCK_ENTRIES // self.dim)
        return (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))

    def raw(self, rows: slice | Tensor) -> Tensor:
        """(R, d) float64 vectors of the rows; may share memory with the source."""
        numbers = rows if self.indices is None else self.indices[rows]
        return self.source[numbers].to(torch.float64)

    def centred(self, rows: slice | Tensor) -> Tensor:
        """(R, d) vectors of the rows minus the centre, a new tensor."""
        return self.raw(rows) - self.centre

    def matrix(self) -> Tensor:
        """(C, d) all centred vectors, a new tensor."""
        result = self.norms.new_empty(len(self), self.dim)
        for rows in self.blocks():
            torch.sub(self.raw(rows), self.centre, out=result[rows])
        return result

    @cached_property
    def scales(self) -> Tensor:
        """(C,) 1 / norms, zero where the norm is.

        Centred vectors times these are directions.
        """
        return inverse_or_zero(self.norms)

    def directions(self) -> Tensor:
        """(C, d) unit vectors of the centred vectors, a new tensor.

        Zero rows for vectors without a direction.
        """
        result = self.matrix()
        for rows in self.blocks():
            result[rows] *= self.scales[rows, None]
        return result

    @property
    def vanishing(self) -> int:
        """How many vectors equal the centre and so have no direction."""
        return int((self.norms == 0).sum())

    @property
    def in_range(self) -> bool:
        """Whether the squares of the vectors are within float64.

        Then all that follows is, too.
        """
        return bool(self.sizes.square().sum().isfinite())
