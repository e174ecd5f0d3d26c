"""`kind: text`: a corpus packed into chunks, every position a sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from study.data.base import IGNORE, Dataset, Fact, Ints, class_facts
from study.data.config import Corpus, TextData
from study.data.token_files import Stored, TokenFiles, chunk_count, tokenize

_COUNTED_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Chunks:
    """Tokens packed into chunks of T: inputs chunk[:-1], targets chunk[1:].

    There are N = S(T-1) samples (Wu & Papyan 2024).
    """

    tokens: Stored
    """(S, T) token numbers, usually memory-mapped."""
    class_of: Ints
    """(V,) class of each token number; -1 for tokens that are no class and do not occur."""
    ignore_first: int = 0
    """Samples at the start of each chunk that are left out."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def samples(self) -> int:
        return len(self) * int(self.tokens.shape[1] - 1 - self.ignore_first)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 (B, T-1) each."""
        chunks = torch.from_numpy(self.class_of[self.tokens[rows]])
        inputs, targets = chunks[:, :-1].contiguous(), chunks[:, 1:].contiguous()
        targets[:, : self.ignore_first] = IGNORE
        return inputs, targets

    @cached_property
    def class_counts(self) -> Ints:
        """(classes,) samples of each class."""
        counts = np.zeros(len(self.class_of), dtype=np.int64)
        step = max(1, _COUNTED_AT_ONCE // self.tokens.shape[1])
        for start in range(0, len(self), step):
            counts += np.bincount(
                self.tokens[start : start + step, 1 + self.ignore_first :].ravel(),
                minlength=len(counts),
            )
        return counts[self.class_of >= 0]


def load_text(config: TextData, base: Path, cache: Path) -> Dataset:
    """Read, tokenize (or take from the cache) and pack a corpus.

    Raises:
        DataError: the corpus cannot be read or is smaller than the settings need.
    """
    files = tokenize(config, base, cache)
    class_of, class_names = classes_of_tokens(config, files)
    train = Chunks(
        _packed(files.train, config.context, config.train_tokens, "train"),
        class_of,
        config.ignore_first,
    )
    val = Chunks(
        _packed(files.val, config.context, config.val_tokens, "val"), class_of, config.ignore_first
    )
    return Dataset(
        train=train,
        val=val,
        classes=len(class_names),
        input_shape=(config.context - 1,),
        fingerprint=files.fingerprint,
        class_counts=train.class_counts,
        class_names=class_names,
        facts={
            **corpus_facts(files),
            "train_chunks": len(train),
            "val_chunks": len(val),
            "train_tokens_used": train.tokens.size,
            "val_tokens_used": val.tokens.size,
            **class_facts(train.class_counts),
        },
    )


def classes_of_tokens(config: Corpus, files: TokenFiles) -> tuple[Ints, list[str]]:
    """Map from token numbers to classes, and the names of the classes.

    The map is (V,) with -1 for none.
    """
    counts = files.train_counts + files.val_counts
    is_class = (
        counts > 0 if config.vocabulary == "observed" else np.ones(len(counts), dtype=np.bool_)
    )
    class_of = np.where(is_class, np.cumsum(is_class) - 1, -1).astype(np.int64)
    return class_of, [name for name, keep in zip(files.names, is_class, strict=True) if keep]


def corpus_facts(files: TokenFiles) -> dict[str, Fact]:
    """Sizes of the whole corpus, before any share is taken."""
    return {
        "train_documents": files.train_documents,
        "val_documents": files.val_documents,
        "train_tokens_in_corpus": len(files.train),
        "val_tokens_in_corpus": len(files.val),
        **({"rows_without_text": files.nulls} if files.nulls else {}),
    }


def _packed(tokens: Stored, context: int, share: int | None, split: str) -> Stored:
    chunks = chunk_count(len(tokens), context, share, split)
    return tokens[: chunks * context].reshape(chunks, context)
