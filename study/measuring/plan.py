"""What measuring a checkpoint takes of memory, from its config alone.

Shapes: P parameters, V classes of the head, d entries of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.measuring.samples import BATCH_SAMPLES, HEAD_SAMPLES, LOGITS
from study.models import skeleton
from study.precision import REFERENCE, Precision

if TYPE_CHECKING:
    from torch import nn

SINGLE, HALF, DOUBLE = 4, 2, 8
"""Bytes of a number."""
CENTRES = 2 * DOUBLE + SINGLE
"""Bytes of an entry of class means, and of their centres in two precisions."""
LOGIT_COPIES = 5
"""Blocks of logits that scores hold at once: their softmax, comparisons, the reference's."""
LAYER_COPIES = 4
"""Outputs of its widest layer that a block holds at once: two, their activation and product."""
ROUNDING_COPIES = 4
"""Copies of a weight while it is rounded: scaled, integers, dequantized, and what it replaces."""
PROCESS = 2**29
"""Bytes of Python and its libraries on the host, and of the libraries on a GPU."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    parameters  P, tied ones once
    largest     parameters of the largest weight
    classes     V
    dim         d
    widest      outputs of the widest linear layer in front of the head
    """

    parameters: int
    largest: int
    classes: int
    dim: int
    widest: int


@dataclass(frozen=True)
class Memory:
    """Peak bytes of the device, 0 where the model lies on the host, and of the host."""

    device: int
    host: int

    def __str__(self) -> str:
        return f"memory: device {self.device / 2**30:.1f} GiB, host {self.host / 2**30:.1f} GiB"


def planned_memory(path: str, precisions: Sequence[Precision], *, gpu: bool) -> Memory:
    """Peak memory of measuring a checkpoint at some precisions, from its config.json.

    Raises ModelError where the config describes no model with a linear head.
    """
    return memory_of(shape_of(skeleton(path)), precisions, gpu=gpu)


def shape_of(model: nn.Module) -> Shape:
    """The sizes of a model, whose last linear layer is the head."""
    from torch import nn

    weights = list(model.parameters())
    *body, head = [
        (parameter.shape[0], parameter.shape[1])
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2 and not isinstance(module, nn.Embedding)
    ]
    return Shape(
        parameters=sum(weight.numel() for weight in weights),
        largest=max(weight.numel() for weight in weights),
        classes=head[0],
        dim=head[1],
        widest=max((max(sizes) for sizes in body), default=head[1]),
    )


def memory_of(
    shape: Shape,
    precisions: Sequence[Precision],
    *,
    gpu: bool,
    samples: int = BATCH_SAMPLES,
    outputs: int | None = None,
) -> Memory:
    """Peak memory of measuring a model, however many precisions and layers.

    On the device lie the model in float32 (4 P bytes), class means and centres of the reference and
    of the precision that is measured (20 V d each), the class means of validation (8 V d), the
    reference's head (4 V d), and either the pass of a batch or a weight that is rounded. The
    weights as they were wait on the host. Without a GPU the host is the device.

    Args:
        shape: of the model.
        precisions: those that are measured.
        gpu: whether the model lies on a GPU.
        samples: that are read at a time.
        outputs: of the widest layer for what the model sees at a time; None: `widest` for each of
            the samples.
    """
    others = [precision for precision in precisions if precision.name != REFERENCE]
    weights, table = SINGLE * shape.parameters, shape.classes * shape.dim
    means = CENTRES * table * (2 if others else 1)
    scored = min(samples, max(HEAD_SAMPLES, LOGITS // shape.classes))
    outputs = samples * shape.widest if outputs is None else outputs
    features = LAYER_COPIES * outputs + 2 * samples * shape.dim
    batch = SINGLE * (LOGIT_COPIES * scored * shape.classes + features)
    rounding = ROUNDING_COPIES * SINGLE * shape.largest if others else 0
    working = max(means + DOUBLE * table + batch, means // 2 + rounding)
    if gpu:
        head = SINGLE * table if others else 0
        host = PROCESS + weights * (2 if others else 1)
        return Memory(PROCESS + weights + head + working, host)
    rounded = max((_rounded(precision) for precision in others), default=0)
    return Memory(0, PROCESS + weights + rounded * shape.parameters + working)


def _rounded(precision: Precision) -> int:
    """Bytes of a parameter at a precision on the host, beside the checkpoint's.

    16-bit casts also hold the rounded weights in float32, whose sums they take.
    """
    return HALF + SINGLE if precision.family == "cast" else SINGLE
