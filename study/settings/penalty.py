"""Settings of the penalties of a training; no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from study.settings.base import Float, Settings

Coefficient = Annotated[Float, Field(json_schema_extra={"neutral": 0.0})]


class PenaltyConfig(Settings):
    """Coefficients x of penalties P: a step descends its mean loss + sum x P.

    x > 0 pulls towards collapse, x < 0 pushes away from it, 0 leaves a penalty out. What each P is
    stands in `study.training.penalties`.
    """

    nc1: Coefficient = 0.0
    """Of the share of within-class variance."""
    nc2: Coefficient = 0.0
    """Of the inequality of the norms of class means."""
    nc3: Coefficient = 0.0
    """Of the angles between class means and rows of the head."""
    uniformity: Coefficient = 0.0
    """Of the energy of the directions of class means."""
    feature_norm: Coefficient = 0.0
    """Of the logarithm of squared feature norms."""
    entropy: Coefficient = 0.0
    """Of the entropy of predictions in nats."""

    @property
    def active(self) -> dict[str, float]:
        """The coefficients that are not zero, by name."""
        return {name: x for name, x in vars(self).items() if x != 0}
