"""What has to look at every pair of classes, in one pass over tiles.

The tiles cover half of the pair matrix.

Shapes: C classes, d entries, I x J classes of a tile.

Products of float64 directions lose the digits of pairs that nearly coincide (1 - cos cancels),
and 1/distance^4 weighs exactly those most, so the pass recomputes the near pairs of a tile from
the differences of the vectors.

Float32 products are faster, but no bound on their rounding shows that they keep 1e-6 of every
column. With u = 2^-24, rounding two unit vectors to float32 moves their cosine by up to 2 u =
1.2e-7, and a sum of K products in float32 adds up to gamma_K = K u / (1 - K u) (Higham 2002,
section 3.1): even blocks of K products, summed in float64, leave (K + 2) u. The coherence of random
directions is about sqrt(2 / (pi d)), 0.029 at d = 768, of which 1e-6 is 2.9e-8, less than 2 u
whatever K is. At an equiangular frame the coherence and the spread of the log-distances are zero,
and float32 reports its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses
from study.metrics.result import ROUNDING
from study.metrics.vectors import inverse_or_zero

TILE = 1024
"""Classes of a tile: products of this size run at full speed, its buffers (8 MB) stay in cache."""
NEAR = 1e-6
"""Squared distance of directions below which a pair is recomputed.

