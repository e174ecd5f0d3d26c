"""`python -m study.measure MODEL_DIR --data ...`: measure any checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    from rich.console import Console


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 2 the request is wrong."""
    from rich.console import Console

    from study.data import DataError
    from study.models import ModelError
    from study.precision import PrecisionError
    from study.settings.faults import StudyError
    from study.training.devices import threads

    options = _parser().parse_args(arguments)
    console = Console()
    try:
        with threads(options.threads) if options.threads else nullcontext():
            _measure(options, console)
    except (StudyError, DataError, ModelError, PrecisionError) as error:
        return refused(error)
    return 0


def _measure(options: argparse.Namespace, console: Console) -> None:
    """Measure, print, write."""
    from study.measuring import standalone, tables
    from study.measuring.bars import progress_bars

    measure = standalone.measure_settings(
        train_tokens=options.train_tokens, min_count=options.min_count, layers=options.layers
    )
    precisions = standalone.read_precisions(options.precision)
    data = standalone.data_request(
        options.model, options.data, tokenizer=options.tokenizer, context=options.context
    )
    with progress_bars(console) as beat:
        measured = standalone.measure_model(
            options.model, data, precisions, measure, device=options.device, beat=beat
        )
    facts = ", ".join(f"{name} {value}" for name, value in measured.data.facts.items())
    console.print(f"data: {facts}", soft_wrap=True)
    console.print(tables.metrics_table(measured))
    for column, reason in tables.undefined_columns(measured).items():
        console.print(f"[dim]{column} is undefined: {reason}[/]", soft_wrap=True)
    for path, write in ((options.out, tables.write_rows), (options.classes, tables.write_classes)):
        if path:
            count = write(measured, Path(path))
            console.print(f"{count} rows in {path}", soft_wrap=True, highlight=False)


def _parser() -> argparse.ArgumentParser:
    from study.precision import REFERENCE

    parser = argparse.ArgumentParser(
        prog="python -m study.measure",
        description="Measure neural collapse in one checkpoint, at one or more precisions.",
    )
    add = parser.add_argument
    add("model", help="folder with config.json and model.safetensors, or hub:NAME[@REVISION]")
    add(
        "--data",
        help="a YAML file with a `data:` section, or a source (python-docs, a file, hub:NAME); "
        "default for a checkpoint of a run: the data it was trained on",
    )
    add(
        "--tokenizer",
        help="for a source: char, bpe:N, a tokenizers file (default: MODEL/tokenizer.json)",
    )
    add("--context", type=int, help="for a source: tokens in a chunk (default 128)")
    add("--precision", default=REFERENCE, help="one or more, with commas between (default fp32)")
    add("--train-tokens", type=int, help="at most so many training samples (default: all)")
    add("--min-count", type=int, default=10, help="least samples of a measured class (default 10)")
    add("--layers", choices=("last", "all"), default="last", help="also measure inner layers")
    add("--threads", type=int, help="CPU threads (default: all cores)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--out", help="write the rows to this parquet file")
    add("--classes", help="write one row per class to this parquet file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
