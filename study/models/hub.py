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
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.config import ModelError
from study.models.hub_config import PretrainedModel
from study.models.kinds import kind_names
from study.models.native import FAMILY, NativeModel
from study.models.transformer import Architecture, Transformer
from study.settings.notices import without_notices_of_torchao
from study.store.atomic import replacing, write_atomically

WEIGHTS, CONFIG = "model.safetensors", "config.json"

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


class HubModel(FeatureModel):
    """A causal language model of `transformers`.

    Its body gives the features, its output embedding is the head. Raises ModelError when
    head(features) is not what the model itself returns, as with capped or scaled logits.
    """

    embedding: nn.Embedding

    def __init__(self, model: Any) -> None:
        super().__init__()
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(
                f"{type(model).__name__} ends in {type(head).__name__}, not in a linear head"
            )
        self.config = model.config
        self.body = model.base_model
        self.head = head
        self.embedding = embedding
        self.tied = head.weight is embedding.weight
        self.body_name = model.base_model_prefix
        self.head_name = next(name for name, module in model.named_modules() if module is head)
        self._check(model)

    @property
    def positions(self) -> int | None:
        """The longest input, where the model has a limit."""
        limit: int | None = getattr(self.config, "max_position_embeddings", None)
        return limit

    @property
    def layers(self) -> dict[str, nn.Module]:
        depth = self.config.num_hidden_layers
        lists = [
            m for m in self.body.children() if isinstance(m, nn.ModuleList) and len(m) == depth
        ]
        if not lists:
            raise ModelError(
                f"{type(self.body).__name__} keeps its {depth} blocks in no list: measure.layers "
                "last works"
            )
        return {f"block{number}": block for number, block in enumerate(lists[0], start=1)}

    def features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.body(input_ids=x, use_cache=False).last_hidden_state
        return hidden

    def _check(self, model: Any) -> None:
        tokens = torch.arange(min(4, self.head.out_features))[None]
        model.eval()
        with torch.no_grad():
            ours, theirs = self(tokens), model(input_ids=tokens, use_cache=False).logits
        for name, values in model.named_parameters():
            if not bool(values.isfinite().all()):
                raise ModelError(
                    f"{name} {tuple(values.shape)} of {type(model).__name__} has values that are "
                    "not finite: the checkpoint has diverged or is damaged"
                )
        if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
            raise ModelError(
                f"{type(model).__name__} changes the logits after its linear head (by up to "
                f"{(ours - theirs).abs().max():.3g}); collapse is defined for plain linear heads "
                "only"
            )


def build(
    settings: PretrainedModel,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
    base: Path,
) -> FeatureModel:
    """The checkpoint that `settings` name; nothing in it is drawn at random."""
    return load_pretrained(settings.path, classes=classes, input_shape=input_shape, base=base)


def load_pretrained(
    path: str,
    *,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    base: Path = Path(),
) -> FeatureModel:
    """See `study.models.load_pretrained`."""
    if path.startswith("hub:"):
        name, _, revision = path.removeprefix("hub:").partition("@")
        model = _through_transformers(name, revision or None)
    else:
        model = load_checkpoint(base / path)
    if classes is not None and model.head.out_features != classes:
        raise ModelError(
            f"the head of {path} has {model.head.out_features} classes, the data have {classes}: "
            "use the tokenizer of the checkpoint and data.vocabulary full"
        )
    if input_shape is not None:
        _check_takes(model, input_shape, path)
    return model


def _check_takes(model: FeatureModel, input_shape: tuple[int, ...], path: str) -> None:
    """Raise ModelError unless `model` takes inputs of this shape."""
    if isinstance(model, NativeModel):
        if not model.takes(input_shape):
            raise ModelError(
                f"{path} takes inputs of shape {model.input_shape}, the data have {input_shape}"
            )
    elif len(input_shape) != 1:
        raise ModelError(f"{path} reads tokens, the data have inputs of shape {input_shape}")
    elif model.positions is not None and input_shape[0] > model.positions:
        raise ModelError(
            f"{path} has only {model.positions} positions: shorten data.context "
            f"{input_shape[0] + 1}"
        )


