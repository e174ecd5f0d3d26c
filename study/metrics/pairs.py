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
"""Classes of a tile: products of this size run at full speed."""
DIAGONAL = 256
"""Classes of the largest tile on the diagonal."""
STRIP = 2 * DIAGONAL**2
"""Entries that a thread of a CPU works on at a time.

Few enough for two buffers of them to stay in cache, and enough for a pass to take longer than its
call. A tile on the diagonal is one strip.
"""
NEAR = 1e-6
"""Squared distance of directions below which a pair is recomputed.

Above it, products err by less than 1e-9 of the distance.
"""
EXACT_ENTRIES = 1 << 21
"""Entries of recomputed differences held at a time."""


def frame_distance(classes: int) -> float:
    """||u_i - u_j||^2 in a simplex equiangular frame: 2 C / (C - 1)."""
    return 2 * classes / (classes - 1)


@dataclass(frozen=True)
class Outer:
    """The (C, C) matrix a_i b_j + b_i a_j, made tile by tile.

    Two passes over a tile take less time than a product with two columns.
    """

    a: Tensor
    b: Tensor

    def put(self, rows: slice, columns: slice, out: Tensor) -> Tensor:
        """(I, J) a tile of it, in `out`."""
        torch.mul(self.a[rows, None], self.b[columns], out=out)
        return out.addcmul_(self.b[rows, None], self.a[columns])

    def add(
        self, values_IxJ: Tensor, rows: slice, columns: slice, *, out: Tensor, times: float = 1.0
    ) -> Tensor:
        """`values` and a multiple of a tile, in `out`, which may be `values`."""
        torch.addcmul(values_IxJ, self.a[rows, None], self.b[columns], value=times, out=out)
        return out.addcmul_(self.b[rows, None], self.a[columns], value=times)


class PairTerms:
    """What turns the cosines of centred means into other values of their pairs.

    Squared distances D^2 = ||mu_i - mu_j||^2, products <mu_i, mu_j> and spreads
    S = (s2_i + s2_j) / 2 are, but for a factor of each class, sums of the cosine <u_i, u_j> and of
    an `Outer`. Of centred norms n, w = 1 / n and z = w / sqrt 2; w and z of a vanishing mean are
    those of the largest norm.

    Attributes:
        units: (C, d) directions u.
        scales: (C,) z.
        shares: (C,) n / ||mu_c||; zero for a zero mean.
        distances: D^2 z_i z_j + <u_i, u_j>.
        uncentred: <mu_i, mu_j> w_i w_j - <u_i, u_j>.
        spreads: S z_i z_j.
    """

    def __init__(self, measured: MeasuredClasses) -> None:
        norms, centre = measured.means.norms, measured.means.centre
        lengths = torch.where(norms > 0, norms, norms.amax())
        w = 1 / torch.where(lengths > 0, lengths, 1.0)
        self.units, self.scales = measured.means.directions(), w / math.sqrt(2)
        self.shares = inverse_or_zero(measured.means.sizes) / w
        self.distances = Outer(norms / 2, w)
        self.uncentred = Outer(self.units @ centre + centre.dot(centre) / 2 * w, w)
        self.spreads = Outer(measured.spreads / 4 * w, w)


@dataclass(frozen=True)
class NearPairs:
    """Pairs of a tile of which products have lost the digits.

    Attributes:
        index: (n,) their rows in the tile and (n,) their columns.
        directions: (n,) ||u_i - u_j||^2.
        distances: (n,) ||mu_i - mu_j||^2.
        coincident: number of pairs of identical means, to rounding.
        parallel: number of pairs of identical directions, to rounding.
    """

    index: tuple[Tensor, ...]
    directions: Tensor
    distances: Tensor
    coincident: int
    parallel: int


