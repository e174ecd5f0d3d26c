"""Every kind of model.

A new one is a settings class, a file that builds it, and a line here.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

from study.models.config import ModelError, ModelSettings
from study.models.hub_config import PretrainedModel
from study.models.transformer_config import GPTNeoModel, NanoGPTModel
from study.models.vision_config import (
    MLP,
    ConvNeXt,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    UnconstrainedFeatures,
)

MODEL_KINDS: tuple[type[ModelSettings], ...] = (
    GPTNeoModel,
    NanoGPTModel,
    PretrainedModel,
    SimpleCNN,
    ResNet18,
    MobileNetV3,
    ConvNeXt,
    MLP,
    UnconstrainedFeatures,
)

if TYPE_CHECKING:
    ModelConfig: TypeAlias = ModelSettings
else:
    ModelConfig = Annotated[reduce(or_, MODEL_KINDS), Field(discriminator="kind")]


def kind_names() -> dict[str, type[ModelSettings]]:
    """The settings class of each `model.kind`."""
    return {kind.model_fields["kind"].default: kind for kind in MODEL_KINDS}


def parameter_count(
    model: ModelSettings,
    *,
    classes: int,
    context: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
) -> int | None:
    """Number of distinct parameters of `model`; a tied or a fixed head counts once.

    Classes and inputs are given as for `build_model`. None where the number cannot be known
    without loading: checkpoints of the hub, and folders without safetensors files. Raises
    ModelError when the model has too few positions for `context`, or its folder does not exist.
    """
    return model.count(classes=classes, input_shape=shape_of(context, input_shape), base=base)


def shape_of(context: int | None, input_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one input: as given, or that of a chunk of `context` tokens.

    The last token of a chunk is no input.
    """
    if (context is None) == (input_shape is None):
        raise ModelError("give either context (text) or input_shape (any data)")
    return (context - 1,) if context is not None else input_shape or ()
