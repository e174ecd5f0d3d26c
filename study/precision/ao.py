"""What is used of torchao, imported without its notices.

This is the only place that names its modules.
"""

from __future__ import annotations

from study.settings.notices import without_notices_of_torchao

with without_notices_of_torchao():
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
        PerTensor,
        quantize_,
        to_nf4,
    )
    from torchao.quantization.quant_primitives import _choose_scale_float8 as choose_scale_float8
    from torchao.quantization.quant_primitives import (
        _dequantize_affine_float8 as dequantize_affine_float8,
    )
    from torchao.quantization.quant_primitives import (
        _quantize_affine_float8 as quantize_affine_float8,
    )
    from torchao.quantization.quant_primitives import (
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )
    from torchao.quantization.quantize_.common import KernelPreference
    from torchao.quantization.quantize_.workflows import Int8Tensor, QuantizeTensorToInt8Kwargs

__all__ = [
    "DTYPE_FP6_E2M3",
    "DTYPE_FP6_E3M2",
    "Float8Tensor",
    "Int8DynamicActivationInt8WeightConfig",
    "Int8DynamicActivationIntxWeightConfig",
    "Int8Tensor",
    "KernelPreference",
    "MXTensor",
    "MappingType",
    "NVFP4Tensor",
    "PerAxis",
    "PerGroup",
    "PerRow",
    "PerTensor",
    "QuantizeTensorToInt8Kwargs",
    "choose_qparams_affine",
    "choose_scale_float8",
    "dequantize_affine",
    "dequantize_affine_float8",
    "per_tensor_amax_to_scale",
    "quantize_",
    "quantize_affine",
    "quantize_affine_float8",
    "to_nf4",
]
