"""Precision as an axis: names of arithmetic and what they do to a model.

Torch and torchao are imported on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.precision.names import (
    REFERENCE,
    Precision,
    PrecisionError,
    known_precisions,
    options_used,
    parse_precision,
)

if TYPE_CHECKING:
    from study.precision.apply import quantize as quantize
    from study.precision.record import RelativeError as RelativeError
    from study.precision.record import quantization_record as quantization_record

__all__ = [
    "REFERENCE",
    "Precision",
    "PrecisionError",
    "RelativeError",
    "known_precisions",
    "options_used",
    "parse_precision",
    "quantization_record",
    "quantize",
]

_LAZY = {
    "quantize": "study.precision.apply",
    "quantization_record": "study.precision.record",
    "RelativeError": "study.precision.record",
}


def __getattr__(name: str) -> object:
    """What needs torch, imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
