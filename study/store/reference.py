"""The precision by which searches and reports judge a training."""

from __future__ import annotations

from collections.abc import Iterable

REFERENCE = "fp32"
"""The precision that others are compared with."""
CONTROL = "ft-fp32"
"""Fine-tuning without quantization, which `qat-*` is compared with."""
TUNED = ("qat-", "efqat-")
"""Beginnings of the names of precisions that are fine-tuned before they are measured."""


def reference_precision(names: Iterable[str]) -> str:
    """The reference among precisions.

    `fp32` if it is there; else the first that was not fine-tuned, as the weights are then those of
    the training itself; else `ft-fp32`; else the first.

        >>> reference_precision(["qat-int4", "int8"])
        'int8'

    Raises ValueError for no precision.
    """
    return min(names, key=_rank)


def _rank(name: str) -> int:
    if name == REFERENCE:
        return 0
    if name == CONTROL:
        return 2
    return 3 if name.startswith(TUNED) else 1
