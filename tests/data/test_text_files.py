"""Text as other programs write it: folders, compression, marks, rows without text, damage."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.data import DataError, check_data, load_data
from study.data.base import Dataset
from study.data.config import TextData

STORIES = [f"{number} green bottles,\nhanging on the wall;\n" for number in range(50)]
TEXT = "<|endoftext|>".join(STORIES)


def load(folder: Path, source: str, **settings: Any) -> Dataset:
    config = TextData(source=source, context=8, **settings)
    return load_data(config, base=folder, cache=folder / "cache")


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def same_tokens(one: Dataset, other: Dataset) -> bool:
    return one.fingerprint == other.fingerprint and one.facts == other.facts


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        ("train.txt", "valid.txt"),
        ("TinyStories-train.txt", "TinyStories-valid.txt"),
        ("train/a.txt", "validation/a.txt"),
        ("V2_train.txt.gz", "V2_val.txt.zst"),
    ],
)
def test_a_folder_of_texts_is_documents_as_a_single_file_is(
    tmp_path: Path, train: str, valid: str
) -> None:
    """The published layout of TinyStories: documents are set apart by the end of text."""
    folder = tmp_path / "stories"
    for name, content in ((train, TEXT), (valid, TEXT[:400])):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        packs: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}
        pack = packs.get(path.suffix, bytes)
        path.write_bytes(pack(content.encode()))
    data = load(tmp_path, "./stories", tokenizer="bpe:270")
    assert data.facts["train_documents"] == 50
    assert data.facts["val_documents"] == TEXT[:400].count("<|endoftext|>") + 1
    counts = dict(zip(data.class_names, data.class_counts, strict=True))
    assert counts["<|endoftext|>"] <= 49  # between documents, not between lines


def test_a_folder_of_texts_without_splits_is_cut_at_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT[:800])
    (folder / "b.txt").write_text(TEXT[800:])
    (folder / ".note.txt").write_text("hidden")
    data = load(tmp_path, "./texts")
    joint = TEXT[:800].split("<|endoftext|>") + TEXT[800:].split("<|endoftext|>")
    whole = sum(len(part.strip("\n")) for part in joint)
    assert data.facts["train_documents"] == len(joint) - 4
    tokens = data.facts["train_tokens_in_corpus"]
    assert isinstance(tokens, int)
    assert tokens > 0.9 * whole


def test_notes_beside_tables_are_no_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "README.txt").write_text("what this is")
    pq.write_table(pa.table({"text": STORIES}), folder / "train.parquet")
    assert load(tmp_path, "./tables").facts["train_documents"] == 46


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_compressed_files_are_what_they_hold(tmp_path: Path, kind: str, ending: str) -> None:
    rows = "\n".join(json.dumps({"text": story}) for story in STORIES)
    content = (TEXT if kind == "txt" else rows).encode()
    (tmp_path / f"x.{kind}").write_bytes(content)
    pack = gzip.compress if ending == ".gz" else zstd
    (tmp_path / f"x.{kind}{ending}").write_bytes(pack(content))
    packed = load(tmp_path, f"x.{kind}{ending}")
    assert same_tokens(packed, load(tmp_path, f"x.{kind}"))
    assert same_tokens(packed, load(tmp_path, f"./x.{kind}{ending}"))
    damaged = pack(content)[:-30]
    (tmp_path / f"y.{kind}{ending}").write_bytes(damaged)
    with pytest.raises(DataError, match=f"y.{kind}{ending} "):
        load(tmp_path, f"y.{kind}{ending}")


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_a_byte_order_mark_is_no_class(tmp_path: Path, kind: str) -> None:
    rows = "\n".join(json.dumps({"text": story}) for story in STORIES)
    content = (TEXT if kind == "txt" else rows).encode()
    (tmp_path / f"x.{kind}").write_bytes(content)
    (tmp_path / f"marked.{kind}").write_bytes(b"\xef\xbb\xbf" + content)
    marked = load(tmp_path, f"marked.{kind}")
    assert same_tokens(marked, load(tmp_path, f"x.{kind}"))
    assert "\ufeff" not in marked.class_names


def _write_rows(path: Path, rows: list[str | None]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"text": row}) for row in rows))
    else:
        pq.write_table(pa.table({"text": pa.array(rows, pa.string())}), path)


@pytest.mark.parametrize("source", ["x.jsonl", "x.parquet", "./folder"])
def test_rows_without_text_are_left_out_and_counted(tmp_path: Path, source: str) -> None:
    rows: list[str | None] = [*STORIES[:20], None, *STORIES[20:], None]
    if source == "./folder":
        (tmp_path / "folder").mkdir()
        _write_rows(tmp_path / "folder" / "train.parquet", rows)
        _write_rows(tmp_path / "folder" / "valid.parquet", [None, *STORIES[:10]])
        nulls = 3
    else:
        _write_rows(tmp_path / source, rows)
        nulls = 2
    for _ in range(2):  # built, and from the cache
        data = load(tmp_path, source)
        assert data.facts["rows_without_text"] == nulls
        documents = 50 if source == "./folder" else 46
        assert data.facts["train_documents"] == documents
    _write_rows(tmp_path / "whole.parquet", list(STORIES))
    assert "rows_without_text" not in load(tmp_path, "whole.parquet").facts


def _broken_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": STORIES}), path)
    content = bytearray(path.read_bytes())
    content[100:130] = bytes(30)
    path.write_bytes(content)


def _invalid_utf8(path: Path) -> None:
    column = pa.array([b"\xe9"] * 3, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), path)


def _bytes(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


MALFORMED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("x.jsonl", _bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n'), "line 2 of"),
    ("x.jsonl", _bytes(b'{"text": "a"}\n\n{"text": "\\ud800"}\n'), "line 3 of"),
    ("x.jsonl", _bytes(b'{"text": "a"}\n{"text": 3}\n'), "line 2 of"),
    ("x.jsonl", _bytes(b'{"text": "a"}\n[1]\n'), "line 2"),
    ("x.jsonl", _bytes(b'{"text": "a"\n'), "line 1 of"),
    ("x.jsonl", _bytes(b"[" * 100_000), "line 1 of"),
    ("x.jsonl", _bytes(json.dumps({f"name{n}": n for n in range(900)}).encode()), "no column"),
    ("x.jsonl", _bytes(b'{"text": null}\n'), "no text"),
    ("x.jsonl", _bytes(b""), "no text"),
    ("x.txt", _bytes(b"one\ntwo\ncaf\xe9\n"), "line 3 of"),
    ("x.txt", _bytes("text".encode("utf-16")), "line 1 of"),
    ("x.txt", _bytes(b""), "no text"),
    ("x.txt.gz", _bytes(b"no gzip"), "cannot be read"),
    ("x.txt.gz", _bytes(b""), "no text"),
    ("x.txt.zst", _bytes(b"no zstd"), "cannot be read"),
    ("x.parquet", _bytes(b""), "cannot be read as parquet"),
    ("x.parquet", _bytes(b"PAR1" + bytes(50) + b"PAR1"), "cannot be read as parquet"),
    ("x.parquet", _broken_parquet, "x.parquet"),
    ("x.parquet", _invalid_utf8, "cannot be read as parquet"),
    ("x.parquet", lambda path: pq.write_table(pa.table({"text": [1, 2]}), path), "not text"),
    ("x.parquet", lambda path: pq.write_table(pa.table({"a": ["b"]}), path), "no column 'text'"),
    ("x.parquet", lambda path: _write_rows(path, []), "no text"),
    ("x.parquet", lambda path: path.mkdir(), "is empty"),
    ("./folder/train.parquet", _invalid_utf8, "cannot be read"),
    ("./folder/train.parquet", _bytes(b""), "cannot"),
    ("./folder/train.jsonl", _bytes(b'{"text": "caf\xe9"}\n'), "cannot"),
    ("./folder/train.jsonl", _bytes(b'{"text": "\\ud800"}\n'), "folder"),
    ("./folder/train.txt", _bytes(b"caf\xe9"), "line 1 of"),
    ("./folder/valid.txt", _bytes(b"only this"), "no split train"),
    ("./folder/train.parquet", lambda path: _write_rows(path, []), "no rows"),
]


@pytest.mark.parametrize(("source", "write", "said"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_files_are_told_with_file_and_place(
    tmp_path: Path, source: str, write: Callable[[Path], Any], said: str
) -> None:
    path = tmp_path / source
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "./folder" if "folder" in source else source)
    assert said in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert "\n" not in str(caught.value)


def test_a_validation_split_without_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    _write_rows(tmp_path / "folder" / "train.parquet", list(STORIES))
    _write_rows(tmp_path / "folder" / "validation.parquet", [])
    with pytest.raises(DataError, match=r"validation\.parquet has no rows"):
        load(tmp_path, "./folder")


def test_long_messages_are_shortened(tmp_path: Path) -> None:
    assert len(str(DataError("x" * 9000))) <= 500
    with pytest.raises(DataError) as caught:
        check_data(TextData(source="./" + "n" * 240 + "/" + "m" * 5000 + ".txt"), base=tmp_path)
    assert len(str(caught.value)) <= 500


def test_texts_need_no_torch(tmp_path: Path) -> None:
    code = "import study.data.corpus, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