@dataclass(frozen=True)
class PairTile:
    """Pairs (i, j) of classes i in `rows`, j in `columns`.

    On the diagonal of the pair matrix only those above it count.

    Attributes:
        terms: those of all classes.
        opposites: (I, J) -<u_i, u_j>, so that squared distances are sums; 0 on the diagonal.
        scratch: (I, J) for what is made from them; the next tile reuses both buffers.
        near: pairs whose distances do not follow from the cosines, or None.
    """

    terms: PairTerms
    rows: slice
    columns: slice
    opposites: Tensor
    scratch: Tensor
    near: NearPairs | None

    def counted(self, values_IxJ: Tensor, otherwise: float = 0.0) -> Tensor:
        """`values`, in place, with `otherwise` where the entry is no pair."""
        if self.rows == self.columns:
            values_IxJ.triu_(1)
            if otherwise:
                values_IxJ += torch.full_like(values_IxJ, otherwise).tril_()
        return values_IxJ

    def directions(self) -> Tensor:
        """(I, J) ||u_i - u_j||^2 / `frame_distance`, so 1 at collapse, in `scratch`."""
        frame = frame_distance(len(self.terms.units))
        one = self.opposites.new_full((), 2 / frame)
        x = torch.add(one, self.opposites, alpha=2 / frame, out=self.scratch)
        if self.near is not None:
            x[self.near.index] = self.near.directions / frame
        return x

    def uncentred(self) -> Tensor:
        """(I, J) -<mu_i, mu_j> w_i w_j, in `scratch`."""
        outer, rows, columns = self.terms.uncentred, self.rows, self.columns
        return self.counted(outer.add(self.opposites, rows, columns, out=self.scratch, times=-1.0))

    def ratios(self) -> tuple[Tensor, Tensor]:
        """(I, J) S / D^2 in `scratch`, and 1 / (D^2 z_i z_j) in place of the opposites.

        Both are 0 where the entry is no pair.
        """
        terms, rows, columns = self.terms, self.rows, self.columns
        d2 = terms.distances.add(self.opposites, rows, columns, out=self.opposites)
        if self.near is not None:
            i, j = self.near.index
            d2[i, j] = self.near.distances * terms.scales[rows][i] * terms.scales[columns][j]
        inverse = self.counted(d2.reciprocal_())
        return terms.spreads.put(rows, columns, self.scratch).mul_(inverse), inverse


