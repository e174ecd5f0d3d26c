"""Checkpoints of others: what is used, what is refused, whose numbers they give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_architectures import CLASSES, tiny_model
from token_rows import dataset
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from study.config import MeasureConfig
from study.data.base import Dataset
from study.measuring.collect import collect
from study.measuring.columns import Measurement
from study.metrics import collapse_metrics
from study.models import ModelError, load_pretrained, save_checkpoint
from study.models.base import FeatureModel
from study.precision import quantize

Change = Callable[[dict[str, Tensor]], None]


def saved(folder: Path, kind: str, **settings: Any) -> Path:
    torch.manual_seed(0)
    tiny_model(kind, **settings).save_pretrained(folder)
    return folder


def rewrite(folder: Path, change: Change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def reconfigure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def measured(model: FeatureModel, data: Dataset) -> Measurement:
    measure = MeasureConfig(min_count=1)
    return collect({"m": model.eval()}, data, measure, seed=0, device=torch.device("cpu"))["m"]


def own_loss(folder: Path, data: Dataset) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs, targets = data.val.batch(torch.arange(len(data.val)).numpy())
    with torch.no_grad():
        logits = model(input_ids=inputs, use_cache=False).logits
    return float(cross_entropy(logits.double().flatten(0, 1), targets.flatten()))


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_a_decoder_that_sees_later_tokens_is_refused(tmp_path: Path, kind: str) -> None:
    setting = "is_causal" if kind == "llama" else "use_bidirectional_attention"
    saved(tmp_path, kind, **{setting: kind != "llama"})
    with pytest.raises(ModelError, match=r"not causal: tokens from position 12 on move"):
        load_pretrained(str(tmp_path))


def as_codes(tensors: dict[str, Tensor], ending: str) -> None:
    name = next(name for name in tensors if name.endswith("mlp.c_fc.weight") or "up_proj" in name)
    scale = tensors[name].abs().amax(1)
    tensors[name] = (tensors[name] / scale[:, None] * 127).round().to(torch.int8)
    tensors[name.removesuffix("weight") + ending] = scale


@pytest.mark.parametrize("kind", ["gpt_neo", "llama"])
@pytest.mark.parametrize("ending", ["SCB", "weight_scale"])
def test_integer_matrices_are_named(tmp_path: Path, kind: str, ending: str) -> None:
    saved(tmp_path, kind)
    rewrite(tmp_path, lambda tensors: as_codes(tensors, ending))
    with pytest.raises(ModelError, match=r"quantized weights \(I8\): .*\.weight.*dequantize"):
        load_pretrained(str(tmp_path))
    rewrite(tmp_path, to_floats)
    with pytest.raises(ModelError, match=f"does not use: .*{ending}"):
        load_pretrained(str(tmp_path))


def to_floats(tensors: dict[str, Tensor]) -> None:
    tensors |= {name: tensor.float() for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", ["gpt_neo", "llama", "gpt2", "opt", "mamba"])
def test_layers_beyond_the_settings_are_refused(tmp_path: Path, kind: str) -> None:
    saved(tmp_path, kind)
    name = {"gpt_neo": "num_layers", "gpt2": "n_layer"}.get(kind, "num_hidden_layers")
    own = {"attention_types": [[["global"], 1]], "attention_layers": ["global"]}
    reconfigure(tmp_path, **{name: 1}, **(own if kind == "gpt_neo" else {}))
    with pytest.raises(ModelError, match=r"does not use: .*1\..* and \d+ more"):
        load_pretrained(str(tmp_path))
    reconfigure(tmp_path, **{name: 3})
    with pytest.raises(ModelError, match=r"lacks weights|nothing where|num_layers"):
        load_pretrained(str(tmp_path))


def double_head(tensors: dict[str, Tensor]) -> None:
    name = "transformer.wte.weight" if "transformer.wte.weight" in tensors else "wte.weight"
    tensors["lm_head.weight"] = 2 * tensors.get(name, tensors.get("model.embed_tokens.weight"))


@pytest.mark.parametrize("kind", ["gpt_neo", "gemma"])
def test_a_head_of_its_own_is_kept_and_untied(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "a", kind)
    rewrite(tmp_path / "a", double_head)
    data = dataset(rows=4, context=21, classes=CLASSES)
    model = load_pretrained("a", base=tmp_path)
    assert not model.tied
    loss = measured(model, data).values["val_loss"]
    assert loss == pytest.approx(own_loss(tmp_path / "a", data), abs=1e-6)
    head = AutoModelForCausalLM.from_pretrained(tmp_path / "a").get_output_embeddings()
    torch.testing.assert_close(model.head.weight, head.weight, rtol=0, atol=0)
    assert not torch.equal(model.head.weight, model.embedding.weight)
    save_checkpoint(model, tmp_path / "b")
    again = load_pretrained("b", base=tmp_path)
    assert not again.tied
    assert torch.equal(again.head.weight, model.head.weight)


def test_a_tied_head_that_the_file_repeats_stays_tied(tmp_path: Path) -> None:
    saved(tmp_path, "gpt_neo")
    rewrite(tmp_path, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].clone()}))
    assert load_pretrained(str(tmp_path)).tied


def test_masks_of_older_files_are_no_weights(tmp_path: Path) -> None:
    saved(tmp_path, "gpt_neo")
    mask = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
    names = [f"transformer.h.{n}.attn.attention" for n in range(2)]
    masks = {f"{name}.bias": mask.clone() for name in names}
    masks |= {f"{name}.masked_bias": torch.tensor(-1e9) for name in names}
    rewrite(tmp_path, lambda tensors: tensors.update(masks))
    load_pretrained(str(tmp_path))
    rewrite(tmp_path, lambda t: t.update({f"{names[0]}.bias": torch.ones(64)}))
    with pytest.raises(ModelError, match=r"does not use: transformer\.h\.0\.attn\.attention\.bias"):
        load_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "settings", "scale", "cap"),
    [
        ("cohere", {"logit_scale": 0.25}, 0.25, None),
        ("granite", {"logits_scaling": 8.0}, 0.125, None),
        ("gemma2", {"final_logit_softcapping": 5.0}, 1.0, 5.0),
        ("gemma2", {"final_logit_softcapping": 1e6}, 1.0, 1e6),
        ("gemma2", {"final_logit_softcapping": None}, 1.0, None),
    ],
)
def test_scaled_and_capped_logits(
    tmp_path: Path, kind: str, settings: dict[str, Any], scale: float, cap: float | None
) -> None:
    """The scale is part of the head's rows; a cap changes the loss and no decision."""
    saved(tmp_path, kind, **settings)
    name = "model.embed_tokens.weight"
    rewrite(tmp_path, lambda t: t.update({name: t[name] * 30}))
    model = load_pretrained(str(tmp_path)).eval()
    assert (model.logit_scale, model.logit_cap) == (scale, cap)
    data = dataset(rows=4, context=21, classes=CLASSES)
    result = measured(model, data)
    assert result.values["val_loss"] == pytest.approx(own_loss(tmp_path, data), rel=1e-6)
    x = data.val.batch(torch.arange(4).numpy())[0]
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(input_ids=x).logits
        torch.testing.assert_close(model(x), theirs, rtol=1e-6, atol=1e-5)
    geometry = collapse_metrics(result.moments, model.head.weight * scale, min_count=1)
    assert {column: result.values[column] for column in geometry} == dict(geometry)


