"""Which weights of a model a precision covers.

Every tensor is either covered, known to stay, or an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from study.precision.names import BLOCK, Precision, PrecisionError

_POSITIONAL_NAME = re.compile(
    r"(.*_)?(wpe|pos|positions?|positional)(_(embs?|embeds?|embeddings?|encs?|encoders?|encodings?|bias|biases|tables?|layer))*(_[a-z])?"
)
_MAYBE_POSITIONAL = re.compile(r"(^|_)(wpe|pos|positions?|positional)(_|$)")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_ATTENTION_NAME = re.compile(r"attn|attention", re.IGNORECASE)
_ROUTER_CLASS = re.compile(r"Router|TopKGate|TopkGate")
_ROUTER_NAME = re.compile(
    r"(?P<mixture>.*?)\.?(router|gate|shared_expert_gate)(\.(layer|classifier|linear|proj|wg))?"
)
_UNDECORATED_EXPERTS = {
    # class -> attribute -> whether matrices are stored as (inputs, outputs)
    "GraniteMoeParallelExperts": {"weight": False},
    "JetMoeParallelExperts": {"weight": False},
    "DbrxExpertGLU": {"w1": False, "v1": False, "w2": True},
    "Llama4TextExperts": {"gate_up_proj": True, "down_proj": True},
}


@dataclass(frozen=True)
class Place:
    """A module that holds a weight as `attribute`; `name` is its path in the model."""

    name: str
    module: nn.Module
    attribute: str


@dataclass(frozen=True)
class Weight:
    """A weight tensor of a model with every place that shares it.

    A tied embedding and head are one weight. `stack` matrices lie in one tensor: the experts of a
    mixture, each of which is rounded as the linear layer that it is.
    """

    name: str
    parameter: nn.Parameter
    places: tuple[Place, ...]
    head: bool
    embedding: bool
    transposed: bool
    stack: int = 1

    @property
    def matrices(self) -> Tensor:
        """The weight as matrices (stack, output channels, weights of a channel)."""
        return as_matrices(self.parameter.detach(), self.transposed, self.stack)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(output channels, weights of a channel) of each of the matrices."""
        shape = self.parameter.shape
        if self.stack == 1 and not self.transposed:
            return shape[0], self.parameter.numel() // shape[0]
        rows, last = self.parameter.numel() // (self.stack * shape[-1]), shape[-1]
        return (last, rows) if self.transposed else (rows, last)

    def replace(self, matrices: Tensor) -> None:
        """Let the parameter hold these matrices in all its places.

        Its former values stay as they are for whoever holds them.
        """
        values = from_matrices(matrices, self.parameter, self.transposed)
        self.parameter.data = values.to(self.parameter.dtype).contiguous()


def as_matrices(weight: Tensor, transposed: bool, stack: int = 1) -> Tensor:
    """A weight as contiguous matrices, one output channel a row.

    `transposed`: channels are its last dimension. `stack`: how many matrices lie in it, one after
    another.
    """
    if stack == 1:
        return (weight.t() if transposed else weight.flatten(1)).contiguous()[None]
    matrices = weight.reshape(stack, -1, weight.shape[-1])
    return (matrices.transpose(1, 2) if transposed else matrices).contiguous()


def from_matrices(matrices: Tensor, like: Tensor, transposed: bool) -> Tensor:
    """The inverse of `as_matrices`, in the shape of `like`."""
    return (matrices.transpose(1, 2) if transposed else matrices).reshape(like.shape)


def find_head(model: nn.Module) -> nn.Module | None:
    """The classifier head, or None.

    It is the attribute `head`, or what Hugging Face's `get_output_embeddings` returns.
    """
    head = getattr(model, "head", None)
    embeddings = getattr(model, "get_output_embeddings", None)
    if head is None and callable(embeddings):
        head = embeddings()
    return head if isinstance(head, nn.Module) else None


