"""Decoder-only transformers: GPT-Neo and the GPT of nanoGPT.

GPT-Neo is that of Hugging Face transformers.

Shapes: B sequences, T tokens, D width, H heads, K = D / H, W window, N = ceil(T / W) windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.models.base import FeatureModel
from study.models.head_config import HeadOfRows, check_frame
from study.models.heads import CosineHead, head_inputs, simplex_frame
from study.models.transformer_config import GPTNeoModel, NanoGPTModel
from study.models.unfilled import unfilled


@dataclass(frozen=True)
class Architecture:
    """All that distinguishes one transformer of this file from another.

    `windows` has one entry a block; None is global.
    """

    family: Literal["gpt_neo", "nanogpt"]
    classes: int
    positions: int
    width: int
    heads: int
    windows: tuple[int | None, ...]
    attention_scale: float
    qkv_bias: bool
    bias: bool
    gelu: Literal["tanh", "none"]
    tied: bool
    head: HeadOfRows = "learned"
    temperature: float | None = None

    @classmethod
    def of(
        cls, settings: GPTNeoModel | NanoGPTModel, *, classes: int, context: int
    ) -> Architecture:
        """Architecture of `settings`.

        Raises ModelError when the context exceeds the positions.
        """
        match settings:
            case GPTNeoModel():
                settings.check_context(context)
                return cls(
                    family="gpt_neo",
                    classes=classes,
                    positions=settings.positions,
                    width=settings.width,
                    heads=settings.heads,
                    windows=tuple(
                        settings.window if layer % 2 else None for layer in range(settings.depth)
                    ),
                    attention_scale=1.0,
                    qkv_bias=False,
                    bias=True,
                    gelu="tanh",
                    tied=True,
                )
            case NanoGPTModel():
                return cls(
                    family="nanogpt",
                    classes=classes,
                    positions=context,
                    width=settings.width,
                    heads=settings.heads,
                    windows=(None,) * settings.depth,
                    attention_scale=1 / sqrt(settings.width // settings.heads),
                    qkv_bias=settings.bias,
                    bias=settings.bias,
                    gelu="none",
                    tied=settings.tied,
                    head=settings.head,
                    temperature=settings.temperature,
                )
            case _:
                assert_never(settings)


class Attention(nn.Module):
    """Causal self-attention over all earlier tokens, or over the last `window` ones.

    The own token is one of them. `written` is applied to keys and values (..., K).
    """

    def __init__(self, architecture: Architecture, window: int | None) -> None:
        super().__init__()
        width = architecture.width
        self.heads = architecture.heads
        self.scale = architecture.attention_scale
        self.window = window
        self.written: Callable[[Tensor], Tensor] | None = None
        self.qkv = nn.Linear(width, 3 * width, bias=architecture.qkv_bias)
        self.out = nn.Linear(width, width, bias=architecture.bias)

    def forward(self, x_BxTxD: Tensor) -> Tensor:
        B, T, D = x_BxTxD.shape
        qkv = self.qkv(x_BxTxD)
        if self.written is not None:
            keys_and_values = qkv[..., D:].reshape(B, T, 2 * self.heads, -1)
            qkv = torch.cat([qkv[..., :D], self.written(keys_and_values).flatten(2)], dim=-1)
        if self.window is None or self.window >= T:
            q, k, v = qkv.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            y_BxHxTxK = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
            y_BxTxD = y_BxHxTxK.transpose(1, 2).reshape(B, T, D)
        else:
            y_BxTxD = self._local(qkv, self.window)
        out: Tensor = self.out(y_BxTxD)
        return out

    def _local(self, qkv_BxTx3D: Tensor, W: int) -> Tensor:
        """Sliding-window attention at the cost of 2 W keys a query.

        Windows of queries see their own and the previous window.
        """
        B, T, _ = qkv_BxTx3D.shape
        N = -(-T // W)
        qkv = F.pad(qkv_BxTx3D, (0, 0, 0, N * W - T)).view(B, N, W, 3, self.heads, -1)
        q = qkv[..., 0, :, :]
        kv = qkv[..., 1:, :, :]
        kv = torch.cat([F.pad(kv[:, :-1], (0,) * 8 + (1, 0)), kv], dim=2)  # (B, N, 2W, 2, H, K)
        k, v = kv.flatten(0, 1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(
            q.flatten(0, 1).transpose(1, 2),
            k,
            v,
            attn_mask=_window_mask(B, N, W, q.device),
            scale=self.scale,
        )
        return y.transpose(1, 2).reshape(B, N * W, -1)[:, :T]


def _window_mask(B: int, N: int, W: int, device: torch.device) -> Tensor:
    """Which of 2 W keys each query of a window may see, (B N, 1, W, 2 W).

    The keys are those of the previous window and of the own one; the first window has no previous.
    """
    query = torch.arange(W, device=device)[:, None]
    key = torch.arange(2 * W, device=device)[None, :]
    inside = (query < key) & (key <= query + W)
    mask = inside.expand(N, W, 2 * W).clone()
    mask[0] &= key >= W
    return mask.repeat(B, 1, 1)[:, None]


class Block(nn.Module):
    """Pre-norm residual block: attention, then a hidden layer of four widths."""

    def __init__(self, architecture: Architecture, window: int | None) -> None:
        super().__init__()
        width, bias = architecture.width, architecture.bias
        self.gelu = architecture.gelu
        self.norm1 = nn.LayerNorm(width, eps=1e-5, bias=bias)
        self.attention = Attention(architecture, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-5, bias=bias)
        self.expand = nn.Linear(width, 4 * width, bias=bias)
        self.contract = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x_BxTxD: Tensor) -> Tensor:
        x = x_BxTxD + self.attention(self.norm1(x_BxTxD))
        out: Tensor = x + self.contract(F.gelu(self.expand(self.norm2(x)), approximate=self.gelu))
        return out


class Transformer(FeatureModel):
    """Decoder with learned positions.

    Parameters are uninitialised: `initialise` or a checkpoint fills them.
    """

    embedding: nn.Embedding

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, classes = architecture.width, architecture.classes
        self.architecture = architecture
        self.tied = architecture.tied
        with unfilled():
            self.embedding = nn.Embedding(classes, width)
            self.position = nn.Embedding(architecture.positions, width)
            self.blocks = nn.ModuleList(
                Block(architecture, window) for window in architecture.windows
            )
            self.norm = nn.LayerNorm(width, eps=1e-5, bias=architecture.bias)
            self.head = (
                CosineHead(width, classes, architecture.temperature)
                if architecture.head == "cosine"
                else nn.Linear(width, classes, bias=False)
            )
        if torch.get_default_device().type != "meta":  # where it is made already
            self.to_empty(device=torch.get_default_device())
        self.head.weight.requires_grad_(architecture.head != "fixed_etf")
        if self.tied:
            self.head.weight = self.embedding.weight

    @property
    def positions(self) -> int:
        return self.position.num_embeddings

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {f"block{number}": block for number, block in enumerate(self.blocks, start=1)}

    def transform_cache(self, transform: Callable[[Tensor], Tensor] | None) -> bool:
        for module in self.modules():
            if isinstance(module, Attention):
                module.written = transform
        return True

    def features(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        if self.positions < T:
            raise ValueError(f"{T} tokens, but the model has only {self.positions} positions")
        h_BxTxD = self.embedding(x) + self.position.weight[:T]
        for block in self.blocks:
            h_BxTxD = block(h_BxTxD)
        return head_inputs(self.head, self.norm(h_BxTxD))


def build(
    settings: GPTNeoModel | NanoGPTModel,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
    base: Path,
) -> Transformer:
    """The transformer of `settings`, initialised from a generator of its own."""
    model = Transformer(Architecture.of(settings, classes=classes, context=input_shape[0] + 1))
    init = "gpt_neo" if isinstance(settings, GPTNeoModel) else settings.init
    initialise(model, init, torch.Generator().manual_seed(seed))
    return model


def initialise(
    model: Transformer, init: Literal["gpt_neo", "normal", "kaiming"], generator: torch.Generator
) -> None:
    """Fill the parameters of `model` from `generator`.

    Norms are one, biases zero, embeddings normal(0, 0.02), matrices by `init`:
    `gpt_neo`: normal(0, 0.02).
    `normal`: the same, but normal(0, 0.02 / sqrt(2 depth)) for the two matrices that write to
    the residual stream (Radford et al. 2019, as in nanoGPT).
    `kaiming`: normal(0, sqrt(2 / fan_in)) (He et al. 2015).
    A fixed head is a simplex frame, drawn last. Raises ModelError when it does not fit the width.
    """
    residual = 0.02 / sqrt(2 * len(model.blocks))
    for name, parameter in model.named_parameters():  # a tied head is named once, as the embedding
        with torch.no_grad():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            elif init == "kaiming" and not name.startswith(("embedding", "position")):
                parameter.normal_(0.0, sqrt(2 / parameter.shape[1]), generator=generator)
            elif init == "normal" and name.endswith(("attention.out.weight", "contract.weight")):
                parameter.normal_(0.0, residual, generator=generator)
            elif parameter.ndim > 0:
                parameter.normal_(0.0, 0.02, generator=generator)
    if isinstance(model.head, CosineHead):
        model.head.reset_scale()
    elif model.architecture.head == "fixed_etf":
        classes, width = model.head.weight.shape
        check_frame(classes, width)
        with torch.no_grad():
            model.head.weight.copy_(simplex_frame(classes, width, generator))
