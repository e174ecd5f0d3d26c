"""Speed and peak memory of training, against a plain loop over Hugging Face's GPT-Neo.

Both start from the same weights.

    python tests/benchmarks/training.py [--rounds 3] [--steps 6] [--threads 2]

GPT-Neo of width 256 and depth 2, batches of 2 x 2,048 tokens, bf16 autocast, fused AdamW, one
process a measurement. `full` has the vocabulary of 50,257 tokens; `observed` has the 29,233 that
occur in TinyStories and is compared with the same Hugging Face run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import machine

WIDTH, DEPTH, BATCH, TOKENS = 256, 2, 2, 2048
FULL, OBSERVED = 50_257, 29_233
TARGETS = {"full": 2.5, "observed": 5.0}
LARGEST_SHARE_OF_MEMORY = 1 / 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=["hugging_face", "full", "observed"])
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return 0
    return compare(options)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Seconds of each step, the first loss and the peak memory of this process.

    The first step is left out as warm-up.
    """
    import torch

    torch.set_num_threads(options.threads)
    classes = OBSERVED if options.measure == "observed" else FULL
    tokens = torch.randint(
        0, OBSERVED, (BATCH * options.steps, TOKENS + 1), generator=torch.Generator().manual_seed(0)
    )
    run = hugging_face if options.measure == "hugging_face" else ours
    loss, times = run(tokens, classes, options.weights)
    seconds = [later - earlier for earlier, later in itertools.pairwise(times)][1:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "loss": loss, "gib": peak}


def hugging_face(tokens, classes, weights):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    times, losses = [time.perf_counter()], []
    for start in range(0, len(tokens), BATCH):
        batch = tokens[start : start + BATCH, :TOKENS]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        times.append(time.perf_counter())
    return losses[0], times


def ours(tokens, classes, weights):
    """The training loop itself, on a split of these tokens.

    A step ends where the next batch is asked for.
    """
    import numpy as np
    import torch

    from study.config import CellConfig
    from study.data.base import Dataset
    from study.training.train import train

    times: list[float] = []

    class Tokens:
        def __len__(self) -> int:
            return len(tokens)

        @property
        def samples(self) -> int:
            return len(tokens) * TOKENS

        def batch(self, rows):
            times.append(time.perf_counter())
            chosen = tokens[torch.from_numpy(np.asarray(rows))]
            return chosen[:, :-1], chosen[:, 1:]

    counts = np.zeros(classes, dtype=np.int64)
    data = Dataset(Tokens(), Tokens(), classes, (TOKENS,), "random", counts, [""] * classes, {})
    model = {"kind": "gpt_neo", "width": WIDTH, "depth": DEPTH}
    if classes == FULL:
        model = {"kind": "pretrained", "path": str(weights)}
    settings = {
        "epochs": 1,
        "batch_size": BATCH,
        "lr": 1e-3,
        "weight_decay": 0.1,
        "precision": "bf16",
    }
    config = CellConfig.model_validate(
        {
            "data": {"kind": "text", "context": TOKENS + 1},
            "model": model,
            "train": settings,
            "measure": {"at": "last"},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(config, data, torch.device("cpu"), folder=Path(folder)):
            pass
        first = json.loads((Path(folder) / "loss_log.jsonl").read_text().splitlines()[0])
    return first["loss"], times


def compare(options: argparse.Namespace) -> int:
    from study.models import GPTNeoModel, build_model, save_checkpoint

    print(machine("torch", "transformers", threads=options.threads), flush=True)
    results: dict[str, list[dict[str, Any]]] = {"hugging_face": [], "full": [], "observed": []}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        save_checkpoint(
            build_model(
                GPTNeoModel(width=WIDTH, depth=DEPTH), classes=FULL, context=TOKENS, seed=0
            ),
            weights,
        )
        for _ in range(options.rounds):
            for name, measured in results.items():
                command = [sys.executable, __file__, "--measure", name, "--weights", str(weights)]
                command += ["--steps", str(options.steps), "--threads", str(options.threads)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                measured.append(json.loads(output.splitlines()[-1]))
    speed, memory = {}, {}
    for name, measured in results.items():
        seconds = statistics.median(s for one in measured for s in one["seconds"])
        speed[name] = BATCH * TOKENS / seconds
        memory[name] = max(float(one["gib"]) for one in measured)
        print(
            f"{name:14} {speed[name]:7.0f} tokens/s  peak {memory[name]:5.2f} GiB  first loss "
            f"{measured[0]['loss']:.4f}"
        )
    met = True
    for name, target in TARGETS.items():
        gain, share = speed[name] / speed["hugging_face"], memory[name] / memory["hugging_face"]
        good = gain >= target and share <= LARGEST_SHARE_OF_MEMORY
        met &= good
        print(
            f"{name:14} {gain:.2f} times the tokens per second (target {target}), {share:.2f} "
            "of the memory "
            f"(target {LARGEST_SHARE_OF_MEMORY:.2f}): {'met' if good else 'MISSED'}"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
