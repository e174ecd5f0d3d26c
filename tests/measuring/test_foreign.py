"""`python -m study.measure` on checkpoints of others: their tokenizers, their padded heads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sentencepiece
import torch
from tiny_architectures import tiny_model
from token_rows import cell, dataset
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from study.data import DataError
from study.data.tokenizing import load_subwords, train_byte_pairs
from study.measure import main
from study.models import ModelError
from study.training.train import train

TEXT = "\n\n".join(
    f"Page {n}: the {word} of a {other} runs over the hill and {word}s again."
    for n in range(40)
    for word, other in (("dog", "cat"), ("river", "stone"), ("song", "bird"))
)
TOKENS = 300


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a text and a llama of 320 rows for 300 tokens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    torch.manual_seed(0)
    tiny_model("llama", vocab_size=320).save_pretrained(tmp_path / "model")
    tokenizer = train_byte_pairs([TEXT], TOKENS).tokenizer
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path


def measure(*more: str) -> pl.DataFrame:
    common = ["model", "--data", "text.txt", "--context", "32", "--min-count", "2"]
    assert main([*common, "--out", "rows.parquet", *more]) == 0
    return pl.read_parquet("rows.parquet")


def test_a_head_padded_beyond_the_tokenizer(folder: Path) -> None:
    row = measure().row(0, named=True)
    ids = np.array(Tokenizer.from_file("model/tokenizer.json").encode(TEXT).ids)
    start = len(Tokenizer.from_file("model/tokenizer.json").encode(TEXT).ids)
    assert ids.max() < TOKENS < 320
    assert start > 1000
    model = AutoModelForCausalLM.from_pretrained("model").eval()
    cached = next((folder / "runs" / ".cache").glob("*/val.npy"))
    chunks = np.load(cached).astype(np.int64)
    chunks = torch.from_numpy(chunks[: len(chunks) // 32 * 32].reshape(-1, 32))
    with torch.no_grad():
        logits = model(input_ids=chunks[:, :-1]).logits.double()
    loss = cross_entropy(logits.flatten(0, 1), chunks[:, 1:].flatten())
    assert row["val_loss"] == pytest.approx(float(loss), abs=1e-6)


def test_the_tokenizer_is_found_as_transformers_finds_it(folder: Path) -> None:
    """A vocabulary with merges gives the numbers of the tokenizer that it was written from."""
    before = measure()
    whole = Tokenizer.from_file("model/tokenizer.json")
    whole.model.save("model")
    (folder / "model" / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    tokens = load_subwords("model", folder).tokenizer
    line = TEXT.splitlines()[0]
    assert tokens.encode(line, add_special_tokens=False).ids == whole.encode(line).ids
    assert measure()["val_loss"].to_list() == before["val_loss"].to_list()


def test_a_model_of_sentencepiece(folder: Path) -> None:
    (folder / "model" / "tokenizer.json").unlink()
    sentencepiece.SentencePieceTrainer.train(
        input="text.txt",
        model_prefix="model/tokenizer",
        vocab_size=90,
        model_type="bpe",
        minloglevel=2,
    )
    (folder / "model" / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    own = sentencepiece.SentencePieceProcessor(model_file="model/tokenizer.model")
    tokens = load_subwords("model", folder).tokenizer
    for line in TEXT.split("\n\n")[:20]:
        assert tokens.encode(line, add_special_tokens=False).ids == own.encode(line)
    measure()


def test_no_tokenizer_is_a_fault_and_never_char(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model" / "tokenizer.json").unlink()
    assert main(["model", "--data", "text.txt"]) == 2
    assert "--tokenizer: is missing, and model has no tokenizer" in capsys.readouterr().err
    with pytest.raises(DataError, match="has no tokenizer"):
        load_subwords("model", folder)
    for tokenizer in ("char", "bpe:280"):
        assert main(["model", "--data", "text.txt", "--tokenizer", tokenizer]) == 2
        assert "use the tokenizer of the checkpoint" in capsys.readouterr().err


def test_only_token_numbers_are_padded(tmp_path: Path) -> None:
    tiny_model("llama", vocab_size=320).save_pretrained(tmp_path / "model")
    config = cell(model={"kind": "pretrained", "path": str(tmp_path / "model")}, batch_size=4)
    with pytest.raises(ModelError, match="has 320 classes, the data have 23"):
        next(iter(train(config, dataset(), torch.device("cpu"))))
    data = config.data.model_copy(update={"tokenizer": "hub:owner/name"})
    config = config.model_copy(update={"data": data})
    last = list(train(config, dataset(), torch.device("cpu")))[-1]
    assert last.model.head.out_features == 320
    assert last.train_loss_running is not None
