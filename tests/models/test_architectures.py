"""Any causal language model of `transformers`, measured as it measures itself.

Each has random weights and is rounded by a loop of its own (`helpers/rounding_by_hand.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rounding_by_hand import FORMATS, round_model
from tiny_architectures import CLASSES, tiny_model
from token_rows import dataset
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from study.config import MeasureConfig
from study.measuring.collect import collect
from study.models import load_pretrained
from study.precision import parse_precision, quantization_record, quantize

SHORT = ("gemma2", "opt", "granitemoe", "mamba", "recurrent_gemma", "dbrx")
LONG = (
    "apertus", "arcee", "bamba", "biogpt", "bitnet", "bloom", "codegen", "cohere", "cohere2",
    "ctrl", "cwm", "deepseek_v2", "deepseek_v3", "diffllama", "doge", "dots1", "ernie4_5",
    "ernie4_5_moe", "exaone4", "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "gemma",
    "gemma3_text", "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
    "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granitemoehybrid", "granitemoeshared",
    "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "jamba", "jetmoe", "lfm2", "llama",
    "mamba2", "minimax", "ministral", "mistral", "mixtral", "mpt", "nanochat", "nemotron",
    "olmo", "olmo2", "olmo3", "olmoe", "openai-gpt", "persimmon", "phi", "phi3", "phimoe",
    "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "rwkv", "seed_oss", "smollm3", "stablelm",
    "starcoder2", "vaultgemma", "xglm", "xlstm",
)  # fmt: skip
SETTINGS = {"granite": {"logits_scaling": 4.0}, "granitemoe": {"logits_scaling": 4.0}}


@pytest.mark.parametrize(
    "kind", [*SHORT, *(pytest.param(kind, marks=pytest.mark.long) for kind in LONG)]
)
def test_val_loss_is_that_of_the_model_itself(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    theirs = tiny_model(kind, **SETTINGS.get(kind, {}))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)  # so that formats differ
    theirs.save_pretrained(tmp_path)
    data = dataset(rows=4, context=21, classes=CLASSES)
    ours = load_pretrained(str(tmp_path), classes=CLASSES, input_shape=(20,)).eval()
    models = {"fp32": ours} | {name: quantize(ours, name).eval() for name in FORMATS[1:]}
    measure = MeasureConfig(min_count=1)
    measured = collect(models, data, measure, seed=0, device=torch.device("cpu"))
    inputs, targets = data.val.batch(torch.arange(4).numpy())
    losses = []
    for name in FORMATS:
        model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        round_model(model, name)
        with torch.no_grad():
            logits = model(input_ids=inputs, use_cache=False).logits
        loss = cross_entropy(logits.double().flatten(0, 1), targets.flatten())
        assert measured[name].values["val_loss"] == pytest.approx(float(loss), abs=1e-6), name
        losses.append(round(float(loss), 7))
    assert len(set(losses)) == len(FORMATS)


def test_the_row_says_what_no_format_rounds(tmp_path: Path) -> None:
    for kind, names in (
        ("mixtral", {"mlp.gate.weight"}),
        ("mamba", {"mixer.A_log", "mixer.conv1d.weight"}),
    ):
        tiny_model(kind).save_pretrained(tmp_path / kind)
        model = load_pretrained(str(tmp_path / kind))
        record = quantization_record(model, quantize(model, "int8"), parse_precision("int8"))
        unrounded = json.loads(str(record["unrounded_layers"]))
        assert {name.split(".", 3)[3] for name in unrounded} == names
        assert not set(unrounded) & set(json.loads(str(record["quantized_layers"])))
        plain = quantization_record(model, model, parse_precision("fp32"))
        assert "unrounded_layers" not in plain


@pytest.mark.parametrize("kind", ["opt", "gemma2"])
def test_inner_layers_of_blocks_one_level_down(tmp_path: Path, kind: str) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    model = load_pretrained(str(tmp_path)).eval()
    data = dataset(rows=4, context=21, classes=CLASSES)
    measure = MeasureConfig(min_count=1, layers="all")
    measured = collect({"fp32": model}, data, measure, seed=0, device=torch.device("cpu"))
    assert list(measured["fp32"].layers) == ["block1", "block2"]
