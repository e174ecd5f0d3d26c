"""Weight formats written out, and a loop over the layers of a model of `transformers`.

Shares nothing with `study.precision`.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

FORMATS = ("fp32", "int8", "int4-g32", "fp8", "nvfp4")

_FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_UNROUNDED = re.compile(
    r"(^|\.)(router|gate|shared_expert_gate)(\.(layer|wg))?$|embed_positions$|(^|\.)wpe$|positions_embed$"
)
_TRANSPOSED_EXPERTS = ("GptOssExperts", "Llama4TextExperts")


def rounded(w_oi: Tensor, name: str) -> Tensor:
    """A matrix (outputs, inputs) after storage in the format `name`."""
    if name == "fp32":
        return w_oi
    if name == "fp8":
        scale = (w_oi.abs().amax(1, keepdim=True) / 448).clamp_min(1e-30)  # a row of zeros
        return (w_oi / scale).to(torch.float8_e4m3fn).float() * scale
    if name == "nvfp4":
        return _nvfp4(w_oi)
    bits, group = (8, w_oi.shape[1]) if name == "int8" else (4, 32)
    w = w_oi.reshape(w_oi.shape[0], -1, group)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = w.abs().amax(2, keepdim=True) / ((high - low) / 2)
    scale = scale.clamp_min(torch.finfo(torch.float32).eps)
    # The largest weight lies on a tie, which this product decides as a division would not.
    values: Tensor = (w * (1 / scale)).round().clamp(low, high) * scale
    return values.reshape(w_oi.shape)


def _nvfp4(w_oi: Tensor) -> Tensor:
    blocks = w_oi.reshape(w_oi.shape[0], -1, 16)
    whole = (w_oi.abs().amax() / (448 * 6)).clamp_min(1e-30)  # a matrix of zeros
    scale = (blocks.abs().amax(2, keepdim=True) / 6 / whole).clamp(2**-6, 448)
    scale = scale.to(torch.float8_e4m3fn).float() * whole
    x = (blocks / scale).clamp(-6, 6)
    below = torch.searchsorted(_FP4, x.abs(), right=True) - 1
    above = (below + 1).clamp_max(7)
    low, high = _FP4[below], _FP4[above]
    middle = (low + high) / 2
    to_even = torch.where(below % 2 == 0, low, high)
    size = torch.where(x.abs() == middle, to_even, torch.where(x.abs() > middle, high, low))
    return (size * x.sign() * scale).reshape(w_oi.shape)


@torch.no_grad()
def round_model(model: nn.Module, name: str) -> None:
    """Round the linear layers, embeddings and experts of a model in place, tied weights once."""
    done: set[int] = set()
    for path, module in model.named_modules():
        kind = type(module).__name__
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) in done:
                continue
            layer = isinstance(module, nn.Linear | nn.Embedding) and attribute == "weight"
            if layer and not _UNROUNDED.search(path):
                parameter.copy_(rounded(parameter, name))
            elif kind == "Conv1D" and attribute == "weight":
                parameter.copy_(rounded(parameter.t(), name).t())
            elif "Expert" in kind and not attribute.endswith("bias"):
                _round_experts(module, attribute, parameter, name)
            done.add(id(parameter))


def _round_experts(module: nn.Module, attribute: str, parameter: Tensor, name: str) -> None:
    kind = type(module).__name__
    packed = kind == "DbrxExpertGLU"
    experts = parameter
    if packed:
        assert isinstance(module.moe_num_experts, int)
        experts = parameter.view(module.moe_num_experts, -1, parameter.shape[-1])
    transposed = kind in _TRANSPOSED_EXPERTS or (packed and attribute == "w2")
    for expert in experts:
        expert.copy_(rounded(expert.t(), name).t() if transposed else rounded(expert, name))
