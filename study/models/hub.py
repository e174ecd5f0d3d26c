"""Checkpoints in the Hugging Face layout, ours and those of others.

Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.checkpoint_files import (
    CONFIG,
    WEIGHTS,
    StoredTensor,
    check_types,
    error_of,
    is_buffer,
    listed,
    read_config,
    stored_tensors,
    weight_files,
)
from study.models.config import ModelError
from study.models.foreign import (
    HubClassifier,
    HubModel,
    check_runs,
    foreign_skeleton,
    load_foreign,
)
from study.models.hub_config import PretrainedModel
from study.models.kinds import kind_names
from study.models.native import FAMILY, NativeModel
from study.models.spread import Spread
from study.models.transformer import Architecture, Transformer
from study.models.unfilled import unfilled
from study.store.atomic import replacing, write_atomically

# What a GPT-Neo of ours has in its settings; any other is left to `transformers`.
_EXPECTED = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "attention_dropout": 0,
    "embed_dropout": 0,
    "resid_dropout": 0,
}
_SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "num_heads",
    "num_layers",
    "window_size",
)
_EMBEDDING = "transformer.wte.weight"

# Our modules of a GPT-Neo and Hugging Face's; the stacked qkv matrix is three there.
_OUTSIDE = {"embedding": "wte", "position": "wpe", "norm": "ln_f"}
_BLOCK = {
    "norm1": ["ln_1"],
    "attention.qkv": ["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"],
    "attention.out": ["attn.attention.out_proj"],
    "norm2": ["ln_2"],
    "expand": ["mlp.c_fc"],
    "contract": ["mlp.c_proj"],
}


def build(
    settings: PretrainedModel,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
    base: Path,
) -> FeatureModel:
    """The checkpoint that `settings` name; nothing in it is drawn at random.

    Its head may be padded: have more rows than there are classes.
    """
    return load_pretrained(
        settings.path, classes=classes, input_shape=input_shape, base=base, padded=True
    )


def load_pretrained(
    path: str,
    *,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
    padded: bool = False,
    spread: Spread | None = None,
) -> FeatureModel:
    """See `study.models.load_pretrained`."""
    if path.startswith("hub:"):
        name, _, revision = path.removeprefix("hub:").partition("@")
        model = load_checkpoint(_download(name, revision or None), spread)
    else:
        model = load_checkpoint(base / path, spread)
    rows = model.outputs
    if classes is not None and rows != classes and not (padded and rows > classes):
        reads_tokens = input_shape is None or len(input_shape) == 1
        fix = (
            "use the tokenizer of the checkpoint and data.vocabulary full"
            if reads_tokens
            else "use the data that it was trained on"
        )
        raise ModelError(f"the head of {path} has {rows} classes, the data have {classes}: {fix}")
    if input_shape is not None:
        _check_takes(model, input_shape, path)
    return model


def _download(name: str, revision: str | None) -> Path:
    """The folder of a checkpoint of the hub.

    Pickled weights are fetched only where there are no others.
    """
    from huggingface_hub import snapshot_download

    plain = ["*.json", "model*.safetensors", "*.model", "*.txt"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=plain))
        if not weight_files(folder):
            more = [*plain, "pytorch_model*.bin"]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=more))
    except Exception as error:  # of the client and of the network below it
        raise error_of(
            f"hub:{name}",
            f"{type(error).__name__}: {error}",
            "give its name and revision as the "
            "hub spells them where the hub can be reached, or a folder with its files",
        ) from error
    return folder


def _check_takes(model: FeatureModel, input_shape: tuple[int, ...], path: str) -> None:
    """Raise ModelError unless `model` takes inputs of this shape."""
    if isinstance(model, NativeModel):
        if not model.takes(input_shape):
            raise ModelError(
                f"{path} takes inputs of shape {model.input_shape}, the data have {input_shape}"
            )
        return
    images = isinstance(model, HubClassifier) and model.input_name != "input_ids"
    if len(input_shape) != (3 if images else 1):
        raise ModelError(
            f"{path} reads {'images' if images else 'tokens'}, the data have inputs of shape "
            f"{input_shape}"
        )
    if model.positions is not None and input_shape[0] > model.positions:
        raise ModelError(
            f"{path} has only {model.positions} positions: shorten data.context "
            f"{input_shape[0] + 1}"
        )
    if isinstance(model, HubModel | HubClassifier):
        check_runs(model, input_shape, path)


def load_checkpoint(folder: Path, spread: Spread | None = None) -> FeatureModel:
    """See `study.models.load_checkpoint`."""
    config = read_config(folder)
    if spread is not None:
        spread.check()
        if config.get("model_type") in (FAMILY, "nanogpt"):
            raise ModelError(
                f"{folder} is a checkpoint of our own, which is read whole: device_map auto is for "
                "those of transformers, leave it out"
            )
        return load_foreign(folder, spread)
    if config.get("model_type") not in (FAMILY, "nanogpt", "gpt_neo"):
        return load_foreign(folder)
    stored = stored_tensors(folder)
    if config["model_type"] == "gpt_neo" and not _is_ours(config, stored):
        return load_foreign(folder)
    check_types(folder, stored)
    try:
        tensors = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no checkpoint: {error.filename} does not exist") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read: {error}") from error
    if config["model_type"] == FAMILY:
        return _rebuild(folder, config, tensors)
    architecture = _architecture(config)
    if "lm_head.weight" in tensors and architecture.family == "gpt_neo":
        if not torch.equal(tensors["lm_head.weight"], tensors.get(_EMBEDDING, torch.empty(0))):
            return load_foreign(folder)  # a head of its own
        del tensors["lm_head.weight"]
    return _filled(folder, architecture, tensors)


def save_checkpoint(model: FeatureModel, folder: Path) -> None:
    """See `study.models.save_checkpoint`."""
    config = description(model)
    if isinstance(model, Transformer):
        tensors: dict[str, Tensor] = dict(model.named_parameters())
        if model.architecture.family == "gpt_neo":
            tensors = _to_hugging_face(tensors)
    elif isinstance(model, HubModel | HubClassifier):
        tensors = model.stored()
    else:
        tensors = model.state_dict()
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(cpu, temporary, metadata={"format": "pt"})
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def skeleton(path: str) -> nn.Module:
    """See `study.models.skeleton`."""
    if path.startswith("hub:"):
        raise ModelError(f"{path} lies on the hub: plan with a folder that holds its config.json")
    folder = Path(path)
    config = read_config(folder)
    if config.get("model_type") not in (FAMILY, "nanogpt"):
        return foreign_skeleton(folder, config)
    remedy = "copy config.json again from the original checkpoint"
    try:
        with unfilled():
            if config["model_type"] == "nanogpt":
                return Transformer(_architecture(config))
            settings = kind_names()[config["settings"]["kind"]].model_validate(config["settings"])
            shape = tuple(config["input_shape"])
            return settings.build(classes=config["classes"], input_shape=shape, seed=0)
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise error_of(folder / CONFIG, error, remedy) from error


def description(model: FeatureModel) -> dict[str, Any]:
    """See `study.models.description`."""
    if isinstance(model, Transformer):
        return _config(model.architecture)
    if isinstance(model, NativeModel | HubModel | HubClassifier):
        return model.description()
    raise ModelError(f"{type(model).__name__} has no layout on disk")


def _rebuild(folder: Path, description: dict[str, Any], tensors: dict[str, Tensor]) -> FeatureModel:
    """The model that `NativeModel.description` described, with its weights.

    Raises ModelError where the two do not fit each other.
    """
    try:
        settings = kind_names()[description["settings"]["kind"]].model_validate(
            description["settings"]
        )
        classes, input_shape = description["classes"], tuple(description["input_shape"])
        described = settings.count(classes=classes, input_shape=input_shape) or 0
        stored = sum(tensor.numel() for tensor in tensors.values())
        if described > stored:  # before memory is taken for it
            raise ValueError(f"it describes {described} parameters, the file holds {stored}")
        model = settings.build(classes=classes, input_shape=input_shape, seed=0)
        model.load_state_dict(tensors)
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError) as error:
        remedy = "copy config.json and the weights again, from the same checkpoint"
        raise error_of(
            folder, f"the checkpoint does not fit its own description: {error}", remedy
        ) from error
    return model


def _filled(folder: Path, architecture: Architecture, tensors: Mapping[str, Tensor]) -> Transformer:
    """A transformer with these weights, under Hugging Face's names if it is a GPT-Neo.

    Raises ModelError unless each of its parameters is among the tensors, and each tensor is a
    parameter or a mask.
    """
    remedy = "config.json and the weights belong to different models, or one of them is damaged"
    try:
        if architecture.width % architecture.heads:
            raise ValueError(f"width {architecture.width} for {architecture.heads} heads")
        model = Transformer(architecture)
    except (ArithmeticError, TypeError, ValueError, RuntimeError) as error:
        raise error_of(folder, f"{CONFIG} describes no transformer: {error}", remedy) from error
    parameters = dict(model.named_parameters())
    is_neo = architecture.family == "gpt_neo"
    ours = _from_hugging_face(tensors, parameters) if is_neo else tensors
    known = {part for name in parameters for part in (_their_names(name) if is_neo else [name])}
    unused = [n for n, t in tensors.items() if n not in known and not is_buffer(n, tuple(t.shape))]
    if unused:
        raise ModelError(
            f"{folder} holds tensors that the model of its {CONFIG} does not use: "
            f"{listed(unused)}: {remedy}"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name not in ours or ours[name].shape != parameter.shape:
                stored = tuple(ours[name].shape) if name in ours else "nothing"
                raise ModelError(
                    f"{folder}: the checkpoint has {stored} where {name} "
                    f"{tuple(parameter.shape)} should be: {remedy}"
                )
            parameter.copy_(ours[name])
    return model


def _config(architecture: Architecture) -> dict[str, Any]:
    """What `config.json` says of a transformer.

    These are Hugging Face's fields for a GPT-Neo (Wu & Papyan 2024, table 2), our own for a
    nanoGPT.
    """
    if architecture.family == "nanogpt":
        fields = asdict(architecture)
        if architecture.head == "learned":  # as before there were others
            del fields["head"], fields["temperature"]
        return {"model_type": "nanogpt", **fields}
    kinds = ["global" if window is None else "local" for window in architecture.windows]
    pairs, odd = divmod(len(kinds), 2)
    types: list[Any] = [[["global", "local"], pairs]] if pairs else []
    end_of_text = architecture.classes - 1 if architecture.classes == 50257 else None
    windows = [window for window in architecture.windows if window is not None]
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPTNeoForCausalLM"],
        "attention_dropout": 0,
        "attention_layers": kinds,
        "attention_types": types + ([[["global"], 1]] if odd else []),
        "bos_token_id": end_of_text,
        "embed_dropout": 0,
        "eos_token_id": end_of_text,
        "hidden_size": architecture.width,
        "initializer_range": 0.02,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-05,
        "max_position_embeddings": architecture.positions,
        "model_type": "gpt_neo",
        "num_heads": architecture.heads,
        "num_layers": len(kinds),
        "resid_dropout": 0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": architecture.classes,
        "window_size": windows[0] if windows else 256,
    }


def _is_ours(config: Mapping[str, Any], stored: Mapping[str, StoredTensor]) -> bool:
    """Whether a GPT-Neo is one that `Transformer` builds; `transformers` builds any."""
    if any(config.get(name) != value for name, value in _EXPECTED.items()) or not stored:
        return False
    sizes = [config.get(name) for name in _SIZES]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return False
    if config.get("intermediate_size") not in (None, 4 * config["hidden_size"]):
        return False
    if config.get("quantization_config") or "compression_config" in config:
        return False
    if not all(config.get(name, True) is True for name in ("tie_word_embeddings", "is_causal")):
        return False
    match config.get("attention_types"):
        case [*patterns] if all(_is_pattern(pattern, len(stored)) for pattern in patterns):
            depth = sum(len(kinds) * count for kinds, count in patterns)
            return bool(depth == config["num_layers"])
    return False


def _is_pattern(pattern: Any, most: int) -> bool:
    """Whether this is a list of kinds of attention with a count of at most `most`."""
    match pattern:
        case [[*kinds], int(count)]:
            return all(kind in ("global", "local") for kind in kinds) and 0 <= count <= most
    return False


def _architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a `config.json` of ours.

    Raises ModelError where it describes none.
    """
    if config["model_type"] == "nanogpt":
        fields = {name: value for name, value in config.items() if name != "model_type"}
        try:
            return Architecture(**{**fields, "windows": tuple(fields["windows"])})
        except (KeyError, TypeError) as error:
            raise ModelError(f"{CONFIG} does not describe a nanogpt: {error}") from error
    kinds = [kind for pattern, count in config["attention_types"] for kind in pattern * count]
    return Architecture(
        family="gpt_neo",
        classes=config["vocab_size"],
        positions=config["max_position_embeddings"],
        width=config["hidden_size"],
        heads=config["num_heads"],
        windows=tuple(config["window_size"] if kind == "local" else None for kind in kinds),
        attention_scale=1.0,
        qkv_bias=False,
        bias=True,
        gelu="tanh",
        tied=True,
    )


def _to_hugging_face(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        names = _their_names(name)
        theirs |= zip(names, tensor.chunk(len(names)), strict=True)
    return theirs


def _from_hugging_face(theirs: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Those of the tensors `names` that `theirs` holds."""
    parts = {
        name: [theirs[part] for part in _their_names(name) if part in theirs] for name in names
    }
    return {
        name: torch.cat(tensors) if len({t.shape for t in tensors}) == 1 else tensors[0]
        for name, tensors in parts.items()
        if tensors
    }


def _their_names(name: str) -> list[str]:
    """Hugging Face's names of one of our tensors: one, or three that are stacked here."""
    *path, kind = name.split(".")
    if path[0] != "blocks":
        return [f"transformer.{_OUTSIDE[path[0]]}.{kind}"]
    modules = _BLOCK[".".join(path[2:])]
    return [f"transformer.h.{path[1]}.{module}.{kind}" for module in modules]
