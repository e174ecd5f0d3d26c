"""A corpus as two memory-mapped arrays of token numbers.

They are built once and shared by every process that trains on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.base import DataError, Ints
from study.data.cache import cached, digest, notes_of_entries, read_verified
from study.data.config import Corpus
from study.data.corpus import Documents, open_corpus, split_at_end
from study.data.tokenizing import TOKENIZER, Characters, Tokenizer, load_subwords, train_byte_pairs

Stored = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

_FORMAT = 1  # rises when the same settings would give other tokens


@dataclass(frozen=True)
class TokenFiles:
    """Tokens of both splits, (n,) each, and what is known about them."""

    train: Stored
    val: Stored
    names: list[str]
    train_counts: Ints
    val_counts: Ints
    train_documents: int
    val_documents: int
    nulls: int
    """Rows of the source without a text, which were left out."""
    fingerprint: str
    tokenizer: Path
    """The file that holds the tokenizer."""


def check_readable(config: Corpus, base: Path) -> None:
    """Open source and tokenizer without tokenizing.

    What is on the hub is left until it is needed.

    Raises:
        DataError: one of them is missing or not of its format.
    """
    if not config.source.startswith("hub:"):
        open_corpus(config, base)
    if config.tokenizer != "char" and not config.tokenizer.startswith(("bpe:", "hub:")):
        load_subwords(config.tokenizer, base)


def tokenize(config: Corpus, base: Path, cache: Path) -> TokenFiles:
    """The tokens of a corpus, from the cache where they were built before.

    Raises:
        DataError: the source or the tokenizer cannot be read, or a split is empty.
    """
    corpus = open_corpus(config, base)
    if corpus.val is None:
        train, val = split_at_end(corpus.train, config.val_fraction)
    else:
        train, val = corpus.train, corpus.val
    made_here = config.tokenizer == "char" or config.tokenizer.startswith("bpe:")
    loaded = None if made_here else load_subwords(config.tokenizer, base)
    key = digest(
        str(_FORMAT),
        corpus.content,
        repr(config.val_fraction if corpus.val is None else None),
        config.text_column,
        repr(config.select),
        loaded.identity if loaded else _recipe(config.tokenizer),
    )[:32]

    def build(folder: Path) -> dict[str, Any]:
        tokenizer = loaded or _made_for(config.tokenizer, train, val)
        names = tokenizer.names
        (folder / TOKENIZER).write_text(tokenizer.identity, encoding="utf-8")
        (folder / "names.json").write_text(json.dumps(names))
        documents = {}
        for split, read in (("train", train), ("val", val)):
            counter = _Counted(read())
            counts = _write(folder / f"{split}.npy", tokenizer.encode(counter), len(names))
            if not counts.any():
                raise DataError(f"data.source: the {split} split of {config.source} has no text")
            np.save(folder / f"{split}_counts.npy", counts)
            documents[split] = counter.passed
        nulls = {"nulls": corpus.nulls.total()} if corpus.nulls.total() else {}
        return {"request": _request(config, base), "documents": documents, **nulls}

    entry = cached(cache, key, build)
    folder = entry.folder
    return TokenFiles(
        train=np.load(folder / "train.npy", mmap_mode="r"),
        val=np.load(folder / "val.npy", mmap_mode="r"),
        names=json.loads((folder / "names.json").read_bytes()),
        train_counts=np.load(folder / "train_counts.npy"),
        val_counts=np.load(folder / "val_counts.npy"),
        train_documents=entry.notes["documents"]["train"],
        val_documents=entry.notes["documents"]["val"],
        nulls=entry.notes.get("nulls", 0),
        fingerprint=digest(*(entry.digests[name] for name in ("train.npy", "val.npy", TOKENIZER))),
        tokenizer=folder / TOKENIZER,
    )


def token_counts(config: Corpus, base: Path, cache: Path) -> tuple[Ints, Ints] | None:
    """(V,) counts of the tokens in training and validation text.

    They are those last built from these settings; None if never, or if they were damaged since.

    Neither the source nor the tokenizer is read, so the answer is instant and may be of an older
    content.
    """
    request = _request(config, base)
    for folder, notes in notes_of_entries(cache):
        if isinstance(notes, dict) and notes.get("request") == request:
            train, val = (
                read_verified(folder, f"{split}_counts.npy") for split in ("train", "val")
            )
            if train is not None and val is not None:
                return np.load(BytesIO(train)), np.load(BytesIO(val))
    return None


def chunk_count(tokens: int, context: int, share: int | None, split: str) -> int:
    """Chunks of a split of `tokens` tokens, or of the first `share` of them.

    Raises:
        DataError: the split is smaller than the share, or than a chunk.
    """
    if share is not None and share > tokens:
        raise DataError(
            f"data.{split}_tokens: {share:,} asked for, but the {split} split has {tokens:,} tokens"
        )
    chunks = (tokens if share is None else share) // context
    if chunks == 0:
        raise DataError(
            f"data.context: {context} tokens do not fit into the {share or tokens:,} tokens "
            f"of the {split} split"
        )
    return chunks


def _request(config: Corpus, base: Path) -> dict[str, Any]:
    fields = ("source", "text_column", "select", "tokenizer", "val_fraction")
    return {"base": str(base.resolve()), **{name: getattr(config, name) for name in fields}}


def _made_for(tokenizer: str, train: Documents, val: Documents) -> Tokenizer:
    if tokenizer == "char":
        return Characters.of(train, val)
    return train_byte_pairs(train(), int(tokenizer.removeprefix("bpe:")))


def _recipe(tokenizer: str) -> str:
    """What determines a tokenizer made here, given the text.

    For trained ones that is also who trains them.
    """
    if tokenizer == "char":
        return tokenizer
    import tokenizers

    return f"{tokenizer} tokenizers {tokenizers.__version__}"


class _Counted:
    """Counts the documents that pass."""

    def __init__(self, documents: Iterable[str]) -> None:
        self._documents = documents
        self.passed = 0

    def __iter__(self) -> Iterator[str]:
        for document in self._documents:
            self.passed += 1
            yield document


def _write(path: Path, pieces: Iterable[npt.NDArray[np.uint32]], vocabulary: int) -> Ints:
    """Write pieces as one .npy, never holding all of them; return the counts (V,).

    The type is the smallest sufficient one.
    """
    dtype = np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")
    counts = np.zeros(vocabulary, dtype=np.int64)
    header = {"descr": dtype.str, "fortran_order": False, "shape": (0,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)  # leaves room for the length to grow
        start = file.tell()
        for piece in pieces:
            counts += np.bincount(piece, minlength=vocabulary)
            file.write(piece.astype(dtype).tobytes())
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (int(counts.sum()),)})
        if file.tell() != start:
            raise RuntimeError(f"the header of {path} grew from {start} to {file.tell()} bytes")
    return counts
