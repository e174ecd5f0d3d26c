"""Text corpora, each fact against a count made another way.

Sources, tokenizers, packing, shares.
"""

from __future__ import annotations

import collections
import json
import pydoc_data.topics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import SHARED
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from study.data import DataError, check_data, estimate, load_data
from study.data.base import Dataset
from study.data.config import TextData

shared_files = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not on this machine")


def load(tmp_path: Path, **settings: Any) -> Dataset:
    return load_data(TextData(**settings), base=tmp_path, cache=tmp_path / "cache")


def decoded(data: Dataset, split: str) -> str:
    """The text of a split, put together from inputs and targets."""
    part = getattr(data, split)
    inputs, targets = part.batch(np.arange(len(part)))
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    rows = np.concatenate([inputs.numpy(), targets[:, -1:].numpy()], axis=1)
    return "".join(data.class_names[number] for number in rows.ravel())


TEXT = "".join(f"{number} green bottles, hanging on the wall;\n" for number in range(100))


def test_python_docs_split_packing_and_facts(tmp_path: Path) -> None:
    topics = pydoc_data.topics.topics
    whole = "\n\n".join(topics[name] for name in sorted(topics))
    data = load(tmp_path, context=32)
    train = decoded(data, "train")
    assert whole.startswith(train)
    assert data.classes == len(set(whole)) == data.facts["classes"]
    assert data.input_shape == (31,)
    characters = sum(len(text) for text in topics.values())
    cut = round(0.9 * characters)
    passed, documents = 0, 0
    for name in sorted(topics):
        documents += passed < cut
        passed += len(topics[name])
    assert data.facts["train_documents"] == documents
    assert data.facts["train_tokens_in_corpus"] == cut + 2 * (documents - 1)
    assert data.facts["train_chunks"] == len(data.train) == (cut + 2 * (documents - 1)) // 32
    assert data.train.samples == len(data.train) * 31 == data.facts["samples"]
    assert decoded(data, "val") in whole
    counts = collections.Counter(
        letter for start in range(0, len(train), 32) for letter in train[start + 1 : start + 32]
    )
    assert {data.class_names[c]: int(n) for c, n in enumerate(data.class_counts) if n} == counts
    assert data.facts["classes_in_use"] == len(counts)
    assert data.facts["samples_per_class_mean"] == pytest.approx(np.mean(list(counts.values())))
    assert data.facts["samples_per_class_std"] == pytest.approx(np.std(list(counts.values())))


def test_validation_is_the_end_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    data = load(tmp_path, source="text.txt", context=2, val_fraction=0.25)
    cut = round(0.75 * len(TEXT))
    assert decoded(data, "train") == TEXT[: cut - cut % 2]
    assert decoded(data, "val") == TEXT[cut : len(TEXT) - (len(TEXT) - cut) % 2]


@pytest.mark.parametrize("split", ["train", "val"])
def test_shares_are_taken_from_the_start_in_whole_chunks(tmp_path: Path, split: str) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    whole = decoded(load(tmp_path, source="text.txt", context=10), split)
    share = load(tmp_path, source="text.txt", context=10, **{f"{split}_tokens": 77})
    assert decoded(share, split) == whole[:70]
    assert share.classes == len(set(TEXT))  # the alphabet stays that of the whole corpus
    with pytest.raises(DataError, match=rf"{split}_tokens: 77,777 asked for"):
        load(tmp_path, source="text.txt", **{f"{split}_tokens": 77_777})
    with pytest.raises(DataError, match=r"data.context: 5000 tokens do not fit"):
        load(tmp_path, source="text.txt", context=5000)


