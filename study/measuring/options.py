"""The arguments of `collapse-study measure`."""

from __future__ import annotations

import argparse

from study.settings.arguments import Arguments, positive, program


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    from study.precision import REFERENCE

    arguments = Arguments(
        prog=program("study.measure"),
        description="Measure neural collapse in one checkpoint, at one or more precisions.",
    )
    add = arguments.add_argument
    add(
        "model",
        help="folder with config.json and model.safetensors, also "
        "s3://BUCKET/runs/NAME/checkpoints/KEY/EPOCH, or hub:NAME[@REVISION]",
    )
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
    add(
        "--compute",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="arithmetic of the passes, for precisions of weights alone (default fp32)",
    )
    add(
        "--attack",
        help="also measure samples under attack: KIND-NORM-EPS, such as pgd-linf-0.1, fgsm-l2-0.5",
    )
    add(
        "--device-map",
        choices=("auto",),
        help="lay the layers on GPUs, host and disk, where a checkpoint of transformers is larger "
        "than a device",
    )
    add("--max-memory", help="with --device-map: at most, such as 0=70GiB,1=70GiB,cpu=100GiB")
    add("--workers", type=int, default=1, help="processes that share the samples, by Ray")
    add("--address", help="with --workers: of a Ray cluster (default: a Ray of its own)")
    add("--dry-run", action="store_true", help="say what memory it takes; measure nothing")
    add("--threads", type=positive, help="CPU threads (default: all cores)")
    device = "auto (a GPU where there is one), cpu or cuda"
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help=device)
    add("--out", help="write the rows to this parquet file")
    add("--classes", help="write one row per class to this parquet file")
    return arguments
