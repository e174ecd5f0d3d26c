"""The convolutional bodies of image classifiers.

Three of them are adapted from torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large, mobilenet_v3_small, resnet18
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from study.models.image_classifier import Body
from study.models.vision_config import (
    SMALL,
    ConvNeXt,
    MobileNetV3,
    ResNet18,
    SimpleCNN,
    convnext_patch,
)


def simple_cnn(settings: SimpleCNN, input_shape: tuple[int, ...]) -> Body:
    """Plain convolutions; see `SimpleCNN`."""
    channels, side = input_shape[0], min(input_shape[1:])
    blocks = []
    for number in range(settings.depth):
        convolution = nn.Conv2d(
            settings.width if number else channels, settings.width, 3, padding=1, bias=False
        )
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        block = [convolution, nn.BatchNorm2d(settings.width), nn.ReLU()]
        if side >= settings.smallest:
            block.append(nn.MaxPool2d(2))
            side //= 2
        blocks.append(nn.Sequential(*block))
    return Body(nn.Identity(), blocks, _Pooled(nn.Dropout(settings.dropout)), settings.width)


def residual_18(settings: ResNet18, input_shape: tuple[int, ...]) -> Body:
    """ResNet-18 with a stem that suits the size of the images."""
    net = resnet18()
    small = min(input_shape[1:]) <= SMALL
    net.conv1 = nn.Conv2d(input_shape[0], 64, *((3, 1, 1) if small else (7, 2, 3)), bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    pool = nn.Identity() if small else net.maxpool
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, pool)
    blocks = [
        block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage
    ]
    return Body(stem, blocks, _Pooled(), net.fc.in_features)


def mobilenet_v3(settings: MobileNetV3, input_shape: tuple[int, ...]) -> Body:
    """MobileNetV3 with a stem that suits the size of the images."""
    net = (mobilenet_v3_small if settings.variant == "small" else mobilenet_v3_large)(
        dropout=settings.dropout
    )
    stem, *blocks, last = net.features
    stride = 1 if min(input_shape[1:]) <= SMALL else 2
    stem[0] = nn.Conv2d(
        input_shape[0], stem[0].out_channels, 3, stride=stride, padding=1, bias=False
    )
    nn.init.kaiming_normal_(stem[0].weight, mode="fan_out")
    *neck, head = net.classifier
    return Body(stem, blocks, nn.Sequential(last, _Pooled(*neck)), head.in_features)


def convnext(settings: ConvNeXt, input_shape: tuple[int, ...]) -> Body:
    """ConvNeXt with patches that suit the size of the images."""
    widths = [settings.first_width << stage for stage in range(4)]
    stages = [
        CNBlockConfig(width, after, blocks)
        for width, after, blocks in zip(widths, [*widths[1:], None], settings.stages, strict=True)
    ]
    net = TorchvisionConvNeXt(stages, stochastic_depth_prob=settings.stochastic_depth)
    patch = convnext_patch(min(input_shape[1:]))
    stem = net.features[0]
    stem[0] = nn.Conv2d(input_shape[0], widths[0], patch, stride=patch)
    nn.init.trunc_normal_(stem[0].weight, std=0.02)
    nn.init.zeros_(stem[0].bias)
    blocks: list[nn.Module] = list(net.features[1])
    for shrink, stage in zip(net.features[2::2], net.features[3::2], strict=True):
        first, *others = stage
        blocks += [nn.Sequential(shrink, first), *others]
    norm, flatten, head = net.classifier
    return Body(stem, blocks, nn.Sequential(net.avgpool, norm, flatten), head.in_features)


class _Pooled(nn.Module):
    """Means over the positions of feature maps, then the given modules.

    (B, channels, h, w) -> (B, channels).
    """

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.after = nn.Sequential(*after)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.after(torch.mean(x, dim=(2, 3)))
        return pooled
