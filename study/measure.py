"""`python -m study.measure MODEL_DIR --data ...`: measure any checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.settings.doors import at_door, refused

if TYPE_CHECKING:
    import argparse


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 2 the request is wrong."""
    options = parser().parse_args(arguments)
    from study.data import DataError
    from study.measuring.standalone import model_at_hand
    from study.models import ModelError
    from study.precision import PrecisionError
    from study.scheduling.joining import ClusterError
    from study.settings.faults import StudyError
    from study.store import StoreError
    from study.training.devices import threads

    try:
        with threads(options.threads), model_at_hand(options.model) as model:
            _measure(options, model)
    except (StudyError, DataError, ModelError, PrecisionError, StoreError, ClusterError) as error:
        return refused(error)
    return 0


def _measure(options: argparse.Namespace, model: str) -> None:
    """Measure, print, write; `model` is the checkpoint on this computer."""
    from rich.console import Console

    from study.measuring import standalone, tables
    from study.measuring.bars import progress_bars
    from study.measuring.plan import planned_memory
    from study.scheduling.sharing import sharing_samples
    from study.store import StoreError
    from study.store.probe import check_target
    from study.training.devices import choose_device

    writers = ((options.out, tables.write_rows), (options.classes, tables.write_classes))
    targets = [(check_target(path), write) for path, write in writers if path]
    if len({path.resolve() for path, _ in targets}) < len(targets):
        raise StoreError("--out and --classes name the same file: give two")
    measure = standalone.measure_settings(options)
    precisions = standalone.read_precisions(options.precision, measure.compute)
    if options.dry_run:
        gpu = options.device == "cuda" or choose_device(options.device).type == "cuda"
        print(planned_memory(model, precisions, gpu=gpu))
        return
    data = standalone.requested_data(options, model)
    spread = standalone.spread_of(options)
    sharing = sharing_samples(
        options.workers,
        model,
        data,
        measure,
        address=options.address,
        device=options.device,
        threads=options.threads,
    )
    console = Console()
    with sharing as crew, progress_bars(console) as beat:
        measured = standalone.measure_model(
            model,
            data,
            precisions,
            measure,
            device=options.device,
            classes=options.classes is not None,
            crew=crew,
            spread=spread,
            beat=beat,
        )
    print("data:", ", ".join(f"{name} {value}" for name, value in measured.data.facts.items()))
    console.print(tables.metrics_table(measured))
    for line in tables.undefined_columns(measured):
        console.print(line, style="dim", soft_wrap=True, markup=False)
    for path, write in targets:
        print(f"{write(measured, path)} rows in {path}")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.measuring.options import parser

    return parser()


if __name__ == "__main__":
    sys.exit(main())