def test_observed_vocabulary_keeps_the_tokens_of_both_splits(tmp_path: Path) -> None:
    vocabulary = {letter: number for number, letter in enumerate("xabcyd<z")}
    write_tokenizer(tmp_path / "letters.json", vocabulary)
    (tmp_path / "text.txt").write_text("abcabcabca" * 9 + "abcd" + "abcabc")
    settings = {"source": "text.txt", "tokenizer": "letters.json", "context": 4}
    full = load(tmp_path, **settings)
    cut = load(tmp_path, **settings, vocabulary="observed")
    assert full.classes == 8
    assert list(cut.class_names) == ["a", "b", "c", "d"]  # d occurs in validation alone
    assert cut.class_counts[3] == 0
    assert decoded(full, "train") == decoded(cut, "train")
    assert decoded(full, "val") == decoded(cut, "val")
    assert cut.class_counts.tolist() == full.class_counts[[1, 2, 3, 5]].tolist()


def write_tokenizer(path: Path, vocabulary: dict[str, int], *special: str) -> None:
    """A byte-pair file without merges: one token a letter."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(special))
    tokenizer.enable_truncation(3)  # a file may ask for it; a corpus must not follow
    tokenizer.save(str(path))


def test_documents_are_joined_by_the_end_of_text(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "letters.json", {"a": 0, "b": 1, "c": 2}, "<|endoftext|>")
    (tmp_path / "text.txt").write_text("abab\n<|endoftext|>\ncc\n<|endoftext|>\nabcabc\n")
    data = load(tmp_path, source="text.txt", tokenizer="letters.json", context=2, val_fraction=0.25)
    assert data.facts["train_documents"] == 3
    assert decoded(data, "train") == "abab<|endoftext|>cc<|endoftext|>abc"[:-1]
    assert decoded(data, "val") == "abc"[:2]


def byte_level(text: str) -> str:
    return text.replace(" ", "Ġ").replace("\n", "Ċ")


def test_trained_byte_pairs_are_of_the_training_split_reversible_and_deterministic(
    tmp_path: Path,
) -> None:
    (tmp_path / "text.txt").write_text(TEXT + "zyzzyva quizzify " * 20)
    settings: dict[str, Any] = {
        "source": "text.txt",
        "tokenizer": "bpe:300",
        "context": 8,
        "val_fraction": 0.1,
    }
    first = load(tmp_path, **settings)
    second = load_data(TextData(**settings), base=tmp_path, cache=tmp_path / "other")
    assert first.fingerprint == second.fingerprint
    assert list(first.class_names) == list(second.class_names)
    assert first.classes == 300
    assert any("bottle" in name for name in first.class_names)
    assert not any("zyva" in name for name in first.class_names)  # it occurs in validation alone
    assert byte_level(TEXT).startswith(decoded(first, "train"))
    assert decoded(first, "val")[-200:] in byte_level(TEXT + "zyzzyva quizzify " * 20)
    with pytest.raises(DataError, match=r"too small for bpe:50000: it gives \d+ tokens"):
        load(tmp_path, source="text.txt", tokenizer="bpe:50000")


DOCUMENTS = [f"Once upon a time there were {number} cats." for number in range(40)]


def write_tiny_stories_layout(folder: Path) -> None:
    """Parquet files named and split as roneneldan/TinyStories publishes them."""
    (folder / "data").mkdir(parents=True)
    for part, documents in enumerate((DOCUMENTS[:20], DOCUMENTS[20:30])):
        table = pa.table({"text": documents})
        pq.write_table(
            table, folder / "data" / f"train-{part:05}-of-00002-2d5a1467fff1081{part}.parquet"
        )
    pq.write_table(
        pa.table({"text": DOCUMENTS[30:]}),
        folder / "data" / "validation-00000-of-00001-869c898b519ad725.parquet",
    )


def test_a_folder_laid_out_like_tiny_stories_keeps_its_own_splits(tmp_path: Path) -> None:
    write_tiny_stories_layout(tmp_path / "TinyStories")
    data = load(tmp_path, source="./TinyStories", context=2)
    assert "\n\n".join(DOCUMENTS[:30]).startswith(decoded(data, "train"))
    assert "\n\n".join(DOCUMENTS[30:]).startswith(decoded(data, "val"))
    assert (data.facts["train_documents"], data.facts["val_documents"]) == (30, 10)


def test_jsonl_parquet_and_text_of_one_content_are_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"story": d, "n": 1}) for d in DOCUMENTS) + "\n\n"
    )
    pq.write_table(pa.table({"n": range(40), "story": DOCUMENTS}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(DOCUMENTS))
    sets = [
        load(tmp_path, source="a.jsonl", text_column="story", context=16),
        load(tmp_path, source="a.parquet", text_column="story", context=16),
        load(tmp_path, source="a.txt", context=16),
    ]
    assert len({data.fingerprint for data in sets}) == 1
    assert "\n\n".join(DOCUMENTS).startswith(decoded(sets[0], "train"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "text.tx/"}, r"no file or folder .*text.tx; did you mean 'text.txt'\?"),
        ({"source": "nowhere/a.txt"}, "there is no folder"),
        (
            {"source": "a.jsonl"},
            "data.text_column: line 1 of .* has no column 'text'; its columns: story",
        ),
        ({"source": "a.jsonl", "text_column": "story"}, "line 2 of .* is not JSON"),
        ({"source": "a.parquet"}, "has no column 'text'; its columns: n"),
        (
            {"source": "a.parquet", "text_column": "n"},
            "column 'n' of .* holds 1, which is not text",
        ),
        ({"source": "broken.parquet"}, "cannot be read as parquet"),
        ({"source": "latin.txt"}, r"not UTF-8 text \(byte 3"),
        ({"source": "empty.txt"}, "there is no text in the source"),
        ({"source": "./hollow"}, "is empty"),
        ({"source": "text.txt", "select": "Hamlet"}, "no part titled 'Hamlet'"),
        ({"source": "a.jsonl", "select": "Hamlet"}, "names a part of a .txt file"),
        ({"tokenizer": "missing.json"}, "data.tokenizer: no file"),
        ({"tokenizer": "a.json"}, "data.tokenizer: cannot load 'a.json'"),
    ],
)
def test_faults_of_data_say_what_and_where(
    tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "a.jsonl").write_text('{"story": "x"}\n{"story": \n')
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "a.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=message):
        load(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "python-doc"}, "'python-doc' is no known source: use python-docs"),
        ({"source": "hub:"}, "no hub name"),
        ({"tokenizer": "chars"}, "'chars' is no known tokenizer: use char"),
        ({"tokenizer": "bpe:lots"}, "at least 257"),
        ({"tokenizer": "bpe:256"}, "at least 257"),
        ({"context": 1}, "greater than or equal to 2"),
        ({"context": True}, "valid integer"),
        ({"val_fraction": 1.0}, "less than 1"),
        ({"vocabulary": "used"}, "'full' or 'observed'"),
        ({"trian_tokens": 3}, "Extra inputs are not permitted"),
    ],
)
def test_faults_of_settings_are_readable(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextData(**settings)


def test_changed_content_changes_the_fingerprint_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    first = load(tmp_path, source="text.txt")
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "copy.txt").write_text(TEXT)
    assert (
        load(tmp_path, source="moved/copy.txt", context=16, train_tokens=160).fingerprint
        == first.fingerprint
    )
    (tmp_path / "text.txt").write_text(TEXT.replace("50 green", "50 grey!"))
    changed = load(tmp_path, source="text.txt")
    assert changed.fingerprint != first.fingerprint


def test_a_damaged_token_file_is_built_again(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    before = decoded(load(tmp_path, source="text.txt"), "train")
    (tokens,) = (tmp_path / "cache").glob("*/train.npy")
    data = bytearray(tokens.read_bytes())
    data[-7] ^= 0xFF
    tokens.write_bytes(data)
    assert decoded(load(tmp_path, source="text.txt"), "train") == before


def test_estimate_knows_what_was_built(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    settings = TextData(source="text.txt", context=16, train_tokens=1000)
    cache = tmp_path / "cache"
    assert estimate(settings, base=tmp_path, cache=cache) is None
    data = load_data(settings, base=tmp_path, cache=cache)
    size = estimate(settings, base=tmp_path, cache=cache)
    assert size is not None
    assert (size.train_rows, size.train_samples, size.val_samples) == (
        len(data.train),
        data.train.samples,
        data.val.samples,
    )
    assert size.classes == data.classes
    assert (
        estimate(TextData(source="text.txt", val_fraction=0.3), base=tmp_path, cache=cache) is None
    )


def test_checking_settings_and_estimating_do_not_import_torch(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from study.data import check_data, estimate
from study.data.config import TextData
here = Path({str(tmp_path)!r})
check_data(TextData(), base=here)
assert estimate(TextData(), base=here, cache=here) is None
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_check_data_finds_missing_files_before_anything_is_built(tmp_path: Path) -> None:
    check_data(
        TextData(source="hub:owner/name", tokenizer="hub:owner/name"), base=tmp_path
    )  # not asked for here
    with pytest.raises(DataError, match="no file or folder"):
        check_data(TextData(source="./missing"), base=tmp_path)
    with pytest.raises(DataError, match="no file"):
        check_data(TextData(tokenizer="missing.json"), base=tmp_path)


@pytest.mark.parametrize(
    "settings", [{"source": "hub:owner/stories@main"}, {"tokenizer": "hub:owner/tokenizer"}]
)
def test_the_hub_offline_gives_a_clear_error(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"""
from pathlib import Path
from study.data import DataError, load_data
from study.data.config import TextData
try:
    load_data(TextData(**{settings!r}), base=Path({str(tmp_path)!r}), cache=Path({str(tmp_path)!r}))
