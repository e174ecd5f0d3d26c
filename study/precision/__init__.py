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
    from study.precision.apply import check_precision as check_precision
    from study.precision.apply import quantize as quantize
    from study.precision.calibration import Calibration as Calibration
    from study.precision.inplace import at_precision as at_precision
    from study.precision.record import Record as Record
    from study.precision.record import RelativeError as RelativeError
    from study.precision.record import quantization_record as quantization_record

__all__ = [
    "REFERENCE",
    "Calibration",
    "Precision",
    "PrecisionError",
    "Record",
    "RelativeError",
    "at_precision",
    "check_precision",
    "known_precisions",
    "options_used",
    "parse_precision",
    "quantization_record",
    "quantize",
]

_LAZY = {
    "check_precision": "study.precision.apply",
    "Calibration": "study.precision.calibration",
    "at_precision": "study.precision.inplace",
    "quantize": "study.precision.apply",
    "quantization_record": "study.precision.record",
    "Record": "study.precision.record",
    "RelativeError": "study.precision.record",
}


def __getattr__(name: str) -> object:
    """What needs torch, imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