def covered_weights(model: nn.Module, precision: Precision) -> list[Weight]:
    """The weights in the scope of `precision`, tied ones once, in the model's order.

    Linear layers, attention projections, embeddings and convolutions are covered, and so are the
    experts of a mixture that lie in one tensor, as stacked linear layers. Biases, norms and other
    vectors, and position embeddings (a module with `positional = True`, or a name such as `wpe` or
    `pos_embedding`), stay, and so does what `unrounded_matrices` names. `body` leaves the head and
    every embedding as they are; `head` includes the embedding that is tied to it. `first` is the
    first weight, `block3` the third entry of `model.layers`; `attention` and `mlp` divide the
    weights of all blocks. Raises PrecisionError for a matrix that belongs to none of these, and
    where nothing is in scope.
    """
    head = find_head(model)
    if head is None and precision.scope in ("body", "head"):
        raise PrecisionError(
            f"{precision.name}: cannot tell the head of {type(model).__name__}: give it an "
            f"attribute `head`, or measure {precision.name.removesuffix('/' + precision.scope)!r}"
        )
    weights = _in_scope(_all_weights(model, head, precision), model, precision.scope)
    if not weights:
        raise PrecisionError(
            f"{precision.name}: {type(model).__name__} has no weights in this scope"
        )
    return weights


def _in_scope(weights: list[Weight], model: nn.Module, scope: str) -> list[Weight]:
    if scope in ("all", "first"):
        return weights[:1] if scope == "first" else weights
    if scope == "head":
        return [weight for weight in weights if weight.head]
    if scope == "body":
        return [weight for weight in weights if not (weight.head or weight.embedding)]
    blocks = _blocks(model, scope)
    if scope in blocks:
        return [weight for weight in weights if _within(weight, {blocks[scope]})]
    inner = [weight for weight in weights if _within(weight, set(blocks.values()))]
    attention = [weight for weight in inner if _ATTENTION_NAME.search(weight.name)]
    if not attention or BLOCK.fullmatch(scope):
        many = len(blocks) > 1
        count = f"{len(blocks)} blocks" if many else "one block"
        lack = count if BLOCK.fullmatch(scope) else "no attention in its blocks"
        raise PrecisionError(
            f"/{scope}: {type(model).__name__} has {lack}: measure /block1"
            + (f" to /block{len(blocks)}, or /body for all of them" if many else "")
        )
    return attention if scope == "attention" else [w for w in inner if w not in attention]


def _within(weight: Weight, paths: set[str]) -> bool:
    """Whether a place of a weight lies below one of the paths."""
    return any(place.name.startswith(f"{path}.") for place in weight.places for path in paths)


