"""How many digits the cells of a column show: one rule a column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from analysis.figures.lettering import power_of_ten

DASH = "–"
DIGITS = 4  # significant ones of the largest value of a column
LEAST = 2  # significant ones that the smallest value keeps where all share their decimals
PLAIN = (1e-3, 1e4)  # sizes that are written without a power of ten
POWER = re.compile("×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def magnitude(value: float) -> int:
    """The power of ten of the first significant digit, after rounding to `DIGITS`.

    >>> magnitude(0.0123), magnitude(9.99996)
    (-2, 1)
    """
    return int(f"{abs(value):.{DIGITS - 1}e}".partition("e")[2])


def significant(value: float) -> str:
    """Four significant digits, with a power of ten beyond `PLAIN`.

    >>> significant(0.5), significant(123456.0), significant(0.0)
    ('0.5000', '1.235×10⁵', '0')
    """
    if value == 0:
        return "0"
    power = magnitude(value)
    if PLAIN[0] <= 10.0**power < PLAIN[1]:
        text = f"{value:.{DIGITS - 1 - power}f}"
    else:
        digits, _, raised = f"{value:.{DIGITS - 1}e}".partition("e")
        text = f"{digits}×{power_of_ten(int(raised))}"
    return text.replace("-", "−")


def shared_decimals(values: Iterable[float | None]) -> int | None:
    """Decimals that all cells of a column have, or None.

    The largest value has `DIGITS` significant digits. None where the smallest would then have fewer
    than `LEAST`: its cells share significant digits instead.

    >>> shared_decimals([1.5, -0.12, 0.0]), shared_decimals([1.5, 1e-6]), shared_decimals([250.0])
    (3, None, 1)
    """
    powers = [magnitude(value) for value in values if value and math.isfinite(value)]
    if not powers:
        return DIGITS - 1
    decimals = max(DIGITS - 1 - max(powers), 0)
    if not PLAIN[0] <= 10.0 ** max(powers) < PLAIN[1] or min(powers) + decimals < LEAST - 1:
        return None
    return decimals


def writer(
    values: Iterable[float | None], *, sign: bool = False, whole: bool = False
) -> Callable[[float | None], str]:
    """A function that writes the cells of a column of these values, all by one rule.

    `sign` puts a plus before positive values; `whole` writes a column of integers without decimals.
    """
    known = [value for value in values if value is not None]
    if whole and all(float(value).is_integer() for value in known):
        decimals: int | None = 0
    else:
        decimals = shared_decimals(known)

    def write(value: float | None) -> str:
        if value is None:
            return DASH
        if decimals is None:
            text = significant(value)
        else:
            text = f"{value:{',' if whole else ''}.{decimals}f}".replace("-", "−")
        return f"+{text}" if sign and value > 0 else text

    return write
