"""Size of the data for a plan, without torch and, for text, without reading or building it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.data.balancing import window_quotas
from study.data.base import Ints
from study.data.config import BalancedData, DataConfig, FreeData, ImagesData, StoriesData, TextData
from study.data.grammar import Grammar
from study.data.image_choice import choose_images
from study.data.image_sources import image_folder
from study.data.imbalance import class_sizes
from study.data.token_files import token_counts


@dataclass(frozen=True)
class Estimate:
    """How much data there is: rows are chunks, windows or images; samples are predictions."""

    train_rows: int
    train_samples: int
    val_samples: int | None
    """None where only the training split's size was published."""
    classes: int
    input_shape: tuple[int, ...]
    """Shape of one row's input, as in `Dataset`."""
    origin: str = ""
    """Where numbers come from that were not counted here."""


GPT2_TOKENIZERS = ("hub:EleutherAI/gpt-neo-125M", "hub:openai-community/gpt2", "hub:gpt2")
TINY_STORIES = "hub:roneneldan/TinyStories"


def estimate(config: DataConfig, *, base: Path, cache: Path) -> Estimate | None:
    """Size of the data as far as it is known at once; None where it must be read or fetched first.

    Text: what was last built from the same settings, if it was, else what is published. Stories: the expectation.
    Images: what local files hold; the hub is not asked.

    Raises:
        DataError: the settings cannot be met by the data.
    """
    match config:
        case StoriesData():
            return _of_stories(config)
        case ImagesData():
            return _of_images(config, base, cache)
        case FreeData():
            rows = int(class_sizes(config, config.quota, config.classes).sum())
            return Estimate(rows, rows, rows, config.classes, (rows,))
    counts = token_counts(config, base, cache)
    if counts is None:
        return _published(config) if isinstance(config, TextData) else None
    train, val = counts
    classes = len(train) if config.vocabulary == "full" else int((train + val > 0).sum())
    of_kind = _of_windows if isinstance(config, BalancedData) else _of_chunks
    return Estimate(*of_kind(config, train, val), classes, (config.context - 1,))  # type: ignore[arg-type]


def _published(config: TextData) -> Estimate | None:
    """TinyStories in chunks of 2,048 GPT-2 tokens: S = 229,367 training chunks (Wu & Papyan 2024, appendix A)."""
    whole = config.model_copy(update={"seed": 0, "val_fraction": 0.1, "val_tokens": None})
    of_the_paper = [
        TextData(source=TINY_STORIES, tokenizer=tokenizer, context=2048)
        for tokenizer in GPT2_TOKENIZERS
    ]
    if whole not in of_the_paper:
        return None
    chunks, context, classes = 229_367, 2048, 50_257
    origin = "as published (Wu & Papyan 2024, appendix A); counted once the corpus is fetched"
    return Estimate(chunks, chunks * (context - 1), None, classes, (context - 1,), origin)


def _of_chunks(config: TextData, train: Ints, val: Ints) -> tuple[int, int, int]:
    rows, val_rows = (
        min(share or int(counts.sum()), int(counts.sum())) // config.context
        for share, counts in ((config.train_tokens, train), (config.val_tokens, val))
    )
    samples = config.context - 1 - config.ignore_first
    return rows, rows * samples, val_rows * samples


def _of_windows(config: BalancedData, train: Ints, val: Ints) -> tuple[int, int, int]:
    targets, quotas = window_quotas(config, train)
    rows = int(quotas.sum())
    return rows, rows, int(np.minimum(val[targets], config.val_quota or quotas.max()).sum())


def _of_stories(config: StoriesData) -> Estimate:
    grammar = Grammar(config.words_per_list, config.zipf_exponent, config.ambiguity)
    rows, val_rows = config.train_tokens // config.context, config.val_tokens // config.context
    share = grammar.recalled_share(config.context) if config.predict == "determined" else 1.0
    samples, val_samples = (round(n * (config.context - 1) * share) for n in (rows, val_rows))
    return Estimate(rows, samples, val_samples, len(grammar.vocabulary), (config.context - 1,))


def _of_images(config: ImagesData, base: Path, cache: Path) -> Estimate | None:
    if config.source != "digits" and image_folder(config, base) is None:
        return None
    chosen = choose_images(config, base, cache)
    rows = len(chosen.train.labels)
    return Estimate(
        rows, rows, len(chosen.val.labels), len(chosen.source.names), chosen.train.images.shape[1:]
    )
