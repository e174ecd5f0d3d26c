"""Settings of image classifiers and of the unconstrained-features model; no torch."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from study.models.config import Reads
from study.models.head_config import HeadSettings
from study.settings.base import Depth, Float, Width

Probability = Annotated[Float, Field(ge=0, lt=1)]

SMALL = 64
"""Shorter side, in pixels, up to which images keep more of their resolution in the stem."""


class ImageModel(HeadSettings):
    """A classifier of images of any channels, height and width."""

    reads: ClassVar[Reads] = "images"
    builder: ClassVar[str] = "study.models.image_classifier:ImageClassifier.build"
    body: ClassVar[str]
    """Import path of a function (settings, input shape) -> `image_classifier.Body`."""
    smallest: ClassVar[int] = 8
    """Shorter side, in pixels, of the smallest images; below it maps vanish on the way."""
    any_size: ClassVar[bool] = True
    """Whether the weights fit images of other heights and widths."""

    @abstractmethod
    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        """Number of parameters before the head, and of features."""

    def count(self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()) -> int:
        # A vector has as many parameters as an image of one row.
        channels, height, width = (1, 1, *input_shape)[-3:]
        parameters, features = self.body_size(channels, height, width)
        return parameters + self.head_size(classes, features)


class SimpleCNN(ImageModel):
    """`depth` blocks of a 3 x 3 convolution to `width` channels, batch norm and ReLU.

    Maps are halved by max-pooling after a block as long as their shorter side is at least 8;
    the features are the means over positions, d = width.
    """

    body: ClassVar[str] = "study.models.vision:simple_cnn"
    kind: Literal["simple_cnn"] = "simple_cnn"
    width: Width
    """Channels of each block, and features."""
    depth: Depth
    """Blocks."""
    dropout: Probability = 0.0
    """Of the features, while training."""

    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        kernels = 9 * self.width * (channels + (self.depth - 1) * self.width)
        norms = 2 * self.width * self.depth
        return kernels + norms, self.width


class ResNet18(ImageModel):
    """ResNet-18 (He et al. 2016).

    Images of at most 64 pixels get the 3 x 3 stem that the paper uses for CIFAR, without pooling.
    """

    body: ClassVar[str] = "study.models.vision:residual_18"
    kind: Literal["resnet18"] = "resnet18"

    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        kernel = 9 if min(height, width) <= SMALL else 49
        return 64 * channels * kernel + 11_167_104, 512


MOBILENET = {"small": (1_517_424, 1024), "large": (4_201_600, 1280)}
"""Parameters without the first convolution and the head, and features."""


class MobileNetV3(ImageModel):
    """MobileNetV3 (Howard et al. 2019).

    The stem keeps the resolution of images of at most 64 pixels.
    """

    body: ClassVar[str] = "study.models.vision:mobilenet_v3"
    kind: Literal["mobilenet_v3"] = "mobilenet_v3"
    variant: Literal["small", "large"] = "small"
    """Size of the network."""
    dropout: Probability = 0.0
    """Of the features, while training."""

    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        parameters, features = MOBILENET[self.variant]
        return 16 * channels * 9 + parameters, features


CONVNEXT: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "nano": (32, (1, 1, 3, 1)),
    "tiny": (96, (3, 3, 9, 3)),
    "small": (96, (3, 3, 27, 3)),
    "base": (128, (3, 3, 27, 3)),
}
"""Channels of the first stage and blocks of each stage (Liu et al. 2022, section 3).

The variant nano, of a million parameters, is ours.
"""


class ConvNeXt(ImageModel):
    """ConvNeXt (Liu et al. 2022).

    The patches of the stem are 4 pixels wide, 2 for images of at most 64 and 1 for those
    below 16 pixels.
    """

    body: ClassVar[str] = "study.models.vision:convnext"
    kind: Literal["convnext"] = "convnext"
    variant: Literal["nano", "tiny", "small", "base"] = "nano"
    """Size of the network: channels and blocks of its stages."""
    width: Width | None = None
    """Channels of the first of four stages, each of which doubles them.

    None stands for those of the variant.
    """
    depth: Annotated[Depth, Field(ge=6)] | None = None
    """Blocks in all; none stands for those of the variant.

    A sixth of them, rounded down, lies in the first, second and last stage, the others in the
    third.
    """
    stochastic_depth: Probability = 0.0
    """Chance that the last block is skipped while training; it falls to zero at the first."""

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

    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        patch = convnext_patch(min(height, width))
        widths = [self.first_width << stage for stage in range(4)]
        stem = widths[0] * (channels * patch**2 + 1) + 2 * widths[0]
        blocks = sum(
            count * (8 * c**2 + 58 * c) for count, c in zip(self.stages, widths, strict=True)
        )
        between = sum(2 * c + 4 * c * 2 * c + 2 * c for c in widths[:-1])
        return stem + blocks + between + 2 * widths[-1], widths[-1]


def convnext_patch(side: int) -> int:
    """Width of the patches of ConvNeXt's stem.

    `side` is the shorter side of the images in pixels.
    """
    return 4 if side > SMALL else 2 if side >= 16 else 1


class MLP(ImageModel):
    """A multilayer perceptron: `depth` times a linear layer to `width`, ReLU.

    It reads vectors, or the pixels of an image as one; the features are the units of the last
    block.
    """

    also_reads: ClassVar[tuple[Reads, ...]] = ("vectors",)

    body: ClassVar[str] = "study.models.mlp:perceptron"
    smallest: ClassVar[int] = 1
    any_size: ClassVar[bool] = False
    kind: Literal["mlp"] = "mlp"
    width: Width
    """Units of a layer, and features."""
    depth: Depth
    """Layers before the head."""

    def body_size(self, channels: int, height: int, width: int) -> tuple[int, int]:
        inputs = [channels * height * width] + (self.depth - 1) * [self.width]
        return sum((size + 1) * self.width for size in inputs), self.width


class UnconstrainedFeatures(HeadSettings):
    """The unconstrained-features model (Mixon et al. 2020).

    It needs `data.kind: free`.

    A free vector of `width` entries for every training sample stands in place of a network,
    before a linear head. With SGD on whole batches and weight decay it descends
    loss + weight_decay / 2 (||W||^2 + ||H||^2), the objective for which collapse is proven.
    """

    reads: ClassVar[Reads] = "samples"
    builder: ClassVar[str] = "study.models.ufm:FreeFeatures.build"
    kind: Literal["ufm"] = "ufm"
    width: Width
    """Entries of the free vector of a sample."""
    bias: bool = True
    """Whether a learned head has biases; they are not decayed."""

    def count(self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()) -> int:
        head = self.head_size(classes, self.width, bias=self.bias)
        return input_shape[0] * self.width + head
