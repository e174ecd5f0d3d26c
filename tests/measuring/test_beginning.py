"""`data.bos`: the beginning of text before each chunk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import processors

from study.data import DataError, load_data
from study.data.config import TextData
from study.data.tokenizing import train_byte_pairs
from study.settings.schema import flat

TEXT = "\n\n".join(f"Page {n}: the dog of a cat runs over the hill." for n in range(60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text, a tokenizer that puts a token before it, and one that does not."""
    (tmp_path / "text.txt").write_text(TEXT)
    tokenizer = train_byte_pairs([TEXT], 300).tokenizer
    tokenizer.save(str(tmp_path / "plain.json"))
    number = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", number)]
    )
    tokenizer.save(str(tmp_path / "begins.json"))
    return tmp_path


def load(folder: Path, **settings: object):
    config = TextData.model_validate(
        {"source": "text.txt", "context": 9, "tokenizer": "begins.json"} | settings
    )
    return load_data(config, base=folder, cache=folder / "cache")


@pytest.mark.parametrize("bos", [True, "auto"])
def test_each_chunk_begins_with_it_and_every_token_is_a_target(folder: Path, bos: object) -> None:
    before, data = load(folder), load(folder, bos=bos)
    text = torch.from_numpy(before.train.tokens.astype("int64")).flatten()
    inputs, targets = data.train.batch(torch.arange(len(data.train)).numpy())
    number = data.class_names.index("<|endoftext|>")
    assert inputs.shape == targets.shape == (len(data.train), 8)
    assert bool((inputs[:, 0] == number).all())
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    common = min(len(text), targets.numel())
    assert torch.equal(targets.flatten()[:common], text[:common])
    assert data.train.samples == targets.numel() == int(data.class_counts.sum())


def test_auto_follows_the_tokenizer(folder: Path) -> None:
    plain = load(folder, tokenizer="plain.json", bos="auto")
    assert torch.equal(
        plain.train.batch(torch.arange(2).numpy())[0],
        load(folder, tokenizer="plain.json").train.batch(torch.arange(2).numpy())[0],
    )
    assert load(folder, tokenizer="plain.json", bos=True).train.begin is not None
    with pytest.raises(DataError, match="has no beginning of text"):
        load(folder, tokenizer="char", bos=True)
    with pytest.raises(DataError, match="does not occur in the text"):
        load(folder, bos=True, vocabulary="observed")


def test_the_default_is_neutral() -> None:
    assert TextData().bos == "false"
    assert flat(TextData(bos="auto"))["bos"] == "auto"
