"""Tokenizers: characters, byte pairs trained here, vocabularies of others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from study.data.base import DataError
from study.data.corpus import END_OF_TEXT, Documents

if TYPE_CHECKING:
    import tokenizers

Tokens = npt.NDArray[np.uint32]

SMALLEST_VOCABULARY = 2
TOKENIZER = "tokenizer.json"
"""File of the library `tokenizers`, beside a checkpoint and in the cache."""
_BATCH_CHARACTERS = 1_000_000
SPARSEST, SPARE_NUMBERS = 4, 100_000
"""Largest number of a token: so many times the vocabulary, and so many beyond."""
_TOKENIZER_FILES = (
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files of which `transformers` makes a tokenizer, where there is no tokenizer.json."""
_BEGIN_NAMES = (
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|bos|>",
    "<|startoftext|>",
    "[BOS]",
    "[CLS]",
    END_OF_TEXT,
)
_END_NAMES = (
    END_OF_TEXT,
    "<|end_of_text|>",
    "<|im_end|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "[SEP]",
)


class Tokenizer(Protocol):
    """Text to token numbers."""

    @property
    def names(self) -> list[str]:
        """One name for each token of the vocabulary."""

    @property
    def identity(self) -> str:
        """What determines the tokens: equal identities tokenize equally."""

    def encode(self, documents: Iterable[str]) -> Iterator[Tokens]:
        """Tokens of the documents in order, joined, in pieces of any length."""


@dataclass(frozen=True)
class Characters:
    """One token a character, numbered by code point.

    Documents are joined by a blank line.
    """

    alphabet: str

    @classmethod
    def of(cls, *splits: Documents) -> Characters:
        """The alphabet of whole splits.

        It has the line break that joins documents if there is more than one.
        """
        alphabet: set[str] = set()
        for split in splits:
            for number, document in enumerate(split()):
                alphabet.update(document)
                if number:
                    alphabet.add("\n")
        if not alphabet:
            raise DataError("data.source: there is no text in the source")
        return cls("".join(sorted(alphabet)))

    @property
    def names(self) -> list[str]:
        return list(self.alphabet)

    @property
    def identity(self) -> str:
        return json.dumps({"characters": self.alphabet})

    def encode(self, documents: Iterable[str]) -> Iterator[Tokens]:
        codes = np.array([ord(letter) for letter in self.alphabet], dtype=np.uint32)
        numbers = np.zeros(int(codes[-1]) + 1, dtype=np.uint32)
        numbers[codes] = np.arange(len(codes), dtype=np.uint32)
        for number, document in enumerate(documents):
            text = "\n\n" + document if number else document
            yield numbers[np.frombuffer(text.encode("utf-32-le"), dtype="<u4")]


@dataclass(frozen=True)
class Subwords:
    """A vocabulary of the `tokenizers` library.

    Documents are joined by its end of text if it has one.
    """

    tokenizer: tokenizers.Tokenizer

    @property
    def names(self) -> list[str]:
        known = {
            number: name
            for name, number in self.tokenizer.get_vocab(with_added_tokens=True).items()
        }
        return [known.get(number, f"<{number}>") for number in range(max(known) + 1)]

    @property
    def identity(self) -> str:
        return str(self.tokenizer.to_str())

    @property
    def end_of_text(self) -> int | None:
        """Number of the token that ends a document, recognised by its customary names."""
        return self._first_of(_END_NAMES)

    @property
    def begins_with(self) -> int | None:
        """Number of the token that the tokenizer itself puts before a text, or None."""
        added = self.tokenizer.encode("", add_special_tokens=True).ids
        return added[0] if added else None

    @property
    def begin_of_text(self) -> int | None:
        """Number of the token before a text.

        It is the one that is passed, or recognised by the customary names.
        """
        own = self.begins_with
        return self._first_of(_BEGIN_NAMES) if own is None else own

    def _first_of(self, names: Iterable[str]) -> int | None:
        numbers = (self.tokenizer.token_to_id(name) for name in names)
        return next((number for number in numbers if number is not None), None)

    def encode(self, documents: Iterable[str]) -> Iterator[Tokens]:
        end = self.end_of_text
        joint = np.array([] if end is None else [end], dtype=np.uint32)
        before = joint[:0]  # nothing before the first document
        for batch in _batches(documents):
            pieces = []
            for encoding in self.tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                pieces += [before, np.array(encoding.ids, dtype=np.uint32)]
                before = joint
            yield np.concatenate(pieces)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer whose `identity` a file in the cache holds."""
    from tokenizers import Tokenizer as Loaded

    content = path.read_text(encoding="utf-8")
    known = json.loads(content)
    if known.keys() == {"characters"}:
        return Characters(known["characters"])
    return Subwords(Loaded.from_str(content))


def train_byte_pairs(documents: Iterable[str], size: int) -> Subwords:
    """Byte-pair encoding of `size` tokens trained on the documents.

    It is reversible and the same at every run.

    All 256 bytes are in the vocabulary, so that any text can be encoded; so is the end of text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    vocabulary = tokenizer.get_vocab_size()
    if vocabulary != size:
        raise DataError(
            f"data.tokenizer: the training text is too small for bpe:{size}: it gives {vocabulary} "
            f"tokens; use bpe:{vocabulary}"
        )
    return Subwords(tokenizer)


