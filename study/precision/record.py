"""What a precision did to a model, as columns of a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, isfinite, sqrt

import torch
from torch import Tensor, nn

from study.precision.apply import CAST_DTYPES
from study.precision.formats import stored_bits
from study.precision.layers import covered_weights, find_head, unrounded_matrices
from study.precision.names import Precision

Record = dict[str, float | int | bool | str | None]


def quantization_record(model: nn.Module, measured: nn.Module, precision: Precision) -> Record:
    """How `measured`, which is the checkpoint `model` at `precision`, differs from it.

    Columns of a row: those of `storage_record`, and `weight_error`.
    """
    originals = dict(model.named_parameters())
    error = weight_error(measured, originals, covered_names(model, precision))
    return storage_record(model, precision) | {"weight_error": error}


def covered_names(model: nn.Module, precision: Precision) -> list[str]:
    """The parameters that a precision covers, tied ones once; a cast covers all."""
    if precision.family == "cast":
        return [name for name, _ in model.named_parameters()]
    return [weight.name for weight in covered_weights(model, precision)]


@torch.no_grad()
def weight_error(
    measured: nn.Module, originals: Mapping[str, Tensor], names: Iterable[str]
) -> float | None:
    """||Q - W||_F / ||W||_F over the named parameters, W being their `originals`.

    For `qat-`, `efqat-` and `ft-fp32` it contains how far fine-tuning moved them. None where W = 0.
    """
    error = RelativeError()
    for name in names:
        values = measured.get_parameter(name)
        error.update(values, originals[name].to(values.device))
    return error.value


def storage_record(model: nn.Module, precision: Precision) -> Record:
    """What `precision` makes of the checkpoint `model`, by the sizes of its tensors.

    quantized_share         share of the parameters (tied ones once) that the precision rounds;
                            casts round all of them, `fp32` and `ft-fp32` none
    bits_per_weight         bits of a rounded weight with its share of scales and zero points; 32
                            for `fp32`
    model_bytes             parameters and buffers as they would be stored, packed, with scales and
                            zero points
    tied_embedding_changed  whether the embedding that shares the head's weights was rounded; null
                            without a tie
    quantized_layers        JSON list of the rounded weights by name, tied ones in every place
    unrounded_layers        JSON list of the matrices that weight formats leave as they are, such as
                            routers; only in rows of models that have any
    """
    if precision.family == "cast":
        dtype = CAST_DTYPES[precision.format]
        rounded = (
            [] if precision.format == "fp32" else [name for name, _ in _named_parameters(model)]
        )
        bits = {name: tensor.numel() * precision.bits for name, tensor in model.named_parameters()}
        stored_bytes = sum(_bytes(tensor, dtype) for tensor in _stored(model).values())
    else:
        weights = covered_weights(model, precision)
        rounded = [place.name for weight in weights for place in weight.places]
        bits = {
            w.name: w.stack * stored_bits(w.matrix_shape, w.parameter.dtype, precision)
            for w in weights
        }
        others = sum(_bytes(tensor, tensor.dtype) for tensor in _stored(model).values())
        others -= sum(_bytes(weight.parameter, weight.parameter.dtype) for weight in weights)
        stored_bytes = others + sum(ceil(each / 8) for each in bits.values())
    count = sum(model.get_parameter(name).numel() for name in bits)
    tied = _tied_embeddings(model)
    unrounded = [] if precision.family == "cast" else unrounded_matrices(model)
    return {
        "quantized_share": count / sum(p.numel() for p in model.parameters()) if rounded else 0.0,
        "bits_per_weight": sum(bits.values()) / count,
        "model_bytes": stored_bytes,
        "tied_embedding_changed": bool(tied & set(rounded)) if tied else None,
        "quantized_layers": json.dumps(rounded),
        **({"unrounded_layers": json.dumps(unrounded)} if unrounded else {}),
    }


@dataclass
class RelativeError:
    """||x - reference||_F / ||reference||_F over everything it was updated with.

    Sums are in float64. Updates wait for no device.

    The logits error of a precision: update it with the logits of both models, batch by batch.
    """

    norms: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def update(self, x: Tensor, reference: Tensor) -> None:
        """Adds two tensors of one shape, of any float dtypes."""
        if x.shape != reference.shape:
            raise ValueError(f"shapes differ: {tuple(x.shape)} and {tuple(reference.shape)}")
        dtype = torch.promote_types(torch.promote_types(x.dtype, reference.dtype), torch.float32)
        expected = reference.detach().to(dtype)
        self.norms.append((_norm(x.detach().to(dtype) - expected), _norm(expected)))

    def merge(self, other: RelativeError) -> None:
        """Add what another was updated with."""
        self.norms += other.norms

    @property
    def value(self) -> float | None:
        """The error; None where the reference is zero or anything is infinite."""
        error = sum(float(of_error) ** 2 for of_error, _ in self.norms)
        size = sum(float(of_reference) ** 2 for _, of_reference in self.norms)
        if size == 0 or not isfinite(error) or not isfinite(size):
            return None
        return sqrt(error / size)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dtype=torch.float64)
    return norm


def _named_parameters(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return model.named_parameters(remove_duplicate=False)


def _stored(model: nn.Module) -> dict[tuple[int | str, tuple[int, ...]], Tensor]:
    """Parameters and persistent buffers, those that share memory once.

    Those on the device `meta`, which have no address, share none.
    """
    return {
        (name if tensor.is_meta else tensor.data_ptr(), tuple(tensor.shape)): tensor
        for name, tensor in model.state_dict().items()
    }


def _bytes(tensor: Tensor, dtype: torch.dtype) -> int:
    return tensor.numel() * (dtype.itemsize if tensor.is_floating_point() else tensor.itemsize)


def _tied_embeddings(model: nn.Module) -> set[str]:
    """Names of the embedding weights that are the head's."""
    head = find_head(model)
    if not isinstance(head, nn.Linear):
        return set()
    return {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.weight is head.weight
    }
