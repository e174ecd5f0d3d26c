"""Rotating the residual stream of a model, as far as that folds into its weights.

After Ashkboos et al. 2024 (QuaRot), section 4, stage 1a: where a norm commutes with a rotation R,
layers that write to the stream can give R h instead of h, and layers that read it undo R. Shapes:
d width of the stream, o output channels, i weights of a channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from study.precision.layers import Weight, as_matrices, from_matrices, is_transposed
from study.precision.names import PrecisionError

_NORM = re.compile(r"(Layer|RMS)Norm$")
TOLERANCE = 1e-3
"""Relative difference of the outputs of a model and of its rotated form, in float32."""


def rotation(d: int, seed: int, *, keep_mean: bool) -> Tensor:
    """A random rotation (d, d) in float64 from Hadamard matrices and random signs s.

    B diag(s), or with `keep_mean` B diag(s) B^T with s_1 = 1, which leaves the vector of ones as it
    is. B is Hadamard's matrix / sqrt(d) where d is a power of two, else its Kronecker product with
    the orthonormal cosine transform of the odd factor; its first column is 1 / sqrt(d).
    """
    from scipy.fft import idct
    from scipy.linalg import hadamard

    power = d & -d
    odd = d // power
    cosines = torch.from_numpy(idct(torch.eye(odd, dtype=torch.float64).numpy(), norm="ortho").T)
    signs_of_rows = torch.from_numpy(hadamard(power)).double() / power**0.5
    B = torch.kron(signs_of_rows, cosines.contiguous())
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (d,), generator=generator).double() * 2 - 1
    if not keep_mean:
        return B * signs
    signs[0] = 1
    return (B * signs) @ B.T


@dataclass(frozen=True)
class Rotated:
    """The basis of a weight in a rotated model, seen from the model as it is.

    x = gain z + offset is the input of a layer behind a norm, z the normalized stream. The rotated
    layer computes out^T (out W diag(gain) into^T) (into z), plus W offset as a bias.
    """

    inputs: Tensor | None = None
    outputs: Tensor | None = None
    gain: Tensor | None = None
    offset: Tensor | None = None

    def weight(self, matrix_oi: Tensor) -> Tensor:
        """The weight in the rotated model."""
        matrix = matrix_oi.double()
        if self.gain is not None:
            matrix = matrix * self.gain
        if self.inputs is not None:
            matrix = matrix @ self.inputs.T
        if self.outputs is not None:
            matrix = self.outputs @ matrix
        return matrix.to(matrix_oi.dtype)

    def back_weight(self, matrix_oi: Tensor) -> Tensor:
        """The weight of the model as it is that a rotated weight amounts to."""
        matrix = matrix_oi.double()
        if self.outputs is not None:
            matrix = self.outputs.T @ matrix
        if self.inputs is not None:
            matrix = matrix @ self.inputs
        if self.gain is not None:
            matrix = matrix / self.gain
        return matrix.to(matrix_oi.dtype)

    def into(self, x: Tensor, dimension: int) -> Tensor:
        """Inputs of the layer (..., i) in the rotated model."""
        z = x.double()
        if self.offset is not None:
            z = z - self.offset
        if self.gain is not None:
            z = z / self.gain
        return (z if self.inputs is None else z @ self.inputs.T).to(x.dtype)

    def back(self, x: Tensor, dimension: int) -> Tensor:
        """The inverse of `into`."""
        z = x.double() if self.inputs is None else x.double() @ self.inputs
        if self.gain is not None:
            z = z * self.gain
        return (z if self.offset is None else z + self.offset).to(x.dtype)


@dataclass
class _Stream:
    """Layers of a model by what they do to its residual stream, by name."""

    readers: dict[str, nn.Module] = field(default_factory=dict)
    writers: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)

    @property
    def norms(self) -> list[nn.Module]:
        return list(dict.fromkeys(self.readers.values()))


@torch.no_grad()
def rotated_bases(
    model: nn.Module, weights: list[Weight], x: Tensor, seed: int
) -> dict[str, Rotated]:
    """The basis of each weight, by name, in a rotated form of the model.

    Behind RMS norms the rotation is QuaRot's. A layer norm subtracts the mean, so its rotation
    keeps the mean. Where head and embedding are one weight, the last norm's gain cannot fold into
    it: it stays, and the head's inputs are rotated at run time. Weights that neither read nor write
    the stream stay in their basis.

    Args:
        model: in evaluation mode.
        weights: those that will be rounded.
        x: an input of the model, on which both forms must give the same outputs.
        seed: of the signs.

    Raises PrecisionError where the rotated model is another function: its blocks are not behind
    norms that read the stream alone (such as convolutions behind batch norms).
    """
    stream = _stream(model, x)
    widths = {norm.get_parameter("weight").numel() for norm in stream.norms}
    if len(widths) != 1:
        raise PrecisionError(_refusal(model, "no linear layer of it reads a stream behind a norm"))
    norms = stream.norms
    keep_mean = any("LayerNorm" in type(norm).__name__ for norm in norms)
    R = rotation(widths.pop(), seed, keep_mean=keep_mean).to(x.device)
    bases = {name: Rotated(inputs=R) for name in stream.lookups}
    bases |= {name: Rotated(outputs=R) for name in stream.writers}
    bases |= {name: _reader(norm, R) for name, norm in stream.readers.items()}
    _check_same_function(model, stream, bases, x)
    chosen = {}
    for weight in weights:
        places = [place.name.rpartition(".")[0] for place in weight.places]
        if weight.embedding and len(places) > 1:
            chosen[weight.name] = Rotated(inputs=R)
        elif places[0] in bases and weight.stack == 1:
            chosen[weight.name] = bases[places[0]]
    return chosen


def _reader(norm: nn.Module, R: Tensor) -> Rotated:
    gain = norm.get_parameter("weight").detach().double()
    bias = getattr(norm, "bias", None)
    offset = None if bias is None else bias.detach().double()
    # What an input that is always zero is multiplied with does not matter.
    return Rotated(inputs=R, gain=gain.masked_fill(gain == 0, 1), offset=offset)


def _stream(model: nn.Module, x: Tensor) -> _Stream:
    """What reads and writes the residual stream, from one run of the model."""
    outputs: list[tuple[Any, nn.Module]] = []
    inputs: list[tuple[str, nn.Module, Any]] = []

    def keep_output(module: nn.Module, _: Any, output: Any) -> None:
        outputs.append((output, module))

    def keeper(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, arguments: inputs.append((name, module, arguments[0]))

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if _NORM.search(type(module).__name__) and getattr(module, "weight", None) is not None:
                stack.callback(module.register_forward_hook(keep_output).remove)
            elif _is_linear(module):
                stack.callback(module.register_forward_pre_hook(keeper(name)).remove)
        model(x)
    stream = _Stream()
    for name, _, read in inputs:
        for output, norm in outputs:
            # All are alive, so that one address is one tensor, whatever its shape.
            if read.data_ptr() == output.data_ptr() and read.numel() == output.numel():
                stream.readers[name] = norm
    for norm in stream.norms[:1]:
        d = norm.get_parameter("weight").numel()
        stream.writers = [
            name
            for name, module, _ in inputs
            if name not in stream.readers and _matrix(module).shape[0] == d
        ]
        stream.lookups = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Embedding) and module.embedding_dim == d
        ]
    return stream


def _check_same_function(
    model: nn.Module, stream: _Stream, bases: dict[str, Rotated], x: Tensor
) -> None:
    """Raise PrecisionError unless the rotated model gives the outputs of the model."""
    copy = deepcopy(model)
    for name, basis in bases.items():
        module = copy.get_submodule(name)
        matrix = _matrix(module)
        transposed = is_transposed(module)
        weight = module.get_parameter("weight")
        rotated = from_matrices(basis.weight(matrix)[None], weight, transposed)
        # A parameter of its own, so that a tied one is rotated as each layer needs it.
        module.weight = nn.Parameter(rotated.contiguous(), requires_grad=False)
        bias = getattr(module, "bias", None)
        if basis.outputs is not None and bias is not None:
            module.bias = nn.Parameter((basis.outputs @ bias.double()).to(bias.dtype))
        add_offset(module, basis, matrix)
    names = {module: name for name, module in model.named_modules()}
    for norm in stream.norms:
        twin = copy.get_submodule(names[norm])
        gain = twin.get_parameter("weight")
        twin.weight = nn.Parameter((gain == 0).logical_not().to(gain.dtype))
        if getattr(twin, "bias", None) is not None:
            twin.bias = nn.Parameter(torch.zeros_like(gain))
    before, after = (next(_tensors(each(x))).double() for each in (model, copy))
    if not float((after - before).norm()) <= TOLERANCE * float(before.norm()):
        raise PrecisionError(
            _refusal(model, "its residual stream is read other than by layers behind norms")
        )


def add_offset(module: nn.Module, basis: Rotated, matrix_oi: Tensor) -> None:
    """Add matrix times offset to the bias of a layer, which it may not have had."""
    if basis.offset is None or not bool(basis.offset.any()):
        return
    added = (matrix_oi.double() @ basis.offset).to(matrix_oi.dtype)
    bias = getattr(module, "bias", None)
    module.bias = nn.Parameter(added if bias is None else bias + added, requires_grad=False)


def _refusal(model: nn.Module, reason: str) -> str:
    return (
        f"rot- cannot rotate {type(model).__name__}: {reason}: leave the prefix rot- out (a model "
        "rotates whose blocks read the stream through layer or RMS norms alone, as GPT and Llama)"
    )


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or is_transposed(module)


def _matrix(module: nn.Module) -> Tensor:
    return as_matrices(module.get_parameter("weight").detach(), is_transposed(module))[0]


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    else:
        yield output[0]
