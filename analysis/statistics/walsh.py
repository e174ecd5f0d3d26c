"""Walsh averages (d_i + d_j) / 2, i <= j, of n numbers by their rank.

Of 2,000 numbers there are two million averages, of which a test asks for a few.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from analysis.statistics.linear import Codes, Floats

WHOLE = 2**17  # averages up to which all are held
SPARE = 4  # as many averages a number may lie beyond the ranks that were asked for
APART = 1e-12  # of the largest number: rounding error is far less


class WalshAverages:
    """The averages of numbers (n,), ranks counted from 0."""

    def __init__(self, numbers: Floats) -> None:
        self._d = np.sort(numbers)
        self._n = len(numbers)
        self.total = self._n * (self._n + 1) // 2

    @property
    def negative(self) -> WalshAverages:
        """The averages of the numbers with other signs, which are these with other signs."""
        other = WalshAverages(-self._d)
        if "_all" in vars(self):
            other._all = 0.0 - self._all[::-1]  # the zeros of averages have no sign
        return other

    @property
    def median(self) -> float:
        """The Hodges-Lehmann estimate."""
        first, last = (self.total - 1) // 2, self.total // 2
        values, start = self.around(first, last)
        return float(values[[first - start, last - start]].mean())

    def at(self, rank: int) -> float:
        """The average of a rank."""
        values, start = self.around(rank, rank)
        return float(values[rank - start])

    def around(self, first: int, last: int) -> tuple[Floats, int]:
        """Ascending averages (m,) among which are those of ranks `first` to `last`.

        And the rank of the first of them. They are all of the averages between two bounds, which
        differ from those asked for by more than rounding error, or all there are.
        """
        if self.total <= WHOLE or last - first > self.total // 2:
            return self._all, 0
        starts, stops = self._columns(self._below(first)), self._columns(self._above(last))
        lengths = stops - starts
        if lengths.sum() > self.total // 2:
            return self._all, 0
        row = np.repeat(np.arange(self._n), lengths)
        column = np.arange(len(row)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        values = np.sort((self._d[column] + self._d[row]) / 2)
        return values, int((starts - np.arange(self._n)).sum())

    @cached_property
    def _all(self) -> Floats:
        parts = [(self._d[at:] + self._d[at]) / 2 for at in range(self._n)]
        return np.sort(np.concatenate(parts))

    def _columns(self, bound: float) -> Codes:
        """For each i the first j >= i (n,) beyond the averages up to a bound."""
        ends = np.searchsorted(self._d, 2 * bound - self._d, side="right")
        return np.maximum(ends, np.arange(self._n))

    def _count(self, bound: float) -> int:
        return int((self._columns(bound) - np.arange(self._n)).sum())

    @property
    def _gap(self) -> float:
        return APART * (float(np.abs(self._d[[0, -1]]).max()) or 1.0)

    def _below(self, rank: int) -> float:
        """A bound below the average of a rank, by few averages where there are no ties."""
        gap = self._gap
        low, high = self._d[0] - gap, self._d[-1] + gap
        while high - low > gap:
            middle = (low + high) / 2
            count = self._count(middle)
            if count > rank:
                high = middle
                continue
            low = middle
            if rank - count <= SPARE * self._n:
                break
        return float(low - gap)

    def _above(self, rank: int) -> float:
        """A bound above the average of a rank, by few averages where there are no ties."""
        gap = self._gap
        low, high = self._d[0] - gap, self._d[-1] + gap
        while high - low > gap:
            middle = (low + high) / 2
            count = self._count(middle)
            if count <= rank:
                low = middle
                continue
            high = middle
            if count - rank <= SPARE * self._n:
                break
        return float(high + gap)
