"""Size of the data for a plan, without reading or building it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.data.balancing import window_quotas
from study.data.config import BalancedData, DataConfig, StoriesData
from study.data.grammar import Grammar
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
    if isinstance(config, StoriesData):
        return _estimate_stories(config)
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


def _estimate_stories(config: StoriesData) -> Estimate:
    grammar = Grammar(config.words_per_list, config.zipf_exponent, config.ambiguity)
    rows = config.train_tokens // config.context
    share = grammar.recalled_share(config.context) if config.predict == "determined" else 1.0
    samples = round(rows * (config.context - 1) * share)
    return Estimate(rows, samples, rows * config.context, len(grammar.vocabulary))
