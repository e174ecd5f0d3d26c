"""What a column of a row is called, and what is known of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["lower", "higher"]

LONGEST_NAME = 32
INTERVAL = re.compile(r"([\[(])(-?[a-z0-9. ]+), ([a-z0-9. ]+)([\])])")
BOUNDS = {"inf": math.inf, "-inf": -math.inf, "sqrt 2": math.sqrt(2), "-log 2": -math.log(2)}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """How a column is named where people read.

    Attributes:
        name: a few words, at most `LONGEST_NAME` characters, in lower case but for abbreviations.
        symbol: its sign in a formula, without dollars, which both LaTeX and matplotlib's mathtext
            take; "" where it has none.
        unit: of its values; "" for pure numbers.
    """

    name: str
    symbol: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Metric(Quantity):
    r"""A column that is measured, its definition and where that comes from.

    Attributes:
        family: the property of collapse (NC0 to NC5, GNC2, UNC3), or the kind of quantity.
        direction: of its value that means more collapse; None where neither does.
        better: the direction of a better outcome; None where it is no outcome.
        citation: author, year, and what a reader looks up, such as an arXiv number and an equation.
        description: what it is, in one line.
        heavy_tailed: a few classes or pairs can dominate the value, so its rank or logarithm should
            be read beside it.
        formula: in LaTeX that mathtext takes too, in the letters of docs/metrics.md.
        range: the interval of possible values, such as "[0, inf)"; "text" for text.
        invariances: letters of what leaves it unchanged, "R" a rotation of features and head, "T" a
            translation and "S" a scaling of features alone.
    """

    family: str
    direction: Direction | None
    citation: str
    description: str
    heavy_tailed: bool = False
    better: Direction | None = field(default=None, kw_only=True)
    formula: str = field(default="", kw_only=True)
    range: str = field(kw_only=True)
    invariances: str = field(default="", kw_only=True)

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of its range.

        Raises ValueError for a range that is no interval.
        """
        match = INTERVAL.fullmatch(self.range)
        if match is None:
            raise ValueError(f"{self.range!r} is no interval such as '[0, inf)'")
        low, high = (BOUNDS[end] if end in BOUNDS else float(end) for end in (match[2], match[3]))
        return low, high
