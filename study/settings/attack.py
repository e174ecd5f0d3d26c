"""Settings of attacks on inputs, in measuring and in training; no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from study.settings.base import NonNegativeFloat, PositiveFloat, PositiveInt, Settings

Norm = Literal["linf", "l2"]
OVERSHOOT = 2.5
"""Steps of an attack together, in radii, where no size is given (Madry et al. 2018, appendix)."""


class _Ball(Settings):
    norm: Annotated[Norm, Field(json_schema_extra={"neutral": "linf"})] = "linf"
    """Norm of a perturbation: of an image, or of each embedded token by itself."""
    steps: Annotated[PositiveInt, Field(json_schema_extra={"neutral": 10})] = 10
    """Of pgd and trades: steps of gradient ascent."""
    step_size: Annotated[PositiveFloat | None, Field(json_schema_extra={"neutral": None})] = None
    """Of those: length of a step, in units of `eps`' own; null = 2.5 eps / steps."""

    def length(self, eps: float) -> float:
        """Length of a step of gradient ascent within a ball of radius eps."""
        return OVERSHOOT * eps / self.steps if self.step_size is None else self.step_size


class AttackConfig(_Ball):
    """Perturbs measured samples so that the loss rises, and adds a row for them.

    Images are perturbed in units of the range of their pixels, which they do not leave. Tokens are
    not: their embeddings are, in units of the root mean square of the embedding's entries (linf)
    or of its rows (l2). Without this group nothing is attacked.
    """

    kind: Literal["fgsm", "pgd"]
    """One step along the gradient, or projected ascent."""
    eps: PositiveFloat
    """Radius of the ball about a sample."""
    on: Literal["inputs", "embeddings"] | None = Field(
        default=None, json_schema_extra={"neutral": None}
    )
    """What is perturbed; null = inputs of images, embeddings of tokens."""

    @property
    def name(self) -> str:
        """What rows call the attack, such as `pgd-linf-0.1`."""
        return f"{self.kind}-{self.norm}-{self.eps:g}"

    @property
    def ascents(self) -> int:
        """Gradients that the attack takes of a sample."""
        return 1 if self.kind == "fgsm" else self.steps

    @property
    def passes(self) -> int:
        """Passes that an attacked sample takes, a gradient counting as one.

        Beside the ascents they give its losses and features before and after them.
        """
        return 2 * self.ascents + 4


class AdversaryConfig(_Ball):
    """Trains on samples that are perturbed in a ball.

    Its units are those of `measure.attack`; `study/training/adversary.py` has the formulas. Without
    this group, and with eps 0, nothing is perturbed.
    """

    kind: Annotated[Literal["pgd", "trades"], Field(json_schema_extra={"neutral": "pgd"})] = "pgd"
    """Loss of perturbed samples, or loss + beta KL(clean || perturbed)."""
    eps: NonNegativeFloat
    """Radius of the ball about a sample; 0 = no adversary."""
    beta: Annotated[PositiveFloat, Field(json_schema_extra={"neutral": 6.0})] = 6.0
    """Of trades: the weight of the divergence."""

    @property
    def flops(self) -> int:
        """Further FLOPs of a trained sample, over the parameters.

        An ascent takes 4, a pass and the gradient of its inputs. trades trains on a second pass
        (6) and once more predicts for clean inputs (2).
        """
        if self.eps == 0:
            return 0
        return 4 * self.steps + (8 if self.kind == "trades" else 0)


def attack_fault(attack: AttackConfig | None, gives: str) -> str | None:
    """Why data cannot be attacked so, or None.

    They give `tokens`, `images` or `samples`.
    """
    if attack is None:
        return None
    if attack.on == "inputs" and gives == "tokens":
        return (
            "attack.on inputs would attack token ids, which are no numbers that change by a "
            "little: take embeddings, or leave it out"
        )
    if attack.on == "embeddings" and gives == "images":
        return "attack.on embeddings is for tokens, and images have none: leave it out"
    return _ball_fault("attack", attack.norm, attack.eps, gives)


def adversary_fault(adversary: AdversaryConfig | None, gives: str) -> str | None:
    """Why a training on such data has no such adversary, or None."""
    if adversary is None or adversary.eps == 0:
        return None
    return _ball_fault("adversary", adversary.norm, adversary.eps, gives)


def training_fault(adversary: AdversaryConfig | None, *, loss: str, compiled: bool) -> str | None:
    """Why an adversary does not go with a loss, or with compiling, or None."""
    if adversary is None or adversary.eps == 0:
        return None
    if compiled:
        return (
            "compile takes passes that are all alike, and adversary adds some in evaluation mode: "
            "leave one of the two out"
        )
    if adversary.kind == "trades" and loss == "mse":
        return (
            "adversary.kind trades compares probabilities, and loss mse trains scores that are "
            "none: take adversary.kind pgd, or train with cross_entropy"
        )
    return None


def _ball_fault(name: str, norm: Norm, eps: float, gives: str) -> str | None:
    if gives == "samples":
        return f"{name} perturbs inputs, and data.kind free has samples without any: leave it out"
    if gives == "images" and norm == "linf" and eps > 1:
        return (
            f"{name}.eps is in units of the range of a pixel, and {eps:g} is more than all of it: "
            "write 8 of 255 as 0.0314"
        )
    return None
