"""Classifiers of cosines, and the simplex frame of fixed ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIRST_TEMPERATURE = 0.1
"""Where a learned temperature begins."""


class CosineHead(nn.Linear):
    """scale <w_c / ||w_c||, h> of features h of unit length; scale = 1 / temperature.

    `weight` (classes, d) and `scale` () are what is stored, `rows` what multiplies. Formats round
    `weight`, whose rows are then divided by their length as ever.
    """

    def __init__(self, width: int, classes: int, temperature: float | None) -> None:
        super().__init__(width, classes, bias=False)
        self.temperature = temperature
        self.scale = nn.Parameter(torch.empty(()), requires_grad=temperature is None)
        self.reset_scale()

    @torch.no_grad()
    def reset_scale(self) -> None:
        """Set the scale to that of the fixed temperature, or where a learned one begins."""
        self.scale.fill_(1 / (self.temperature or FIRST_TEMPERATURE))

    @property
    def rows(self) -> Tensor:
        """scale w_c / ||w_c|| (classes, d)."""
        return self.scale * F.normalize(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.rows)


def rows_of(head: nn.Linear) -> Tensor:
    """What a head multiplies features by (classes, d)."""
    return head.rows if isinstance(head, CosineHead) else head.weight


def head_inputs(head: nn.Linear, features: Tensor) -> Tensor:
    """Features as a head takes them: before one of cosines of unit length."""
    return F.normalize(features, dim=-1) if isinstance(head, CosineHead) else features


def simplex_frame(classes: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """(classes, width) unit rows with inner products -1 / (classes - 1).

    W = sqrt(C / (C - 1)) P Q^T, P (C, C-1) an orthonormal basis of the vectors orthogonal to 1,
    Q (d, C-1) orthonormal columns drawn from the generator, None for torch's own (Papyan et al.
    2020, definition 1). Needs C <= d + 1.
    """
    C = classes
    centring = torch.eye(C, dtype=torch.float64) - 1 / C
    basis, _ = torch.linalg.qr(centring[:, : C - 1])
    drawn = torch.empty(width, C - 1, dtype=torch.float64).normal_(generator=generator)
    directions, _ = torch.linalg.qr(drawn)
    rows: Tensor = (C / (C - 1)) ** 0.5 * basis @ directions.T
    return rows.float()
