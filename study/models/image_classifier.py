"""A stem, blocks, a neck to features (B, d), a linear head; images or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name

from torch import Tensor, nn

from study.models.config import ModelError
from study.models.heads import head_inputs
from study.models.native import NativeModel
from study.models.vision_config import ImageModel


@dataclass(frozen=True)
class Body:
    """A network without its head; `width` is the number of features."""

    stem: nn.Module
    blocks: Sequence[nn.Module]
    neck: nn.Module
    width: int


class ImageClassifier(NativeModel):
    """`head(neck(blocks(stem(x))))` for images (B, channels, height, width).

    A perceptron takes vectors (B, inputs), too.
    """

    settings: ImageModel

    def __init__(self, settings: ImageModel, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__(settings, classes, input_shape)
        sides = input_shape[1:]
        if sides and min(sides) < settings.smallest:
            raise ModelError(
                f"images of {sides[0]} x {sides[1]} pixels: the shorter side must be at least "
                f"{settings.smallest}"
            )
        body: Body = resolve_name(settings.body)(settings, input_shape)
        self.stem, self.blocks, self.neck = body.stem, nn.Sequential(*body.blocks), body.neck
        self.head = self.make_head(body.width)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return {f"block{number}": block for number, block in enumerate(self.blocks, start=1)}

    def takes(self, input_shape: tuple[int, ...]) -> bool:
        if not self.settings.any_size:
            return super().takes(input_shape)
        return len(input_shape) == 3 and input_shape[0] == self.input_shape[0]

    def features(self, x: Tensor) -> Tensor:
        return head_inputs(self.head, self.neck(self.blocks(self.stem(x))))
