"""Precisions by the method that chose their integers; no torch."""

from __future__ import annotations

METHODS = ("qat-", "efqat-", "rot-", "gptq-", "awq-", "hqq-", "smooth-")
"""Beginnings of the names of precisions that are not rounded to nearest."""
NEAREST = "nearest"


def method_and_format(precision: str) -> tuple[str, str]:
    """The method of a precision and its format, which its bits follow from.

    >>> method_and_format("rot-gptq-int4-g32/body")
    ('rot-gptq', 'int4-g32/body')
    >>> method_and_format("int4")
    ('nearest', 'int4')
    """
    prefixes, rest = [], precision
    while prefix := next((each for each in METHODS if rest.startswith(each)), ""):
        prefixes.append(prefix.removesuffix("-"))
        rest = rest.removeprefix(prefix)
    return "-".join(prefixes) or NEAREST, rest


def format_and_scope(precision: str) -> tuple[str, str]:
    """The part of a name before its scope, and the scope; empty for all weights.

    >>> format_and_scope("int3/block2")
    ('int3', 'block2')
    """
    before, _, scope = precision.partition("/")
    return before, scope
