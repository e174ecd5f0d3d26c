"""Size of the data of each kind for a plan.

There is no torch here, and text is not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from study.data.balancing import window_quotas
from study.data.base import Estimate, Ints
from study.data.config import (
    BalancedData,
    Corpus,
    FreeData,
    ImagesData,
    StoriesData,
    TextData,
)
from study.data.grammar import Grammar
from study.data.image_choice import choose_images
from study.data.image_sources import image_path
from study.data.imbalance import class_sizes
from study.data.token_files import chunk_count, token_counts

GPT2_TOKENIZERS = ("hub:EleutherAI/gpt-neo-125M", "hub:openai-community/gpt2", "hub:gpt2")
TINY_STORIES = "hub:roneneldan/TinyStories"


def of_text(config: TextData, base: Path, cache: Path) -> Estimate | None:
    """Chunks of what was last built from these settings, else of what is published."""
    counts = token_counts(config, base, cache)
    if counts is None:
        return _published(config)
    train, val = counts
    length = config.context - (config.bos == "true")
    rows, val_rows = (
        chunk_count(int(part.sum()), length, share, split)
        for part, share, split in (
            (train, config.train_tokens, "train"),
            (val, config.val_tokens, "val"),
        )
    )
    samples = config.context - 1 - config.ignore_first
    return _of_corpus(config, counts, (rows, rows * samples, val_rows * samples))


def of_balanced(config: BalancedData, base: Path, cache: Path) -> Estimate | None:
    """Windows of what was last built from the same settings, None if it never was."""
    counts = token_counts(config, base, cache)
    if counts is None:
        return None
    train, val = counts
    targets, quotas = window_quotas(config, train)
    rows = int(quotas.sum())
    val_rows = int(np.minimum(val[targets], config.val_quota or quotas.max()).sum())
    return _of_corpus(config, counts, (rows, rows, val_rows))


def of_stories(config: StoriesData, base: Path, cache: Path) -> Estimate:
    """The expectation, as stories are of random length. Raises DataError."""
    config.check_rows()
    grammar = Grammar(config.words_per_list, config.zipf_exponent, config.ambiguity)
    rows, val_rows = config.train_tokens // config.context, config.val_tokens // config.context
    share = grammar.recalled_share(config.context) if config.predict == "determined" else 1.0
    samples, val_samples = (
        max(1, round(n * (config.context - 1) * share)) for n in (rows, val_rows)
    )
    return Estimate(rows, samples, val_samples, len(grammar.vocabulary), (config.context - 1,))


def of_images(config: ImagesData, base: Path, cache: Path) -> Estimate | None:
    """What local files hold; None for images of the hub, which is not asked."""
    if config.source != "digits" and image_path(config, base) is None:
        return None
    images = choose_images(config, base, cache)
    counts = np.bincount(images.train.labels, minlength=len(images.names)).tolist()
    rows, val_rows = len(images.train.labels), len(images.val.labels)
    shape = images.train.images.shape[1:]
    return Estimate(rows, rows, val_rows, len(counts), shape, class_counts=tuple(counts))


def of_free(config: FreeData, base: Path, cache: Path) -> Estimate:
    """Exactly the samples of each class."""
    rows = int(class_sizes(config, config.quota, config.classes).sum())
    return Estimate(rows, rows, rows, config.classes, (rows,))


def _of_corpus(config: Corpus, counts: tuple[Ints, Ints], sizes: tuple[int, int, int]) -> Estimate:
    """`sizes` are training rows, training samples and validation samples."""
    train, val = counts
    classes = len(train) if config.vocabulary == "full" else int((train + val > 0).sum())
    return Estimate(*sizes, classes, (config.context - 1,))


def _published(config: TextData) -> Estimate | None:
    """TinyStories in chunks of 2,048 GPT-2 tokens.

    It has S = 229,367 training chunks (Wu & Papyan 2024, appendix A).
    """
    whole = config.model_copy(
        update={"seed": 0, "val_fraction": 0.1, "val_tokens": None, "ood": None}
    )
    of_the_paper = [
        TextData(source=TINY_STORIES, tokenizer=tokenizer, context=2048)
        for tokenizer in GPT2_TOKENIZERS
    ]
    if whole not in of_the_paper:
        return None
    chunks, context, classes = 229_367, 2048, 50_257
    origin = "as published (Wu & Papyan 2024, appendix A); counted once the corpus is fetched"
    return Estimate(chunks, chunks * (context - 1), None, classes, (context - 1,), origin)
