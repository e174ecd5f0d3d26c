"""The science on one page.

Each checkpoint of a training, at each precision of its cells, becomes rows.

Knows neither Ray nor where things lie on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from study.config import CellConfig, measured_epochs
from study.config.measuring import WHEN
from study.data.base import Dataset
from study.grid import Cell, Training
from study.measuring.calibration import calibration
from study.measuring.collect import meter_of, passes_over
from study.measuring.crew import Alone
from study.measuring.forgetting import put_first_phase
from study.measuring.samples import Beat
from study.measuring.subject import key_of, subject_digest
from study.models.base import FeatureModel
from study.precision import REFERENCE, PrecisionError, Record, at_precision, parse_precision
from study.settings.schema import plain
from study.store import SCHEMA_VERSION
from study.store.known import Known
from study.store.paths import epoch_name
from study.training.train import Checkpoint, Diverged, Progress, TrainingError

Row = dict[str, Any]
Columns = dict[str, Any]
"""Of a model at a precision: `record`, `layers`, and where they were `measured_from`."""
Found = dict[str, list[Row] | PrecisionError | Diverged | TrainingError]
"""By cell: its rows, or why it has none."""


def run_training(
    training: Training,
    checkpoints: Iterable[Checkpoint],
    data: Dataset,
    device: torch.device,
    *,
    measured: Callable[[int], bool] = lambda epoch: False,
    known: Known | None = None,
    beat: Beat | None = None,
) -> Iterator[tuple[Checkpoint, Found]]:
    """Measure every checkpoint that a cell of the training asks for.

    Args:
        training: the cells to measure.
        checkpoints: from `train`, or kept ones.
        data: what the cells share.
        device: where the models live.
        measured: whether the rows of an epoch exist already (a resumed training); they are not
            measured again.
        known: what was measured of any weights: of equal ones it is taken, bit for bit the same.
        beat: called with what is being done and the share of it that is done.

    Yields:
        the checkpoint, and by cell its rows, or the error of a precision that this model or device
        cannot take.
    """
    for checkpoint in checkpoints:
        cells = [cell for cell in training.cells if checkpoint.epoch in _epochs(cell.config)]
        rows = (
            {}
            if measured(checkpoint.epoch)
            else measure_checkpoint(checkpoint, cells, data, device, known=known, beat=beat)
        )
        yield checkpoint, rows


def _epochs(config: CellConfig) -> tuple[int, ...]:
    return measured_epochs(config.measure, config.train.epochs)


def measure_checkpoint(
    checkpoint: Checkpoint,
    cells: Iterable[Cell],
    data: Dataset,
    device: torch.device,
    *,
    known: Known | None = None,
    beat: Beat | None = None,
) -> Found:
    """Rows of each cell at one checkpoint.

    Cells that are measured alike see the same samples.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.config.measure.model_dump_json(exclude=set(WHEN)), []).append(cell)
    results: Found = {}
    for group in groups.values():
        results |= _measure_group(checkpoint, group, data, device, known, beat)
    return results


def _measure_group(
    checkpoint: Checkpoint,
    cells: list[Cell],
    data: Dataset,
    device: torch.device,
    known: Known | None,
    beat: Beat | None,
) -> Found:
    """Rows of cells that differ in their precision alone."""
    model, first = checkpoint.model, cells[0].config
    common = {
        "checkpoint": epoch_name(checkpoint.epoch),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "tokens": checkpoint.tokens,
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "train_loss_running": checkpoint.train_loss_running,
        "train_accuracy_running": checkpoint.train_accuracy_running,
        "zero_error_epoch": checkpoint.zero_error_epoch,
        "entropy_floor": data.facts.get("entropy_floor"),
    }
    results: Found = {}

    def take(cells: list[Cell]) -> list[Cell]:
        """Take what is known; the cells of which nothing is."""
        if known is None:
            return cells
        for cell in cells:
            started = time.monotonic()
            if (columns := known.read(keys[cell.key])) is not None:
                results[cell.key] = list(_rows(cell, common, columns, started))
        return [cell for cell in cells if cell.key not in results]

    keys, subject = {}, ""
    if known is not None:
        subject = subject_digest(model, data, first.data, first.measure, device)
        keys = {cell.key: key_of(subject, *_precision_settings(cell)) for cell in cells}
    unknown = take(cells)
    with ExitStack() as stack:
        if unknown and known is not None and checkpoint.epoch == 0:
            # Trainings of a study begin with the same weights at the same time.
            wait = partial(beat or _silent, "waiting for the same weights elsewhere", 0.0)
            stack.enter_context(known.alone(subject[:32], wait))
            unknown = take(unknown)
        for cell, columns in _measured(checkpoint, unknown, data, device, beat):
            if isinstance(columns, Exception):
                results[cell.key] = columns
                continue
            started = time.monotonic() - columns.pop("seconds")
            results[cell.key] = list(_rows(cell, common, columns, started))
            if known is not None:
                source = f"{cell.study}/{cell.training_key}/{epoch_name(checkpoint.epoch)}"
                known.write(keys[cell.key], columns | {"measured_from": source})
    return results


