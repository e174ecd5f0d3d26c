"""A second device without hardware: CPU memory that refuses to mix with tensors of the CPU.

Tensors on `pretend` compute what those of the CPU do. An operation that gets tensors of both, other
than a copy or a scalar, raises RuntimeError as a GPU's would, and whatever makes the host wait for
a GPU is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
NAME = "pretend"
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
    aten.equal.default: "equal",
    aten.bincount.default: "bincount",
}
"""What cannot return before the device has computed its input, and how the count calls it."""
BETWEEN = (aten._to_copy.default, aten.copy_.default, aten.set_.source_Tensor)


class _Backend:
    """What torch asks of the module of a device."""

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """The generator of the CPU is used."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class PretendTensor(torch.Tensor):
    """A tensor on the device, around the one on the CPU that computes."""

    on_cpu: torch.Tensor

    @staticmethod
    def __new__(cls, on_cpu: torch.Tensor) -> PretendTensor:
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            on_cpu.shape,
            strides=on_cpu.stride(),
            storage_offset=on_cpu.storage_offset(),
            dtype=on_cpu.dtype,
            device=torch.device(NAME, 0),
        )
        made.on_cpu = on_cpu
        return made

    @property
    def data(self) -> Any:
        """As of any tensor; one that is assigned has the same shape."""
        return PretendTensor(self.on_cpu)

    @data.setter
    def data(self, value: Any) -> None:
        self.on_cpu = value.on_cpu

    def __repr__(self, **options: Any) -> Any:  # type: ignore[override]
        return f"PretendTensor({tuple(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        if id(self) not in memo:
            made: Any = PretendTensor(self.on_cpu.clone()).requires_grad_(self.requires_grad)
            made._is_param = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = made
        found: PretendTensor = memo[id(self)]
        return found

    def data_ptr(self) -> int:
        return self.on_cpu.data_ptr()

    def tolist(self) -> Any:
        waits["tolist"] += 1
        return self.on_cpu.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(not issubclass(cls, each) for each in types):
            return NotImplemented  # a tensor around one of these, such as a quantized one
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sends what names the device, but has no tensor on it, to the same place."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if any(not issubclass(PretendTensor, each) for each in types):
            with self:
                return func(*args, **(kwargs or {}))
        return _run(func, args, kwargs or {})


waits: Counter[str] = Counter()
"""How often the host waited for the device, by what made it wait."""


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    here = [each for each in tensors if isinstance(each, PretendTensor)]
    target = kwargs.get("device")
    to_device = target is not None and torch.device(target).type == NAME
    if not here and not to_device:
        return func(*args, **kwargs)
    strangers = [each for each in tensors if not isinstance(each, PretendTensor) and each.ndim]
    if func is aten.index.Tensor or func is aten.index_put_.default:
        # The CPU's indices are copied to the device, which is slow but allowed.
        strangers = [each for each in strangers if each.dtype.is_floating_point]
        if any(each.dtype in (torch.bool, torch.uint8) for each in tensors[1:]):
            waits["boolean index"] += 1
    if here and strangers and func not in BETWEEN:
        raise RuntimeError(f"{func}: expected all tensors on one device, got {NAME} and cpu")
    if func in WAITING:
        waits[WAITING[func]] += 1
    leaves = target is not None and not to_device
    if here and (leaves or (func is aten.copy_.default and not isinstance(args[0], PretendTensor))):
        waits["copy to the CPU"] += 1
    if func is aten._fused_sdp_choice.default:
        return 0  # the one that is written in terms of other operations
    if to_device:
        kwargs = {**kwargs, "device": "cpu"}
    stay = not here or target is None or to_device
    inner_args, inner_kwargs = tree_map(_on_cpu, (args, kwargs))
    if to_device and func is aten._to_copy.default and not here:
        inner_kwargs.pop("device")  # a copy, not the tensor itself
    result = func(*inner_args, **inner_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape of the tensor around it changes, too
            func(*args, **kwargs)
    known = {id(each.on_cpu): each for each in here}
    outside = func is aten.copy_.default and not isinstance(args[0], PretendTensor)

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not stay or outside:
            return value
        return known[id(value)] if id(value) in known else PretendTensor(value)

    return tree_map(wrap, result)


def _on_cpu(value: Any) -> Any:
    return value.on_cpu if isinstance(value, PretendTensor) else value


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """The device, while its factories work; the count of waits starts at zero."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # tied weights stay tied
    waits.clear()
    try:
        with _Factories():  # type: ignore[no-untyped-call]
            yield torch.device(NAME, 0)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapping)
