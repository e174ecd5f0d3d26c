"""Models behind one interface; importing this package does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.models.config import ModelError, ModelSettings
from study.models.hub_config import PretrainedModel
from study.models.kinds import MODEL_KINDS, ModelConfig, parameter_count, shape_of
from study.models.transformer_config import GPTNeoModel, NanoGPTModel
from study.models.vision_config import (
    MLP,
    ConvNeXt,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    UnconstrainedFeatures,
)

if TYPE_CHECKING:
    from torch import nn

    from study.models.base import FeatureModel
    from study.models.spread import Spread

__all__ = [
    "MLP",
    "MODEL_KINDS",
    "ConvNeXt",
    "GPTNeoModel",
    "MobileNetV3",
    "ModelConfig",
    "ModelError",
    "ModelSettings",
    "NanoGPTModel",
    "PretrainedModel",
    "ResNet18",
    "SimpleCNN",
    "UnconstrainedFeatures",
    "build_model",
    "description",
    "load_checkpoint",
    "load_pretrained",
    "parameter_count",
    "save_checkpoint",
    "skeleton",
]


def build_model(
    config: ModelSettings,
    *,
    classes: int,
    seed: int,
    context: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
) -> FeatureModel:
    """The model of `config` on the CPU in float32, from a generator of its own.

    The global generator is left as it was.

    Args:
        config: its settings.
        classes: rows of the head.
        seed: of the initialisation.
        context: number of tokens of a chunk of text, instead of
        input_shape: shape of one input, as `Dataset.input_shape` gives it.
        base: the folder that relative paths start from.

    Raises ModelError when the settings do not fit the data or a checkpoint cannot be read.
    """
    shape = shape_of(context, input_shape)
    return config.build(classes=classes, input_shape=shape, seed=seed, base=base)


def load_pretrained(
    path: str,
    *,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
    padded: bool = False,
    spread: Spread | None = None,
) -> FeatureModel:
    """Read what `save_checkpoint` wrote, or a checkpoint in the Hugging Face layout.

    That may be any causal language model of `transformers` with a linear head, its logits scaled
    or capped, or a classifier whose head is linear on a pooled output.

    Args:
        path: a folder, relative to `base`, or `hub:NAME` or `hub:NAME@REVISION`.
        classes: what the head must have, if given.
        input_shape: shape of one input that the model must take, if given.
        base: the folder that relative paths start from.
        padded: whether the head may have more rows than there are classes; rows beyond them stay
            in the softmax and are no class.
        spread: lays the layers of a checkpoint of `transformers` on several devices.

    Raises ModelError when nothing can be read there, the head is not linear, it does not fit
    `classes` or `input_shape`, or later tokens move the features of earlier ones.
    """
    from study.models import hub

    return hub.load_pretrained(
        path,
        classes=classes,
        input_shape=input_shape,
        base=base,
        padded=padded,
        spread=spread,
    )


def save_checkpoint(model: FeatureModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`, each atomically, the former last.

    GPT-Neo and models that came from Hugging Face are laid out as `transformers` reads them,
    all others as our own settings and tensors. No pickle, no code.
    """
    from study.models import hub

    hub.save_checkpoint(model, folder)


def skeleton(path: str) -> nn.Module:
    """A checkpoint's modules on the device `meta`, from its config.json alone.

    Raises ModelError where that describes no model, or the checkpoint lies on the hub.
    """
    from study.models import hub

    return hub.skeleton(path)


def description(model: FeatureModel) -> dict[str, Any]:
    """What `config.json` says of a model.

    Raises ModelError where it has no layout on disk.
    """
    from study.models import hub

    return hub.description(model)


def load_checkpoint(folder: Path) -> FeatureModel:
    """Read what `save_checkpoint` wrote, or a folder in the Hugging Face layout.

    Raises ModelError when it cannot be read.
    """
    from study.models import hub

    return hub.load_checkpoint(folder)
