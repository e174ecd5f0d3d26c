"""Checkpoints that cannot be read: one sentence with the file and a remedy, never a traceback.

The whole file runs `study.models.load_pretrained` on folders that are damaged in one place each.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_architectures import CLASSES, tiny_model

from study.models import GPTNeoModel, ModelError, build_model, load_pretrained, save_checkpoint

Damage = Callable[[Path], None]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
KINDS = ("llama", "gpt_neo", "own")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each of `KINDS`."""
    root = tmp_path_factory.mktemp("sound")
    torch.manual_seed(0)
    for kind in ("llama", "gpt_neo"):
        tiny_model(kind).save_pretrained(root / kind)
    own = build_model(GPTNeoModel(width=32, depth=2, heads=4), classes=CLASSES, context=33, seed=0)
    save_checkpoint(own, root / "own")
    for kind in KINDS:
        load_pretrained(kind, base=root)
    return root


def config(**settings: Any) -> Damage:
    """Settings of config.json replaced; `...` deletes one."""

    def damage(folder: Path) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text()) | settings
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return damage


def text(name: str, content: str | bytes) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return damage


def cut(part: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])

    return damage


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Damage:
    def damage(folder: Path) -> None:
        content = load_file(folder / "model.safetensors")
        change(content)
        save_file(content, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def header(content: bytes, length: int | None = None) -> Damage:
    size = struct.pack("<Q", len(content) if length is None else length)
    return text("model.safetensors", size + content)


def pickled(content: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        if isinstance(content, bytes):
            (folder / "pytorch_model.bin").write_bytes(content)
        else:
            torch.save(content, folder / "pytorch_model.bin")

    return damage


def quantized(**settings: Any) -> Damage:
    return config(quantization_config=settings)


def first_matrix(content: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(content) if content[name].ndim == 2)


def to_type(dtype: torch.dtype) -> Damage:
    def change(content: dict[str, torch.Tensor]) -> None:
        name = first_matrix(content)
        content[name] = content[name].to(dtype)

    return tensors(change)


def replaced(value: float) -> Damage:
    def change(content: dict[str, torch.Tensor]) -> None:
        content[first_matrix(content)][0, 0] = value

    return tensors(change)


def without_one(content: dict[str, torch.Tensor]) -> None:
    del content[first_matrix(content)]


def narrowed(content: dict[str, torch.Tensor]) -> None:
    name = first_matrix(content)
    content[name] = content[name][:, :5].clone()


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {
        "metadata": {},
        "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damaged_index(folder: Path) -> None:
    no_weights(folder)
    (folder / "model.safetensors.index.json").write_text("{")


def folder_for_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


ANY: dict[str, Damage] = {
    "config empty": text("config.json", ""),
    "config list": text("config.json", "[]"),
    "config number": text("config.json", "3"),
    "config half": text("config.json", '{"model_type": "llama", '),
    "config nested": text("config.json", "[" * 100_000),
    "config latin": text("config.json", b'{"model_type": "\xe9"}'),
    "config pointer": text("config.json", LFS),
    "config folder": folder_for_config,
    "no model_type": config(model_type=...),
    "model_type number": config(model_type=3),
    "model_type list": config(model_type=["llama"]),
    "model_type unknown": config(model_type="no_such_model"),
    "model_type of images": config(model_type="vit", architectures=["ViTModel"]),
    "weights empty": text("model.safetensors", b""),
    "weights pointer": text("model.safetensors", LFS),
    "weights text": text("model.safetensors", b"<html>404</html>" * 50),
    "weights half": cut(0.5),
    "weights less a byte": cut(0.99999),
    "header too long": header(b"{}", 2**60),
    "header no json": header(b"{{{{"),
    "header list": header(b"[1, 2]"),
    "header without offsets": header(b'{"a": {"dtype": "F32", "shape": [1]}}'),
    "header shape of words": header(
        b'{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}'
    ),
    "no weights": no_weights,
    "missing shard": missing_shard,
    "damaged index": damaged_index,
    "int8 codes": to_type(torch.int8),
    "uint8 codes": to_type(torch.uint8),
    "int32 codes": to_type(torch.int32),
    "float8 codes": to_type(torch.float8_e4m3fn),
    "a tensor less": tensors(without_one),
    "a tensor more": tensors(lambda t: t.update({"extra.weight": torch.zeros(3, 3)})),
    "a tensor narrower": tensors(narrowed),
    "vocabulary of 10^9": config(vocab_size=10**9),
    "vocabulary negative": config(vocab_size=-1),
    "vocabulary text": config(vocab_size="many"),
    "width 0": config(hidden_size=0),
    "width 10^7": config(hidden_size=10**7),
    "width null": config(hidden_size=None),
    "pickle of nothing": pickled(b""),
    "pickle pointer": pickled(LFS),
    "pickle of a list": pickled([1, 2]),
    "pickle that runs": pickled(b"cos\nsystem\n(S'true'\ntR."),
    "gptq": quantized(quant_method="gptq", bits=4, group_size=32),
    "awq": quantized(quant_method="awq", bits=4),
    "bitsandbytes": quantized(quant_method="bitsandbytes", load_in_8bit=True),
    "fp8": quantized(quant_method="fp8", weight_block_size=[128, 128]),
    "hqq": quantized(quant_method="hqq", quant_config={}),
    "mxfp4": quantized(quant_method="mxfp4"),
    "torchao": quantized(quant_method="torchao", quant_type="int4_weight_only"),
}
OF_LLAMA: dict[str, Damage] = {
    "nan": replaced(float("nan")),
    "infinity": replaced(float("inf")),
    "layers 1": config(num_hidden_layers=1),
    "layers 3": config(num_hidden_layers=3),
    "layers 0": config(num_hidden_layers=0),
    "layers 10^9": config(num_hidden_layers=10**9),
    "layers text": config(num_hidden_layers="two"),
    "heads 0": config(num_attention_heads=0),
    "heads 5": config(num_attention_heads=5),
    "key heads 3": config(num_key_value_heads=3),
    "activation unknown": config(hidden_act="no_such_activation"),
    "rope unknown": config(rope_parameters={"rope_type": "no_such_rope"}, rope_scaling=None),
    "rope list": config(rope_parameters=[1]),
    "architectures number": config(architectures=3),
    "architectures of numbers": config(architectures=[3]),
    "for masks": config(architectures=["LlamaForMaskedLM"]),
    "own code": config(
        model_type="theirs", auto_map={"AutoModelForCausalLM": "modeling_theirs.Theirs"}
    ),
    "labels 10^9": config(num_labels=10**9, architectures=["LlamaForSequenceClassification"]),
    "not causal": config(is_causal=False),
    "other layers": config(layer_types=["no_such_layer"] * 2),
    "pad beyond": config(pad_token_id=10**6),
    "experts": config(model_type="mixtral", architectures=["MixtralForCausalLM"]),
}
OF_GPT_NEO: dict[str, Damage] = {
    "no attention_types": config(attention_types=..., attention_layers=...),
    "attention_types number": config(attention_types=3),
    "attention_types flat": config(attention_types=["global"]),
    "attention_types endless": config(attention_types=[[["global", "local"], 10**9]]),
    "num_layers 1": config(num_layers=1),
    "num_heads 0": config(num_heads=0),
    "num_heads 5": config(num_heads=5),
    "positions 10^9": config(max_position_embeddings=10**9),
    "window text": config(window_size="wide"),
}
TABLE = [
    *((kind, name, damage) for kind in KINDS for name, damage in ANY.items()),
    *(("llama", name, damage) for name, damage in OF_LLAMA.items()),
    *((kind, n, damage) for kind in ("gpt_neo", "own") for n, damage in OF_GPT_NEO.items()),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "damage"),
    [pytest.param(kind, damage, id=f"{kind}: {name}") for kind, name, damage in TABLE],
)
def test_one_sentence_with_file_and_remedy(
    sound: Path, tmp_path: Path, kind: str, damage: Damage
) -> None:
    for file in (sound / kind).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(ModelError) as raised:
        load_pretrained(str(tmp_path), classes=CLASSES, input_shape=(20,))
    message = str(raised.value)
    assert len(message.replace(str(tmp_path), "")) <= 500
    assert "\n" not in message
    assert ": " in message
    assert "Traceback" not in message


@pytest.mark.parametrize("kind", ["llama", "mpt", "gpt2"])
def test_inputs_longer_than_the_positions(tmp_path: Path, kind: str) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    load_pretrained(str(tmp_path), classes=CLASSES, input_shape=(64,))
    with pytest.raises(ModelError, match=r"only 64 positions: shorten data.context 66"):
        load_pretrained(str(tmp_path), classes=CLASSES, input_shape=(65,))
