"""Image classifiers behind the interface of the study: a stem, blocks, a neck to features (B, d), a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large, mobilenet_v3_small, resnet18
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from study.models.config import ModelError
from study.models.own import OwnModel, make_head
from study.models.vision_config import (
    SMALL,
    ConvNeXt,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    VisionModel,
    convnext_patch,
)

SMALLEST = 8
"""Shorter side of the smallest images; below it maps vanish on the way."""


@dataclass(frozen=True)
class Parts:
    """A network without its head; `width` is the number of features."""

    stem: nn.Module
    blocks: Sequence[nn.Module]
    neck: nn.Module
    width: int


class ImageClassifier(OwnModel):
    """`head(neck(blocks(stem(x))))` for images (B, channels, height, width)."""

    def __init__(self, settings: VisionModel, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__(settings, classes, input_shape)
        channels, *sides = input_shape
        if min(sides) < SMALLEST:
            raise ModelError(
                f"images of {sides[0]} x {sides[1]} pixels: the shorter side must be at least {SMALLEST}"
            )
        parts = _parts(settings, channels, min(sides))
        self.stem, self.blocks, self.neck = parts.stem, nn.Sequential(*parts.blocks), parts.neck
        self.head = make_head(settings, parts.width, classes)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {f"block{number}": block for number, block in enumerate(self.blocks, start=1)}

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.neck(self.blocks(self.stem(x)))
        return features


def _parts(settings: VisionModel, channels: int, side: int) -> Parts:
    match settings:
        case SimpleCNN():
            return _simple_cnn(settings, channels, side)
        case ResNet18():
            return _resnet18(channels, side)
        case MobileNetV3():
            return _mobilenet_v3(settings, channels, side)
        case ConvNeXt():
            return _convnext(settings, channels, side)


def _simple_cnn(settings: SimpleCNN, channels: int, side: int) -> Parts:
    blocks = []
    for number in range(settings.depth):
        convolution = nn.Conv2d(
            settings.width if number else channels, settings.width, 3, padding=1, bias=False
        )
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        block = [convolution, nn.BatchNorm2d(settings.width), nn.ReLU()]
        if side >= SMALLEST:
            block.append(nn.MaxPool2d(2))
            side //= 2
        blocks.append(nn.Sequential(*block))
    return Parts(nn.Identity(), blocks, _Pooled(nn.Dropout(settings.dropout)), settings.width)


def _resnet18(channels: int, side: int) -> Parts:
    net = resnet18()
    small = side <= SMALL
    net.conv1 = nn.Conv2d(channels, 64, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    pool = nn.Identity() if small else net.maxpool
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, pool)
    blocks = [
        block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage
    ]
    return Parts(stem, blocks, _Pooled(), net.fc.in_features)


def _mobilenet_v3(settings: MobileNetV3, channels: int, side: int) -> Parts:
    net = (mobilenet_v3_small if settings.variant == "small" else mobilenet_v3_large)(
        dropout=settings.dropout
    )
    stem, *blocks, last = net.features
    stride = 1 if side <= SMALL else 2
    stem[0] = nn.Conv2d(channels, stem[0].out_channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(stem[0].weight, mode="fan_out")
    *neck, head = net.classifier
    return Parts(stem, blocks, nn.Sequential(last, _Pooled(*neck)), head.in_features)


def _convnext(settings: ConvNeXt, channels: int, side: int) -> Parts:
    widths = [settings.first_width << stage for stage in range(4)]
    stages = [
        CNBlockConfig(width, after, blocks)
        for width, after, blocks in zip(widths, [*widths[1:], None], settings.stages, strict=True)
    ]
    net = TorchvisionConvNeXt(stages, stochastic_depth_prob=settings.stochastic_depth)
    patch = convnext_patch(side)
    stem = net.features[0]
    stem[0] = nn.Conv2d(channels, widths[0], patch, stride=patch)
    nn.init.trunc_normal_(stem[0].weight, std=0.02)
    nn.init.zeros_(stem[0].bias)
    blocks: list[nn.Module] = list(net.features[1])
    for shrink, stage in zip(net.features[2::2], net.features[3::2], strict=True):
        first, *others = stage
        blocks += [nn.Sequential(shrink, first), *others]
    norm, flatten, head = net.classifier
    return Parts(stem, blocks, nn.Sequential(net.avgpool, norm, flatten), head.in_features)


class _Pooled(nn.Module):
    """Means over the positions of feature maps, (B, channels, h, w) -> (B, channels), then the given modules."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.after = nn.Sequential(*after)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.after(torch.mean(x, dim=(2, 3)))
        return pooled
