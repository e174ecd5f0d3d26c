"""Size of the data for a plan, without reading or building it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.data.config import DataConfig
from study.data.token_files import token_counts


@dataclass(frozen=True)
class Estimate:
    """How much there is to train on. `samples` are predictions, `rows` what training shuffles (chunks or images)."""

    rows: int
    samples: int
    tokens: int
    classes: int


def estimate(config: DataConfig, *, base: Path, cache: Path) -> Estimate | None:
    """Size of the training split as far as it is known without reading it; none if it was never built."""
    counts = token_counts(config, base, cache)
    if counts is None:
        return None
    train, val = counts
    available = int(train.sum())
    rows = min(config.train_tokens or available, available) // config.context
    return Estimate(
        rows=rows,
        samples=rows * (config.context - 1),
        tokens=rows * config.context,
        classes=len(train) if config.vocabulary == "full" else int((train + val > 0).sum()),
    )
