"""The grid of a study: cells, trainings, and the plan of what is left.

Pure; no torch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study.config import (
    COLUMNS,
    CellConfig,
    Resources,
    StudyConfig,
    TrainConfig,
    measured_epochs,
)
from study.config.measuring import WHEN
from study.data.base import Estimate
from study.models.kinds import parameter_count
from study.models.vision_config import ImageModel
from study.precision import options_used, parse_precision
from study.settings.schema import Scalar, canonical, flat, plain

DEFINITIONS = 1  # rises only when a metric's meaning changes, so that stores stay valid
MEASURED = ("precision", "precision_options", "measure")


@dataclass(frozen=True)
class Cell:
    """One point of the grid, and where it runs.

    `folder` is what its relative paths resolve against.
    """

    study: str
    config: CellConfig
    resources: Resources
    keep: str
    folder: Path

    @cached_property
    def beginning(self) -> tuple[str, ...]:
        """What cells share whose rows of epoch 0 are the same.

        Their weights are equal, and they are measured alike.
        """
        config = self.config
        seed = config.seed if config.train.init_seed is None else config.train.init_seed
        measured = config.measure.model_dump_json(exclude=set(WHEN))
        parts = (config.data, config.model, config.precision_options)
        return (*(part.model_dump_json() for part in parts), measured, config.precision, str(seed))

    @cached_property
    def _identity(self) -> dict[str, Any]:
        identity = plain(self.config)
        used = options_used(parse_precision(self.config.precision))
        options = {
            group: value for group, value in identity["precision_options"].items() if group in used
        }
        return {**identity, "precision_options": options, "definitions": DEFINITIONS}

    @cached_property
    def key(self) -> str:
        """Hash of the resolved scientific configuration, 32 hex digits of SHA-256.

        Defaults are written out.
        """
        return _hash(self._identity)

    @cached_property
    def training_key(self) -> str:
        """The same without what only measuring depends on: cells of one training share it."""
        return _hash(
            {name: value for name, value in self._identity.items() if name not in MEASURED}
        )

    @property
    def options(self) -> dict[str, Any]:
        """Those of the precision's options that it uses."""
        options: dict[str, Any] = self._identity["precision_options"]
        return options

    def settings(self) -> dict[str, Scalar]:
        """Every scalar setting by its column name.

        Settings of other kinds of data or model are absent.
        """
        used = options_used(parse_precision(self.config.precision))
        values = flat(self.config)
        unused = [
            path
            for path in values
            if path.startswith("precision_options.") and path.split(".")[1] not in used
        ]
        return {COLUMNS[path]: value for path, value in values.items() if path not in unused}

    def to_json(self) -> dict[str, Any]:
        """What a worker on another machine needs to know; `from_json` reads it."""
        return {
            "study": self.study,
            "config": self.config.model_dump(),
            "resources": self.resources.model_dump(),
            "keep": self.keep,
            "folder": str(self.folder),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Cell:
        """The cell that `to_json` described."""
        return Cell(
            study=value["study"],
            config=CellConfig.model_validate(value["config"]),
            resources=Resources.model_validate(value["resources"]),
            keep=value["keep"],
            folder=Path(value["folder"]),
        )


def _hash(identity: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Training:
    """Cells that share a training.

    They differ only in how its checkpoints are measured.
    """

    key: str
    cells: tuple[Cell, ...]

    @property
    def first(self) -> Cell:
        return self.cells[0]

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs at which at least one of the cells is measured."""
        total = self.first.config.train.epochs
        return tuple(
            sorted({e for cell in self.cells for e in measured_epochs(cell.config.measure, total)})
        )

    def only(self, keys: Collection[str]) -> Training:
        """The training with those of its cells alone."""
        return Training(self.key, tuple(cell for cell in self.cells if cell.key in keys))


def expand(study: StudyConfig) -> tuple[Cell, ...]:
    """Every cell of a study in the order of its grid.

    Cells that are the same after resolving come once.
    """
    cells: dict[str, Cell] = {}
    asked: dict[str, Any] | None = None
    for point in study.all_points:
        if point.resources != asked:
            asked, resources = point.resources, Resources.model_validate(point.resources)
        cell = Cell(
            study=study.name,
            config=point.config,
            resources=resources,
            keep=point.keep,
            folder=study.folder,
        )
        cells.setdefault(cell.key, cell)
    return tuple(cells.values())


def trainings(cells: Iterable[Cell]) -> tuple[Training, ...]:
    """Cells grouped by the training they share, in order of first appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.training_key, []).append(cell)
    return tuple(Training(key, tuple(group)) for key, group in groups.items())


@dataclass(frozen=True)
class Cost:
    """What a training costs.

    None is what cannot be known yet: parameters of a model that must be fetched, FLOPs without the
    number of validation samples. `measuring_flops` are those of the FLOPs that measure checkpoints,
    and `measurements` how many checkpoints are measured, at each precision.
    """

    parameters: int | None
    tokens: int
    flops: float | None
    measuring_flops: float | None
    measurements: int
    disk: int | None


@dataclass(frozen=True)
class Plan:
    """What a launch would do."""

    cells: tuple[Cell, ...]
    done: frozenset[str]
    failed: frozenset[str]
    pending: tuple[Training, ...]
    measured_only: frozenset[str]
    retrained: frozenset[str]
    costs: dict[str, Cost]

    @property
    def pending_cells(self) -> int:
        """Number of cells left to run."""
        return sum(len(training.cells) for training in self.pending)


def plan(
    cells: tuple[Cell, ...],
    *,
    done: Collection[str] = (),
    failed: Collection[str] = (),
    has_checkpoints: Callable[[Training], bool] = lambda training: False,
    size: Callable[[Cell], Estimate | None] = lambda cell: None,
) -> Plan:
    """What is left of `cells`, grouped by training, with its cost.

    Left are the cells that are neither done nor failed.

    `has_checkpoints` tells whether all checkpoints that a training's pending cells need are kept:
    then they are measured without training. `size` gives the size of a cell's data, None where it
    is not known; then the training has no cost.
    """
    groups = trainings(cells)
    pending = []
    for training in groups:
        keys = [
            cell.key for cell in training.cells if cell.key not in done and cell.key not in failed
        ]
        if keys:
            pending.append(training.only(keys))
    started = {cell.training_key for cell in cells if cell.key in done}
    measured_only = frozenset(training.key for training in pending if has_checkpoints(training))
    costs = {}
    begun: set[tuple[str, ...]] = set()
    for training in pending:
        if (data_size := size(training.first)) is not None:
            costs[training.key] = cost(
                training,
                data_size,
                trained=training.key not in measured_only,
                sizes=size,
                begun=begun,
            )
            begun |= {cell.beginning for cell in training.cells if 0 in _epochs(cell)}
    return Plan(
        cells=cells,
        done=frozenset(cell.key for cell in cells if cell.key in done),
        failed=frozenset(cell.key for cell in cells if cell.key in failed and cell.key not in done),
        pending=tuple(pending),
        measured_only=measured_only,
        retrained=frozenset(
            t.key for t in pending if t.key in started and t.key not in measured_only
        ),
        costs=costs,
    )


def cost(
    training: Training,
    size: Estimate,
    *,
    trained: bool = True,
    sizes: Callable[[Cell], Estimate | None] = lambda cell: None,
    begun: Collection[tuple[str, ...]] = (),
) -> Cost:
    """Cost of a training in tokens, FLOPs and bytes.

    `begun` are the untrained models that other trainings measure: each is measured once.

    FLOPs are 6 N per token trained or fine-tuned, more with an adversary, 2 N per token measured
    or probed, 2 N for each pass of an attack, and 2 N for each derivative by an input. `sizes`
    gives the size of the data of each cell, whose probes may differ; where it is None, `size`
    holds.

    Tokens are all that the model reads, those whose successor is no sample included; for images,
    the images. N counts all parameters (Kaplan et al. 2020, section 2.1, count those outside
    embeddings; the head of a model with a large vocabulary is most of its arithmetic here, so it is
    counted). Attention products are left out, and so are the positions of an image that a
    convolution visits: its FLOPs are a lower bound.
    """
    config, cells, folder = training.first.config, training.cells, training.first.folder
    parameters = parameter_count(
        config.model, classes=size.classes, input_shape=size.input_shape, base=folder
    )
    read = (
        size.train_rows * math.prod(size.input_shape)
        if config.data.gives == "tokens"
        else size.train_samples
    )
    tokens = _trained_samples(config.train, size, read) if trained else 0
    epochs = [
        [each for each in _epochs(cell) if each or cell.beginning not in begun] for cell in cells
    ]
    passes = [
        _passes(cell, sizes(cell) or size, len(own))
        for cell, own in zip(cells, epochs, strict=True)
    ]
    known = [each for each in passes if each is not None]
    measured = sum(known) * read / size.train_samples if len(known) == len(passes) else None
    tuned = sum(
        cell.config.precision_options.qat.epochs * len(own)
        for cell, own in zip(cells, epochs, strict=True)
        if parse_precision(cell.config.precision).tuning is not None
    )
    checkpoints = (
        {"all": len(training.epochs), "last": 1, "none": 0}[training.first.keep] if trained else 0
    )
    adversary = config.train.adversary
    trained_flops = 6 if adversary is None else 6 + adversary.flops
    measuring = None if parameters is None or measured is None else 2.0 * parameters * measured
    return Cost(
        parameters=parameters,
        tokens=tokens,
        flops=None
        if parameters is None or measuring is None
        else float(parameters) * trained_flops * (tokens + tuned * read) + measuring,
        measuring_flops=measuring,
        measurements=sum(map(len, epochs)),
        disk=None if parameters is None else 4 * parameters * checkpoints,
    )


def _epochs(cell: Cell) -> tuple[int, ...]:
    """The checkpoints at which a cell is measured."""
    return measured_epochs(cell.config.measure, cell.config.train.epochs)


def _trained_samples(train: TrainConfig, size: Estimate, read: int) -> int:
    """What the epochs of a training read, `read` in each but those of phases."""
    if train.phases is None:
        return train.epochs * read
    counts = dict(enumerate(size.class_counts))
    # Of a class that the data lack there is nothing to train on; it is refused elsewhere.
    return sum(
        phase.epochs * counts.get(number, 0) for phase in train.phases for number in phase.classes
    )


def _passes(cell: Cell, size: Estimate, checkpoints: int) -> int | None:
    """Passes of samples that measure a cell at some checkpoints; None: not known yet."""
    measure, val_samples, probed = cell.config.measure, size.val_samples, size.probe_samples
    derived = _derivatives(cell, size)
    if val_samples is None or probed is None or derived is None:
        return None
    sample = min(measure.train_tokens or size.train_samples, size.train_samples)
    attacked = 0 if measure.attack is None else measure.attack.passes
    attacked *= min(sample, measure.agreement_samples) + val_samples
    return (sample + val_samples + attacked + probed + derived) * checkpoints


def _derivatives(cell: Cell, size: Estimate) -> int | None:
    """Passes that geometric_complexity takes; None where features are not known yet.

    They are one forwards and one back for each feature.
    """
    asked, model = cell.config.measure.complexity_samples, cell.config.model
    if asked is None:
        return 0
    if not isinstance(model, ImageModel):
        return None
    return min(asked, size.train_samples) * (1 + model.body_size(*size.input_shape)[1])