def _blocks(model: nn.Module, scope: str) -> dict[str, str]:
    """The path of each block of a model by the name that rows give it."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, Mapping):
        raise PrecisionError(
            f"/{scope}: cannot tell the blocks of {type(model).__name__}: give it a mapping "
            "`layers` of its blocks by name"
        )
    paths = {module: path for path, module in model.named_modules()}
    return {name: paths[module] for name, module in layers.items()}


def _all_weights(model: nn.Module, head: nn.Module | None, precision: Precision) -> list[Weight]:
    places: dict[nn.Parameter, list[Place]] = {}
    unrounded = set(unrounded_matrices(model))
    for path, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            name = f"{path}.{attribute}".removeprefix(".")
            if name in unrounded or _stays(module, path, attribute, parameter):
                continue
            if not _is_known(module, attribute) and _stack(module, attribute, parameter) is None:
                if precision.scope == "head":
                    continue
                raise PrecisionError(
                    f"{precision.name}: {name} of {type(module).__name__} {tuple(parameter.shape)} "
                    "is a matrix that no format covers: make it a linear, embedding or "
                    "convolution layer, mark a position table by `positional = True` on its "
                    f"module, or measure {replace(precision, scope='head').name!r}"
                )
            places.setdefault(parameter, []).append(Place(name, module, attribute))
    return [_weight(parameter, tuple(shared), head) for parameter, shared in places.items()]


def _weight(parameter: nn.Parameter, places: tuple[Place, ...], head: nn.Module | None) -> Weight:
    module = places[0].module
    stack, transposed = _stack(module, places[0].attribute, parameter) or (1, is_transposed(module))
    return Weight(
        name=places[0].name,
        parameter=parameter,
        places=places,
        head=any(place.module is head for place in places),
        embedding=any(isinstance(place.module, nn.Embedding | nn.EmbeddingBag) for place in places),
        transposed=transposed,
        stack=stack,
    )


def unrounded_matrices(model: nn.Module) -> list[str]:
    """Names of the matrices that every weight format leaves as they are.

    Their rounding would change which path a token takes, or how long a state lasts, rather than a
    product: routers of mixtures of experts and gates of shared experts; of state-space and other
    recurrent layers the matrix `A_log`, the gates of an RG-LRU, and the filters along the tokens
    (depthwise convolutions of one dimension).
    """
    mixtures = {
        path.rpartition(".")[0] for path, module in model.named_modules() if _has_experts(module)
    }
    return [
        f"{path}.{attribute}".removeprefix(".")
        for path, module in model.named_modules()
        for attribute, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1 and _is_unrounded(module, path, attribute, mixtures)
    ]


def _is_unrounded(module: nn.Module, path: str, attribute: str, mixtures: set[str]) -> bool:
    if attribute == "A_log" or type(module).__name__.endswith("Rglru"):
        return True
    if _ROUTER_CLASS.search(type(module).__name__):
        return True
    if isinstance(module, nn.Conv1d):
        return module.groups == module.in_channels > 1
    match = _ROUTER_NAME.fullmatch(path) if isinstance(module, nn.Linear) else None
    return match is not None and match["mixture"] in mixtures


def _has_experts(module: nn.Module) -> bool:
    name = type(module).__name__
    return "Expert" in name or (
        isinstance(module, nn.ModuleList) and any("Expert" in type(m).__name__ for m in module)
    )


def _stack(module: nn.Module, attribute: str, parameter: Tensor) -> tuple[int, bool] | None:
    """How many matrices lie in a tensor, and whether as (inputs, outputs).

    None for a tensor that is no stack of linear layers. transformers marks its stacks by
    `is_transposed`; those of a few models lack the mark.
    """
    undecorated = _UNDECORATED_EXPERTS.get(type(module).__name__, {})
    if attribute in undecorated:
        count = parameter.shape[0] if parameter.ndim == 3 else getattr(module, "moe_num_experts", 0)
        return (int(count), undecorated[attribute]) if count else None
    marked = getattr(module, "is_transposed", None)
    if isinstance(marked, bool) and "Expert" in type(module).__name__ and parameter.ndim == 3:
        return parameter.shape[0], marked
    return None


def is_transposed(module: nn.Module) -> bool:
    """Whether a layer is Hugging Face's `Conv1D`.

    That is a linear layer with its weight stored as (inputs, outputs).
    """
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _is_known(module: nn.Module, attribute: str) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return attribute in _ATTENTION_WEIGHTS
    known = isinstance(module, nn.Linear | nn.Embedding | nn.EmbeddingBag) or is_transposed(module)
    convolution = isinstance(module, CONVOLUTIONS) and not isinstance(module, _ConvTransposeNd)
    return attribute == "weight" and (known or convolution)


def _stays(module: nn.Module, path: str, attribute: str, parameter: Tensor) -> bool:
    """Whether a parameter stays as it is: vectors and position embeddings do.

    Vectors (also such of shape (d, 1, 1)) stay in layers that hold no weights.
    """
    marked = getattr(module, "positional", None)
    if marked is True:
        return True
    if isinstance(module, nn.Embedding):
        name = path.rpartition(".")[2]
        if (
            marked is None
            and _MAYBE_POSITIONAL.search(name)
            and not _POSITIONAL_NAME.fullmatch(name)
        ):
            raise PrecisionError(
                f"{path} (Embedding, {tuple(parameter.shape)}) may be a table of positions, which "
                "stays as it is: set `positional` on the module, True for positions, False for "
                "anything else"
            )
        return marked is None and _POSITIONAL_NAME.fullmatch(name) is not None
    if _is_known(module, attribute):
        return False
    return (
        parameter.ndim < 2
        or attribute.endswith("bias")
        or max(parameter.shape) == parameter.numel()
        or bool(_POSITIONAL_NAME.fullmatch(attribute))
    )
