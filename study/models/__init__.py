"""Models behind one interface. A new model is one settings class, one small file and one line in `build_model`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from study.models.config import (
    GPTNeoModel,
    ModelConfig,
    ModelError,
    NanoGPTModel,
    PretrainedModel,
    parameter_count,
)

if TYPE_CHECKING:
    from study.models.base import FeatureModel

__all__ = [
    "GPTNeoModel",
    "ModelConfig",
    "ModelError",
    "NanoGPTModel",
    "PretrainedModel",
    "build_model",
    "load_checkpoint",
    "load_pretrained",
    "parameter_count",
    "save_checkpoint",
]


def build_model(
    config: GPTNeoModel | NanoGPTModel | PretrainedModel,
    *,
    classes: int,
    context: int,
    seed: int,
    base: Path = Path(),
) -> FeatureModel:
    """The model of `config` on the CPU in float32, initialised from its own generator; the global one is untouched.

    `context` is the number of tokens of a chunk, `base` the folder that relative paths start from.
    Raises ModelError when the settings do not fit the data or a checkpoint cannot be read.
    """
    import torch

    from study.models.transformer import Architecture, Transformer, initialise

    if isinstance(config, PretrainedModel):
        return load_pretrained(config.path, classes=classes, context=context, base=base)
    model = Transformer(Architecture.of(config, classes=classes, context=context))
    init = "gpt_neo" if isinstance(config, GPTNeoModel) else config.init
    initialise(model, init, torch.Generator().manual_seed(seed))
    return model


def load_pretrained(
    path: str, *, classes: int | None = None, context: int | None = None, base: Path = Path()
) -> FeatureModel:
    """Read a checkpoint in the Hugging Face layout: GPT-Neo, GPT-2, Llama and what else has a plain linear head.

    Args:
        path: a folder, relative to `base`, or `hub:NAME` or `hub:NAME@REVISION`.
        classes: what the head must have, if given.
        context: tokens of a chunk that the model must take, if given.
        base: the folder that relative paths start from.

    Raises ModelError when nothing can be read there, the head is not linear, or it does not
    fit `classes` or `context`.
    """
    from study.models import hub

    return hub.load_pretrained(path, classes=classes, context=context, base=base)


def save_checkpoint(model: FeatureModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`, each atomically, the former last.

    GPT-Neo and models that came from Hugging Face are laid out as `transformers` reads them. No pickle, no code.
    """
    from study.models import hub

    hub.save_checkpoint(model, folder)


def load_checkpoint(folder: Path) -> FeatureModel:
    """Read what `save_checkpoint` wrote, or a folder in the Hugging Face layout. Raises ModelError."""
    from study.models import hub

    return hub.load_checkpoint(folder)