def _silent(doing: str, share: float) -> None:
    """A beat that nobody hears."""


def _precision_settings(cell: Cell) -> list[Any]:
    """What the columns of a cell depend on beside weights, data and what is measured."""
    config, precision = cell.config, parse_precision(cell.config.precision)
    training = [] if precision.tuning is None else [plain(config.train), config.seed]
    if config.train.phases is not None:
        training.append(config.train.phases[0].classes)
    return [precision.name, cell.options, *training]


def _measured(
    checkpoint: Checkpoint,
    cells: list[Cell],
    data: Dataset,
    device: torch.device,
    beat: Beat | None,
) -> Iterator[tuple[Cell, Columns | PrecisionError | Diverged | TrainingError]]:
    """Each cell with its columns: the reference first, then the others by it."""
    if not cells:
        return
    model, first = checkpoint.model, cells[0].config
    seed = first.data.seed
    passes = passes_over(model, data, first.measure, seed=seed, device=device, beat=beat)
    meter = meter_of(Alone(passes), data, first.measure)
    if all(cell.config.precision != REFERENCE for cell in cells):
        meter.measure(reference=True)
    for cell in sorted(cells, key=lambda cell: cell.config.precision != REFERENCE):
        started = time.monotonic()
        try:
            with rounded(model, cell.config, data, device, beat=beat) as record:
                measurement = meter.measure(reference=cell.config.precision == REFERENCE)
                if (phases := cell.config.train.phases) is not None:
                    put_first_phase(measurement, phases)
        except (PrecisionError, Diverged, TrainingError) as error:
            yield cell, error
        else:
            columns: Columns = {
                "record": record,
                "layers": list(measurement.rows()),
                "seconds": time.monotonic() - started,
            }
            yield cell, columns


@contextmanager
def rounded(
    model: FeatureModel,
    config: CellConfig,
    data: Dataset,
    device: torch.device,
    *,
    beat: Beat | None = None,
) -> Iterator[Record]:
    """Within, the model is at the precision of a cell.

    See `study.precision.at_precision`.

    It is fine-tuned first where the precision says so.
    """
    precision = parse_precision(config.precision)
    tuned = None
    if precision.tuning is not None:
        from study.training.finetune import tune

        def tuning(progress: Progress) -> None:
            if beat is not None:
                beat(f"fine-tuning {precision.name}", progress.step / progress.steps)

        tuned = tune(model, precision, config, data, device, beat=tuning)
    weights, is_rounded = (None, False) if tuned is None else (tuned.model, tuned.rounded)
    samples = calibration(data, config.precision_options, config.data.seed, device)
    with at_precision(model, precision, samples, tuned=weights, rounded=is_rounded) as record:
        yield record


def _rows(cell: Cell, common: Row, columns: Columns, started: float) -> Iterator[Row]:
    """The rows of a cell at a checkpoint: of each layer, then of each attack."""
    identity = {
        "schema_version": SCHEMA_VERSION,
        "study": cell.study,
        "cell": cell.key,
        "training": cell.training_key,
        **cell.settings(),
    }
    volatile = {
        "seconds": time.monotonic() - started,
        "measured_from": columns.get("measured_from"),
    }
    for layer in columns["layers"]:
        yield {**identity, **common, **volatile, **columns["record"], **layer}
