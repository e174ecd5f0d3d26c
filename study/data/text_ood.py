"""Texts of other sources (`data.ood`), in the tokens and chunks of the training's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from study.data.base import DataError, Ints
from study.data.config import TextData
from study.data.corpus import open_corpus
from study.data.ood_sets import set_name, sources_of
from study.data.tokenizing import Characters, Tokenizer


def check_text_ood(config: TextData, base: Path) -> None:
    """Raise DataError with all sources of `config.ood` that cannot be opened.

    What is on the hub is left until it is needed.
    """
    faults = []
    for source in sources_of(config.ood):
        if not source.startswith("hub:"):
            try:
                open_corpus(_of_source(config, source), base)
            except DataError as fault:
                faults.append(_about_ood(fault))
    if faults:
        raise DataError("; ".join(faults))


def other_tokens(
    config: TextData, base: Path, tokenizer: Tokenizer, class_of: Ints, most: int
) -> dict[str, Ints]:
    """Token numbers (n,) of each set of `config.ood` by its name.

    They are at most `most`, from its start.

    The validation split where a source has one, else all of it. What the training's vocabulary
    lacks is left out: characters that its text does not have, and tokens without a class (-1 in
    `class_of` (V,)).

    Raises DataError where a source cannot be read.
    """
    sets = {}
    for source in sources_of(config.ood):
        try:
            corpus = open_corpus(_of_source(config, source), base)
            documents = _known((corpus.val or corpus.train)(), tokenizer)
            pieces, count = [np.empty(0, dtype=np.int64)], 0
            for piece in tokenizer.encode(documents):
                pieces.append(piece[class_of[piece] >= 0].astype(np.int64))
                count += len(pieces[-1])
                if count >= most:
                    break
        except DataError as fault:
            raise DataError(_about_ood(fault)) from fault
        sets[set_name(source)] = np.concatenate(pieces)[:most]
    return sets


def _of_source(config: TextData, source: str) -> TextData:
    return config.model_copy(update={"source": source, "select": None})


def _about_ood(fault: DataError) -> str:
    return str(fault).replace("data.source:", "data.ood:", 1)


def _known(documents: Iterable[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Documents without the characters that an alphabet lacks.

    Without a line break they cannot be told apart, so they become one.
    """
    if not isinstance(tokenizer, Characters):
        yield from documents
        return
    alphabet = set(tokenizer.alphabet)
    known = (
        document.translate({ord(letter): None for letter in set(document) - alphabet})
        for document in documents
    )
    if "\n" in alphabet:
        yield from known
    else:
        yield "".join(known)
