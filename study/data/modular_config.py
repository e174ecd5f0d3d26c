"""Settings of `kind: modular`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from study.data.base import Estimate
from study.data.config import DataSettings, Gives
from study.settings.base import Fraction, NonNegativeInt, PositiveInt

INPUTS = 3
"""Tokens that a model reads of a sum: a, b and the equals sign."""


class ModularData(DataSettings):
    """All sums a + b mod p, a share of which is trained on: the task of grokking.

    A row reads the tokens a, b and =, and its one sample, at =, has the class a + b mod p (Power
    et al. 2022). The classes are the p residues; = is a token that is never a class.
    """

    gives: ClassVar[Gives] = "tokens"
    loader: ClassVar[str] = "study.data.modular:load_modular"
    kind: Literal["modular"] = "modular"
    p: Annotated[PositiveInt, Field(ge=2, le=2000)] = 97
    """The modulus, which need not be prime: p classes and p^2 sums."""
    train_fraction: Fraction = 0.3
    """Share of the p^2 sums that is trained on; all others are validation."""
    seed: NonNegativeInt = 0
    """Seed of the split, and of the subset that is measured."""

    @property
    def train_rows(self) -> int:
        """The share of all sums, rounded, with at least one sum on either side."""
        return min(max(round(self.train_fraction * self.p**2), 1), self.p**2 - 1)

    @property
    def known_shape(self) -> tuple[int, ...]:
        return (INPUTS,)

    def estimate(self, *, base: Path, cache: Path) -> Estimate:
        rows = self.train_rows
        return Estimate(rows, rows, self.p**2 - rows, self.p + 1, (INPUTS,))
