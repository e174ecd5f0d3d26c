"""What can be known to be wrong with trainings before one of them starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from study.config import Resources
from study.data import DataError, check_data
from study.data.base import Estimate
from study.grid import Cell, Training
from study.launching.attack_checks import attack_faults
from study.launching.data_sizes import DataSizes
from study.launching.phase_checks import phase_faults
from study.launching.probe_checks import probe_faults
from study.launching.units import quantity, size_text
from study.models.config import ModelError, ModelSettings
from study.models.kinds import parameter_count
from study.precision import PrecisionError, parse_precision
from study.precision.names import TRAINED
from study.settings.doors import TRAINING, installed
from study.settings.faults import Fault

if TYPE_CHECKING:
    from torch import Tensor

    from study.models.base import FeatureModel


def training_faults(
    trainings: Iterable[Training], sizes: DataSizes, *, here: bool, serial: bool
) -> list[Fault]:
    """Data, models and resources that cannot be had, each told once.

    Without torch, layers and devices are not looked at.

    Args:
        trainings: what is to run.
        sizes: sizes of the data, which are read for it unless they lie on the hub.
        here: whether this computer alone runs them, so that what it lacks will not come.
        serial: in this process, with the cores and the GPU that are there.
    """
    trainings = tuple(trainings)
    first = [training.first for training in trainings]
    faults = [*_data_faults(first, sizes), *_model_faults(first, sizes, here=here)]
    has_torch = installed("torch")
    if not faults:
        if has_torch:
            faults += _decay_faults(first, sizes)
            faults += precision_faults(trainings, sizes)
        cells = (cell for training in trainings for cell in training.cells)
        faults += _calibration_faults(cells, sizes)
        faults += probe_faults(trainings, sizes)
        faults += phase_faults(trainings, sizes)
        faults += attack_faults(trainings)
    if has_torch:
        faults += _compute_faults(trainings, here=here, serial=serial)
    if here:
        asked = [cell.resources for cell in first]
        if not has_torch:  # which counts the GPUs
            asked = [each for each in asked if not each.gpus and each.device != "cuda"]
        faults += resource_faults(asked, serial=serial)
    return list(dict.fromkeys(faults))


def _data_faults(cells: Iterable[Cell], sizes: DataSizes) -> Iterator[Fault]:
    seen = set[tuple[str, Path]]()
    for cell in cells:
        identity = (cell.config.data.model_dump_json(), cell.folder)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            check_data(cell.config.data, base=cell.folder)
        except DataError as error:
            yield fault_of(str(error), "data")
            continue
        except ModuleNotFoundError as error:  # a plan goes on where it cannot look
            if error.name not in TRAINING:
                raise
        if (problem := sizes.problem(cell)) is not None and not sizes.unread(cell):
            yield fault_of(problem, "data")


def _model_faults(cells: Iterable[Cell], sizes: DataSizes, *, here: bool) -> Iterator[Fault]:
    """Models that are missing, too short or too large, as far as can be known.

    `here`: for the memory of this computer.
    """
    memory = psutil.virtual_memory().total
    for cell in cells:
        config = cell.config
        shape = config.data.known_shape
        classes = 2
        if shape is None or getattr(config.model, "head", "learned") == "fixed_etf":
            if (size := sizes.size(cell)) is None:
                continue
            shape, classes = size.input_shape, size.classes
        try:
            parameters = parameter_count(
                config.model, classes=classes, input_shape=shape, base=cell.folder
            )
        except ModelError as error:
            yield fault_of(str(error), "model")
            continue
        if here and parameters is not None:
            yield from _memory_faults(parameters, memory, trained=config.train.epochs > 0)
        if (fault := config.model.shape_fault(shape, base=cell.folder)) is not None:
            yield fault


def _decay_faults(cells: Iterable[Cell], sizes: DataSizes) -> Iterator[Fault]:
    """Heads that are tied to the embedding and are to decay in another way.

    Models of a hub are not fetched for it.
    """
    cells = [
        cell
        for cell in cells
        if (decay := cell.config.train.decay).head is not None or decay.body is not None
    ]
    if not cells:
        return  # before torch is imported for nothing
    from study.training.optimizer import parameter_groups

    models: dict[tuple[str, Path], FeatureModel] = {}
    for cell in cells:
        settings, size = cell.config.model, sizes.size(cell)
        if size is None or getattr(settings, "path", "").startswith("hub:"):
            continue
        key = (settings.model_dump_json(), cell.folder)
        try:
            if key not in models:
                models[key] = _built(settings, size, cell.folder, filled=False)
            parameter_groups(models[key], cell.config.train)
        except ModelError as error:
            yield fault_of(str(error), "model")


def precision_faults(trainings: Iterable[Training], sizes: DataSizes) -> Iterator[Fault]:
    """Precisions that a model cannot be trained or measured at, as its layers tell.

    Models are built for it, once each, where a precision could be one that their layers do not
    take; those of a hub are not fetched.
    """
    models: dict[tuple[str, Path], set[tuple[str, str]]] = {}
    cells: dict[tuple[str, Path], Cell] = {}
    for training in trainings:
        first = training.first
        model = (first.config.model.model_dump_json(), first.folder)
        cells[model] = first
        named = models.setdefault(model, set())
        named |= {("precision", cell.config.precision) for cell in training.cells}
        if (trained := first.config.train.quantize) is not None:
            named.add(("train.quantize", TRAINED[trained]))
    for model, named in models.items():
        asking = sorted(each for each in named if parse_precision(each[1]).depends_on_layers)
        if asking:
            yield from _layer_faults(cells[model], asking, sizes)


def _built(settings: ModelSettings, size: Estimate, base: Path, *, filled: bool) -> FeatureModel:
    """A model, on `meta` unless `filled`.

    One of a checkpoint is always read, because that alone tells its sizes.
    """
    classes, shape = size.classes, size.input_shape
    if settings.reads is None or filled:
        return settings.build(classes=classes, input_shape=shape, seed=0, base=base)
    return settings.skeleton(classes=classes, input_shape=shape, base=base)


def _layer_faults(
    cell: Cell, precisions: Sequence[tuple[str, str]], sizes: DataSizes
) -> Iterator[Fault]:
    from study.precision.apply import check_precision

    size = sizes.size(cell)
    if size is None or getattr(cell.config.model, "path", "").startswith("hub:"):
        return
    rotated = any(parse_precision(name).rotated for _, name in precisions)
    try:
        model = _built(cell.config.model, size, cell.folder, filled=rotated)
    except ModelError as error:
        yield fault_of(str(error), "model")
        return
    example = _example(cell, size) if rotated else None
    for setting, name in precisions:
        try:
            check_precision(model, parse_precision(name), example)
        except PrecisionError as error:
            yield Fault(setting, str(error))


def _memory_faults(parameters: int, have: int, *, trained: bool) -> Iterator[Fault]:
    """A model whose weights in fp32, with gradients, exceed the memory here in bytes."""
    need = 4 * (1 + trained) * parameters
    if need > have:
        yield Fault(
            "resources.memory_gib",
            f"a model of {quantity(parameters)} parameters takes more than {size_text(need)}, but "
            f"this computer has {size_text(have)}",
            "Make the model or its data smaller, or ask for a cluster",
        )


def _example(cell: Cell, size: Estimate) -> Tensor:
    """An input of the size that the model reads, of random numbers."""
    import torch

    generator, shape = torch.Generator().manual_seed(0), (1, *size.input_shape)
    if cell.config.data.gives == "tokens":
        return torch.randint(size.classes, shape, generator=generator)
    return torch.rand(shape, generator=generator)


def _calibration_faults(cells: Iterable[Cell], sizes: DataSizes) -> Iterator[Fault]:
    """Calibrations on more training rows than there are."""
    for cell in cells:
        size, wanted = sizes.size(cell), cell.config.precision_options.calibration.samples
        calibrated = parse_precision(cell.config.precision).calibrated
        if calibrated and size is not None and size.train_rows < wanted:
            yield Fault(
                "precision_options.calibration.samples",
                f"is {wanted}, but {cell.config.precision} has {size.train_rows} training rows to "
                "be calibrated on",
                f"Take at most {size.train_rows}",
            )


def _compute_faults(trainings: Iterable[Training], *, here: bool, serial: bool) -> Iterator[Fault]:
    """Arithmetic of measuring that the device of a training does not have."""
    cells = [cell for training in trainings for cell in training.cells]
    for cell in (cell for cell in cells if cell.config.measure.compute != "fp32"):
        resources = cell.resources
        on_cpu = resources.device == "cpu" or not (serial or resources.gpus)
        if not (on_cpu or here):
            continue
        import torch

        from study.measuring.arithmetic import REMEDY, obstacle
        from study.training.devices import choose_device

        device = torch.device("cpu") if on_cpu else choose_device("auto")
        if (problem := obstacle(cell.config.measure.compute, device)) is not None:
            also = "" if resources.gpus else ", and resources.gpus above 0"
            yield Fault("measure.compute", problem, f"{REMEDY[0].upper()}{REMEDY[1:]}{also}")


def fault_of(message: str, place: str) -> Fault:
    """The fault of an error whose message begins with the setting that it is about."""
    path, colon, rest = message.partition(": ")
    is_path = bool(colon) and path.replace(".", "").replace("_", "").isalnum() and "." in path
    return Fault(path, rest) if is_path else Fault(place, message)


@dataclass(frozen=True)
class Lack:
    """A resource of which trainings need more than any node has."""

    name: str
    need: float
    have: float


def lacking(
    resources: Iterable[Resources], nodes: Collection[Mapping[str, float]]
) -> tuple[Lack, ...]:
    """The resources of which some training needs more than the largest node has."""
    needs = Counter[str]()
    for each in resources:
        needs |= Counter(
            {"cpus": each.cpus, "gpus": each.gpus, "memory_gib": each.memory_gib or 0.0}
        )
    known = {name for node in nodes for name in node}
    largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in needs}
    return tuple(
        Lack(name, need, largest[name])
        for name, need in needs.items()
        if need > largest[name] and (name in known or name != "memory_gib")
    )


def resource_faults(resources: list[Resources], *, serial: bool) -> Iterator[Fault]:
    """Resources that this computer does not have."""
    needs_gpu = any(each.gpus or each.device == "cuda" for each in resources)
    gpus = _gpus() if needs_gpu else 0
    node = {
        "cpus": float(os.cpu_count() or 1),
        "gpus": float(gpus),
        "memory_gib": psutil.virtual_memory().total / 2**30,
    }
    for lack in lacking(resources, [node]):
        if not (serial and lack.name in ("cpus", "gpus")):
            yield lack_fault(lack)
    if any(each.device == "cuda" for each in resources) and not gpus:
        fix = "Use auto or cpu, or a cluster"
        yield Fault("resources.device", "is cuda, but this computer has no CUDA device", fix)


def lack_fault(lack: Lack) -> Fault:
    """The fault of trainings that no node of this computer can run."""
    return Fault(
        f"resources.{lack.name}",
        f"is {lack.need:g}, but this computer has {lack.have:.4g}",
        "Ask for less, or for a cluster",
    )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
