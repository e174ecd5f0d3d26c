"""What memory the largest training of a plan takes, from its settings alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from study.config import TrainConfig
from study.data.base import Estimate
from study.grid import Plan, Training
from study.launching.data_sizes import DataSizes
from study.measuring.attacked import PIXELS as ATTACKED_PIXELS
from study.measuring.attacked import TOKENS as ATTACKED_TOKENS
from study.measuring.complexity import VALUES as DERIVED_VALUES
from study.measuring.plan import DOUBLE, PROCESS, SINGLE, Memory, memory_of, shape_of
from study.measuring.samples import BATCH_SAMPLES, IMAGE_VALUES, TOKENS
from study.models import ModelError
from study.precision import parse_precision
from study.settings.faults import Fault, StudyError
from study.settings.optimizers import SLOTS
from study.training.devices import choose_device
from study.training.losses import CHUNK_ELEMENTS
from study.training.penalties import OF_MEANS

if TYPE_CHECKING:
    from study.models.base import FeatureModel

FLOATING = ("images", "vectors")
"""Inputs that are no integers."""
QUICK = 2**30
"""Products of parameters and inputs up to which outputs are seen by a pass of a real model.

The pass takes a tenth of a second; one without values, on `meta`, imports torch's compiler in more
than one.
"""
FEWEST = 64
"""Inputs that a model counts as at least, because filling it takes as long as a pass of so many."""
HEAD_GRADIENTS = 2
"""Gradients of the head that its loss holds: the sum, and that of a part of the samples."""


def planned_memory(plan: Plan, sizes: DataSizes) -> Memory | None:
    """Peak memory of the training with most parameters among those to run.

    Data in memory are not counted. None where no size is known, or every model is read from a
    checkpoint.

    Raises StudyError for a model that cannot be built.
    """
    known = [
        ((cost.parameters, training.first.config.train.batch_size), training)
        for training in plan.pending
        if (cost := plan.costs.get(training.key)) is not None
        and cost.parameters is not None
        and training.first.config.model.reads is not None
    ]
    if not known:
        return None
    _, training = max(known, key=lambda each: each[0])
    if (size := sizes.size(training.first)) is None:
        return None
    try:
        return memory_of_training(training, size)
    except ModelError as error:
        raise StudyError([Fault("model", str(error))], source=training.first.study) from error


def memory_of_training(training: Training, size: Estimate) -> Memory:
    """Peak memory of a training and its measurements.

    Beside the model, the optimizer's numbers (8 bytes a parameter with AdamW) and the class means
    of penalties lie either gradients and the outputs of all layers for a batch, those outputs for
    the rows that are attacked or derived at once, or what measuring takes
    (`study.measuring.plan.memory_of`) with all features of a probe, which stay on the host.
    """
    first = training.first
    config, resources = first.config.train, first.resources
    shape_of_input = size.input_shape
    values = math.prod(shape_of_input)
    classes, base = size.classes, first.folder
    model = first.config.model.skeleton(classes=classes, input_shape=shape_of_input, base=base)
    shape = shape_of(model)
    if shape.parameters * max(values, FEWEST) <= QUICK:
        model = first.config.model.build(
            classes=classes, input_shape=shape_of_input, seed=0, base=base
        )
    kept, widest = kept_outputs(model.train(), first.config.data.gives, shape_of_input)
    images = first.config.data.gives in FLOATING
    read = max(1, BATCH_SAMPLES * size.train_rows // size.train_samples)
    seen = max(1, min(read, size.train_rows, (IMAGE_VALUES if images else TOKENS) // values))
    gpu = resources.device == "cuda" or choose_device(resources.device).type == "cuda"
    measuring = memory_of(
        shape,
        [parse_precision(cell.config.precision) for cell in training.cells],
        gpu=gpu,
        samples=min(BATCH_SAMPLES, size.train_samples),
        outputs=seen * widest,
    )
    slots = SINGLE * SLOTS[config.optimizer] * shape.parameters
    if OF_MEANS.keys() & config.penalty.active.keys():
        slots += SINGLE * shape.classes * shape.dim
    if size.probe_samples:
        # As they come, in double precision, and about their mean.
        probed = (SINGLE + 2 * DOUBLE) * size.probe_samples * shape.dim
        measuring = Memory(measuring.device, measuring.host + probed)
    trained = _gradients(config, shape.parameters, shape.classes, shape.dim, size, kept + widest)
    if any(cell.config.measure.attack is not None for cell in training.cells):
        rows = max(1, (ATTACKED_PIXELS if images else ATTACKED_TOKENS) // values)
        trained = max(trained, SINGLE * min(rows, size.train_rows) * (kept + widest))
    if any(cell.config.measure.complexity_samples is not None for cell in training.cells):
        rows = max(1, DERIVED_VALUES // values)
        trained = max(trained, SINGLE * min(rows, size.train_rows) * (kept + widest))
    weights = SINGLE * shape.parameters
    if gpu:
        device = max(measuring.device + slots, PROCESS + weights + slots + trained)
        return Memory(device, max(measuring.host, PROCESS + weights + slots))
    return Memory(0, max(measuring.host + slots, PROCESS + weights + slots + trained))


def _gradients(
    config: TrainConfig, parameters: int, classes: int, dim: int, size: Estimate, outputs: int
) -> int:
    """Bytes of gradients, of the outputs of layers for a batch, and of its logits."""
    rows = min(config.batch_size, size.train_rows)
    logits = min(CHUNK_ELEMENTS, rows * size.train_samples // size.train_rows * classes)
    head = HEAD_GRADIENTS * classes * dim
    adversary = config.adversary
    passes = 2 if adversary is not None and adversary.kind == "trades" and adversary.eps else 1
    return SINGLE * (parameters + head + passes * (rows * outputs + logits))


def kept_outputs(model: FeatureModel, gives: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """What a pass in front of the head holds of one input.

    These are the numbers that are kept for gradients, and the most that one layer gives.
    """
    import torch
    from torch import Tensor, nn

    kept: dict[int, Tensor] = {}
    widest = 0
    windows = [w for module in model.modules() if (w := getattr(module, "window", None))]
    attended = {2 * input_shape, *((w, 2 * w) for w in windows)}

    def keep(tensor: Tensor) -> Tensor:
        # On `meta` attention is taken apart; kernels never hold its weights, (B, heads, T, T) or,
        # of windows, (B, heads, W, 2 W).
        is_attention = math.prod(tensor.shape[:-2]) > 2 and tuple(tensor.shape[-2:]) in attended
        if not is_attention:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal widest
        if isinstance(output, Tensor):
            widest = max(widest, output.numel())

    for layer in model.modules():
        layer.register_forward_hook(see)
    kind = torch.float32 if gives in FLOATING else torch.int64
    # Two, because batch norm takes no single vector.
    shape = (2,) if gives == "samples" else (2, *input_shape)
    seen = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with seen, torch.random.fork_rng(devices=[]):  # dropout draws
        _ = model.features(torch.zeros(shape, dtype=kind, device=model.head.weight.device))
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    kept_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return kept_bytes // (2 * SINGLE), widest // 2
