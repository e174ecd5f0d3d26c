"""Image classifiers against torchvision's networks and published counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision import models as torchvision_models

from study.models import (
    MLP,
    ConvNeXt,
    GPTNeoModel,
    MobileNetV3,
    ModelError,
    PretrainedModel,
    ResNet18,
    SimpleCNN,
    UnconstrainedFeatures,
    build_model,
    load_checkpoint,
    load_pretrained,
    parameter_count,
    save_checkpoint,
)
from study.models.base import FeatureModel

RGB = (3, 32, 32)
SMALL_MODELS = [
    SimpleCNN(width=24, depth=3),
    SimpleCNN(width=16, depth=1, head="fixed_etf"),
    ResNet18(),
    MobileNetV3(),
    ConvNeXt(),
    ConvNeXt(width=16, depth=7),
    MLP(width=24, depth=3),
    MLP(width=16, depth=1, head="fixed_etf"),
]


def name(settings: Any) -> str:
    if isinstance(settings, str):
        return settings
    return settings.kind + "".join(
        f"-{v}" for k, v in settings.model_dump(exclude_defaults=True).items() if k != "kind"
    )


def build(
    settings: Any, classes: int = 10, shape: tuple[int, ...] = RGB, seed: int = 0
) -> FeatureModel:
    return build_model(settings, classes=classes, input_shape=shape, seed=seed)


def images(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        (ResNet18(), torchvision_models.resnet18),
        (MobileNetV3(), torchvision_models.mobilenet_v3_small),
        (MobileNetV3(variant="large"), torchvision_models.mobilenet_v3_large),
        (ConvNeXt(variant="tiny"), torchvision_models.convnext_tiny),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_logits_of_large_images_are_those_of_torchvision(settings: Any, reference: Any) -> None:
    """The same tensors give the same logits in torchvision's network.

    They are in the same order, so every layer is in place.
    """
    ours = build(settings, classes=7, shape=(3, 96, 80)).eval()
    with torch.no_grad():
        for tensor in ours.state_dict().values():  # so that norms and layer scales matter
            if tensor.is_floating_point() and tensor.ndim < 4 and tensor.numel() > 7:
                tensor.add_(
                    0.1
                    * torch.rand(
                        tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())
                    )
                )
    theirs = reference(num_classes=7)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = images(2, (3, 96, 80))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(x), ours.head(ours.features(x)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        (ResNet18(), "ResNet18_Weights"),
        (MobileNetV3(), "MobileNet_V3_Small_Weights"),
        (MobileNetV3(variant="large"), "MobileNet_V3_Large_Weights"),
        (ConvNeXt(variant="tiny"), "ConvNeXt_Tiny_Weights"),
        (ConvNeXt(variant="small"), "ConvNeXt_Small_Weights"),
        (ConvNeXt(variant="base"), "ConvNeXt_Base_Weights"),
    ],
    ids=name,
)
def test_counts_are_the_published_ones(settings: Any, weights: str) -> None:
    published = getattr(torchvision_models, weights).DEFAULT.meta["num_params"]
    assert parameter_count(settings, classes=1000, input_shape=(3, 224, 224)) == published


def test_small_images_get_a_small_stem() -> None:
    """ResNet-18 for CIFAR-10 has 11,173,962 parameters.

    ConvNeXt's nano has about a million.
    """
    assert parameter_count(ResNet18(), classes=10, input_shape=RGB) == 11_173_962
    assert 0.8e6 < parameter_count(ConvNeXt(), classes=10, input_shape=RGB) < 1.25e6
    model = build(ResNet18()).eval()
    assert model.get_submodule("stem")(images(1, RGB)).shape == (1, 64, 32, 32)
    assert ConvNeXt(depth=18).stages == ConvNeXt(variant="tiny").stages == (3, 3, 9, 3)
    assert ConvNeXt(depth=8).stages == (1, 1, 5, 1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), RGB, (4, 64, 48)], ids=str)
@pytest.mark.parametrize("settings", [m for m in SMALL_MODELS if m.kind != "resnet18"], ids=name)
def test_any_channels_sizes_and_classes(settings: Any, shape: tuple[int, ...]) -> None:
    model = build(settings, classes=5, shape=shape).eval()
    assert sum(p.numel() for p in model.parameters()) == parameter_count(
        settings, classes=5, input_shape=shape
    )
    seen: list[str] = []
    for layer, module in model.layers.items():
        module.register_forward_hook(lambda *_, layer=layer: seen.append(layer))
    features = model.features(images(2, shape))
    assert features.shape == (2, model.head.in_features)
    assert seen == [f"block{number}" for number in range(1, len(model.layers) + 1)]
    if isinstance(settings, SimpleCNN | MLP):
        assert len(seen) == settings.depth
    if isinstance(settings, ConvNeXt):
        assert len(seen) == sum(settings.stages)


@pytest.mark.parametrize("settings", SMALL_MODELS, ids=name)
def test_the_seed_decides_and_the_global_generator_stays(settings: Any) -> None:
    before = torch.get_rng_state()
    first, again, other = (build(settings, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    matrices = [
        key for key, value in first.items() if value.ndim > 1 and value.numel() > max(value.shape)
    ]
    assert not any(torch.equal(first[key], other[key]) for key in matrices)


@pytest.mark.parametrize("settings", SMALL_MODELS, ids=name)
def test_nothing_is_random_in_training_unless_switched_on(settings: Any) -> None:
    x = images(4, RGB)
    model = build(settings).train()
    assert torch.equal(model(x), model(x))
    for switch in ("dropout", "stochastic_depth"):
        if switch in type(settings).model_fields:
            random = build(settings.model_copy(update={switch: 0.5})).train()
            torch.manual_seed(0)
            assert any(not torch.equal(random(x), random(x)) for _ in range(5))
            random.eval()
            assert torch.equal(random(x), random(x))


@pytest.mark.parametrize(
    "settings", [*SMALL_MODELS, UnconstrainedFeatures(width=9, head="fixed_etf")], ids=name
)
def test_checkpoints_come_back_as_they_were(settings: Any, tmp_path: Path) -> None:
    free = isinstance(settings, UnconstrainedFeatures)
    shape = (20,) if free else (1, 16, 16)
    model = build(settings, shape=shape)
    x = torch.arange(4) if free else images(4, shape)
    model.train()(x)  # moves the running means of batch norms
    model.eval()
    save_checkpoint(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_checkpoint(tmp_path).eval()
    assert torch.equal(loaded(x), model(x))
    assert loaded.settings == model.settings
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert parameter_count(
        PretrainedModel(path="."), classes=10, input_shape=shape, base=tmp_path
    ) >= sum(p.numel() for p in model.parameters())


def test_damaged_and_unfitting_checkpoints_are_refused(tmp_path: Path) -> None:
    save_checkpoint(build(SimpleCNN(width=8, depth=1)), tmp_path)
    with pytest.raises(
        ModelError, match=r"takes inputs of shape \(3, 32, 32\), the data have \(1, 8, 8\)"
    ):
        load_pretrained(".", input_shape=(1, 8, 8), base=tmp_path)
    assert load_pretrained(".", input_shape=(3, 16, 16), base=tmp_path).head.out_features == 10
    config = (tmp_path / "config.json").read_text()
    for old, new in (
        ('"depth": 1', '"depth": 2'),
        ('"classes": 10', '"classes": 9'),
        ("simple_cnn", "no_cnn"),
    ):
        (tmp_path / "config.json").write_text(config.replace(old, new))
        with pytest.raises(ModelError, match="does not fit its own description"):
            load_checkpoint(tmp_path)


def test_a_perceptron_is_what_it_says() -> None:
    """Two layers written out; He et al. 2015: variance 2 / fan-in, biases zero."""
    settings = MLP(width=400, depth=2)
    model = build(settings, shape=(3, 5, 7))
    tensors = dict(model.named_parameters())
    (w1, b1, w2, b2), x = list(tensors.values())[:4], images(6, (3, 5, 7))
    expected = torch.relu(torch.relu(x.reshape(6, -1) @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(model.features(x), expected)
    torch.testing.assert_close(model(x), expected @ model.head.weight.T + model.head.bias)
    for weight, bias in ((w1, b1), (w2, b2)):
        assert float(weight.detach().var()) == pytest.approx(2 / weight.shape[1], rel=0.03)
        assert not bias.any()
    by_hand = (105 * 400 + 400) + (400 * 400 + 400) + (400 * 10 + 10)
    assert parameter_count(settings, classes=10, input_shape=(3, 5, 7)) == by_hand
    assert settings.build(classes=2, input_shape=(1, 1, 1), seed=0).features(
        torch.ones(1, 1, 1, 1)
    ).shape == (1, 400)


def test_a_perceptron_takes_images_of_its_own_size_alone(tmp_path: Path) -> None:
    save_checkpoint(build(MLP(width=8, depth=1), shape=(1, 8, 8)), tmp_path)
    assert load_pretrained(".", input_shape=(1, 8, 8), base=tmp_path).head.out_features == 10
    with pytest.raises(ModelError, match=r"takes inputs of shape \(1, 8, 8\), .* \(1, 4, 16\)"):
        load_pretrained(".", input_shape=(1, 4, 16), base=tmp_path)


def test_what_cannot_be_built_is_refused_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"images of 32 x 7 pixels.*at least 8"):
        build(ResNet18(), shape=(3, 32, 7))
    with pytest.raises(
        ModelError, match="100 classes needs at least 99 features, the model has 64"
    ):
        build(SimpleCNN(width=64, depth=1, head="fixed_etf"), classes=100)
    with pytest.raises(
        ModelError, match=r"gpt_neo reads tokens, not inputs of shape \(3, 32, 32\)"
    ):
        build(GPTNeoModel(width=16, depth=1, heads=2))
    with pytest.raises(ModelError, match="either context"):
        build_model(ResNet18(), classes=10, seed=0)
    for wrong in ({"depth": 5}, {"variant": "huge"}, {"stochastic_depth": 1.0}):
        with pytest.raises(ValidationError):
            ConvNeXt(**wrong)


def test_a_fixed_head_is_a_frozen_simplex_frame() -> None:
    head = build(SimpleCNN(width=24, depth=1, head="fixed_etf")).head
    assert isinstance(head, nn.Linear)
    assert head.bias is None
    assert not head.weight.requires_grad
    gram = head.weight @ head.weight.T
    torch.testing.assert_close(gram, (torch.eye(10) * 10 - 1) / 9, rtol=0, atol=1e-6)
