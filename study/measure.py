"""`python -m study.measure MODEL_DIR --data ...`: the columns of a study for any checkpoint, at any precisions."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from study.config import MeasureConfig
from study.data import DataConfig, DataError, Dataset, load_data
from study.models import ModelError, load_pretrained
from study.precision import (
    REFERENCE,
    PrecisionError,
    parse_precision,
    quantization_record,
    quantize,
)
from study.settings.faults import Fault, StudyError
from study.settings.schema import flat
from study.settings.validation import validation_faults
from study.settings.yaml_files import read_yaml
from study.store import SCHEMA_VERSION, RunPaths
from study.store.atomic import write_atomically
from study.store.sealed import seal
from study.training.devices import choose_device, device_name, threads

if TYPE_CHECKING:
    from study.measuring.collect import Measurement
    from study.models.base import FeatureModel


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 2 the request is wrong."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        with threads(options.threads) if options.threads else nullcontext():
            measure_command(options, console)
    except (StudyError, DataError, ModelError, PrecisionError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.measure",
        description="Measure neural collapse in one checkpoint, at one or more precisions.",
    )
    parser.add_argument(
        "model", help="folder with config.json and model.safetensors, or hub:NAME[@REVISION]"
    )
    parser.add_argument(
        "--data",
        help="a YAML file with a `data:` section, or a source (python-docs, a file, hub:NAME); "
        "default for a checkpoint of a run: the data it was trained on",
    )
    parser.add_argument(
        "--tokenizer",
        help="for a source: char, bpe:N, a tokenizers file (default: MODEL/tokenizer.json)",
    )
    parser.add_argument("--context", type=int, help="for a source: tokens in a chunk (default 128)")
    parser.add_argument(
        "--precision", default=REFERENCE, help="one or more, separated by commas (default fp32)"
    )
    parser.add_argument(
        "--train-tokens", type=int, help="at most so many training samples (default: all)"
    )
    parser.add_argument(
        "--min-count", type=int, default=10, help="least samples of a measured class (default 10)"
    )
    parser.add_argument(
        "--layers", choices=("last", "all"), default="last", help="also measure every inner layer"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", help="write the rows to this parquet file")
    parser.add_argument("--classes", help="write one row per class to this parquet file")
    return parser


def measure_command(options: argparse.Namespace, console: Console) -> None:
    """Load, measure, print, write."""
    measure = _measure_settings(options)
    names = dict.fromkeys(name.strip() for name in options.precision.split(","))
    precisions = [parse_precision(name) for name in names if name]
    if not precisions:
        raise PrecisionError("--precision names no precision: such as fp32,int8")
    if tuned := [p.name for p in precisions if p.tuning is not None]:
        raise PrecisionError(
            f"{', '.join(tuned)} fine-tunes: put it on the `precision` axis of a study instead"
        )
    config, base, cache = _data_settings(options)
    from study.measuring.collect import collect

    device = choose_device(options.device)
    data = load_data(config, base=base, cache=cache)
    model = (
        load_pretrained(options.model, classes=data.classes, input_shape=data.input_shape)
        .to(device)
        .eval()
    )
    started = time.monotonic()
    models: dict[str, FeatureModel] = {REFERENCE: model}
    for precision in precisions:
        if precision.name != REFERENCE:
            models[precision.name] = quantize(model, precision).eval()
    with Progress(
        *Progress.get_default_columns()[:-1], TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        tasks: dict[str, Any] = {}

        def beat(doing: str, share: float) -> None:
            if doing not in tasks:
                tasks[doing] = bar.add_task(doing, total=1.0)
            bar.update(tasks[doing], completed=share)

        found = collect(
            models, data, measure, seed=config.seed, device=device, reference=REFERENCE, beat=beat
        )
    common = {
        "schema_version": SCHEMA_VERSION,
        "model": options.model,
        **{f"data_{path}": value for path, value in flat(config).items()},
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "entropy_floor": data.facts.get("entropy_floor"),
        "device": device_name(device),
        "seconds": time.monotonic() - started,
    }
    rows = []
    for precision in precisions:
        record = quantization_record(model, models[precision.name], precision)
        measured = found[precision.name]
        for layer, values in measured.by_layer():
            undefined = json.dumps(values.reasons, sort_keys=True) if values.reasons else None
            row = {
                "precision": precision.name,
                "layer": layer,
                **values.values,
                "undefined": undefined,
            }
            rows.append(common | record | row)
    console.print(
        "data: " + ", ".join(f"{name} {value}" for name, value in data.facts.items()),
        soft_wrap=True,
    )
    _show(rows, console)
    _write(options, rows, found, models, [p.name for p in precisions], data, measure, console)


def _measure_settings(options: argparse.Namespace) -> MeasureConfig:
    values = {
        "train_tokens": options.train_tokens,
        "min_count": options.min_count,
        "layers": options.layers,
    }
    if faults := list(validation_faults(MeasureConfig, values)):
        raise StudyError(faults, source="command line")
    return MeasureConfig.model_validate(values)


def _data_settings(options: argparse.Namespace) -> tuple[DataConfig, Path, Path]:
    """Settings of the data, the folder of their relative paths, and the folder for tokens."""
    cache = Path("runs") / ".cache"
    if options.data is None:
        return _data_of_run(Path(options.model))
    if options.data.endswith((".yaml", ".yml")):
        path = Path(options.data)
        content = read_yaml(path)
        return _data_config(content.get("data", content), str(path)), path.resolve().parent, cache
    beside = Path(options.model) / "tokenizer.json"
    tokenizer = options.tokenizer or (str(beside) if beside.exists() else "char")
    values = {
        "kind": "text",
        "source": options.data,
        "tokenizer": tokenizer,
        "context": options.context or 128,
    }
    return _data_config(values, "command line"), Path.cwd(), cache


def _data_of_run(model: Path) -> tuple[DataConfig, Path, Path]:
    """The data that a kept checkpoint of a run was trained on: RUN/checkpoints/TRAINING/epoch-N."""
    training = model.resolve().parent
    paths = RunPaths(training.parent.parent)
    record = paths.provenance(training.name)
    if not record.exists():
        fault = Fault(
            "--data",
            f"is missing, and {model} is no checkpoint of a run",
            "Name the data to measure on",
        )
        raise StudyError([fault], source="command line")
    config = json.loads(record.read_text(encoding="utf-8"))["config"]["data"]
    folder = (paths.root / str(read_yaml(paths.study)["folder"])).resolve()
    return _data_config(config, str(record)), folder, paths.cache


def _data_config(values: Any, source: str) -> DataConfig:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    from study.config import CellConfig

    faults = [
        f for f in validation_faults(CellConfig, {"data": values}) if f.path.startswith("data")
    ]
    if faults:
        raise StudyError(faults, source=source)
    return adapter.validate_python(values)


def _show(rows: list[dict[str, Any]], console: Console) -> None:
    from study.metrics.table import METRICS

    last = [row for row in rows if row["layer"] is None]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("column")
    for row in last:
        table.add_column(row["precision"], justify="right")
    for column in METRICS:
        if any(isinstance(row.get(column), int | float) for row in last):
            table.add_row(column, *(_number(row.get(column)) for row in last))
    console.print(table)
    reasons: dict[str, str] = {}
    for row in last:
        reasons |= json.loads(row["undefined"] or "{}")
    for column, reason in reasons.items():
        console.print(f"[dim]{column} is undefined: {reason}[/]", soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _write(
    options: argparse.Namespace,
    rows: list[dict[str, Any]],
    found: dict[str, Measurement],
    models: dict[str, FeatureModel],
    precisions: list[str],
    data: Dataset,
    measure: MeasureConfig,
    console: Console,
) -> None:
    from study.metrics.table import METRICS

    if options.out:
        metadata = {name: asdict(metric) for name, metric in METRICS.items()}
        write_atomically(Path(options.out), seal(rows, {}, metadata))
        console.print(f"{len(rows)} rows in {options.out}", soft_wrap=True, highlight=False)
    if options.classes:
        import polars as pl

        frames = [
            class_frame(found[name], models[name], data, measure.min_count).insert_column(
                0, pl.lit(name).alias("precision")
            )
            for name in precisions
        ]
        buffer = BytesIO()
        pl.concat(frames).write_parquet(buffer)
        write_atomically(Path(options.classes), buffer.getvalue())
        console.print(
            f"{sum(map(len, frames))} rows in {options.classes}", soft_wrap=True, highlight=False
        )


def class_frame(measured: Measurement, model: FeatureModel, data: Dataset, min_count: int) -> Any:
    """One row per measured class: `per_class`, its name, and its decisions on validation samples.

    `agreement` and `ncc_accuracy` are the shares of the class's own validation samples, null where it has none.
    Raises StudyError where there are no values by class: fewer than two measured classes, or numbers that are not finite.
    """
    import polars as pl

    from study.metrics import MomentsError, per_class

    try:
        columns = per_class(measured.moments, model.head.weight, min_count=min_count).columns()
    except MomentsError as error:
        fault = Fault(
            "--classes",
            str(error),
            "Lower --min-count, measure more samples, or leave --classes out",
        )
        raise StudyError([fault], source="command line") from error
    frame = pl.DataFrame(columns)
    decisions = measured.decisions
    assert decisions is not None
    index = frame["class"].to_list()
    names = [data.class_names[number] for number in index]
    counts = {
        name: getattr(decisions, name)[index].tolist()
        for name in ("samples", "agreed", "own", "correct")
    }
    share = {
        "agreement": "agreed",
        "ncc_accuracy": "own",
        "accuracy": "correct",
    }
    shares = {
        column: [
            hits / n if n else None
            for hits, n in zip(counts[source], counts["samples"], strict=True)
        ]
        for column, source in share.items()
    }
    added = [pl.Series("name", names), pl.Series("val_samples", counts["samples"])]
    return frame.with_columns(
        added + [pl.Series(name, values, dtype=pl.Float64) for name, values in shares.items()]
    )


if __name__ == "__main__":
    sys.exit(main())
