"""Numbers as people read them: quantities, bytes, times."""

from __future__ import annotations


def quantity(number: float) -> str:
    """`3.4 M`, `205 M`, `12.9 k`, `1.2 P`."""
    for factor, unit in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:g}"


def counted(count: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size_text(count: float) -> str:
    """Bytes as `1.2 GiB`."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float | None) -> str:
    """`2 h 05 min`, `3 min 20 s`, `12 s`, or a question mark."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
