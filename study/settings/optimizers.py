"""Optimizers by name, and the decay of groups of parameters; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from study.settings.base import NonNegativeFloat, Settings

OptimizerName = Literal["adamw", "adam", "sgd", "sgdw", "signum", "signumw", "lion", "muon"]
"""What `train.optimizer` may be; `study.training.optimizer` builds them.

Decay is coupled in adam, sgd and signum: its gradient, decay times the weight, joins the gradient
of the loss. It is decoupled in the others: a step first shrinks a weight by the factor
1 - lr decay (Loshchilov & Hutter 2019).
"""
SLOTS: dict[OptimizerName, int] = {
    "adamw": 2,
    "adam": 2,
    "sgd": 1,
    "sgdw": 1,
    "signum": 1,
    "signumw": 1,
    "lion": 1,
    "muon": 2,
}
"""Numbers that an optimizer keeps of a parameter; muon has one of a hidden matrix."""
WITH_NESTEROV: tuple[OptimizerName, ...] = ("sgd", "sgdw", "muon")
"""Optimizers whose momentum can look ahead."""


class DecayConfig(Settings):
    """Decay of groups of parameters; None leaves it to `train.weight_decay`.

    `weight_decay` acts on matrices, embeddings and the head among them, and not on vectors.
    """

    body: NonNegativeFloat | None = Field(default=None, json_schema_extra={"neutral": None})
    """Of all matrices but the head's. A head that is tied to the embedding belongs to both."""
    head: NonNegativeFloat | None = Field(default=None, json_schema_extra={"neutral": None})
    """Of the head's matrix."""
    bias: NonNegativeFloat | None = Field(default=None, json_schema_extra={"neutral": None})
    """Of all biases, those of norms too. Gains of norms and scales of channels never decay."""
    features: NonNegativeFloat | None = Field(default=None, json_schema_extra={"neutral": None})
    """Of the features that the head reads.

    A network gets the gradient of features / 2 times their mean squared norm over the samples of a
    pass: the constraint of the layer-peeled model (Fang et al. 2021) as a penalty, whatever
    the optimizer. In the unconstrained-features model features are parameters, which the optimizer
    decays as it decays others (Zhu et al. 2021).
    """