Above it, products err by less than 1e-9 of the distance.
"""
DIAGONAL = 256
"""Classes of the largest tile on the diagonal."""
EXACT_ENTRIES = 1 << 21
"""Entries of recomputed differences held at a time."""


def frame_distance(classes: int) -> float:
    """||u_i - u_j||^2 in a simplex equiangular frame: 2 C / (C - 1)."""
    return 2 * classes / (classes - 1)


@dataclass
class PairTile:
    """Pairs (i, j) of classes i in `rows`, j in `columns`.

    On the diagonal of the pair matrix only those above it count.

    Attributes:
        directions: (I, J) ||u_i - u_j||^2 / `frame_distance`, so 1 at collapse; 1 on the diagonal.
        distances: (I, J) ||mu_i - mu_j||^2; 1 on the diagonal. These two and `scratch` (I, J) are
            buffers, free to be overwritten, that the next tile reuses.
        coincident: number of pairs of identical means, to rounding.
        parallel: number of pairs of identical directions, to rounding.
    """

    rows: slice
    columns: slice
    directions: Tensor
    distances: Tensor
    scratch: Tensor
    coincident: int = 0
    parallel: int = 0

    def counted(self, values_IxJ: Tensor, otherwise: float = 0.0) -> Tensor:
        """`values`, in place, with `otherwise` where the entry is no pair."""
        if self.rows == self.columns:
            values_IxJ.triu_(1)
            if otherwise:
                values_IxJ += torch.full_like(values_IxJ, otherwise).tril_()
        return values_IxJ


def pair_tiles(measured: MeasuredClasses, tile: int = TILE) -> Iterator[PairTile]:
    """Every unordered pair of measured classes once, tile by tile.

    A pair costs 2 d flops and a few passes over a tile.
    """
    count, norms = len(measured), measured.means.norms
    squares, frame = norms.square(), frame_distance(count)
    # Products of these are (frame - x) / frame - 1 + 2 / frame.
    units = measured.means.directions().mul_(math.sqrt(2 / frame))
    offset = units.new_full((), 2 / frame)
    buffers = units.new_empty(3, min(tile, count) ** 2)
    for rows, columns in _tiles(0, count, tile):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pairs = PairTile(
            rows, columns, *(buffer[: shape[0] * shape[1]].view(shape) for buffer in buffers)
        )
        x, d2, scratch = pairs.directions, pairs.distances, pairs.scratch
        torch.mm(units[rows], units[columns].T, out=x)  # 2 cos / frame
        # ||mu_i - mu_j||^2 = p_i^2 + p_j^2 - 2 p_i p_j cos, which errs by 1e-16 / NEAR at worst
        torch.mul(x, norms[rows, None], out=scratch)
        torch.add(squares[rows, None], squares[columns], out=d2).addcmul_(
            scratch, norms[columns], value=-frame
        )
        torch.sub(offset, x, out=x)  # (2 - 2 cos) / frame
        if rows == columns:
            x.fill_diagonal_(1)
            d2.fill_diagonal_(1)
        if float(x.amin()) < NEAR / frame:
            _recompute_near(pairs, measured, units)
        yield pairs


def _tiles(start: int, stop: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of tiles that cover the pairs i < j of [start, stop).

    Squares on the diagonal are halved while larger than DIAGONAL, because half of what is computed
    there is thrown away.
    """
    for i in range(start, stop, tile):
        rows = slice(i, min(i + tile, stop))
        if tile > DIAGONAL:
            yield from _tiles(i, rows.stop, -(-tile // 2))
        else:
            yield rows, rows
        for j in range(rows.stop, stop, tile):
            yield rows, slice(j, min(j + tile, stop))


def _recompute_near(tile: PairTile, measured: MeasuredClasses, units: Tensor) -> None:
    """Replace entries of near pairs by sums of squared differences.

    Also counts the pairs that coincide.
    """
    frame = frame_distance(len(measured))
    near = tile.counted(tile.directions < NEAR / frame).nonzero()
    for pairs in torch.split(near, max(1, EXACT_ENTRIES // measured.means.dim)):
        i, j = (pairs + pairs.new_tensor([tile.rows.start, tile.columns.start])).unbind(1)
        x = (units[i] - units[j]).square().sum(1) / 2  # the units have squared norm 2 / frame
        d2 = (measured.means.raw(i) - measured.means.raw(j)).square().sum(1)
        size = measured.means.sizes[i].square() + measured.means.sizes[j].square()
        tile.directions[tuple(pairs.T)] = x
        tile.distances[tuple(pairs.T)] = d2
        coincident = d2 <= ROUNDING**2 * size
        tile.coincident += int(coincident.sum())
        tile.parallel += int((coincident | (x <= ROUNDING**2)).sum())


@dataclass(frozen=True)
class PairStatistics:
    """Means and standard deviations over the pairs of measured classes.

    Meaningless where a count forbids them.
    """

    cdnv: Tensor
    galanti: Tensor
    log10_cdnv: Tensor
    interference_mean: Tensor
    interference_std: Tensor
    coherence: Tensor
    uncentred_size: Tensor
    log_distance_mean: Tensor
    log_distance_std: Tensor
    coincident: int
    parallel: int


def pair_statistics(measured: MeasuredClasses, tile: int = TILE) -> PairStatistics:
    """All pair columns in one pass; needs at least two classes.

    With D = ||mu_i - mu_j|| and S = (s2_i + s2_j) / 2, means over pairs of S / D^4, S / D^2 and
    log10(S / D^4); mean and std of <u_i, u_j>, mean of |<u_i, u_j> + 1/(C-1)|, mean of
    |cos(mu_i, mu_j)| from the origin, and mean and std of log(1 / ||u_i - u_j||).
    """
    count = len(measured)
    half_spreads, frame = measured.spreads / 2, frame_distance(count)
    sums = half_spreads.new_zeros(9)
    lengths = measured.means.sizes.square(), inverse_or_zero(measured.means.sizes)
    one = half_spreads.new_ones(())
    zeros = measured.means.vanishing
    coincident = parallel = zeros * (zeros - 1) // 2  # all of them equal mu_G
    for pair in pair_tiles(measured, tile):
        coincident += pair.coincident
        parallel += pair.parallel
        sums[8] += _uncentred_sum(pair, *lengths)
        x, inverse, work = pair.directions, pair.counted(pair.distances.reciprocal_()), pair.scratch
        torch.add(half_spreads[pair.rows, None], half_spreads[pair.columns], out=work).mul_(inverse)
        sums[0] += work.sum()
        sums[1] += work.mul_(inverse).sum()
        sums[2] += _log10_sum(pair.counted(work, otherwise=1.0), inverse)
        # Relative to the frame's distance these vanish at collapse, where digits are wanted:
        # <u, u'> + 1/(C-1) = (frame / 2) (1 - x), and log ||u - u'||^2 = log frame + log x.
        excess = pair.counted(torch.sub(one, x, out=work)).view(-1)
        sums[3] += excess.sum()
        sums[4] += torch.dot(excess, excess)
        sums[5] += excess.abs_().sum()
        logs = pair.counted(x.log_()).view(-1)
        sums[6] += logs.sum()
        sums[7] += torch.dot(logs, logs)
    means = sums / (count * (count - 1) / 2)
    galanti, cdnv, log10, excess, excess_2, size, logs, logs_2, uncentred = means
    return PairStatistics(
        cdnv=cdnv,
        galanti=galanti,
        log10_cdnv=log10,
        interference_mean=excess * (frame / 2) - 1 / (count - 1),
        interference_std=(excess_2 - excess.square()).clamp(min=0).sqrt() * (frame / 2),
        coherence=size * (frame / 2),
        uncentred_size=uncentred,
        log_distance_mean=-(logs + math.log(frame)) / 2,
        log_distance_std=(logs_2 - logs.square()).clamp(min=0).sqrt() / 2,
        coincident=coincident,
        parallel=parallel,
    )


def _uncentred_sum(pair: PairTile, squares_C: Tensor, inverse_C: Tensor) -> Tensor:
    """Sum of |cos(mu_i, mu_j)| over the pairs of a tile.

    cos = (||mu_i||^2 + ||mu_j||^2 - ||mu_i - mu_j||^2) / (2 ||mu_i|| ||mu_j||).
    """
    work = pair.scratch
    torch.add(squares_C[pair.rows, None], squares_C[pair.columns], out=work).sub_(pair.distances)
    work.mul_(inverse_C[pair.rows, None]).mul_(inverse_C[pair.columns])
    return pair.counted(work).abs_().sum() / 2


def galanti_mean(measured: MeasuredClasses, tile: int = TILE) -> tuple[Tensor, int]:
    """Mean over pairs of (s2_i + s2_j) / (2 ||mu_i - mu_j||^2), and coincident pairs.

    At least two classes; where pairs coincide, the mean has no meaning.
    """
    half_spreads = measured.spreads / 2
    total = half_spreads.new_zeros(())
    coincident = measured.means.vanishing * (measured.means.vanishing - 1) // 2
    for pair in pair_tiles(measured, tile):
        coincident += pair.coincident
        inverse = pair.counted(pair.distances.reciprocal_())
        torch.add(half_spreads[pair.rows, None], half_spreads[pair.columns], out=pair.scratch)
        total += pair.scratch.mul_(inverse).sum()
    return total / (len(measured) * (len(measured) - 1) / 2), coincident


def _log10_sum(values_IxJ: Tensor, scratch_IxJ: Tensor) -> Tensor:
    """Sum of log10 over positive values of at most 1e77, at least 1e-77.

    A logarithm costs as much as ten products, so one is taken of four values at a time.
    """
    values, scratch = values_IxJ.view(-1), scratch_IxJ.view(-1)
    quarter = len(values) // 4
    pairs, fours = scratch[: 2 * quarter], scratch[2 * quarter : 3 * quarter]
    torch.mul(values[: 2 * quarter], values[2 * quarter : 4 * quarter], out=pairs)
    torch.mul(pairs[:quarter], pairs[quarter:], out=fours)
    return fours.log10_().sum() + values[4 * quarter :].log10().sum()