def test_rows_beyond_the_classes_stay_in_the_softmax(tmp_path: Path) -> None:
    """With the padded rows at minus infinity the loss would be that of a smaller head."""
    saved(tmp_path, "llama", pad_token_id=None)
    data = dataset(rows=4, context=21, classes=CLASSES - 13)
    with pytest.raises(ModelError, match="has 96 classes, the data have 83"):
        load_pretrained(str(tmp_path), classes=data.classes, input_shape=data.input_shape)
    model = load_pretrained(
        str(tmp_path), classes=data.classes, input_shape=data.input_shape, padded=True
    )
    result = measured(model, data)
    assert result.values["val_loss"] == pytest.approx(own_loss(tmp_path, data), abs=1e-6)
    assert result.moments.classes == CLASSES
    occurring = int((torch.from_numpy(data.class_counts) > 0).sum())
    assert int((result.moments.counts > 0).sum()) == occurring < data.classes
    with pytest.raises(ModelError, match="has 96 classes, the data have 97"):
        load_pretrained(str(tmp_path), classes=CLASSES + 1, padded=True)


def image_model(kind: str) -> Any:
    sizes = {"num_labels": 7, "image_size": 16, "patch_size": 8, "hidden_size": 32}
    own: dict[str, dict[str, Any]] = {
        "vit": {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48} | sizes,
        "resnet": {
            "num_labels": 7,
            "embedding_size": 16,
            "hidden_sizes": [16, 32],
            "depths": [1, 1],
        },
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **own[kind])
    return AutoModelForImageClassification.from_config(config).eval()


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_image_classifiers_with_a_linear_head(tmp_path: Path, kind: str) -> None:
    theirs = image_model(kind)
    theirs.save_pretrained(tmp_path / "a")
    ours = load_pretrained("a", classes=7, input_shape=(3, 16, 16), base=tmp_path).eval()
    x = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(pixel_values=x).logits, rtol=0, atol=1e-6)
        assert ours.features(x).flatten(1).shape == (5, 32)
        rounded = quantize(ours, "int8")
        assert not torch.equal(rounded(x), ours(x))
    with pytest.raises(ModelError, match="reads images"):
        load_pretrained("a", classes=7, input_shape=(20,), base=tmp_path)
    save_checkpoint(ours, tmp_path / "b")
    again = load_pretrained("b", base=tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(x), ours(x))


def text_settings(kind: str, **more: Any) -> Any:
    sizes = {"vocab_size": CLASSES, "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64}
    return AutoConfig.for_model(kind, **sizes, **heads, **more)


def test_a_sequence_classifier_with_a_linear_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = text_settings("bert", num_labels=5)
    theirs = AutoModelForSequenceClassification.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(str(tmp_path), classes=5, input_shape=(20,)).eval()
    x = torch.randint(CLASSES, (3, 20))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(input_ids=x).logits, rtol=0, atol=1e-6)
        assert ours.features(x).shape == (3, 32)


def test_models_of_other_tasks_are_refused_with_the_true_reason(tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(text_settings("bert")).save_pretrained(tmp_path / "masked")
    with pytest.raises(ModelError, match="is a BertForMaskedLM: measured are causal"):
        load_pretrained("masked", base=tmp_path)
    config = text_settings("llama", num_labels=5, num_key_value_heads=2, pad_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path / "scores")
    with pytest.raises(ModelError, match="pooled after the head"):
        load_pretrained("scores", base=tmp_path)
    config = text_settings("roberta", num_labels=5)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path / "roberta")
    load_pretrained("roberta", base=tmp_path, classes=5, input_shape=(20,))
