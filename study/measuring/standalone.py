"""Measuring one checkpoint outside a run, at any precisions."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from study.config import CellConfig, Compute, MeasureConfig, computes_itself
from study.data import DataConfig, Dataset, load_data
from study.data.tokenizing import TOKENIZER, has_tokenizer
from study.measuring.classes import class_frame
from study.models import load_pretrained
from study.precision import (
    REFERENCE,
    Precision,
    PrecisionError,
    parse_precision,
)
from study.settings.attack import attack_fault
from study.settings.faults import Fault, StudyError
from study.settings.schema import flat
from study.settings.validation import validation_faults
from study.settings.yaml_files import read_yaml
from study.store import SCHEMA_VERSION, RunPaths, StoreError
from study.store.paths import cache_of
from study.store.places import folder_at_hand, is_object, place
from study.training.devices import choose_device, device_name

if TYPE_CHECKING:
    import argparse

    import polars as pl

    from study.measuring.crew import Crew
    from study.measuring.passes import Passes
    from study.models.spread import Spread

MEASURE = ("train_tokens", "min_count", "layers", "compute")
"""Settings of `measure` that a request names."""
CONTEXT = 128
"""Tokens in a chunk, where the request does not say."""


@dataclass(frozen=True)
class DataRequest:
    """Data to measure on.

    config  their settings
    base    where relative paths of these start
    cache   folder of the cached data
    """

    config: DataConfig
    base: Path
    cache: Path


@dataclass(frozen=True)
class Measured:
    """A measured checkpoint.

    rows     one per precision and layer
    data     what the checkpoint was measured on
    classes  a table of the single classes at each precision, where they were asked for
    """

    rows: list[dict[str, Any]]
    data: Dataset
    classes: dict[str, pl.DataFrame]


def measure_model(
    name: str,
    request: DataRequest,
    precisions: Sequence[Precision],
    measure: MeasureConfig,
    *,
    device: str = "auto",
    classes: bool = False,
    crew: Crew | None = None,
    spread: Spread | None = None,
    beat: Callable[[str, float], None] | None = None,
) -> Measured:
    """Measure a checkpoint at each precision.

    Args:
        name: folder with config.json and model.safetensors, or `hub:NAME[@REVISION]`.
        request: the data to measure on.
        precisions: at least one; none that fine-tunes.
        measure: what is measured, of how many samples.
        device: `auto`, `cpu` or `cuda`.
        classes: also make the tables of single classes.
        crew: makes the passes; None: this process.
        spread: lays the layers of the checkpoint on several devices, in this process.
        beat: called with what is being done and the share of it that is done.

    Returns:
        One row per precision and layer, and the tables by class that were asked for.

    Raises:
        DataError, ModelError, PrecisionError: the data, the model or a precision cannot be used.
        StudyError: there are no values by class.
    """
    from study.measuring.arithmetic import check_compute
    from study.measuring.collect import meter_of
    from study.measuring.crew import Alone

    if fault := attack_fault(measure.attack, request.config.gives):
        raise StudyError([Fault("--attack", fault)], source="command line")
    check_compute(measure.compute, choose_device(device))
    data = load_data(request.config, base=request.base, cache=request.cache)
    if crew is None:
        passes = passes_of(name, request, data, measure, device=device, spread=spread, beat=beat)
        crew = Alone(passes)
    asked = {} if measure.attack is None else flat(measure.attack)
    attack = {f"attack_{path}": value for path, value in asked.items()}
    meter = meter_of(crew, data, measure)
    common = {
        "schema_version": SCHEMA_VERSION,
        "model": name,
        **{f"data_{path}": value for path, value in flat(request.config).items()},
        "compute": measure.compute,
        **attack,
        "n_params": meter.sizes.parameters,
        "entropy_floor": data.facts.get("entropy_floor"),
        "device": device_name(choose_device(device)),
    }
    crew.one("check", precisions)
    if all(precision.name != REFERENCE for precision in precisions):
        meter.measure(reference=True)
    rows, tables = {}, {}
    for precision in sorted(precisions, key=lambda each: each.name != REFERENCE):
        started = time.monotonic()
        with crew.at(precision) as record:
            measurement = meter.measure(reference=precision.name == REFERENCE)
            if classes:
                weight, _ = crew.one("head_rows")
                tables[precision.name] = class_frame(measurement, weight, data, measure.min_count)
        each = common | record | {"precision": precision.name}
        each["seconds"] = time.monotonic() - started
        rows[precision.name] = [each | row for row in measurement.rows()]
    names = [precision.name for precision in precisions]
    return Measured(
        [row for name in names for row in rows[name]],
        data,
        {name: tables[name] for name in names if classes},
    )


def passes_of(
    name: str,
    request: DataRequest,
    data: Dataset,
    measure: MeasureConfig,
    *,
    device: str = "auto",
    share: tuple[int, int] = (0, 1),
    spread: Spread | None = None,
    beat: Callable[[str, float], None] | None = None,
) -> Passes:
    """The passes of a checkpoint over one of several shares of the samples.

    Samples and sums lie on the device of the head.

    Raises ModelError where the checkpoint cannot be read, or the device is not there.
    """
    from study.measuring.collect import passes_over

    where = choose_device(device)
    model = load_pretrained(
        name,
        classes=data.classes,
        input_shape=data.input_shape,
        padded=request.config.numbers_are_tokens,
        spread=spread,
    )
    if spread is None:
        model = model.to(where)
    model, where = model.eval(), model.head.weight.device
    seed = request.config.seed
    return passes_over(model, data, measure, seed=seed, device=where, share=share, beat=beat)


def read_precisions(names: str, compute: Compute = "fp32") -> list[Precision]:
    """Precisions listed with commas, each once, to be measured in an arithmetic.

    Raises PrecisionError.
    """
    listed = dict.fromkeys(name.strip() for name in names.split(","))
    precisions = [parse_precision(name) for name in listed if name]
    if not precisions:
        raise PrecisionError("--precision names no precision: such as fp32,int8")
    if tuned := [precision.name for precision in precisions if precision.tuning is not None]:
        raise PrecisionError(
            f"{', '.join(tuned)} fine-tunes: put it on the `precision` axis of a study instead"
        )
    for precision in precisions:
        if compute != "fp32" and not precision.of_weights_alone:
            raise PrecisionError(computes_itself(precision.name, compute))
    return precisions


def measure_settings(options: argparse.Namespace) -> MeasureConfig:
    """Settings of a measurement from those that were given. Raises StudyError."""
    values = {name: getattr(options, name) for name in MEASURE}
    if options.attack is not None:
        values["attack"] = attack_named(options.attack)
    if faults := list(validation_faults(MeasureConfig, values)):
        raise StudyError(faults, source="command line")
    return MeasureConfig.model_validate(values)


def attack_named(name: str) -> dict[str, Any]:
    """Settings of the attack that rows call KIND-NORM-EPS. Raises StudyError."""
    match = re.fullmatch(r"(fgsm|pgd)-(linf|l2)-(.+)", name)
    if match is None:
        fix = "Write KIND-NORM-EPS: fgsm or pgd, linf or l2 and a radius, such as pgd-linf-0.1"
        raise StudyError([Fault("--attack", f"is {name!r}", fix)], source="command line")
    kind, norm, eps = match.groups()
    return {"kind": kind, "norm": norm, "eps": eps}


def spread_of(options: argparse.Namespace) -> Spread | None:
    """How layers of a checkpoint are laid on several devices; None: on one.

    Raises StudyError for arguments that do not go together, ModelError where accelerate is missing.
    """
    from study.models.spread import MEMORY, Spread

    device_map, max_memory, faults = options.device_map, options.max_memory, []
    if device_map is None:
        if max_memory is not None:
            faults.append(Fault("--max-memory", "is that of --device-map", "Add --device-map auto"))
    elif options.device != "auto":
        fix = "Leave --device out; --max-memory cpu=... keeps it off GPUs"
        faults.append(Fault("--device", f"is {options.device}, but layers lie on several", fix))
    if device_map is not None and options.attack is not None:
        fix = "Take a device that holds the model"
        faults.append(Fault("--attack", "does not go with --device-map", fix))
    if device_map is not None and options.workers > 1:
        fix = "Take one of the two: workers share samples, each with a model of its own"
        faults.append(Fault("--workers", "does not go with --device-map", fix))
    limits: dict[int | str, str] = {}
    for part in [] if max_memory is None else max_memory.split(","):
        if (match := MEMORY.fullmatch(part.strip())) is None:
            fix = "Write it as 0=70GiB,cpu=100GiB: GPUs by number, the host as cpu"
            faults.append(Fault("--max-memory", f"has {part!r}", fix))
        else:
            limits[int(match[1]) if match[1].isdigit() else match[1]] = match[2]
    if faults:
        raise StudyError(faults, source="command line")
    if device_map is None:
        return None
    spread = Spread(limits or None)
    spread.check()
    return spread


def requested_data(options: argparse.Namespace, model: str) -> DataRequest:
    """The data that a command asks for; `model` is its checkpoint on this computer.

    Raises StudyError.
    """
    return data_request(
        options.model if options.data is None else model,
        options.data,
        tokenizer=options.tokenizer,
        context=options.context,
    )


def data_request(
    model: str, data: str | None, *, tokenizer: str | None = None, context: int | None = None
) -> DataRequest:
    """The data that a checkpoint is to be measured on. Raises StudyError.

    Args:
        model: the checkpoint.
        data: a YAML file with a `data:` section, or a source of text; None: the data that a kept
            checkpoint of a run was trained on.
        tokenizer: of a source; by default that of the model's folder or of the hub.
        context: tokens in a chunk of a source.
    """
    cache = cache_of(Path("runs"))
    if data is None:
        return _data_of_run(place(model))
    if data.endswith((".yaml", ".yml")):
        path = Path(data)
        content = read_yaml(path)
        config = _data_config(content.get("data", content), str(path))
        return DataRequest(config, path.resolve().parent, cache)
    values = {
        "kind": "text",
        "source": data,
        "tokenizer": tokenizer or _tokenizer_of(model),
        "context": context or CONTEXT,
        "bos": "auto",
    }
    return DataRequest(_data_config(values, "command line"), Path.cwd(), cache)


@contextmanager
def model_at_hand(name: str) -> Iterator[str]:
    """A checkpoint as `measure_model` takes it.

    One on object storage is fetched, and deleted here after the block. Raises StoreError where
    none is there.
    """
    if name.startswith("hub:") or not is_object(folder := place(name)):
        yield name
        return
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no checkpoint")
    with folder_at_hand(cast(Path, folder)) as copy:
        yield str(copy)


def _tokenizer_of(model: str) -> str:
    """The tokenizer that lies beside a model. Raises StudyError where there is none."""
    if model.startswith("hub:"):
        return model
    folder = Path(model)
    if (folder / TOKENIZER).exists():
        return str(folder / TOKENIZER)
    if has_tokenizer(folder):
        return str(folder.resolve())
    fault = Fault(
        "--tokenizer",
        f"is missing, and {model} has no tokenizer beside it",
        "Name the tokenizer that the model was trained with: a folder, a tokenizers file, "
        "hub:NAME, or char or bpe:N where it was made from this very source",
    )
    raise StudyError([fault], source="command line")


def _data_of_run(model: Path) -> DataRequest:
    """The data that a kept checkpoint was trained on.

    It lies at RUN/checkpoints/TRAINING/epoch-N.
    """
    training = model.resolve().parent
    run = training.parent.parent
    paths = RunPaths(run)
    record = paths.provenance(training.name)
    if not record.is_file():
        message = f"is missing, and {model} is no checkpoint of a run"
        fault = Fault("--data", message, "Name the data to measure on")
        raise StudyError([fault], source="command line")
    values = json.loads(record.read_text(encoding="utf-8"))["config"]["data"]
    start = str(read_yaml(paths.study)["folder"])
    folder = (Path(start) if is_object(run) else run / start).resolve()
    return DataRequest(_data_config(values, str(record)), folder, paths.cache)


def _data_config(values: Any, source: str) -> DataConfig:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    faults = [
        fault
        for fault in validation_faults(CellConfig, {"data": values})
        if fault.path.startswith("data")
    ]
    if faults:
        raise StudyError(faults, source=source)
    return adapter.validate_python(values)
