"""Sources of text, read as a stream of documents.

They have a training split and, some of them, a validation split.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.data.base import DataError
from study.data.cache import digest, file_digest
from study.data.compressed import content_of, opened, plain_suffix, utf8
from study.data.config import Corpus
from study.data.splits import folder_digest, load_splits, no_path, split_of, train_and_val
from study.settings.faults import some_of
from study.settings.yaml_files import is_file, is_folder

Documents = Callable[[], Iterator[str]]

END_OF_TEXT = "<|endoftext|>"
"""Separates documents in published .txt corpora.

Also the end-of-text token of trained vocabularies.
"""

TABLES = (".parquet", ".jsonl", ".json", ".csv", ".arrow", ".tsv")
_INSTEAD = (
    "a local .txt, .jsonl or .parquet file, or a folder with parquet files of the splits train "
    "and validation"
)
_SURROGATE = re.compile("[\ud800-\udfff]")

_TITLE = re.compile(r"(?:\A|\n\n\n)([^\n]*[^\n:.,;!?])\n\n")
"""A line of its own after two blank lines, not ended by punctuation.

The title of a play in a volume.
"""


@dataclass(frozen=True)
class OpenCorpus:
    """Documents of a source.

    Each call of `train` or `val` starts a new pass over them.
    """

    content: str
    """Hash of what the documents are read from."""
    train: Documents
    val: Documents | None
    nulls: Counter[str] = field(default_factory=Counter)
    """Rows without a text, which are left out, in the last whole pass over each split."""


def open_corpus(config: Corpus, base: Path) -> OpenCorpus:
    """Open the source of `config`; relative paths start at `base`.

    Raises:
        DataError: the source is missing, cannot be read, or lacks the column, split or title asked
            for.
    """
    source = config.source
    path = (
        None
        if source == "python-docs" or source.startswith("hub:")
        else base / Path(source).expanduser()
    )
    if config.select is not None and (path is None or plain_suffix(path) != ".txt"):
        raise DataError(
            f"data.select: {config.select!r} names a part of a .txt file, but the source is "
            f"{source!r}"
        )
    if source == "python-docs":
        return _in_memory(_python_docs())
    if path is None:
        return _from_hub(source, config.text_column)
    if is_folder(path):
        return _from_folder(path, config.text_column)
    if not is_file(path):
        raise DataError(no_path(path))
    if plain_suffix(path) == ".txt":
        return _in_memory(_text_file(path, config.select))
    read = _parquet_file if path.suffix == ".parquet" else _jsonl_file
    nulls = Counter[str]()
    return OpenCorpus(
        file_digest(path),
        lambda: _without_nulls(read(path, config.text_column), nulls, "train"),
        None,
        nulls,
    )


def split_at_end(documents: Documents, val_fraction: float) -> tuple[Documents, Documents]:
    """Split a stream of documents at a share of its characters.

    The last `val_fraction` of them is validation.

    The document in which the cut falls goes to both sides in part.
    """
    cut = round((1 - val_fraction) * sum(map(len, documents())))

    def train() -> Iterator[str]:
        left = cut
        for document in documents():
            if left <= 0:
                return
            yield document[:left]
            left -= len(document)

    def val() -> Iterator[str]:
        passed = 0
        for document in documents():
            rest = document[max(0, cut - passed) :]
            passed += len(document)
            if rest:
                yield rest

    return train, val


def _python_docs() -> list[str]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return [topics[name] for name in sorted(topics)]


def _without_nulls(values: Iterator[str | None], nulls: Counter[str], split: str) -> Iterator[str]:
    """The documents among rows; how many rows had none is known after the last."""
    count = 0
    for value in values:
        if value is None:
            count += 1
        else:
            yield value
    nulls[split] = count


def _text_file(path: Path, select: str | None = None) -> list[str]:
    text = utf8(content_of(path), path)
    if select is not None:
        text = _titled_part(text, select, path)
    return (
        [document.strip("\n") for document in text.split(END_OF_TEXT)]
        if END_OF_TEXT in text
        else [text]
    )


def _titled_part(text: str, select: str, path: Path) -> str:
    starts = list(_TITLE.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    parts = {
        match[1].casefold(): text[match.start(1) : end]
        for match, end in zip(starts, ends, strict=False)
    }
    if select.casefold() not in parts:
        titles = [match[1] for match in starts]
        near = difflib.get_close_matches(select, titles, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = (
            f"its titles: {some_of(titles, select)}"
            if titles
            else "it has no titles (lines after two blank lines)"
        )
        raise DataError(f"data.select: {path} has no part titled {select!r}; {hint}{known}")
    return parts[select.casefold()]


def _in_memory(documents: list[str]) -> OpenCorpus:
    return OpenCorpus(digest(*documents), lambda: iter(documents), None)


def _parquet_file(path: Path, column: str) -> Iterator[str | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if column not in names:
            raise DataError(_no_column(column, names, path))
        for batch in file.iter_batches(columns=[column]):
            yield from _strings(batch.column(0).to_pylist(), column, path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"data.source: {path} cannot be read as parquet: {fault}; write it again"
        ) from fault


def _jsonl_file(path: Path, column: str) -> Iterator[str | None]:
    with opened(path) as file:
        for number, content in enumerate(file, start=1):
            line = utf8(content, path, line=number)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as fault:
                raise DataError(
                    f"data.source: line {number} of {path} is not JSON: {fault}"
                ) from fault
            if not isinstance(row, dict) or column not in row:
                place = f"line {number} of {path}"
                if not isinstance(row, dict):
                    raise DataError(
                        f"data.source: {place} holds a {type(row).__name__}, not "
                        f'{{"{column}": ...}}'
                    )
                raise DataError(_no_column(column, list(row), place))
            yield from _strings([row[column]], column, f"line {number} of {path}")


def _from_folder(path: Path, column: str) -> OpenCorpus:
    if texts := _text_files(path):
        return _from_texts(texts, path)
    content = folder_digest(path)
    # Streaming reads the files where they lie: no second copy, and none of the locks of the
    # library's own cache.
    return _from_splits(
        load_splits(str(path), streaming=True, instead=_INSTEAD), column, str(path), content
    )


def _text_files(folder: Path) -> list[Path]:
    """The .txt files of a folder of texts.

    None where it holds tables, with notes beside them.
    """
    files = [file for file in folder.rglob("*") if file.is_file() and not _hidden(file, folder)]
    if any(plain_suffix(file) in TABLES for file in files):
        return []
    return sorted(file for file in files if plain_suffix(file) == ".txt")


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _from_texts(files: list[Path], folder: Path) -> OpenCorpus:
    """Documents of .txt files, each read as a single one is.

    Their names tell their split.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file.relative_to(folder)) or "train", []).append(file)
    train, val = train_and_val(splits, str(folder))

    def documents(part: list[Path]) -> Documents:
        return lambda: (document for file in part for document in _text_file(file))

    content = digest("texts", *(f"{split_of(file)} {file_digest(file)}" for file in files))
    return OpenCorpus(content, documents(train), None if val is None else documents(val))


