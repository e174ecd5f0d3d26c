"""How wide letters are, so that a figure knows its room before it is drawn.

Sizes are points, widths inches. A renderer would tell the same, in a hundred times the time.
"""

from __future__ import annotations

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.mathtext import MathTextParser

INCH = 72.0  # points
LEADING = 1.25
"""Distance of two lines over the size of their letters."""
MEASURED = 100.0  # points at which letters are measured: large, so that no hint rounds them
SLACK = 1.03  # what hinting adds at the size of print
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """A power of ten as text.

    >>> power_of_ten(-5)
    '10⁻⁵'
    """
    return f"10{str(exponent).translate(RAISED)}"


@cache
def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Inches of the longest line of a text, which may hold mathtext between dollars."""
    return SLACK * max(_width(line, bold) for line in text.split("\n")) * size / MEASURED


def _width(line: str, bold: bool) -> float:
    """Inches of a line at `MEASURED` points."""
    letters = FontProperties(family="sans-serif", weight="bold" if bold else "normal")
    if line.count("$") > 1:
        letters.set_size(MEASURED)
        width = MathTextParser("path").parse(line, dpi=INCH, prop=letters).width
        return float(width) / INCH
    font = get_font(findfont(letters))
    font.set_size(MEASURED, INCH)
    font.set_text(line, 0.0)
    return float(font.get_width_height()[0]) / 64 / INCH


def height_of(text: str, size: float) -> float:
    """Inches of all lines of a text; none of an empty one."""
    return LEADING * size / INCH * (text.count("\n") + 1) if text else 0.0


@cache
def wrapped(text: str, inches: float, size: float) -> str:
    """A text broken at its spaces, so that its lines have at most so many inches.

    A word that is wider is broken after a mark inside it, and else stays whole.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _words(paragraph):
            longer = line + word
            if line and width_of(longer.rstrip(), size) > inches:
                lines.append(line.rstrip())
                line = word
            else:
                line = longer
        lines.append(line.rstrip())
    return "\n".join(lines)


def _words(text: str) -> list[str]:
    """Pieces of a text after each of which it may be broken; mathtext stays whole."""
    pieces, piece, math = [], "", False
    for letter in text:
        piece += letter
        math ^= letter == "$"
        if not math and letter in " _/-":
            pieces.append(piece)
            piece = ""
    return [*pieces, piece]
