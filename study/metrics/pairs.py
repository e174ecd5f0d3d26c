"""What has to look at every pair of classes, in one pass over tiles of half the pair matrix.

Shapes: C classes, d entries, I x J classes of a tile.

Products of float64 directions lose the digits of pairs that nearly coincide (1 - cos cancels), and 1/distance^4 weighs
exactly those most, so the pass recomputes the near pairs of a tile from the differences of the vectors. Float32
products would be faster, but their 1e-7 hides a collapsed geometry: at an equiangular frame the coherence and the
spread of the log-distances are zero, and float32 reports its own rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses
from study.metrics.result import ROUNDING

TILE = 1024  # classes; three tiles of float64 stay near the cache, and products of this size run at full speed
NEAR = (
    1e-6  # squared distance of directions below which a pair is recomputed; above it, products err by < 1e-9 relative
)
EXACT_ENTRIES = 1 << 21  # entries of recomputed differences held at a time


@dataclass
class PairTile:
    """Pairs (i, j) of classes i in `rows`, j in `columns`; on the diagonal of the pair matrix only those above it count.

    Attributes:
        directions: (I, J) ||u_i - u_j||^2, a buffer that the next tile overwrites; 1 on the diagonal.
        distances: (I, J) ||mu_i - mu_j||^2, another such buffer.
        coincident: number of pairs of identical means, to rounding.
        parallel: number of pairs of identical directions, to rounding.
    """

    rows: slice
    columns: slice
    directions: Tensor
    distances: Tensor
    coincident: int = 0
    parallel: int = 0

    @property
    def diagonal(self) -> bool:
        return self.rows == self.columns

    def counted(self, values_IxJ: Tensor) -> Tensor:
        """`values` with zeros, in place, where the entry is no pair."""
        return values_IxJ.triu_(1) if self.diagonal else values_IxJ


def pair_tiles(measured: MeasuredClasses, tile: int = TILE) -> Iterator[PairTile]:
    """Every unordered pair of measured classes once, tile by tile: 2 d flops and a few passes over a tile per pair."""
    vectors = measured.around_mean
    norms, count = vectors.norms, len(measured)
    directions = vectors.directions()
    buffers = directions.new_empty(2, min(tile, count) ** 2)
    starts = range(0, count, tile)
    for i in starts:
        rows = slice(i, min(i + tile, count))
        for j in range(i, count, tile):
            columns = slice(j, min(j + tile, count))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            x, d2 = (buffer[: shape[0] * shape[1]].view(shape) for buffer in buffers)
            torch.mm(directions[rows], directions[columns].T, out=x)
            x.mul_(-2).add_(2)
            if i == j:
                x.fill_diagonal_(1)
            # ||mu_i - mu_j||^2 = (p_i - p_j)^2 + p_i p_j ||u_i - u_j||^2: a sum of positive terms, so nothing cancels
            torch.sub(norms[rows, None], norms[columns], out=d2)
            d2.square_().addcmul_(x * norms[rows, None], norms[columns])
            found = PairTile(rows, columns, x, d2)
            if float(x.amin()) < NEAR:
                _recompute_near(found, measured, directions)
            yield found


def _recompute_near(tile: PairTile, measured: MeasuredClasses, directions: Tensor) -> None:
    """Replace the entries of near pairs by sums over squared differences, and count the pairs that coincide."""
    near = tile.counted(tile.directions < NEAR).nonzero()
    for pairs in torch.split(near, max(1, EXACT_ENTRIES // measured.means.shape[1])):
        i, j = (pairs + pairs.new_tensor([tile.rows.start, tile.columns.start])).unbind(1)
        x = (directions[i] - directions[j]).square().sum(1)
        d2 = (measured.means[i] - measured.means[j]).square().sum(1)
        size = measured.means[i].square().sum(1) + measured.means[j].square().sum(1)
        tile.directions[tuple(pairs.T)] = x
        tile.distances[tuple(pairs.T)] = d2
        coincident = d2 <= ROUNDING**2 * size
        tile.coincident += int(coincident.sum())
        tile.parallel += int((coincident | (x <= ROUNDING**2)).sum())


@dataclass(frozen=True)
class PairStatistics:
    """Means over the pairs of measured classes, see `pair_statistics`; meaningless where a count forbids them."""

    cdnv: Tensor
    galanti: Tensor
    log10_cdnv: Tensor
    coherence: Tensor
    log_distance_mean: Tensor
    log_distance_std: Tensor
    coincident: int
    parallel: int


def pair_statistics(measured: MeasuredClasses, tile: int = TILE) -> PairStatistics:
    """All pair columns in one pass; needs at least two classes.

    With D = ||mu_i - mu_j|| and S = (s2_i + s2_j) / 2, means over pairs of S / D^4, S / D^2 and log10(S / D^4), of
    |<u_i, u_j> + 1/(C-1)|, and mean and std of log(1 / ||u_i - u_j||).
    """
    count = len(measured)
    pairs = count * (count - 1) / 2
    half_spreads = measured.spreads / 2
    frame = 2 * count / (count - 1)  # ||u_i - u_j||^2 in a simplex equiangular frame
    sums = half_spreads.new_zeros(6)
    zeros = measured.around_mean.vanishing
    coincident = parallel = zeros * (zeros - 1) // 2  # all of them equal mu_G
    for pair in pair_tiles(measured, tile):
        coincident += pair.coincident
        parallel += pair.parallel
        x, d2 = pair.directions, pair.distances
        inverse = pair.counted(d2.reciprocal_())
        value = (half_spreads[pair.rows, None] + half_spreads[pair.columns]).mul_(inverse)
        sums[1] += value.sum()
        sums[0] += value.mul_(inverse).sum()
        sums[2] += pair.counted(value.log10_()).sum()
        # Relative to the frame's distance both quantities vanish at collapse, where digits are wanted:
        # <u, u'> + 1/(C-1) = (frame - x) / 2, and log x = log frame + log(x / frame).
        x.div_(frame)
        sums[3] += pair.counted(1 - x).abs_().sum()
        logs = pair.counted(x.log_())
        sums[4] += logs.sum()
        sums[5] += torch.linalg.vecdot(logs.view(-1), logs.view(-1))
    means = sums / pairs
    variance = (means[5] - means[4].square()).clamp(min=0)
    return PairStatistics(
        cdnv=means[0],
        galanti=means[1],
        log10_cdnv=means[2],
        coherence=means[3] * (frame / 2),
        log_distance_mean=-(means[4] + torch.log(means.new_tensor(frame))) / 2,
        log_distance_std=variance.sqrt() / 2,
        coincident=coincident,
        parallel=parallel,
    )
