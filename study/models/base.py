"""What every measured model offers: features at the input of a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from study.models.heads import rows_of
from study.models.link import CumulativeLink


class FeatureModel(nn.Module, ABC):
    """A network that ends in a linear classifier: `forward(x) = logits(features(x))`.

    With z = logit_scale (W h + b), the logits are z, or cap tanh(z / cap) where there is a cap
    (Gemma Team 2024, section 2). A scale is part of the head's rows, a cap changes no decision. A
    `link` takes the one output of the head as the latent of ordered classes; logits are then their
    log-probabilities. Of a regression logits are what it predicts of the targets.

    Attributes:
        head: the classifier; `head.weight` is (classes, d), `head.bias` (classes,) or None. What it
            multiplies by is `rows_of(head)`: of a head of cosines not the weight itself.
        tied: whether `head.weight` is the same parameter as `embedding.weight`.
        embedding: the token embedding, or None where a model has none.
        logit_scale: what the model multiplies the head's output by.
        logit_cap: the bound of its logits, or None.
    """

    head: nn.Linear
    tied: bool
    embedding: nn.Embedding | None
    logit_scale: float = 1.0
    logit_cap: float | None = None

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (..., d) of `x`.

        Tokens (B, T) int64 give (B, T, d), images (B, channels, height, width) and vectors
        (B, inputs) give (B, d).
        """

    @property
    def positions(self) -> int | None:
        """The longest input in tokens, None where there is no limit."""
        return None

    def transform_cache(self, transform: Callable[[Tensor], Tensor] | None) -> bool:
        """Apply `transform` to keys and values of attention where they are written.

        They are (..., dimensions of a head), after rotary positions. None leaves them as they are.
        Returns False, and changes nothing, where the model writes none.
        """
        return False

    @property
    @abstractmethod
    def layers(self) -> dict[str, nn.Module]:
        """The blocks whose outputs are layer features, in the order of computation."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., classes) of `x`."""
        return self.logits(self.features(x))

    def logits(self, features: Tensor) -> Tensor:
        """Logits (..., classes) of features (..., d), scaled and capped."""
        return self.scaled(self.head(features))

    def scaled(self, z: Tensor) -> Tensor:
        """Logits from the output of the head."""
        if self.link is not None:
            logits: Tensor = self.link(z)
            return logits
        if self.logit_scale != 1:
            z = z * self.logit_scale
        return z if self.logit_cap is None else (z / self.logit_cap).tanh() * self.logit_cap

    @property
    def link(self) -> CumulativeLink | None:
        """From the latent of a head of one output to classes in an order; None for others."""
        return getattr(self, "cumulative_link", None)

    @property
    def outputs(self) -> int:
        """Number of logits: classes, or dimensions of a regression's targets."""
        return self.head.out_features if self.link is None else self.link.classes

    @property
    def head_rows(self) -> tuple[Tensor, Tensor | None]:
        """The head: weight (classes, d) and bias (classes,), times the scale of logits."""
        weight, bias = rows_of(self.head), self.head.bias
        if self.logit_scale == 1:
            return weight, bias
        return weight * self.logit_scale, None if bias is None else bias * self.logit_scale
