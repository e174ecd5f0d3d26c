"""Settings of the data: which samples a model sees. No torch here; reading the data is in the modules beside."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from study.settings import Fraction, NonNegativeInt, PositiveInt, Settings

SMALLEST_BPE = 257  # 256 bytes and the end of text


class Corpus(Settings):
    """Where a text comes from, how it becomes tokens, and which share of it is used."""

    source: str = "python-docs"
    """`python-docs`, a .txt, .jsonl or .parquet file, a folder of such parquet files, or `hub:NAME[@REVISION]`."""
    text_column: str = "text"
    """Column of a table (.jsonl, .parquet, hub) that holds the text of a document."""
    select: str | None = None
    """One part of a .txt by its title, such as one play of a volume of plays."""
    tokenizer: str = "char"
    """`char`, `bpe:N`, a `tokenizers` JSON file (or a folder with tokenizer.json), or `hub:NAME[@REVISION]`."""
    vocabulary: Literal["full", "observed"] = "full"
    """`observed` leaves only the tokens that occur in the training and validation text as classes."""
    context: Annotated[int, Field(ge=2)] = 128
    """Tokens in a chunk; a chunk of T tokens gives T - 1 samples."""
    val_fraction: Fraction = 0.1
    """Share of the text, at its end, kept for validation where the corpus has no split validation, valid or test."""
    seed: NonNegativeInt = 0
    """Seed of everything random about the data: subsets that are measured, balancing, label noise."""

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if source.startswith("hub:"):
            return _hub_name(source)
        endings = (".txt", ".jsonl", ".parquet")
        if source == "python-docs" or source.endswith(endings) or "/" in source or source in (".", ".."):
            return source
        raise ValueError(
            f"{source!r} is no known source: use python-docs, a file ending in {', '.join(endings)}, "
            "a folder (written with a slash, such as ./folder) or hub:NAME[@REVISION]"
        )

    @field_validator("tokenizer")
    @classmethod
    def _known_tokenizer(cls, tokenizer: str) -> str:
        if tokenizer.startswith("hub:"):
            return _hub_name(tokenizer)
        if tokenizer.startswith("bpe:"):
            size = tokenizer.removeprefix("bpe:")
            if not size.isascii() or not size.isdigit() or int(size) < SMALLEST_BPE:
                raise ValueError(
                    f"{tokenizer!r}: the number after bpe: is the size of the vocabulary, at least {SMALLEST_BPE} "
                    "(256 bytes and the end of text), such as bpe:1024"
                )
            return f"bpe:{int(size)}"
        if tokenizer == "char" or tokenizer.endswith(".json") or "/" in tokenizer:
            return tokenizer
        raise ValueError(
            f"{tokenizer!r} is no known tokenizer: use char, bpe:N (such as bpe:1024), a tokenizers file ending in "
            ".json, a folder with a tokenizer.json, or hub:NAME[@REVISION]"
        )


def _hub_name(text: str) -> str:
    if not re.fullmatch(r"hub:[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", text):
        raise ValueError(f"{text!r} is no hub name: write hub:OWNER/NAME or hub:OWNER/NAME@REVISION")
    return text


class TextData(Corpus):
    """A corpus packed into chunks; every token but the first of a chunk is a sample."""

    kind: Literal["text"] = "text"
    train_tokens: PositiveInt | None = None
    """Training tokens to use, from the start of the training text (cut down to whole chunks); none = all."""
    val_tokens: PositiveInt | None = None
    """Validation tokens to use, from the start of the validation text (cut down to whole chunks); none = all."""


DataConfig = Annotated[TextData, Field(discriminator="kind")]
