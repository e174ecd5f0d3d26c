"""How far each metric at a tenth of the training samples lies from the full pass.

    python tests/benchmarks/sampling.py [--page docs/sampling.md]

It is not noise alone: class counts shrink, so fewer classes are measured, and the means of the
others are less exact. What it buys is time: exit code 1 where a tenth of the samples takes over
half of that of all.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from _machine import machine

from study.config import MeasureConfig, load_study
from study.data import load_data
from study.grid import expand
from study.launch import main as launch
from study.measuring.collect import collect
from study.metrics import METRICS
from study.models import load_pretrained
from study.store import RunPaths

SUBSETS, ROUNDS = 7, 3
MOST = 0.5
"""Time of a tenth, of that of all samples."""
COUNTED = ("NC1", "NC2", "GNC2", "NC3", "UNC3", "NC4")
STUDY = {
    "name": "sampling",
    "data": {
        "kind": "text",
        "source": "python-docs",
        "tokenizer": "bpe:512",
        "context": 128,
        "val_tokens": 10_000,
    },
    "model": {"kind": "gpt_neo", "heads": 4},
    "train": {"lr": 2e-3, "batch_size": 16, "weight_decay": 0.1, "schedule": "linear"},
    "measure": {"at": "last", "train_tokens": 2000},
    "grid": {"width": [128], "depth": [2], "epochs": [3], "seed": [0]},
}


def main() -> int:
    """Train one model, measure it on all samples and on tenths of them; 1 if that is no cheaper.

    Each tenth is drawn anew.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--page", type=Path, help="write the table of docs/sampling.md there")
    options = parser.parse_args()
    print(machine("torch", threads=torch.get_num_threads()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "sampling.yaml"
        path.write_text(yaml.safe_dump(STUDY))
        with contextlib.redirect_stdout(sys.stderr):
            if launch([str(path), "--runs", name, "--serial"]):
                raise SystemExit("the training failed")
        (cell,) = expand(load_study(path))
        paths = RunPaths(folder / "sampling")
        data = load_data(cell.config.data, base=cell.folder, cache=paths.cache)
        model = load_pretrained(
            str(paths.checkpoint(cell.training_key, cell.config.train.epochs)), classes=data.classes
        ).eval()

        def values(samples: int, seed: int) -> dict[str, float | None]:
            settings = MeasureConfig(train_tokens=samples)
            return collect({"fp32": model}, data, settings, seed=seed, device=torch.device("cpu"))[
                "fp32"
            ].values

        samples = data.train.samples
        fulls = [timed(values, samples, 0) for _ in range(ROUNDS)]
        tenths = [timed(values, samples // 10, seed) for seed in range(SUBSETS)]
    whole, part = (
        statistics.median(seconds for _, seconds in measured) for measured in (fulls, tenths)
    )
    print(
        f"all samples {whole:.1f} s, a tenth {part:.1f} s: {part / whole:.2f} of the time, target "
        f"{MOST}"
    )
    if options.page:
        options.page.write_text(page(fulls[0][0], [tenth for tenth, _ in tenths], samples))
    return int(part > MOST * whole)


def timed(
    values: Callable[[int, int], dict[str, float | None]], samples: int, seed: int
) -> tuple[dict[str, float | None], float]:
    """Values and the seconds that they took."""
    began = time.perf_counter()
    return values(samples, seed), time.perf_counter() - began


def page(full: dict[str, float | None], tenths: list[dict[str, float | None]], samples: int) -> str:
    """The document."""
    lines = [
        "# A tenth of the samples",
        "",
        "`measure.train_tokens` makes measuring cheaper. What it costs: one GPT-Neo (2 x 128, "
        "three epochs on Python's",
        f"documentation, 512 byte-pair classes) measured on all its {samples:,} training "
        f"samples and on {SUBSETS} different",
        "tenths of them, `min_count` 10. Bias is the median of the tenths less the full value, "
        "spread the standard",
        "deviation of the tenths, both relative to the full value. The bias does not average "
        "out: with fewer samples a",
        "class, the class means carry noise that looks like distance, and rare classes fall "
        "below `min_count`. Compare",
        "only values measured on as many samples. (Written by `python "
        "tests/benchmarks/sampling.py --page docs/sampling.md`,",
        f"torch {torch.__version__}.)",
        "",
        "| metric | all samples | a tenth (median) | bias | spread |",
        "| --- | --- | --- | --- | --- |",
    ]
    for column, metric in METRICS.items():
        value, drawn = full.get(column), [tenth.get(column) for tenth in tenths]
        known = [each for each in drawn if each is not None]
        if metric.family not in COUNTED or value is None or len(known) < len(drawn):
            continue
        middle = statistics.median(known)
        relative = (
            f"{(middle - value) / abs(value):+.1%} | {statistics.stdev(known) / abs(value):.1%}"
            if value
            else "- | -"
        )
        lines.append(f"| `{column}` | {value:.4g} | {middle:.4g} | {relative} |")
    counts = [tenth["classes_measured"] for tenth in tenths]
    known_counts = [count for count in counts if count is not None]
    lines.append(
        f"| `classes_measured` | {full['classes_measured']} | "
        f"{statistics.median(known_counts):g} | | |"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