def pair_tiles(measured: MeasuredClasses, tile: int = TILE) -> Iterator[PairTile]:
    """Every unordered pair of measured classes once, tile by tile.

    A pair costs 2 d flops and a few passes over its tile. A CPU's tiles are strips of a product,
    because products are fastest when large, and passes when their buffers are small.
    """
    count, terms = len(measured), PairTerms(measured)
    side = min(tile, count)
    on_cpu = terms.units.device.type == "cpu"
    entries = STRIP * torch.get_num_threads() if on_cpu else side**2
    products, scratch = terms.units.new_empty(side**2), terms.units.new_empty(max(entries, side))
    for all_rows, columns in _tiles(0, count, tile):
        shape = (all_rows.stop - all_rows.start, columns.stop - columns.start)
        product = products[: math.prod(shape)].view(shape)
        product.addmm_(terms.units[all_rows], terms.units[columns].T, beta=0, alpha=-1)
        if all_rows == columns:
            product.fill_diagonal_(0)
        first = all_rows.start
        for opposites in torch.split(product, max(1, entries // shape[1])):
            rows = slice(first, first + len(opposites))
            first = rows.stop
            near = None
            if float(opposites.amin()) < NEAR / 2 - 1:
                near = _near_pairs(opposites, measured, terms.units, rows, columns)
            buffer = scratch[: opposites.numel()].view(opposites.shape)
            yield PairTile(terms, rows, columns, opposites, buffer, near)


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


def _near_pairs(
    opposites_IxJ: Tensor, measured: MeasuredClasses, units: Tensor, rows: slice, columns: slice
) -> NearPairs:
    """The near pairs of a tile, from the differences of their vectors."""
    near = opposites_IxJ < NEAR / 2 - 1
    if rows == columns:
        near.triu_(1)
    index = near.nonzero(as_tuple=True)
    x, d2 = units.new_empty(2, len(index[0])).unbind(0)
    coincident = parallel = 0
    means = measured.means
    entries = torch.arange(len(x), device=x.device)
    for part in torch.split(entries, max(1, EXACT_ENTRIES // means.dim)):
        i, j = rows.start + index[0][part], columns.start + index[1][part]
        x[part] = (units[i] - units[j]).square().sum(1)
        d2[part] = (means.raw(i) - means.raw(j)).square().sum(1)
        size = means.sizes[i].square() + means.sizes[j].square()
        same = d2[part] <= ROUNDING**2 * size
        coincident += int(same.sum())
        parallel += int((same | (x[part] <= 2 * ROUNDING**2)).sum())
    return NearPairs(index, x, d2, coincident, parallel)


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
    count, frame = len(measured), frame_distance(len(measured))
    zeros = measured.means.vanishing
    coincident = parallel = zeros * (zeros - 1) // 2  # all of them equal mu_G
    sums = measured.spreads.new_zeros(8)
    for pair in pair_tiles(measured, tile):
        if pair.near is not None:
            coincident += pair.near.coincident
            parallel += pair.near.parallel
        terms = pair.terms
        size = _weighted_sum(pair, pair.uncentred().abs_(), terms.shares)
        # <u, u'> + 1/(C-1), here with the opposite sign, and log ||u - u'||^2 - log frame vanish at
        # collapse, where digits are wanted.
        excess = pair.counted(torch.sub(pair.opposites, 1 / (count - 1), out=pair.scratch)).view(-1)
        excess_2, coherence = torch.dot(excess, excess), excess.abs_().sum()
        logs = pair.counted(pair.directions().log_()).view(-1)
        log, log_2 = logs.sum(), torch.dot(logs, logs)
        ratio, inverse = pair.ratios()
        galanti = ratio.sum()
        cdnv = _weighted_sum(pair, ratio.mul_(inverse), terms.scales)
        log10 = _log10_sum(pair.counted(ratio, otherwise=1.0), inverse)
        sums += torch.stack([cdnv, galanti, log10, excess_2, coherence, size, log, log_2])
    pairs = count * (count - 1) / 2
    cdnv, galanti, log10, excess_2, coherence, size, log, log_2 = sums / pairs
    # Because directions have length one, this is the mean of <u, u'> + 1/(C-1).
    excess = terms.units.sum(0).square().sum() / (2 * pairs)
    return PairStatistics(
        cdnv=cdnv,
        galanti=galanti,
        log10_cdnv=log10 + 2 * terms.scales.log10().mean(),
        interference_mean=excess - 1 / (count - 1),
        interference_std=(excess_2 - excess.square()).clamp(min=0).sqrt(),
        coherence=coherence,
        uncentred_size=size,
        log_distance_mean=-(log + math.log(frame)) / 2,
        log_distance_std=(log_2 - log.square()).clamp(min=0).sqrt() / 2,
        coincident=coincident,
        parallel=parallel,
    )


def _weighted_sum(pair: PairTile, values_IxJ: Tensor, weights_C: Tensor) -> Tensor:
    """Sum over i, j of weight_i value_ij weight_j."""
    return weights_C[pair.rows].dot(values_IxJ @ weights_C[pair.columns])


def galanti_mean(measured: MeasuredClasses, tile: int = TILE) -> tuple[Tensor, int]:
    """Mean over pairs of (s2_i + s2_j) / (2 ||mu_i - mu_j||^2), and coincident pairs.

    At least two classes; where pairs coincide, the mean has no meaning.
    """
    total = measured.spreads.new_zeros(())
    coincident = measured.means.vanishing * (measured.means.vanishing - 1) // 2
    for pair in pair_tiles(measured, tile):
        coincident += 0 if pair.near is None else pair.near.coincident
        total += pair.ratios()[0].sum()
    return total / (len(measured) * (len(measured) - 1) / 2), coincident


def _log10_sum(values_IxJ: Tensor, free_IxJ: Tensor) -> Tensor:
    """Sum of log10 over positive values of at most 1e77, at least 1e-77.

    A logarithm costs as much as four products, so one is taken of four values at a time. Their
    products are written to `free`, which loses what it held.
    """
    values, quarter = values_IxJ.view(-1), values_IxJ.numel() // 4
    fours = free_IxJ.view(-1)[:quarter]
    torch.prod(values[: 4 * quarter].view(4, quarter), dim=0, out=fours)
    return fours.log10_().sum() + values[4 * quarter :].log10().sum()
