"""Training on perturbed samples: PGD and TRADES.

Shapes: B rows of a pass, N samples among them, V classes, d entries of features.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from study.models.attacks import Features, Perturbable, Range, ascend, perturbable
from study.models.base import FeatureModel
from study.settings.attack import AdversaryConfig
from study.training.log_losses import log_cross_entropy, log_focal, log_sums
from study.training.losses import IGNORED, Loss, by_chunk, head_loss, samples_of


class Adversary:
    """Perturbs the inputs of each pass of a training.

    With B(x) the ball about an input x, a step descends the mean over samples of

        pgd     max_(x' in B(x)) l(x', y)                           Madry et al. 2018, eq. 2.1
        trades  l(x, y) + beta max_(x' in B(x)) KL(p(x) || p(x'))   Zhang et al. 2019, eq. 5

    where l is the loss of the training and p(x) the predicted probabilities. The maximum is sought
    by `steps` of projected ascent from a uniform start in the ball, on the model in evaluation
    mode: dropout draws nothing for it, and batch norm does not learn from it, as in the code of
    Zhang et al. The gradient of a step is that at the x' which was found, and of trades also
    through p(x). Cross-entropy and the focal loss of a row are ascended by their logarithm, so that
    an input which is decided by a wide margin is moved like any other (`log_losses`).

    Args:
        settings: with a radius above 0.
        model: whose inputs are perturbed.
        loss: of the training.
        input_range: of images.
    """

    def __init__(
        self,
        settings: AdversaryConfig,
        model: FeatureModel,
        loss: Loss,
        input_range: Range | None,
    ) -> None:
        self.settings, self.model, self.loss = settings, model, loss
        self.input_range, self.generator = input_range, torch.Generator()

    def reseed(self, seed: int) -> None:
        """Draw starts from a seed on, so that a step is the same after a restart."""
        self.generator.manual_seed(seed)

    def features(
        self, features: Features, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Features that the loss of a pass is about, and what trades adds to its sum.

        Args:
            features: of inputs, of the model in training mode.
            inputs: (B, ...).
            targets: (B,) or (B, T) on the CPU.

        Raises ModelError where the inputs cannot be perturbed.
        """
        trades = self.settings.kind == "trades"
        target = perturbable(
            self.model,
            features,
            inputs,
            norm=self.settings.norm,
            eps=self.settings.eps,
            input_range=self.input_range,
        )
        self.model.eval()
        r = self._perturbation(target, targets, inputs.device, away=trades)
        self.model.train()
        if not trades:
            return target.features(r), None
        h = features(inputs)
        return h, self.settings.beta * self._divergence(h, target.features(r), targets)

    def _perturbation(
        self, target: Perturbable, targets: Tensor, device: torch.device, *, away: bool
    ) -> Tensor:
        """Ascent of the loss, or of the divergence from clean predictions."""
        start = target.ball.start(target.shape, self.generator).to(device)
        # Not without gradients: autocast would keep its rounded weights, which then have none.
        clean = target.features(torch.zeros_like(start)).detach() if away else None

        def losses(r: Tensor) -> Tensor:
            h, model = target.features(r), self.model
            if clean is not None:
                return self._divergence(clean, h, targets)[None]
            if self.loss.name in ("cross_entropy", "focal"):
                return self._log_losses(h, targets)
            scale, cap = model.logit_scale, model.logit_cap
            return head_loss(h, model.head, targets, self.loss, scale=scale, cap=cap).loss[None]

        steps, length = self.settings.steps, self.settings.length(self.settings.eps)
        return ascend(losses, target.ball, start, steps=steps, length=length, best=False)

    def _log_losses(self, features: Tensor, targets: Tensor) -> Tensor:
        """(B,) logarithms of the loss of each row; -inf for one without samples."""
        h, y = samples_of(features, targets)
        owners = (targets != IGNORED).nonzero()[:, 0].to(h.device)
        weight, bias = self.model.head_rows

        def of_samples(h_Nxd: Tensor, y_N: Tensor) -> Tensor:
            logits = _logits(h_Nxd, weight, bias, self.model.logit_cap)
            if self.loss.name == "focal":
                return log_focal(logits, y_N, self.loss.gamma)
            return log_cross_entropy(logits, y_N)

        logs = by_chunk(of_samples, len(weight), h, y.to(h.device))
        return log_sums(logs, owners, len(targets))

    def _divergence(self, clean: Tensor, perturbed: Tensor, targets: Tensor) -> Tensor:
        """Sum over samples of KL(p || p'), by features (..., d) of both."""
        h, _ = samples_of(clean, targets)
        moved, _ = samples_of(perturbed, targets)
        weight, bias = self.model.head_rows
        of_samples = partial(divergences, weight_Vxd=weight, bias_V=bias, cap=self.model.logit_cap)
        return by_chunk(of_samples, len(weight), h, moved).sum()


def divergences(
    h_Nxd: Tensor,
    perturbed_Nxd: Tensor,
    *,
    weight_Vxd: Tensor,
    bias_V: Tensor | None,
    cap: float | None,
) -> Tensor:
    """(N,) KL(p || p') = sum_v p_v (log p_v - log p'_v) in nats.

    p are the probabilities for features h, p' those for perturbed features.
    """

    def log_p(h: Tensor) -> Tensor:
        return _logits(h, weight_Vxd, bias_V, cap).log_softmax(1)

    clean, moved = log_p(h_Nxd), log_p(perturbed_Nxd)
    return (clean.exp() * (clean - moved)).sum(1)


def _logits(h_Nxd: Tensor, weight_Vxd: Tensor, bias_V: Tensor | None, cap: float | None) -> Tensor:
    """(N, V) capped logits, in float32 at least."""
    logits = F.linear(h_Nxd, weight_Vxd, bias_V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if cap is None else (logits / cap).tanh() * cap
