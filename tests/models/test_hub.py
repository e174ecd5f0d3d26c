"""Checkpoints in the Hugging Face layout.

Ours read by transformers, theirs read by us.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from study.models import (
    GPTNeoModel,
    ModelError,
    NanoGPTModel,
    PretrainedModel,
    build_model,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from study.models.foreign import HubModel
from study.models.transformer import Transformer

SPECIAL: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=90, n_positions=64, n_embd=32, n_layer=2, n_head=4, **SPECIAL)
    )


def llama() -> LlamaForCausalLM:
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    config = LlamaConfig(
        vocab_size=90, num_key_value_heads=2, max_position_embeddings=64, **sizes, **SPECIAL
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_gpt_neo_goes_to_hugging_face_and_back_bit_for_bit(tmp_path: Path, depth: int) -> None:
    ours = build_model(
        GPTNeoModel(width=32, depth=depth, heads=4, window=8), classes=70, context=50, seed=0
    )
    save_checkpoint(ours, tmp_path / "ours")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert isinstance(theirs, GPTNeoForCausalLM)
    assert (
        theirs.config.attention_layers == ["global", "local", "global", "local", "global"][:depth]
    )
    theirs.save_pretrained(tmp_path / "theirs")
    back = load_checkpoint(tmp_path / "theirs")
    assert isinstance(back, Transformer)
    assert back.architecture == ours.architecture
    for (name, mine), (other_name, other) in zip(
        ours.named_parameters(), back.named_parameters(), strict=True
    ):
        assert name == other_name
        assert torch.equal(mine, other), name
    save_checkpoint(back, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        tmp_path / "ours/model.safetensors"
    ).read_bytes()


def test_the_published_architecture_is_written_as_in_table_2(tmp_path: Path) -> None:
    """The sizes of Wu & Papyan 2024, table 2, made smaller.

    Two blocks instead of twelve, width 64 instead of 1024.
    """
    save_checkpoint(
        build_model(GPTNeoModel(width=64, depth=2), classes=50257, context=2048, seed=0), tmp_path
    )
    config = json.loads((tmp_path / "config.json").read_text())
    table = {
        "activation_function": "gelu_new", "architectures": ["GPTNeoForCausalLM"],
        "attention_dropout": 0, "attention_layers": ["global", "local"], "attention_types":
        [[["global", "local"], 1]], "bos_token_id": 50256, "embed_dropout": 0, "eos_token_id":
        50256, "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": None,
        "layer_norm_epsilon": 1e-05, "max_position_embeddings": 2048, "model_type": "gpt_neo",
        "num_heads": 16, "num_layers": 2, "resid_dropout": 0, "torch_dtype": "float32", "use_cache":
        True, "vocab_size": 50257, "window_size": 256,
    }  # fmt: skip
    assert {name: config.get(name) for name in table} == table


@pytest.mark.parametrize("make", [gpt2, llama])
def test_features_are_what_a_hook_on_the_head_sees(tmp_path: Path, make) -> None:
    torch.manual_seed(0)
    theirs = make().eval()
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(str(tmp_path)).eval()
    x, seen, layers = torch.randint(0, 90, (2, 40)), [], {}
    theirs.get_output_embeddings().register_forward_hook(
        lambda _m, inputs, _o: seen.append(inputs[0])
    )
    for name, layer in ours.layers.items():
        layer.register_forward_hook(lambda _m, _i, output, name=name: layers.update({name: output}))
    with torch.no_grad():
        logits = theirs(x).logits
        torch.testing.assert_close(ours.features(x), seen[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(ours(x), logits, rtol=0, atol=1e-6)
    assert list(layers) == [
        f"block{number}" for number in range(1, theirs.config.num_hidden_layers + 1)
    ]
    assert ours.tied == (make is gpt2)
    assert ours.embedding.weight.shape == (90, 32)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_fine_tuned_hub_model_is_saved_for_transformers(tmp_path: Path, make) -> None:
    make().save_pretrained(tmp_path / "start")
    model = load_pretrained("start", base=tmp_path).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    save_checkpoint(model, tmp_path / "tuned")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    x = torch.randint(0, 90, (2, 30))
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, model(x), rtol=0, atol=1e-6)


def test_an_unusual_gpt_neo_goes_through_transformers(tmp_path: Path) -> None:
    """A hidden layer of other than four widths is not ours to build."""
    sizes: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 64,
    }
    config = GPTNeoConfig(
        **sizes, attention_types=[[["global", "local"], 1]], intermediate_size=48, **SPECIAL
    )
    theirs = GPTNeoForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(str(tmp_path)).eval()
    assert isinstance(ours, HubModel)
    x = torch.randint(0, 60, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x).logits, rtol=0, atol=1e-6)


def test_a_nanogpt_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = build_model(
        NanoGPTModel(width=32, depth=2, tied=False, bias=False), classes=30, context=20, seed=0
    )
    save_checkpoint(model, tmp_path)
    back = load_checkpoint(tmp_path)
    assert back.architecture == model.architecture
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True)
    )


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    """Not taken for logits that the model changes: NaN differs from NaN."""
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes))
    model.model.layers[0].mlp.up_proj.weight.data[3, 5] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError,
        match=r"mlp.up_proj.weight \(48, 32\) .* not finite: the checkpoint has diverged",
    ):
        load_checkpoint(tmp_path)


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    """transformers would draw the head at random and say so in a warning alone."""
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    LlamaForCausalLM(
        LlamaConfig(vocab_size=40, tie_word_embeddings=False, **sizes)
    ).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights of LlamaForCausalLM.*: lm_head.weight"):
        load_checkpoint(tmp_path)


def test_the_head_must_fit_the_data(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path / "start")
    config = PretrainedModel(path="start")
    assert (
        build_model(config, classes=90, context=64, seed=0, base=tmp_path).head.out_features == 90
    )
    with pytest.raises(ModelError, match=r"has 90 classes, the data have 91.*vocabulary full"):
        build_model(config, classes=91, context=64, seed=0, base=tmp_path)
    with pytest.raises(ModelError, match="only 64 positions"):
        build_model(config, classes=90, context=66, seed=0, base=tmp_path)


def test_what_cannot_be_read_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    model = build_model(GPTNeoModel(width=32, depth=1, heads=4), classes=30, context=20, seed=0)
    save_checkpoint(model, tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 31}))
    with pytest.raises(ModelError, match=r"\(30, 32\) where embedding.weight \(31, 32\)"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json holds a list, not settings by name"):
        load_checkpoint(tmp_path)
    for fault, said in (
        ('{"model_type": "nanogpt"}', "windows"),
        ('{"model_type": "nanogpt", "windows": [], "x": 1}', "x"),
    ):
        (tmp_path / "config.json").write_text(fault)
        with pytest.raises(ModelError, match=f"does not describe a nanogpt: .*{said}"):
            load_checkpoint(tmp_path)


def test_the_hub_out_of_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="nobody/no-such-model"):
        load_pretrained("hub:nobody/no-such-model@main")
