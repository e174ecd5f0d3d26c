"""A model at one precision after another, in place and undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from study.precision.apply import apply
from study.precision.calibration import Calibration
from study.precision.names import REFERENCE, Precision
from study.precision.record import Record, covered_names, storage_record, weight_error


@contextmanager
def at_precision(
    model: nn.Module,
    precision: Precision,
    calibration: Calibration | None = None,
    *,
    tuned: nn.Module | None = None,
    rounded: bool = False,
) -> Iterator[Record]:
    """Within, `model` computes at `precision`; then it is as it was, bit for bit.

    All that `apply` may do is undone: replaced values of parameters, buffers, classes of layers,
    hooks, submodules and other attributes. The former values wait in the memory of the host: where
    the model lies there, they are the very tensors; else they leave the device, weight by weight,
    so that it never holds the model twice.

    Args:
        model: in evaluation mode.
        precision: any.
        calibration: see `apply`.
        tuned: the same model fine-tuned, whose weights are taken, for precisions that fine-tune.
        rounded: whether the weights of `tuned` are rounded already.

    Yields:
        columns of a row: how the model differs from the checkpoint (`quantization_record`).

    Raises:
        PrecisionError: as `apply`; the model is as it was then, too.
    """
    record, names = storage_record(model, precision), covered_names(model, precision)
    if precision.name == REFERENCE:
        # Weights that are not in memory differ from themselves as little as the others.
        names = [name for name in names if not model.get_parameter(name).is_meta]
        yield record | {"weight_error": weight_error(model, dict(model.named_parameters()), names)}
        return
    state = _State(model)
    try:
        if tuned is not None:
            _take(model, tuned)
        if not rounded:
            apply(model, precision.untuned, calibration)
        yield record | {"weight_error": weight_error(model, state.originals, names)}
    finally:
        state.restore()


def _take(model: nn.Module, tuned: nn.Module) -> None:
    """Let the model hold parameters and buffers of its fine-tuned copy."""
    for name, parameter in tuned.named_parameters():
        model.get_parameter(name).data = parameter.data
    for name, buffer in tuned.named_buffers():
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, buffer)


class _State:
    """What a model is made of, to be put back."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [(module, type(module), _contents(module)) for module in model.modules()]
        self.originals: dict[str, Tensor] = {}
        self.parameters = []
        for name, parameter in model.named_parameters():
            values = parameter.data.to("cpu")
            self.originals[name] = values
            self.parameters.append((parameter, parameter.device, values))

    def restore(self) -> None:
        for module, kind, contents in self.modules:
            module.__class__ = kind
            vars(module).clear()
            for name, (value, content) in contents.items():
                # The same container, which handles of hooks refer to.
                if isinstance(value, dict | set):
                    value.clear()
                    value.update(content)
                vars(module)[name] = value
        for parameter, device, values in self.parameters:
            parameter.data = values.to(device)


def _contents(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Attributes of a module, each with a copy of what registration writes into."""
    return {
        name: (value, value.copy() if isinstance(value, dict | set) else None)
        for name, value in vars(module).items()
    }