def load_subwords(name: str, base: Path) -> Subwords:
    """A tokenizers JSON file, the folder of a checkpoint, or `hub:NAME[@REVISION]`.

    A folder or a name has a tokenizer.json, or files that `transformers` makes one of: a model of
    sentencepiece, or a vocabulary with merges.

    Raises:
        DataError: there is no such file, it is damaged, or the hub cannot be reached.
    """
    from tokenizers import Tokenizer

    try:
        if name.startswith("hub:"):
            repository, _, revision = name.removeprefix("hub:").partition("@")
            tokenizer = _of_the_hub(repository, revision or "main")
        else:
            path = base / Path(name).expanduser()
            if path.is_dir() and not (path / TOKENIZER).exists():
                tokenizer = _through_transformers(path)
            else:
                path = path / TOKENIZER if path.is_dir() else path
                if not path.is_file():
                    raise DataError(f"data.tokenizer: no file {path}")
                tokenizer = Tokenizer.from_file(str(path))
    except DataError:
        raise
    except BaseException as fault:  # the library raises plain Exception, and panics, which are none
        if not (isinstance(fault, Exception) or type(fault).__name__ == "PanicException"):
            raise
        raise DataError(
            f"data.tokenizer: cannot load {name!r}: {type(fault).__name__}: {str(fault)[:200]}; "
            "give a `tokenizers` JSON file, or hub:NAME where the hub can be reached"
        ) from fault
    _check_numbers(tokenizer, name)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Subwords(tokenizer)


def _check_numbers(tokenizer: tokenizers.Tokenizer, name: str) -> None:
    """Refuse numbers of tokens far beyond the vocabulary.

    The library counts up to the largest one by one.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    largest = max(vocabulary.values(), default=0)
    if largest > SPARSEST * len(vocabulary) + SPARE_NUMBERS:
        raise DataError(
            f"data.tokenizer: {name!r} numbers {len(vocabulary)} tokens up to {largest}: "
            "the file is damaged; give the original one"
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder of a checkpoint has a tokenizer that `load_subwords` reads."""
    return any((folder / name).exists() for name in (TOKENIZER, *_TOKENIZER_FILES))


def _of_the_hub(repository: str, revision: str) -> tokenizers.Tokenizer:
    from huggingface_hub import snapshot_download
    from tokenizers import Tokenizer

    files = ["*.json", *_TOKENIZER_FILES, "merges.txt"]
    # The index of the weights and their files are many times larger than all of these.
    folder = Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=files, ignore_patterns=["*.index.json"]
        )
    )
    if (folder / TOKENIZER).exists():
        return Tokenizer.from_file(str(folder / TOKENIZER))
    return _through_transformers(folder)


def _through_transformers(folder: Path) -> tokenizers.Tokenizer:
    """What `transformers` makes of the files of a slow tokenizer.

    A model of sentencepiece, or a vocabulary and merges.
    """
    from tokenizers import Tokenizer

    if not has_tokenizer(folder):
        raise DataError(
            f"data.tokenizer: {folder} has no tokenizer (tokenizer.json, "
            f"{', '.join(_TOKENIZER_FILES[:3])}, ...): name the tokenizer of the checkpoint"
        )
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    backend = getattr(made, "backend_tokenizer", None)
    if backend is None or backend.get_vocab_size() < SMALLEST_VOCABULARY:
        raise DataError(
            f"data.tokenizer: transformers makes no fast tokenizer of the files in {folder}: save "
            "it as tokenizer.json"
        )
    return Tokenizer.from_str(backend.to_str())


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Lists of documents of about a million characters each.

    That is enough to keep all cores busy, but not all the memory.
    """
    passed = 0

    def bin_of(document: str) -> int:
        nonlocal passed
        passed += len(document)
        return passed // _BATCH_CHARACTERS

    return (list(group) for _, group in groupby(documents, key=bin_of))
