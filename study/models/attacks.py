"""Perturbations of inputs within a ball that raise a loss, by gradients (attacks).

Images are perturbed in units of the range of their pixels. Tokens have no small change, so what is
perturbed is what the model's embedding gives for them.

Shapes: B rows (images, or chunks of T tokens), (B, ...) a perturbation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor, nn

from study.models.base import FeatureModel
from study.models.config import ModelError
from study.settings.attack import Norm

Features = Callable[[Tensor], Tensor]
Range = tuple[Tensor, Tensor]
"""Least and largest values (channels, 1, 1) of inputs."""


@dataclass(frozen=True)
class Ball:
    """Perturbations r (B, ...) with ||r|| <= eps and low <= r <= high.

    norm  linf: max |r_i|, l2: (sum r_i^2)^(1/2), over the last `dims` dimensions
    low   at most 0, or None: no bound
    high  at least 0, or None: no bound
    """

    norm: Norm
    eps: float
    dims: int
    low: Tensor | None = None
    high: Tensor | None = None

    def norms(self, r: Tensor) -> Tensor:
        """||r||, with `dims` dimensions of size 1."""
        order = torch.inf if self.norm == "linf" else 2
        dims = tuple(range(-self.dims, 0))
        norms: Tensor = torch.linalg.vector_norm(r, order, dims, keepdim=True)
        return norms

    def project(self, r: Tensor) -> Tensor:
        """The nearest point of the ball, then of the box.

        The box holds 0, so that clipping to it lengthens nothing and leads out of no ball.
        """
        if self.norm == "linf":
            r = r.clamp(-self.eps, self.eps)
        else:
            r = r * (self.eps / self.norms(r).clamp_min(self.eps))
        return r if self.low is None else torch.clamp(r, self.low, self.high)

    def ascent(self, gradient: Tensor, length: float) -> Tensor:
        """The step of this length along which a linear loss rises most.

        It is 0 where the loss is flat.
        """
        if self.norm == "linf":
            return length * gradient.sign()
        norms = self.norms(gradient)
        return torch.where(norms > 0, length * gradient / norms, 0.0)

    def start(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """A point (B, ...) drawn uniformly from the ball, on the CPU.

        The box is left out: `ascend` projects its start.
        """
        if self.norm == "linf":
            return self.eps * (2 * torch.rand(shape, generator=generator) - 1)
        r = torch.randn(shape, generator=generator)
        norms = self.norms(r)
        radii = torch.rand(norms.shape, generator=generator) ** (1 / prod(shape[-self.dims :]))
        return self.eps * radii * r / norms


class Perturbable(ABC):
    """Inputs that are perturbed, by r (B, ...) of `shape` in `ball`."""

    shape: tuple[int, ...]
    ball: Ball

    @abstractmethod
    def features(self, r: Tensor) -> Tensor:
        """Features of the inputs perturbed by r."""


class PerturbedImages(Perturbable):
    """x + r (high - low), for images x (B, channels, height, width) in [low, high].

    An image that is out of that range, as one of validation may be, is moved no further out.
    """

    def __init__(
        self, features: Features, x: Tensor, norm: Norm, eps: float, range_: Range
    ) -> None:
        self.of, self.x, self.shape = features, x, tuple(x.shape)
        low, high = (bound.to(x.device) for bound in range_)
        self.span = high - low
        # A constant channel has no range to move in.
        per_span = torch.where(self.span > 0, self.span.reciprocal(), 0.0)
        least, largest = (low - x) * per_span, (high - x) * per_span
        self.ball = Ball(norm, eps, 3, least.clamp_max(0), largest.clamp_min(0))

    def features(self, r: Tensor) -> Tensor:
        return self.of((self.x + r * self.span).to(self.x.dtype))


class PerturbedTokens(Perturbable):
    """E x + u r, for tokens x (B, T) and their embedding E x (B, T, d).

    The unit u is the root mean square of E's entries (linf) or of the norms of its rows (l2), so
    that a training cannot escape by larger embeddings (Miyato, Dai & Goodfellow 2017, section 3).

    Raises ModelError for a model without an embedding of tokens.
    """

    def __init__(
        self, model: FeatureModel, features: Features, x: Tensor, norm: Norm, eps: float
    ) -> None:
        if model.embedding is None:
            raise ModelError(
                f"{type(model).__name__} has no embedding of tokens, so nothing of it can be "
                "attacked: leave the attack and the adversary out"
            )
        self.of, self.x, self.embedding = features, x, model.embedding
        with torch.no_grad():
            table = self.embedding(torch.arange(self.embedding.num_embeddings, device=x.device))
            entry = float(table.double().square().mean().sqrt())
        self.shape, self.ball = (*x.shape, table.shape[-1]), Ball(norm, eps, 1)
        self.unit = entry * (sqrt(table.shape[-1]) if norm == "l2" else 1.0)

    def features(self, r: Tensor) -> Tensor:
        calls = 0

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return output + (self.unit * r).to(output.dtype)

        handle = self.embedding.register_forward_hook(add)
        try:
            features = self.of(self.x)
        finally:
            handle.remove()
        if calls != 1:
            raise ModelError(
                f"the model looked its tokens up {calls} times in a pass, so that an attack on its "
                "embedding is not defined: leave the attack and the adversary out"
            )
        return features


def perturbable(
    model: FeatureModel,
    features: Features,
    x: Tensor,
    *,
    norm: Norm,
    eps: float,
    input_range: Range | None,
) -> Perturbable:
    """Inputs x of a model in the ball of each; `input_range` is that of images.

    Raises ModelError where nothing can be perturbed.
    """
    if not x.is_floating_point():
        return PerturbedTokens(model, features, x, norm, eps)
    if input_range is None:
        raise ModelError("inputs without a known range cannot be attacked: leave the attack out")
    return PerturbedImages(features, x, norm, eps, input_range)


def ascend(
    losses: Callable[[Tensor], Tensor],
    ball: Ball,
    start: Tensor,
    *,
    steps: int,
    length: float,
    best: bool,
) -> Tensor:
    """Projected gradient ascent r <- P(r + step) of a loss a row.

    Madry et al. 2018, section 2.1. One step of length eps from 0 is the fast gradient method
    (Goodfellow et al. 2015, section 4).

    Args:
        losses: of perturbations (B, ...): (B,), each of which depends on its own row alone.
        ball: where perturbations stay.
        start: (B, ...) in the ball.
        steps: how many.
        length: of each.
        best: of each row, give the perturbation with the largest loss of all that were met, 0
            among them, so that no loss is below that of the clean row; else the last.
    """
    point, found = ball.project(start), torch.zeros_like(start)
    with torch.no_grad():
        most = losses(found) if best else None
    for _ in range(steps):
        point.requires_grad_()
        with torch.enable_grad():
            values = losses(point)
            (gradient,) = torch.autograd.grad(values.sum(), point)
        point = point.detach()
        if most is not None:
            found, most = _better(found, most, point, values.detach())
        point = ball.project(point + ball.ascent(gradient, length))
    if most is None:
        return point
    with torch.no_grad():
        return _better(found, most, point, losses(point))[0]


def _better(found: Tensor, most: Tensor, point: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the perturbation with the larger loss, and that loss."""
    better = values > most
    rows = better.view(-1, *(1,) * (found.ndim - 1))
    return torch.where(rows, point, found), torch.where(better, values, most)
