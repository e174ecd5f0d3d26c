"""Sources of text, read as a stream of documents.

They have a training split and, some of them, a validation split.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.base import DataError
from study.data.cache import digest, file_digest
from study.data.config import Corpus
from study.data.splits import folder_digest, load_splits, no_path, train_and_val

Documents = Callable[[], Iterator[str]]

END_OF_TEXT = "<|endoftext|>"
"""Separates documents in published .txt corpora.

Also the end-of-text token of trained vocabularies.
"""

_INSTEAD = (
    "a local .txt, .jsonl or .parquet file, or a folder with parquet files of the splits train "
    "and validation"
)

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
    if config.select is not None and (path is None or path.suffix != ".txt"):
        raise DataError(
            f"data.select: {config.select!r} names a part of a .txt file, but the source is "
            f"{source!r}"
        )
    if source == "python-docs":
        return _in_memory(_python_docs())
    if path is None:
        return _from_hub(source, config.text_column)
    if path.is_dir():
        return _from_folder(path, config.text_column)
    if not path.is_file():
        raise DataError(no_path(path))
    if path.suffix == ".txt":
        return _in_memory(_text_file(path, config.select))
    read = _parquet_file if path.suffix == ".parquet" else _jsonl_file
    return OpenCorpus(file_digest(path), lambda: read(path, config.text_column), None)


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


def _text_file(path: Path, select: str | None) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise DataError(
            f"data.source: {path} is not UTF-8 text (byte {fault.start}: {fault.reason})"
        ) from fault
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
            f"its titles: {', '.join(titles)}"
            if titles
            else "it has no titles (lines after two blank lines)"
        )
        raise DataError(f"data.select: {path} has no part titled {select!r}; {hint}{known}")
    return parts[select.casefold()]


def _in_memory(documents: list[str]) -> OpenCorpus:
    return OpenCorpus(digest(*documents), lambda: iter(documents), None)


def _parquet_file(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if column not in names:
            raise DataError(_no_column(column, names, path))
        for batch in file.iter_batches(columns=[column]):
            yield from _strings(batch.column(0).to_pylist(), column, path)
    except (ArrowInvalid, OSError) as fault:
        raise DataError(f"data.source: {path} cannot be read as parquet: {fault}") from fault


def _jsonl_file(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as fault:
                raise DataError(
                    f"data.source: line {number} of {path} is not JSON: {fault}"
                ) from fault
            if not isinstance(row, dict) or column not in row:
                names = list(row) if isinstance(row, dict) else []
                raise DataError(f"line {number}: " + _no_column(column, names, path))
            yield from _strings([row[column]], column, path)


def _from_folder(path: Path, column: str) -> OpenCorpus:
    content = folder_digest(path)
    # Streaming reads the files where they lie: no second copy, and none of the locks of the
    # library's own cache.
    return _from_splits(
        load_splits(str(path), streaming=True, instead=_INSTEAD), column, str(path), content
    )


def _from_hub(name: str, column: str) -> OpenCorpus:
    splits = load_splits(name, streaming=False, instead=_INSTEAD)
    total = hashlib.sha256()
    for split in sorted(splits):
        total.update(f"{split}\n".encode())
        for document in _split_documents(splits[split], column, name)():
            total.update(f"{len(document)}\n".encode())
            total.update(document.encode())
    return _from_splits(splits, column, name, total.hexdigest())


def _from_splits(splits: dict[str, Any], column: str, name: str, content: str) -> OpenCorpus:
    train, val = train_and_val(splits, name)
    return OpenCorpus(
        content,
        _split_documents(train, column, name),
        None if val is None else _split_documents(val, column, name),
    )


def _split_documents(split: Any, column: str, name: str) -> Documents:
    def documents() -> Iterator[str]:
        names = split.column_names or list(next(iter(split), {}))
        if column not in names:
            raise DataError(_no_column(column, names, name))
        for batch in split.select_columns([column]).iter(batch_size=1000):
            yield from _strings(batch[column], column, name)

    return documents


def _strings(values: list[Any], column: str, place: Path | str) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise DataError(
                f"data.source: column {column!r} of {place} holds {value!r}, which is not text"
            )
    return values


def _no_column(column: str, names: list[str], place: Path | str) -> str:
    return f"data.text_column: {place} has no column {column!r}; its columns: {', '.join(names)}"
