"""`python -m study.measure MODEL_DIR --data ...`: measure any checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from study.measuring.options import parser
from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse

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

    options = parser().parse_args(arguments)
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
            options.model,
            data,
            precisions,
            measure,
            device=options.device,
            classes=options.classes is not None,
            beat=beat,
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


if __name__ == "__main__":
    sys.exit(main())
