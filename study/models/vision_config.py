"""Settings of image classifiers and of the unconstrained-features model, and their parameter counts; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from study.settings.base import Float, PositiveInt, Settings

Probability = Annotated[Float, Field(ge=0, lt=1)]


class HeadSettings(Settings):
    """`head: fixed_etf` freezes the classifier at a random simplex frame of unit rows, without bias (Zhu et al. 2021,
    section 3.3); it needs at least classes - 1 features.
    """

    head: Literal["learned", "fixed_etf"] = "learned"


class ImageModel(HeadSettings):
    """A classifier of images of any channels, height and width."""

    reads: ClassVar[str] = "images"


class SimpleCNN(ImageModel):
    """`depth` blocks of a 3 x 3 convolution to `width` channels, batch norm and ReLU; maps are halved by max-pooling
    after a block as long as their shorter side is at least 8; the features are the means over positions, d = width.
    """

    kind: Literal["simple_cnn"] = "simple_cnn"
    width: PositiveInt
    depth: PositiveInt
    dropout: Probability = 0.0
    """Of the features, while training."""


class ResNet18(ImageModel):
    """ResNet-18 (He et al. 2016); images of at most 64 pixels get their 3 x 3 stem of CIFAR, without pooling."""

    kind: Literal["resnet18"] = "resnet18"


class MobileNetV3(ImageModel):
    """MobileNetV3 (Howard et al. 2019); the stem keeps the resolution of images of at most 64 pixels."""

    kind: Literal["mobilenet_v3"] = "mobilenet_v3"
    variant: Literal["small", "large"] = "small"
    dropout: Probability = 0.0
    """Of the features, while training."""


CONVNEXT: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "nano": (32, (1, 1, 3, 1)),
    "tiny": (96, (3, 3, 9, 3)),
    "small": (96, (3, 3, 27, 3)),
    "base": (128, (3, 3, 27, 3)),
}
"""Channels of the first stage and blocks of each stage (Liu et al. 2022, section 3); nano, of a million parameters, is
ours.
"""


class ConvNeXt(ImageModel):
    """ConvNeXt (Liu et al. 2022). The patches of the stem are 4 pixels wide, 2 for images of at most 64 and 1 for those
    below 16 pixels.
    """

    kind: Literal["convnext"] = "convnext"
    variant: Literal["nano", "tiny", "small", "base"] = "nano"
    width: PositiveInt | None = None
    """Channels of the first of four stages, each of which doubles them; none = those of the variant."""
    depth: Annotated[int, Field(ge=6)] | None = None
    """Blocks in all: a sixth of them, rounded down, in the first, second and last stage, the others in the third; none
    = those of the variant."""
    stochastic_depth: Probability = 0.0
    """Chance that the last block is skipped while training, falling linearly to zero at the first."""

    @property
    def first_width(self) -> int:
        return self.width or CONVNEXT[self.variant][0]

    @property
    def stages(self) -> tuple[int, int, int, int]:
        """Blocks of each stage."""
        if self.depth is None:
            return CONVNEXT[self.variant][1]
        outer = self.depth // 6
        return outer, outer, self.depth - 3 * outer, outer


class UnconstrainedFeatures(HeadSettings):
    """The unconstrained-features model (Mixon et al. 2020): a free vector of `width` entries for every training sample
    in place of a network, and a linear head; needs `data.kind: free`.

    With SGD on whole batches and weight decay it descends loss + weight_decay / 2 (||W||^2 + ||H||^2), the objective
    for which collapse is proven.
    """

    reads: ClassVar[str] = "samples"
    kind: Literal["ufm"] = "ufm"
    width: PositiveInt
    bias: bool = True
    """Whether a learned head has biases; they are not decayed."""


VisionModel = SimpleCNN | ResNet18 | MobileNetV3 | ConvNeXt

MOBILENET = {"small": (1_517_424, 1024), "large": (4_201_600, 1280)}
"""Parameters without the first convolution and the head, and features."""


def count_parameters(
    model: VisionModel | UnconstrainedFeatures, *, classes: int, input_shape: tuple[int, ...]
) -> int:
    """Number of parameters, those of a fixed head included."""
    if isinstance(model, UnconstrainedFeatures):
        has_bias = model.bias and model.head == "learned"
        return (input_shape[0] + classes) * model.width + (classes if has_bias else 0)
    body, width = _body(model, channels=input_shape[0], side=min(input_shape[1:]))
    return body + classes * width + (classes if model.head == "learned" else 0)


def _body(model: VisionModel, *, channels: int, side: int) -> tuple[int, int]:
    """Parameters before the head, and its width."""
    if isinstance(model, SimpleCNN):
        norms = 2 * model.width * model.depth
        return 9 * model.width * (channels + (model.depth - 1) * model.width) + norms, model.width
    if isinstance(model, ResNet18):
        kernel = 9 if side <= SMALL else 49
        return 64 * channels * kernel + 11_167_104, 512
    if isinstance(model, MobileNetV3):
        rest, width = MOBILENET[model.variant]
        return 16 * channels * 9 + rest, width
    patch = convnext_patch(side)
    widths = [model.first_width << stage for stage in range(4)]
    body = widths[0] * (channels * patch**2 + 1) + 2 * widths[0] + 2 * widths[-1]
    body += sum(
        blocks * (8 * c**2 + 58 * c) for blocks, c in zip(model.stages, widths, strict=True)
    )
    body += sum(2 * c + 4 * c * 2 * c + 2 * c for c in widths[:-1])
    return body, widths[-1]


SMALL = 64
"""Images with a shorter side of at most so many pixels keep more of their resolution in the stem."""


def convnext_patch(side: int) -> int:
    """Width of the patches of ConvNeXt's stem for images of so many pixels."""
    return 4 if side > SMALL else 2 if side >= 16 else 1
