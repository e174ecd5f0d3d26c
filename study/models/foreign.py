"""Models of `transformers` behind our interface, with every doubt said aloud.

Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.checkpoint_files import (
    StoredTensor,
    check_types,
    check_whole,
    error_of,
    is_buffer,
    listed,
    parameters_in,
    read_config,
    stored_tensors,
)
from study.models.config import ModelError
from study.models.spread import Spread, in_memory, keep_in_memory
from study.models.unfilled import unfilled
from study.settings.notices import without_notices_of_torchao
from study.store.paths import ScratchPaths

_SCALES = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}
"""Settings that multiply (1) or divide (-1) the logits, by the names that models give them."""
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_CACHES = ("cache", "past_key_values")
"""Arguments that take a cache of keys and values, as newer and older models call them."""
_LIMITS = ("max_position_embeddings", "max_seq_len")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_CLASSIFIERS = {
    "ForImageClassification": "AutoModelForImageClassification",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
}
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_REMEDY = "check it against the original checkpoint, or take another one"
LARGEST_BUFFERS = 2**30
"""Bytes of masks and tables that a model may make beside its weights."""
PROBE_TOKENS = 24
MOST_LAYERS, MOST_LABELS = 10_000, 1_000_000


class HubModel(FeatureModel):
    """A causal language model of `transformers`.

    Its body gives the features, its output embedding is the head. Raises ModelError when the
    logits are not those of a linear head, scaled and capped as its settings say, or when later
    tokens move earlier features.
    """

    embedding: nn.Embedding

    def __init__(self, model: Any) -> None:
        super().__init__()
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(
                f"{type(model).__name__} ends in {type(head).__name__}, not in a linear head"
            )
        if not isinstance(embedding, nn.Embedding):
            raise ModelError(
                f"{type(model).__name__} begins with {type(embedding).__name__}, not with a token "
                "embedding"
            )
        if model.base_model is model:
            raise ModelError(f"{type(model).__name__} has no body apart from its head")
        self.config = model.config
        self.written: Callable[[Tensor], Tensor] | None = None
        self.cache_name = ""
        self.body = model.base_model
        self.head = head
        self.embedding = embedding
        self.tied = head.weight is embedding.weight
        keep_in_memory(head, embedding if self.tied else None)
        self.body_name = model.base_model_prefix
        self.head_name = _name_of(head, model)
        self._check_parameters(model)
        with _as_model_error(model), torch.no_grad():
            model.eval()
            tokens = self._probe().to(head.weight.device)
            self._find_logits(model, tokens)
            self._check_causal(tokens)

    @property
    def positions(self) -> int | None:
        """The longest input, where the model has a limit."""
        limits = (getattr(self.config, name, None) for name in _LIMITS)
        return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return _blocks(self.body, getattr(self.config, "num_hidden_layers", None))

    def features(self, x: Tensor) -> Tensor:
        cached: dict[str, Any] = {"use_cache": False}
        if self.written is not None:
            cached = {"use_cache": True, self.cache_name: self.empty_cache(self.written)}
        hidden: Tensor = self.body(input_ids=x, **cached).last_hidden_state
        return hidden.to(self.head.weight.device)

    def transform_cache(self, transform: Callable[[Tensor], Tensor] | None) -> bool:
        names = [n for n in _CACHES if n in signature(self.body.forward).parameters]
        if not names:
            return False
        self.cache_name, writes = names[0], 0

        def counted(states: Tensor) -> Tensor:
            nonlocal writes
            writes += 1
            return states

        self.written = counted
        with _as_model_error(self.body), torch.no_grad():
            self.features(self._probe().to(self.head.weight.device))
        self.written = transform if writes else None
        return writes > 0

    def empty_cache(self, transform: Callable[[Tensor], Tensor]) -> Any:
        """A cache of the model that transforms keys and values as it takes them in."""
        from transformers import DynamicCache

        class TransformingCache(DynamicCache):  # type: ignore[misc]
            def update(
                self, key_states: Tensor, value_states: Tensor, *arguments: Any, **named: Any
            ) -> tuple[Tensor, Tensor]:
                written = transform(key_states), transform(value_states)
                updated: tuple[Tensor, Tensor] = super().update(*written, *arguments, **named)
                return updated

        return TransformingCache(config=self.config)

    def stored(self) -> dict[str, Tensor]:
        """Tensors by the names under which `transformers` reads them."""
        tensors = {f"{self.body_name}.{name}": t for name, t in self.body.state_dict().items()}
        own = {name: t for name, t in self.head.state_dict().items() if name == "bias"}
        head = own if self.tied else self.head.state_dict()
        return tensors | {f"{self.head_name}.{name}": tensor for name, tensor in head.items()}

    def description(self) -> dict[str, Any]:
        """What `config.json` says of the model."""
        settings: dict[str, Any] = self.config.to_dict()
        own = {"architectures": self.config.architectures, "tie_word_embeddings": self.tied}
        return settings | own

    def _check_parameters(self, model: Any) -> None:
        known = {*self.body.parameters(), *self.head.parameters()}
        for name, values in model.named_parameters():
            if values not in known:
                raise ModelError(
                    f"{type(model).__name__} has {name} {tuple(values.shape)} between its body and "
                    "its linear head: features at the input of the head are no output of its body"
                )
        _check_finite(model)

    def _probe(self) -> Tensor:
        length = min(PROBE_TOKENS, self.positions or PROBE_TOKENS)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(self.embedding.num_embeddings, (1, length), generator=generator)

    def _find_logits(self, model: Any, tokens: Tensor) -> None:
        """Take scale and cap from the settings.

        Raises ModelError if the model computes others.

        The head is made to return large values, which show what comes after it whatever the size
        of the logits is; then head(features) is compared with the logits themselves.
        """
        probe = torch.linspace(-90.0, 90.0, self.head.out_features, device=tokens.device)
        with _output(self.head, probe):
            after = model(input_ids=tokens, use_cache=False).logits[0, -1].to(tokens.device)
        for scale, cap in _after_head(self.config):
            self.logit_scale, self.logit_cap = scale, cap
            expected = probe * scale
            expected = expected if cap is None else (expected / cap).tanh() * cap
            if after.shape == expected.shape and torch.allclose(after, expected, rtol=1e-4):
                break
        else:
            raise ModelError(
                f"{type(model).__name__} changes the logits after its linear head in a way that "
                "its settings do not name; known are a scale "
                f"({', '.join(_SCALES)}) and a cap ({', '.join(_CAPS)})"
            )
        ours, theirs = self(tokens), model(input_ids=tokens, use_cache=False).logits
        theirs = theirs.to(ours.device)
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
            raise ModelError(
                f"{type(model).__name__} changes the features between its body and its linear "
                "head: collapse is defined for features at the input of the head"
            )

    def _check_causal(self, tokens: Tensor) -> None:
        """Raise ModelError if a token moves the features of positions before it."""
        start = tokens.shape[1] // 2
        if start == 0 or self.embedding.num_embeddings < 2:
            return
        changed = tokens.clone()
        changed[:, start:] = (changed[:, start:] + 1) % self.embedding.num_embeddings
        before, after = self.features(tokens)[:, :start], self.features(changed)[:, :start]
        moved = float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))
        if moved > 1e-4:
            raise ModelError(
                f"{type(self.body).__name__} is not causal: tokens from position {start} on move "
                f"features before it (by {moved:.2g} of their size), so it sees what it should "
                "predict: remove is_causal and use_bidirectional_attention from config.json if "
                "it was trained as a causal language model; encoders are not measured on text"
            )


class HubClassifier(FeatureModel):
    """A classifier of `transformers` whose head is linear on a pooled output.

    It reads images (B, channels, height, width), or rows of tokens (B, T).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.config = model.config
        self.input_name: str = model.main_input_name
        self.tied, self.embedding = False, None
        _check_finite(model)
        with _as_model_error(model), torch.no_grad():
            self.head = self._find_head()
        keep_in_memory(self.head, None)
        self.head_name = _name_of(self.head, model)

    @property
    def positions(self) -> int | None:
        limit = getattr(self.config, "max_position_embeddings", None)
        return limit if self.input_name == "input_ids" and isinstance(limit, int) else None

    @property
    def layers(self) -> dict[str, nn.Module]:
        stages = [m for n, m in self.model.named_modules() if n.endswith("stages")]
        if not stages:
            raise ModelError(
                f"the blocks of {type(self.model).__name__} give a vector for each token or patch, "
                "a sample has one: measure.layers last works"
            )
        return {f"block{number}": stage for number, stage in enumerate(stages[0], start=1)}

    def features(self, x: Tensor) -> Tensor:
        inputs: list[Tensor] = []

        def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs.append(arguments[0])

        handle = self.head.register_forward_pre_hook(keep)
        try:
            self.model(**{self.input_name: x})
        finally:
            handle.remove()
        return inputs[0].to(self.head.weight.device)

    def stored(self) -> dict[str, Tensor]:
        """Tensors by the names under which `transformers` reads them."""
        return dict(self.model.state_dict())

    def description(self) -> dict[str, Any]:
        """What `config.json` says of the model."""
        settings: dict[str, Any] = self.config.to_dict()
        return settings | {"architectures": [type(self.model).__name__]}

    def _find_head(self) -> nn.Linear:
        """The linear layer whose output is the logits."""
        classes, outputs = self.config.num_labels, dict[nn.Linear, Tensor]()

        def keep(module: nn.Module, _arguments: Any, output: Tensor) -> None:
            if isinstance(module, nn.Linear):
                outputs[module] = output

        linears = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        handles = [m.register_forward_hook(keep) for m in linears if m.out_features == classes]
        x, device = self._probe(), next(self.model.parameters()).device
        # Inputs of a layer that is offloaded are moved by its hook.
        x = x if device.type == "meta" else x.to(device)
        logits = self.model(**{self.input_name: x}).logits
        for handle in handles:
            handle.remove()
        for module, output in reversed(outputs.items()):
            if output.shape == logits.shape and torch.equal(output, logits.to(output.device)):
                return module
        raise ModelError(
            f"the logits of {type(self.model).__name__} are not those of one linear layer on a "
            "pooled output: its head is not linear, or is pooled after the head"
        )

    def _probe(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        if self.input_name == "input_ids":
            return torch.randint(self.config.vocab_size, (2, 8), generator=generator)
        size = getattr(self.config, "image_size", 64)
        height, width = (size, size) if isinstance(size, int) else size
        channels = getattr(self.config, "num_channels", 3)
        return torch.randn(2, channels, height, width, generator=generator)


def load_foreign(folder: Path, spread: Spread | None = None) -> HubModel | HubClassifier:
    """A checkpoint that `transformers` reads, with weights in float32.

    They are on the CPU, or where `spread` lays them.

    Raises ModelError with the file and a remedy when it cannot be loaded, is quantized, or has
    tensors that are missing or not used. So does a model whose head is not linear on features of
    the past (or on a pooled output).
    """
    config = read_config(folder)
    _check_pointers(folder)
    _check_unquantized(folder, config)
    tensors = stored_tensors(folder) or _pickled_tensors(folder)
    check_types(folder, tensors)
    _check_depth(folder, config, tensors)
    auto = _auto_class(folder, config)
    kind = HubModel if auto == "AutoModelForCausalLM" else HubClassifier
    if spread is None:
        return kind(_from_transformers(folder, auto, tensors, {}))
    with ExitStack() as stack:
        scratch = TemporaryDirectory(prefix=ScratchPaths.PREFIX, ignore_cleanup_errors=True)
        options = spread.options(stack.enter_context(scratch))
        model = kind(_from_transformers(folder, auto, tensors, options))
        weakref.finalize(model, stack.pop_all().close)
    return model


def foreign_skeleton(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """The modules of a checkpoint that `transformers` reads, without memory.

    Raises ModelError where config.json describes none of those that can be measured.
    """
    _check_depth(folder, config, {})
    auto = _auto_class(folder, config)
    with without_notices_of_torchao():  # transformers imports it
        import transformers

        try:
            settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            with unfilled():
                model: nn.Module = getattr(transformers, auto).from_config(
                    settings, trust_remote_code=False
                )
        except Exception as error:  # of many libraries, which raise whatever they meet
            raise error_of(folder, _said(error), _REMEDY) from error
    model.tie_weights()  # type: ignore[operator]
    return model


def check_runs(model: FeatureModel, input_shape: tuple[int, ...], path: str) -> None:
    """Raise ModelError unless `model` computes features of one input of this shape."""
    one = (1, *input_shape)
    x = torch.zeros(one) if len(input_shape) == 3 else torch.zeros(one, dtype=torch.int64)
    try:
        with torch.no_grad():
            model.eval().features(x.to(model.head.weight.device))
    except Exception as error:
        raise error_of(
            path, f"inputs of shape {input_shape}: {error}", "change data.context or the image size"
        ) from error


def _from_transformers(
    folder: Path, auto: str, tensors: Mapping[str, StoredTensor], options: Mapping[str, Any]
) -> Any:
    with without_notices_of_torchao():  # transformers imports it
        import transformers

        kind = getattr(transformers, auto)
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            with unfilled():
                skeleton = kind.from_config(config, trust_remote_code=False)
            _check_sizes(folder, skeleton, tensors)
            model, report = kind.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # the report names them
                **options,
            )
        except ModelError:
            raise
        except Exception as error:  # of many libraries, which raise whatever they meet
            raise error_of(folder, _said(error), _REMEDY) from error
    _check_report(folder, model, report, tensors)
    return model


def _said(error: Exception) -> str:
    if isinstance(error, UnpicklingError):
        return "it holds other things than plain tensors, or is damaged"
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _check_report(
    folder: Path, model: Any, report: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
) -> None:
    """Raise ModelError unless every weight of model and files found the other."""
    if other := [key for key in report["mismatched_keys"] if isinstance(key, tuple)]:
        name, stored, needed = sorted(other, key=str)[0]
        raise ModelError(
            f"{folder}: {name} is {tuple(stored)} where {type(model).__name__} has "
            f"{tuple(needed)} ({len(other)} tensors of other shapes): config.json and the weights "
            "belong to different models"
        )
    if lacking := [str(key) for key in (*report["missing_keys"], *report["mismatched_keys"])]:
        raise ModelError(
            f"{folder} lacks weights of {type(model).__name__}, which would be drawn at random: "
            f"{listed(lacking)}: config.json and the weights belong to different models, or the "
            "weights are not whole"
        )
    unused = [
        str(key)
        for key in report["unexpected_keys"]
        if not is_buffer(str(key), tensors[key].shape if key in tensors else ())
    ]
    if unused:
        raise ModelError(
            f"{folder} holds tensors that {type(model).__name__} does not use: {listed(unused)}: "
            "config.json (such as num_hidden_layers) belongs to another model, or the checkpoint "
            "to another architecture"
        )


def _check_pointers(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.stat().st_size < 1024:
            check_whole(file, file.read_bytes())


def _check_unquantized(folder: Path, config: Mapping[str, Any]) -> None:
    for name in ("quantization_config", "compression_config"):
        settings = config.get(name)
        if settings:
            method = settings.get("quant_method") if isinstance(settings, dict) else settings
            raise ModelError(
                f"{folder} is quantized ({str(method)[:60]}; {name} in config.json): load it "
                "with the library that wrote it, call `.dequantize()` and save that without "
                f"{name}, or take the original checkpoint"
            )


def _check_depth(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
) -> None:
    """Refuse sizes that no file holds before anything of that size is made."""
    most = len(tensors) or MOST_LAYERS
    numbers = {name: config.get(name) for name in _LAYERS}
    pattern = config.get("attention_types")
    if isinstance(pattern, list):
        counts = [e[1] for e in pattern if isinstance(e, list) and len(e) == 2]
        numbers["attention_types"] = max((c for c in counts if isinstance(c, int)), default=0)
    for name, number in numbers.items():
        if isinstance(number, int) and number > most:
            raise ModelError(
                f"{folder}: config.json asks for {number} layers ({name}), its weights are "
                f"{len(tensors)} tensors: {_REMEDY}"
            )
    labels = config.get("num_labels")
    if isinstance(labels, int) and labels > MOST_LABELS:
        raise ModelError(f"{folder}: num_labels is {labels} in config.json: {_REMEDY}")


def _check_sizes(folder: Path, skeleton: nn.Module, tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse a model that is far larger than its files before memory is taken for it."""
    parameters, stored = sum(p.numel() for p in skeleton.parameters()), parameters_in(dict(tensors))
    if tensors and parameters > 2 * stored:
        raise ModelError(
            f"{folder} lacks weights: config.json describes {parameters} parameters, the files "
            f"hold {stored}: {_REMEDY}"
        )
    size = sum(buffer.numel() * buffer.itemsize for buffer in skeleton.buffers())
    if size > LARGEST_BUFFERS:
        raise ModelError(
            f"{folder}: {type(skeleton).__name__} would make masks and tables of "
            f"{size / 2**30:.0f} GiB: lower the number of positions in config.json"
        )


def _auto_class(folder: Path, config: Mapping[str, Any]) -> str:
    """Which of transformers' loaders reads the architecture that `config.json` names."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    names: Any = config.get("architectures") or [""]
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise ModelError(f"{folder}: architectures in config.json is no list of names: {_REMEDY}")
    name: str = names[0]
    for ending, loader in _CLASSIFIERS.items():
        if name.endswith(ending):
            return loader
    causal: set[str] = set()
    for value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        causal |= {value} if isinstance(value, str) else set(value)
    other_task = "For" in name and name not in causal and not name.endswith("ForCausalLM")
    known = isinstance(kind, str) and kind in CONFIG_MAPPING
    other_kind = known and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if other_task or other_kind:
        raise ModelError(
            f"{folder} is a {(name or str(kind))[:80]}: measured are causal language models, and "
            f"classifiers ({', '.join(_CLASSIFIERS)}) whose head is linear on a pooled output"
        )
    return "AutoModelForCausalLM"


def _pickled_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of `pytorch_model.bin`, without its content.

    The file is read without running code.
    """
    file = folder / "pytorch_model.bin"
    if not file.exists():
        return {}
    try:
        tensors = torch.load(file, map_location="meta", weights_only=True)
        return {
            str(name): StoredTensor(_DTYPES.get(t.dtype, str(t.dtype)), tuple(t.shape))
            for name, t in tensors.items()
        }
    except Exception as error:  # whatever an unpickler of damaged files meets
        remedy = "save the plain weights again as model.safetensors"
        raise error_of(file, _said(error), remedy) from error


def _after_head(config: Any) -> Iterator[tuple[float, float | None]]:
    """What the settings say of scale and cap, and that there are none."""
    scale = 1.0
    for name, power in _SCALES.items():
        value = getattr(config, name, None)
        if isinstance(value, int | float) and value != 0:
            scale *= float(value) ** power
    caps = (getattr(config, name, None) for name in _CAPS)
    cap = next((float(each) for each in caps if isinstance(each, int | float) and each > 0), None)
    yield scale, cap
    yield 1.0, None


@contextmanager
def _output(module: nn.Module, values: Tensor) -> Iterator[None]:
    """Within, the last dimension of the module's output is `values`."""
    handle = module.register_forward_hook(lambda _m, _a, output: values.expand_as(output).clone())
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _as_model_error(model: Any) -> Iterator[None]:
    """Within, what a model raises while it computes is a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise error_of(
            type(model).__name__, f"it cannot compute: {_said(error)}", _REMEDY
        ) from error


def _check_finite(model: Any) -> None:
    for path, module in model.named_modules():
        with in_memory(module):
            for name, values in module.named_parameters(path, recurse=False):
                if not bool(values.isfinite().all()):
                    raise ModelError(
                        f"{name} {tuple(values.shape)} of {type(model).__name__} has values that "
                        "are not finite: the checkpoint has diverged or is damaged"
                    )


def _name_of(module: nn.Module, model: nn.Module) -> str:
    names: dict[nn.Module, str] = {each: name for name, each in model.named_modules()}
    return names[module]


def _blocks(body: nn.Module, depth: int | None) -> dict[str, nn.Module]:
    """The list of blocks nearest to the top of the body, wherever it is kept."""
    lists = [
        (name.count("."), module)
        for name, module in body.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not lists:
        raise ModelError(
            f"{type(body).__name__} keeps its {depth} blocks in no list: measure.layers last works"
        )
    blocks = min(lists, key=lambda each: each[0])[1]
    return {f"block{number}": block for number, block in enumerate(blocks, start=1)}
