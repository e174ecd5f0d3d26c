"""Checkpoints that are larger than a device: `study.measure --device-map auto`."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from image_rows import image_dataset
from polars.testing import assert_frame_equal
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
)

from study.config import MeasureConfig
from study.data import load_data
from study.data.config import TextData
from study.measure import main
from study.measuring.passes import Passes
from study.models import ModelError, build_model, load_pretrained, save_checkpoint
from study.models.spread import Spread, hooked, offloaded
from study.models.vision_config import MLP
from study.precision import PrecisionError, parse_precision
from study.store.paths import ScratchPaths

DATA = "data: {kind: text, source: python-docs, context: 32, train_tokens: 2000, val_tokens: 1000}"


@pytest.fixture(params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a language model of four blocks and the settings of its data.

    GPT-2 ties the head to the embedding; Llama does not, and its weights are stored in bfloat16.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text(DATA)
    data = load_data(TextData(context=32), base=tmp_path, cache=tmp_path / "runs" / ".cache")
    torch.manual_seed(0)
    special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": data.classes}
    if request.param == "gpt2":
        sizes = GPT2Config(n_positions=31, n_embd=32, n_layer=4, n_head=2, **special)
        GPT2LMHeadModel(sizes).save_pretrained(tmp_path / "model")
    else:
        llama = LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=2,
            **special,
        )
        LlamaForCausalLM(llama).bfloat16().save_pretrained(tmp_path / "model")
    return tmp_path


def limit(folder: Path) -> str:
    return limit_of(load_pretrained(str(folder / "model")))


def limit_of(model: torch.nn.Module) -> str:
    """Memory of the host that holds a part of the model alone."""
    size = 4 * sum(p.numel() for p in model.parameters())
    return f"{size * 8 // 10 // 1024}KiB"


def test_rows_are_those_without_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["model", "--data", "data.yaml", "--layers", "all", "--threads", "1", "--out"]
    assert main([*command, "whole.parquet"]) == 0
    spread = ["--device-map", "auto", "--max-memory", f"cpu={limit(folder)}"]
    assert main([*command, "spread.parquet", *spread]) == 0
    whole, parts = (pl.read_parquet(f"{n}.parquet").drop("seconds") for n in ("whole", "spread"))
    assert whole.height == 5
    assert_frame_equal(whole, parts, check_exact=True)
    capsys.readouterr()
    assert main([*command, "int8.parquet", *spread, "--precision", "fp32,int8"]) == 2
    assert "int8 cannot round weights that are not in memory" in capsys.readouterr().err


def test_a_part_is_on_disk_and_the_head_is_not(folder: Path) -> None:
    model = load_pretrained("model", spread=Spread({"cpu": limit(folder)}))
    assert offloaded(model)
    assert hooked(model)
    assert any(not p.is_meta for p in model.layers["block1"].parameters())
    assert model.head.weight.device.type == "cpu"
    plain = load_pretrained("model")
    assert torch.equal(model.head.weight, plain.head.weight)
    assert model.tied == (model.head.weight is model.embedding.weight) == plain.tied
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters())


def scratch() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{ScratchPaths.PREFIX}*"))


def test_the_folder_of_converted_weights_goes_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=64, num_hidden_layers=4, bos_token_id=0, eos_token_id=0, **sizes
    )
    theirs = LlamaForCausalLM(config).bfloat16().eval()
    theirs.save_pretrained(tmp_path / "model")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    model = load_pretrained(str(tmp_path / "model"), spread=Spread({"cpu": limit_of(theirs)}))
    assert offloaded(model)
    tokens, whole = torch.arange(20)[None], load_pretrained(str(tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(model(tokens), whole(tokens))
    assert len(scratch()) == 1
    del model
    gc.collect()
    assert not scratch()
    with torch.no_grad():
        theirs.model.layers[3].mlp.up_proj.weight[0, 0] = torch.inf
    theirs.bfloat16().save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match=r"layers.3.mlp.up_proj.weight .* not finite"):
        load_pretrained(str(tmp_path / "model"), spread=Spread({"cpu": limit_of(theirs)}))
    gc.collect()
    assert not scratch()


def test_a_classifier_is_split_as_well(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    kind: dict[str, Any] = {"num_labels": 4, "num_channels": 1, "layer_type": "basic"}
    config = ResNetConfig(**kind, **sizes)
    torch.manual_seed(0)
    theirs = ResNetForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path / "model")
    model = load_pretrained(str(tmp_path / "model"), spread=Spread({"cpu": limit_of(theirs)}))
    assert offloaded(model)
    x = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), theirs(x).logits)


def test_hooks_are_no_place_for_other_forward_passes(folder: Path) -> None:
    """A hook keeps the forward pass that a layer had, so that another class would do nothing."""
    model = load_pretrained("model")
    add_hook_to_module(model.layers["block1"], AlignDevicesHook(execution_device="cpu"))
    data = image_dataset(2, 2)
    passes = Passes(model, data, MeasureConfig(), seed=0, device=torch.device("cpu"))
    passes.check([parse_precision("fp32"), parse_precision("int4")])
    for precision in ("int8-dynamic", "bf16"):
        with pytest.raises(PrecisionError, match=f"{precision} replaces the forward passes"):
            passes.check([parse_precision("fp32"), parse_precision(precision)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--max-memory cpu=1GiB", "--max-memory: is that of --device-map. Add --device-map auto"),
        ("--device-map auto --device cpu", "--device: is cpu, but layers lie on several"),
        ("--device-map auto --workers 2", "--workers: does not go with --device-map"),
        ("--device-map auto --max-memory cpu=1,0=2GiB", "--max-memory: has 'cpu=1'"),
        ("--device-map auto", "model is a checkpoint of our own, which is read whole"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text("data: {kind: images, quota: 5}")
    mlp = build_model(MLP(width=4, depth=1), classes=10, input_shape=(1, 8, 8), seed=0)
    save_checkpoint(mlp, tmp_path / "model")
    assert main(["model", "--data", "data.yaml", *options.split()]) == 2
    assert said in capsys.readouterr().err


def test_accelerate_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("study.models.spread.find_spec", lambda name: None)
    request = ["model", "--data", "python-docs", "--tokenizer", "char", "--device-map", "auto"]
    assert main(request) == 2
    assert "pip install 'collapse-study[large]'" in capsys.readouterr().err
