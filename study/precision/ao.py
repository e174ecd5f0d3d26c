"""What is used of torchao, imported without its notices: the only place that names its modules."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _errors_only() -> Iterator[None]:
    """torchao reports kernels of other machines as `Failed to load`, and torch its use of old calls."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


with _errors_only():
    from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    from torchao.quantization import (
        Float8Tensor,
        Int8DynamicActivationInt8WeightConfig,
        Int8DynamicActivationIntxWeightConfig,
        MappingType,
        PerAxis,
        PerGroup,
        PerRow,
        quantize_,
        to_nf4,
    )
    from torchao.quantization.quant_primitives import choose_qparams_affine, dequantize_affine, quantize_affine
    from torchao.quantization.quantize_.common import KernelPreference

__all__ = [
    "DTYPE_FP6_E2M3",
    "DTYPE_FP6_E3M2",
    "Float8Tensor",
    "Int8DynamicActivationInt8WeightConfig",
    "Int8DynamicActivationIntxWeightConfig",
    "KernelPreference",
    "MXTensor",
    "MappingType",
    "NVFP4Tensor",
    "PerAxis",
    "PerGroup",
    "PerRow",
    "choose_qparams_affine",
    "dequantize_affine",
    "per_tensor_amax_to_scale",
    "quantize_",
    "quantize_affine",
    "to_nf4",
]