def load_checkpoint(folder: Path) -> FeatureModel:
    """See `study.models.load_checkpoint`."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        if not isinstance(config, dict):
            raise ModelError(
                f"{folder / CONFIG} holds a {type(config).__name__}, not settings by name"
            )
        if config.get("model_type") == FAMILY:
            return _rebuild(config, load_file(folder / WEIGHTS))
        architecture = _architecture(config)
        if architecture is None or not (folder / WEIGHTS).exists():
            return _through_transformers(str(folder), None)
        tensors = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no checkpoint: {error.filename} does not exist") from error
    except ModelError:
        raise
    except (ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read: {error}") from error
    return _filled(architecture, tensors)


def save_checkpoint(model: FeatureModel, folder: Path) -> None:
    """See `study.models.save_checkpoint`."""
    if isinstance(model, Transformer):
        config = _config(model.architecture)
        tensors: dict[str, Tensor] = dict(model.named_parameters())
        if model.architecture.family == "gpt_neo":
            tensors = _to_hugging_face(tensors)
    elif isinstance(model, NativeModel):
        config, tensors = model.description(), model.state_dict()
    elif isinstance(model, HubModel):
        tensors = {
            f"{model.body_name}.{name}": value for name, value in model.body.named_parameters()
        }
        if not model.tied:
            tensors |= {
                f"{model.head_name}.{name}": value for name, value in model.head.named_parameters()
            }
        config = model.config.to_dict() | {"architectures": model.config.architectures}
    else:
        raise ModelError(f"{type(model).__name__} has no layout on disk")
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(cpu, temporary, metadata={"format": "pt"})
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def _through_transformers(name: str, revision: str | None) -> FeatureModel:
    from transformers import AutoModelForCausalLM

    try:
        with without_notices_of_torchao():  # transformers imports it
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                revision=revision,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} cannot be loaded as a causal language model: {error}") from error
    model, report = loaded
    if lacking := sorted(str(key) for key in (*report["missing_keys"], *report["mismatched_keys"])):
        raise ModelError(
            f"{name} lacks weights of {type(model).__name__}, which would be drawn at random: "
            f"{', '.join(lacking[:5])}"
        )
    architecture = _architecture(model.config.to_dict())
    if architecture is not None:
        return _filled(architecture, model.state_dict())
    return HubModel(model)


def _rebuild(description: dict[str, Any], tensors: dict[str, Tensor]) -> FeatureModel:
    """The model that `NativeModel.description` described, with its weights.

    Raises ModelError where the two do not fit each other.
    """
    try:
        settings = description["settings"]
        model = (
            kind_names()[settings["kind"]]
            .model_validate(settings)
            .build(
                classes=description["classes"],
                input_shape=tuple(description["input_shape"]),
                seed=0,
            )
        )
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValidationError, RuntimeError) as error:
        raise ModelError(f"the checkpoint does not fit its own description: {error}") from error
    return model


def _filled(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Transformer:
    """A transformer with these weights, under Hugging Face's names if it is a GPT-Neo."""
    model = Transformer(architecture)
    parameters = dict(model.named_parameters())
    ours = _from_hugging_face(tensors, parameters) if architecture.family == "gpt_neo" else tensors
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name not in ours or ours[name].shape != parameter.shape:
                stored = tuple(ours[name].shape) if name in ours else "nothing"
                raise ModelError(
                    f"the checkpoint has {stored} where {name} {tuple(parameter.shape)} should be"
                )
            parameter.copy_(ours[name])
    return model


def _config(architecture: Architecture) -> dict[str, Any]:
    """What `config.json` says of a transformer.

    These are Hugging Face's fields for a GPT-Neo (Wu & Papyan 2024, table 2), our own for a
    nanoGPT.
    """
    if architecture.family == "nanogpt":
        return {"model_type": "nanogpt", **asdict(architecture)}
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


def _architecture(config: dict[str, Any]) -> Architecture | None:
    """The architecture of a `config.json`, None if only `transformers` can build it."""
    if config.get("model_type") == "nanogpt":
        fields = {name: value for name, value in config.items() if name != "model_type"}
        try:
            return Architecture(**{**fields, "windows": tuple(fields["windows"])})
        except (KeyError, TypeError) as error:
            raise ModelError(f"{CONFIG} does not describe a nanogpt: {error}") from error
    expected = {
        "model_type": "gpt_neo",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "attention_dropout": 0,
        "embed_dropout": 0,
        "resid_dropout": 0,
    }
    plain = all(config.get(name) == value for name, value in expected.items())
    if not plain or config.get("intermediate_size") not in (None, 4 * config["hidden_size"]):
        return None
    if not config.get("tie_word_embeddings", True):
        return None
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
    return {name: torch.cat(tensors) for name, tensors in parts.items() if tensors}


def _their_names(name: str) -> list[str]:
    """Hugging Face's names of one of our tensors: one, or three that are stacked here."""
    *path, kind = name.split(".")
    if path[0] != "blocks":
        return [f"transformer.{_OUTSIDE[path[0]]}.{kind}"]
    modules = _BLOCK[".".join(path[2:])]
    return [f"transformer.h.{path[1]}.{module}.{kind}" for module in modules]
