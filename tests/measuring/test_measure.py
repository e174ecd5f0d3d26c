"""`python -m study.measure`: rows and class tables of any checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from study.data import load_data
from study.data.base import Dataset, Split
from study.data.config import TextData
from study.measure import main
from study.metrics import ClassMoments, NearestCentre
from study.models import GPTNeoModel, build_model, save_checkpoint
from study.models.base import FeatureModel

DATA = (
    "data: {kind: text, source: python-docs, context: 32, train_tokens: 4000, val_tokens: 2000}\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a checkpoint and the settings of its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text(DATA)
    data = load_data(TextData(context=32), base=tmp_path, cache=tmp_path / "runs" / ".cache")
    model = build_model(
        GPTNeoModel(width=16, depth=1, heads=2), classes=data.classes, context=32, seed=0
    )
    save_checkpoint(model, tmp_path / "model")
    return tmp_path


def test_rows_and_classes_of_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["model", "--data", "data.yaml", "--precision", "fp32,int8,,int8", "--layers", "all"]
    assert main([*command, "--out", "rows.parquet", "--classes", "classes.parquet"]) == 0
    rows = pl.read_parquet("rows.parquet")
    assert rows.select("precision", "layer").rows() == [
        ("fp32", None),
        ("fp32", "block1"),
        ("int8", None),
        ("int8", "block1"),
    ]
    assert (
        json.loads(pl.read_parquet_metadata("rows.parquet")["metrics"])["nc1_ratio"]["family"]
        == "NC1"
    )
    classes = pl.read_parquet("classes.parquet").filter(pl.col("precision") == "fp32")
    data = load_data(
        TextData(context=32, train_tokens=4000, val_tokens=2000),
        base=folder,
        cache=folder / "cache",
    )
    model = build_model(
        GPTNeoModel(width=16, depth=1, heads=2), classes=data.classes, context=32, seed=0
    ).eval()
    expected = moments(model, data.train)
    measured = (expected.counts >= 10).nonzero().squeeze(1)
    assert classes["class"].to_list() == measured.tolist()
    assert classes["count"].to_list() == expected.counts[measured].tolist()
    assert classes["variance_norm"].to_list() == pytest.approx(
        expected.variance_norms[measured].tolist(), rel=1e-9
    )
    assert classes["name"].to_list() == [data.class_names[c] for c in measured]
    fp32 = rows.row(0, named=True)
    weights = classes["val_samples"].fill_null(0)
    agreed = (classes["agreement"].fill_null(0.0) * weights).sum()
    assert fp32["nc4_agreement"] * data.val.samples == pytest.approx(
        agreed + agreed_elsewhere(model, data, expected)
    )
    printed = capsys.readouterr().out
    assert "nc4_agreement" in printed
    assert "4 rows in rows.parquet" in printed


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_checkpoints_of_others_are_measured_and_quantized(folder: Path, kind: str) -> None:
    """Both are compared with their own forward.

    GPT-2 stores its linear layers transposed and ties the head, Llama does neither.
    """
    data = load_data(
        TextData(context=32, train_tokens=4000, val_tokens=2000),
        base=folder,
        cache=folder / "cache",
    )
    torch.manual_seed(0)
    special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        sizes: dict[str, Any] = {"n_positions": 31, "n_embd": 32, "n_layer": 2, "n_head": 2}
        theirs = GPT2LMHeadModel(GPT2Config(vocab_size=data.classes, **sizes, **special)).eval()
    else:
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        theirs = LlamaForCausalLM(LlamaConfig(vocab_size=data.classes, **sizes, **special)).eval()
    theirs.save_pretrained(folder / kind)
    command = [
        kind,
        "--data",
        "data.yaml",
        "--precision",
        "fp32,int4-g32",
        "--layers",
        "all",
        "--out",
        "rows.parquet",
    ]
    assert main(command) == 0
    rows = pl.read_parquet("rows.parquet")
    assert rows["layer"].to_list() == [None, "block1", "block2"] * 2
    inputs, targets = batch(data.val)
    with torch.no_grad():
        expected = cross_entropy(theirs(inputs).logits.flatten(0, 1), targets)
    plain, rounded = rows.filter(pl.col("layer").is_null()).to_dicts()
    assert plain["val_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert rounded["tied_embedding_changed"] is (True if kind == "gpt2" else None)
    matrices = [
        name for name, value in theirs.named_parameters() if value.ndim == 2 and "wpe" not in name
    ]
    # the record names the places of a tied weight one by one
    assert len(json.loads(rounded["quantized_layers"])) == len(matrices) + (kind == "gpt2")
    assert 0.03 < rounded["weight_error"] < 0.12
    assert rounded["logits_error"] > 0


def test_the_memory_of_a_large_model_is_planned_from_its_config_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An 8 B Llama without weights: they take 30 GiB, its head 2 GiB in each of three forms."""
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder / "llama")
    names = "fp32,bf16,int8,int6,int4,int4-g32,int3,int2,fp8,nf4"
    command = ["llama", "--layers", "all", "--device", "cuda", "--dry-run", "--precision"]
    assert main([*command, names]) == main([*command, "int4"]) == 0
    many, one = capsys.readouterr().out.splitlines()
    assert many == one
    match = re.fullmatch(r"memory: device ([\d.]+) GiB, host ([\d.]+) GiB", many)
    assert match is not None
    device, host = map(float, match.groups())
    means = 40 * 128_256 * 4096 / 2**30
    assert 30 + means < device < 60 < host < 61
    assert main(["model", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("memory: device 0.0 GiB, host 0.")
    assert main(["nowhere", "--dry-run"]) == 2


@pytest.mark.long
def test_two_workers_give_the_rows_of_one(folder: Path) -> None:
    command = ["model", "--data", "data.yaml", "--precision", "fp32,int4", "--layers", "all"]
    command += ["--threads", "1", "--out"]
    assert main([*command, "one.parquet"]) == 0
    assert main([*command, "two.parquet", "--workers", "2"]) == 0
    one, two = (pl.read_parquet(f"{n}.parquet").drop("seconds") for n in ("one", "two"))
    assert_frame_equal(one, two, check_exact=False, rel_tol=1e-10, abs_tol=1e-12)


def batch(split: Split) -> tuple[Tensor, Tensor]:
    inputs, targets = split.batch(np.arange(len(split)))
    return inputs, targets.reshape(-1)


def moments(model: FeatureModel, split: Split) -> ClassMoments:
    inputs, targets = batch(split)
    m = ClassMoments(model.head.out_features, model.head.in_features)
    with torch.no_grad():
        m.update(model.features(inputs).reshape(len(targets), -1), targets)
    return m


def agreed_elsewhere(model: FeatureModel, data: Dataset, m: ClassMoments) -> int:
    """Validation samples of unmeasured classes with equal decisions, by hand."""
    inputs, targets = batch(data.val)
    with torch.no_grad():
        h = model.features(inputs).reshape(len(targets), -1)
        same = model.head(h).argmax(1) == NearestCentre(m).nearest(h)
    return int((same & (m.counts[targets] < 10)).sum())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--data", "data.yaml"], "nowhere"),
        (["model"], "Name the data to measure on"),
        (["model", "--data", "missing.yaml"], "no such file"),
        (["model", "--data", "data.yaml", "--precision", "int33"], "int33"),
        (["model", "--data", "data.yaml", "--precision", "qat-int4"], "fine-tunes"),
        (["model", "--data", "data.yaml", "--precision", ","], "names no precision"),
        (["model", "--data", "data.yaml", "--min-count", "0"], "min_count"),
        (["model", "--data", "data.yaml", "--workers", "0"], "at least 1"),
        (
            ["model", "--data", "data.yaml", "--min-count", "9999", "--classes", "c.parquet"],
            "two measured classes; 0",
        ),
        (["model", "--data", "nowhere.txt", "--tokenizer", "char"], "nowhere.txt"),
        (["model", "--data", "python-docs", "--tokenizer", "bpe:400"], "classes"),
        (
            ["model", "--data", "python-docs", "--tokenizer", "char", "--context", "4000"],
            "has only 2048 positions",
        ),
    ],
)
def test_bad_requests_are_answered_with_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
