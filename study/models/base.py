"""What every measured model offers: features at the input of a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class FeatureModel(nn.Module, ABC):
    """A network that ends in a linear classifier: `forward(x) = head(features(x))`.

    Attributes:
        head: the classifier; `head.weight` is (classes, d), `head.bias` (classes,) or None.
        tied: whether `head.weight` is the same parameter as `embedding.weight`.
        embedding: the token embedding, or None where a model has none.
    """

    head: nn.Linear
    tied: bool
    embedding: nn.Embedding | None

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (..., d) of `x`.

        Tokens (B, T) int64 give (B, T, d), images (B, channels, height, width) give (B, d).
        """

    @property
    def positions(self) -> int | None:
        """The longest input in tokens, None where there is no limit."""
        return None

    @property
    @abstractmethod
    def layers(self) -> dict[str, nn.Module]:
        """The blocks whose outputs are layer features, in the order of computation."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., classes) of `x`."""
        logits: Tensor = self.head(self.features(x))
        return logits
