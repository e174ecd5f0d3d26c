"""Settings of every model and their exact parameter counts; imports no torch, so that plans are instant."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from study.models.vision_config import (
    ConvNeXt,
    HeadSettings,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    UnconstrainedFeatures,
    count_parameters,
)
from study.settings.base import PositiveInt, Settings


class ModelError(ValueError):
    """A model that cannot be built, read or written; the message says what to change."""


class GPTNeoModel(Settings):
    """GPT-Neo as in Wu & Papyan, Table 2: alternating global and local attention, tied head without bias."""

    reads: ClassVar[str] = "tokens"
    kind: Literal["gpt_neo"] = "gpt_neo"
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt = 16
    window: PositiveInt = 256
    positions: PositiveInt = 2048

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        _check_heads(self.width, self.heads)
        return self


class NanoGPTModel(Settings):
    """The GPT of nanoGPT: scaled global attention, exact GELU, hidden layer of four widths, one position per context
    token.

    `bias` switches the biases of linear layers and layer norms (the head never has one), `tied` the sharing of head and
    embedding, `init` between nanoGPT's normal(0, 0.02) and Kaiming's normal(0, sqrt(2 / fan_in)).
    """

    reads: ClassVar[str] = "tokens"
    kind: Literal["nanogpt"] = "nanogpt"
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt = 4
    tied: bool = True
    bias: bool = True
    init: Literal["kaiming", "normal"] = "normal"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        _check_heads(self.width, self.heads)
        return self


class PretrainedModel(Settings):
    """A checkpoint in the Hugging Face layout: a folder (relative to the YAML file), or `hub:NAME` or
    `hub:NAME@REVISION`.
    """

    reads: ClassVar[str | None] = None  # known once it is read
    kind: Literal["pretrained"] = "pretrained"
    path: Annotated[str, Field(min_length=1)]


AnyModel = (
    GPTNeoModel
    | NanoGPTModel
    | PretrainedModel
    | SimpleCNN
    | ResNet18
    | MobileNetV3
    | ConvNeXt
    | UnconstrainedFeatures
)
ModelConfig = Annotated[AnyModel, Field(discriminator="kind")]


def parameter_count(
    model: AnyModel,
    *,
    classes: int,
    context: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
) -> int | None:
    """Number of distinct parameters of `model` with `classes` classes and inputs as for `build_model`; a tied head
    counts once.

    None where it cannot be known without loading: checkpoints of the hub, and folders without safetensors files.
    Raises ModelError when the model has too few positions for `context`, or its folder does not exist.
    """
    shape = shape_of(context, input_shape)
    if isinstance(model, PretrainedModel):
        return _stored_parameters(base / model.path) if not model.path.startswith("hub:") else None
    if isinstance(model, HeadSettings):
        return count_parameters(model, classes=classes, input_shape=shape)
    width, depth, context = model.width, model.depth, shape[0] + 1
    matrices = 12 * width**2
    if isinstance(model, GPTNeoModel):
        check_context(model, context)
        biases = width + 4 * width + width
        norms = 2 * 2 * width
        return (classes + model.positions) * width + depth * (matrices + biases + norms) + 2 * width
    biases = (3 * width + width + 4 * width + width) if model.bias else 0
    norm = 2 * width if model.bias else width
    embeddings = (classes if model.tied else 2 * classes) + context
    return embeddings * width + depth * (matrices + biases + 2 * norm) + norm


def shape_of(context: int | None, input_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one input: as given, or that of a chunk of `context` tokens, whose last is no input."""
    if (context is None) == (input_shape is None):
        raise ModelError("give either context (text) or input_shape (any data)")
    return (context - 1,) if context is not None else input_shape or ()


def check_context(model: GPTNeoModel, context: int) -> None:
    """Raise ModelError when `model` has fewer positions than the `context` - 1 inputs of a chunk."""
    if context - 1 > model.positions:
        raise ModelError(
            f"model.positions is {model.positions}, but a chunk of data.context {context} has {context - 1} inputs: "
            f"set model.positions to at least {context - 1} or shorten the context"
        )


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        fitting = [count for count in range(1, width + 1) if width % count == 0]
        nearest = sorted(fitting, key=lambda count: (abs(count - heads), count))[:3]
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; the nearest numbers of heads that divide it are "
            + ", ".join(map(str, sorted(nearest)))
        )


def _stored_parameters(folder: Path) -> int | None:
    """Elements of all tensors in the safetensors files of `folder`, read from their headers alone."""
    if not folder.is_dir():
        raise ModelError(f"model.path: no such folder: {folder}")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    total = 0
    for file in files:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        total += sum(
            prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"
        )
    return total