except DataError as fault:
    print(fault)
"""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    process = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "cannot load" in process.stdout
    assert "owner/" in process.stdout
    assert "give a" in process.stdout


@shared_files
def test_one_play_is_selected_by_its_title(tmp_path: Path) -> None:
    text = (SHARED / "shakespeare.txt").read_text(encoding="utf-8")
    start, end = (
        text.index("\nJulius Caesar\n\nACT I") + 1,
        text.index("\n\n\nTitus Andronicus\n\nACT I"),
    )
    data = load(
        tmp_path, source=str(SHARED / "shakespeare.txt"), select="julius caesar", context=64
    )
    assert text[start:end].startswith(decoded(data, "train"))
    total = int(data.facts["train_tokens_in_corpus"]) + int(data.facts["val_tokens_in_corpus"])
    assert total == end - start
    with pytest.raises(DataError, match="did you mean 'Othello'"):
        load(tmp_path, source=str(SHARED / "shakespeare.txt"), select="Otello")


@shared_files
def test_shakespeare_in_gpt2_tokens_has_the_published_vocabulary(tmp_path: Path) -> None:
    data = load(
        tmp_path,
        source=str(SHARED / "shakespeare.txt"),
        tokenizer=str(SHARED / "gpt2_tokenizer.json"),
        vocabulary="observed",
    )
    # Counted by whoever wrote the README beside the file: 1,532,573 tokens of the undivided text,
    # 19,075 distinct.
    total = int(data.facts["train_tokens_in_corpus"]) + int(data.facts["val_tokens_in_corpus"])
    assert abs(total - 1_532_573) <= 4
    assert abs(data.classes - 19_075) <= 1
    assert sum((data.class_counts >= 100).tolist()) < 1_515


def test_the_first_samples_of_a_chunk_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    whole = load(tmp_path, source="text.txt", context=10)
    data = load(tmp_path, source="text.txt", context=10, ignore_first=4)
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    expected, all_targets = whole.train.batch(np.arange(len(whole.train)))
    assert (inputs == expected).all()
    assert (targets[:, :4] == -100).all()
    assert (targets[:, 4:] == all_targets[:, 4:]).all()
    assert data.train.samples == int((targets >= 0).sum()) == data.class_counts.sum()
    assert (
        data.class_counts.tolist()
        == np.bincount(targets[:, 4:].ravel(), minlength=data.classes).tolist()
    )
    with pytest.raises(ValidationError, match="ignore_first: 9 leaves none of the 9 samples"):
        TextData(context=10, ignore_first=9)
