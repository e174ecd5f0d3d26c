"""Settings of the transformers that are trained here, and their parameter counts.

No torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from study.models.config import ModelError, Reads
from study.models.head_config import HeadOfRows, HeadSettings
from study.settings.base import Depth, PositiveInt, Width


class _TransformerHead(HeadSettings):
    head: HeadOfRows = Field(default="learned", json_schema_extra={"neutral": "learned"})
    """As of image models; a head that is tied to the embedding is learned."""

    def check_untied(self, *, tied: bool, remedy: str) -> None:
        """Raise ValueError where a head that is tied to the embedding is not learned."""
        if tied and self.head != "learned":
            raise ValueError(
                f"head {self.head} cannot be tied to the embedding, which is learned: {remedy}"
            )


class GPTNeoModel(_TransformerHead):
    """GPT-Neo: alternating global and local attention, tied head without bias.

    The sizes are those of Wu & Papyan 2024, table 2.
    """

    reads: ClassVar[Reads] = "tokens"
    builder: ClassVar[str] = "study.models.transformer:build"
    kind: Literal["gpt_neo"] = "gpt_neo"
    width: Width
    """Features of a token."""
    depth: Depth
    """Blocks."""
    heads: PositiveInt = 16
    """Heads of attention, which divide the width."""
    window: PositiveInt = 256
    """Tokens that local attention, in every other block, looks back on."""
    positions: PositiveInt = 2048
    """Learned positions: the longest context is one longer."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        _check_heads(self.width, self.heads)
        self.check_untied(tied=True, remedy="take kind nanogpt with tied false")
        return self

    def count(self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()) -> int:
        self.check_context(input_shape[0] + 1)
        width = self.width
        biases = width + 4 * width + width
        norms = 2 * 2 * width
        blocks = self.depth * (12 * width**2 + biases + norms)
        return (classes + self.positions) * width + blocks + 2 * width

    def check_context(self, context: int) -> None:
        """Raise ModelError when a chunk has more inputs than the model positions.

        A chunk of `context` tokens has one input less.
        """
        if context - 1 > self.positions:
            raise ModelError(
                f"model.positions is {self.positions}, but a chunk of data.context {context} has "
                f"{context - 1} inputs: set model.positions to at least {context - 1} or shorten "
                "the context"
            )


class NanoGPTModel(_TransformerHead):
    """The GPT of nanoGPT.

    It has scaled global attention, exact GELU, and a hidden layer of four widths.

    It has one position per context token. `bias` switches the biases of linear layers and
    layer norms (the head never has one), `tied` the sharing of head and embedding, `init`
    between nanoGPT's normal(0, 0.02) and Kaiming's normal(0, sqrt(2 / fan_in)).
    """

    reads: ClassVar[Reads] = "tokens"
    builder: ClassVar[str] = "study.models.transformer:build"
    kind: Literal["nanogpt"] = "nanogpt"
    width: Width
    """Features of a token."""
    depth: Depth
    """Blocks."""
    heads: PositiveInt = 4
    """Heads of attention, which divide the width."""
    tied: bool = True
    """Whether head and embedding are one matrix."""
    bias: bool = True
    """Whether linear layers and norms have biases."""
    init: Literal["kaiming", "normal"] = "normal"
    """normal(0, 0.02), or normal(0, sqrt(2 / fan_in))."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        _check_heads(self.width, self.heads)
        self.check_untied(tied=self.tied, remedy="set tied to false")
        return self

    def count(self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()) -> int:
        width, context = self.width, input_shape[0] + 1
        biases = (3 * width + width + 4 * width + width) if self.bias else 0
        norm = 2 * width if self.bias else width
        head = 0 if self.tied else self.head_size(classes, width, bias=False)
        blocks = self.depth * (12 * width**2 + biases + 2 * norm)
        return (classes + context) * width + blocks + norm + head


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        fitting = [count for count in range(1, min(width, 1024) + 1) if width % count == 0]
        nearest = sorted(fitting, key=lambda count: (abs(count - heads), count))[:3]
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; the nearest numbers of heads that "
            f"divide it are {', '.join(map(str, sorted(nearest)))}"
        )
