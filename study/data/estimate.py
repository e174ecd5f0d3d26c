"""Size of the data for a plan, without reading or building it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.data.balancing import window_quotas
from study.data.config import BalancedData, DataConfig
from study.data.token_files import token_counts


@dataclass(frozen=True)
class Estimate:
    """How much there is to train on. `samples` are predictions, `rows` what training shuffles (chunks or images)."""

    rows: int
    samples: int
    tokens: int
    classes: int


def estimate(config: DataConfig, *, base: Path, cache: Path) -> Estimate | None:
    """Size of the training split as far as it is known without reading it; none if it was never built.

    Raises:
        DataError: the settings cannot be met by the text that was built.
    """
    counts = token_counts(config, base, cache)
    if counts is None:
        return None
    train, val = counts
    classes = len(train) if config.vocabulary == "full" else int((train + val > 0).sum())
    if isinstance(config, BalancedData):
        rows = samples = int(window_quotas(config, train)[1].sum())
    else:
        available = int(train.sum())
        rows = min(config.train_tokens or available, available) // config.context
        samples = rows * (config.context - 1 - config.ignore_first)
    return Estimate(rows, samples, rows * config.context, classes)
