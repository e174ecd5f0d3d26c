"""`kind: text`: a corpus packed into chunks, every position a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from study.data.base import IGNORE, DataError, Dataset, Fact, Groups, Ints, class_facts
from study.data.cache import digest
from study.data.config import Corpus, TextData
from study.data.corpus import END_OF_TEXT
from study.data.groups import token_groups
from study.data.text_ood import other_tokens
from study.data.token_files import Stored, TokenFiles, chunk_count, tokenize
from study.data.tokenizing import load_subwords, read_tokenizer

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
    begin: int | None = None
    """The token number that stands before each chunk, whose first token is then a target too."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def samples(self) -> int:
        return len(self) * int(self.tokens.shape[1] - self._first_target)

    @property
    def _first_target(self) -> int:
        """Number of the token of a chunk that is its first sample."""
        return self.ignore_first + (self.begin is None)

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 (B, T-1) each."""
        chunks = torch.from_numpy(self.class_of[self.tokens[rows]])
        if self.begin is not None:
            first = torch.full((len(chunks), 1), int(self.class_of[self.begin]))
            chunks = torch.cat([first, chunks], dim=1)
        # Of a single row both parts are contiguous views, so one of them has to be a copy.
        inputs, targets = chunks[:, :-1].contiguous(), chunks[:, 1:].clone()
        targets[:, : self.ignore_first] = IGNORE
        return inputs, targets

    @cached_property
    def class_counts(self) -> Ints:
        """(classes,) samples of each class."""
        counts = np.zeros(len(self.class_of), dtype=np.int64)
        step = max(1, _COUNTED_AT_ONCE // self.tokens.shape[1])
        for start in range(0, len(self), step):
            counts += np.bincount(
                self.tokens[start : start + step, self._first_target :].ravel(),
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
    begin = _begin(config, base, files)
    if begin is not None and class_of[begin] < 0:
        raise DataError(
            f"data.bos: {files.names[begin]!r} does not occur in the text: use data.vocabulary full"
        )
    length = config.context - (begin is not None)
    train, val = (
        Chunks(_packed(tokens, length, share, split), class_of, config.ignore_first, begin)
        for tokens, share, split in (
            (files.train, config.train_tokens, "train"),
            (files.val, config.val_tokens, "val"),
        )
    )
    ood = {
        name: Chunks(tokens, class_of, config.ignore_first, begin)
        for name, tokens in _other_chunks(config, base, files, class_of, length, val).items()
    }
    by_split = {"train": train.class_counts, "val": val.class_counts}
    groups = (
        None if config.group is None else token_groups(config.group, base, class_names, by_split)
    )
    return Dataset(
        train=train,
        val=val,
        classes=len(class_names),
        input_shape=(config.context - 1,),
        fingerprint=with_groups(_with_ood(files.fingerprint, ood), groups),
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
        ood=ood,
        groups=groups,
    )


def with_groups(fingerprint: str, groups: Groups | None) -> str:
    """The fingerprint of a text, of whose tokens there are groups."""
    return fingerprint if groups is None else digest(fingerprint, *groups.content)


def _with_ood(fingerprint: str, ood: Mapping[str, Chunks]) -> str:
    """The fingerprint of a text, beside which there are others."""
    return (
        digest(fingerprint, *(each.tokens.tobytes() for each in ood.values()))
        if ood
        else (fingerprint)
    )


def _other_chunks(
    config: TextData, base: Path, files: TokenFiles, class_of: Ints, length: int, val: Chunks
) -> dict[str, Stored]:
    """Chunks (S, length) of each set of other data, at most as many as of validation."""
    if config.ood is None:
        return {}
    tokenizer = read_tokenizer(files.tokenizer)
    sets = other_tokens(config, base, tokenizer, class_of, len(val) * length)
    for name, tokens in sets.items():
        if len(tokens) < length:
            raise DataError(
                f"data.ood: {name} has {len(tokens)} tokens that the vocabulary knows, and a chunk "
                f"takes {length}: name a longer text"
            )
    return {
        name: tokens[: len(tokens) // length * length].reshape(-1, length).astype(np.uint32)
        for name, tokens in sets.items()
    }


def _begin(config: TextData, base: Path, files: TokenFiles) -> int | None:
    """The token number that stands before each chunk, or None.

    Raises DataError where it is asked for and the tokenizer has none.
    """
    if config.bos == "false":
        return None
    made_here = config.tokenizer == "char" or config.tokenizer.startswith("bpe:")
    if config.bos == "auto":
        return None if made_here else load_subwords(config.tokenizer, base).begins_with
    if made_here:
        begin = files.names.index(END_OF_TEXT) if END_OF_TEXT in files.names else None
    else:
        begin = load_subwords(config.tokenizer, base).begin_of_text
    if begin is None:
        raise DataError(
            f"data.bos: the tokenizer {config.tokenizer} has no beginning of text: use false"
        )
    return begin


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
