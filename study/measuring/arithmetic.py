"""The arithmetic of the passes that measure a model: `measure.compute`.

Sums over samples, decisions and metrics keep theirs, whatever a model computes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.config import Compute
from study.models import ModelError

REMEDY = "take fp32, or a GPU with units for it (of 2020 or later)"


def obstacle(compute: Compute, device: torch.device) -> str | None:
    """Why a device cannot compute so, or None.

    PyTorch takes TF32 for a permission: elsewhere than on GPUs with units for it, products would
    stay in float32, and rows would say what never happened.
    """
    on_gpu = device.type == "cuda"
    if compute == "tf32" and not (on_gpu and torch.cuda.is_tf32_supported()):
        return f"is tf32, which {_name(device)} does not compute in"
    if compute == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
        return f"is bf16, which {_name(device)} does not compute in"
    return None


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"a {device.type}"


def check_compute(compute: Compute, device: torch.device) -> None:
    """Raise ModelError where a device cannot compute so."""
    if (problem := obstacle(compute, device)) is not None:
        raise ModelError(f"measure.compute {problem}: {REMEDY}")


@contextmanager
def arithmetic(compute: Compute, device: torch.device) -> Iterator[None]:
    """Within, models on a device compute so; then PyTorch is as it was.

    fp32  products and convolutions in float32, also where a GPU would take TF32 unasked
    tf32  their factors rounded to 10 bits of mantissa, sums in float32
    bf16  the operations that `torch.autocast` rounds to bfloat16
    """
    if compute == "bf16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
        return
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high" if compute == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = compute == "tf32"
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
