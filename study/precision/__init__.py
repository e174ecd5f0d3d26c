"""Precision as an axis: names of arithmetics and what they do to a model. Torch and torchao are imported on use."""

from study.precision.names import Precision, PrecisionError, known_precisions, options_used, parse_precision

__all__ = ["Precision", "PrecisionError", "known_precisions", "options_used", "parse_precision"]