def _from_hub(name: str, column: str) -> OpenCorpus:
    splits = load_splits(name, streaming=False, instead=_INSTEAD)
    total = hashlib.sha256()
    for split in sorted(splits):
        total.update(f"{split}\n".encode())
        for document in _split_documents(splits[split], column, name):
            if document is None:
                continue
            total.update(f"{len(document)}\n".encode())
            total.update(document.encode())
    return _from_splits(splits, column, name, total.hexdigest())


def _from_splits(splits: dict[str, Any], column: str, name: str, content: str) -> OpenCorpus:
    train, val = train_and_val(splits, name)
    nulls = Counter[str]()

    def documents(split: Any, part: str) -> Documents:
        return lambda: _without_nulls(_split_documents(split, column, name), nulls, part)

    return OpenCorpus(
        content, documents(train, "train"), None if val is None else documents(val, "val"), nulls
    )


def _split_documents(split: Any, column: str, name: str) -> Iterator[str | None]:
    # The library raises errors of its own and those of every file format.
    try:
        names = split.column_names or list(split.features or next(iter(split), {}))
        if column not in names:
            raise DataError(_no_column(column, names, name))
        for batch in split.select_columns([column]).iter(batch_size=1000):
            yield from _strings(batch[column], column, name)
    except DataError:
        raise
    except Exception as fault:
        raise DataError(
            f"data.source: {name} cannot be read: {type(fault).__name__}: {fault}; look for a file "
            "of it that is damaged"
        ) from fault


def _strings(values: list[Any], column: str, place: Path | str) -> list[str | None]:
    for value in values:
        if value is None:
            continue
        if not isinstance(value, str):
            raise DataError(
                f"data.source: column {column!r} of {place} holds {value!r:.100}, which is not text"
            )
        if not value.isascii() and _SURROGATE.search(value):
            raise DataError(
                f"data.source: column {column!r} of {place} has half of a pair of surrogates, "
                "which is no character; write the text in UTF-8"
            )
    return values


def _no_column(column: str, names: list[str], place: Path | str) -> str:
    return (
        f"data.text_column: {place} has no column {column!r}; its columns: {some_of(names, column)}"
    )
