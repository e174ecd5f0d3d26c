"""A multilayer perceptron for vectors, and images as vectors."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from study.models.image_classifier import Body
from study.models.vision_config import MLP


def perceptron(settings: MLP, input_shape: tuple[int, ...]) -> Body:
    """Blocks of a linear layer and ReLU; weights are initialised as in He et al. 2015."""
    sizes = [prod(input_shape), *settings.depth * [settings.width]]
    blocks = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        blocks.append(nn.Sequential(linear, nn.ReLU()))
    return Body(nn.Flatten(), blocks, nn.Identity(), settings.width)
