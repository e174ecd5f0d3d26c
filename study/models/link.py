"""The cumulative link of ordered classes: from one latent to their probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CumulativeLink(nn.Module):
    """Log-probabilities (..., C) of a latent z (..., 1), by ordered thresholds.

    With thresholds b_1 < ... < b_(C-1), P(y <= c) = sigmoid(b_c - z), the proportional-odds model
    (McCullagh 1980, eq. 2.4). With b_0 and b_C infinite,

        log p_c = log sigmoid(b_c - z) + log sigmoid(z - b_(c-1)) + log(1 - exp(b_(c-1) - b_c)),

    which loses no digits where classes are narrow or far away. The p_c add up to 1, so that they
    are the softmax of their own logarithms, and cross-entropy of these is the loss of the model.

    `first` () is b_1, `log_gaps` (C - 2,) the logarithms of the gaps between thresholds, so that
    thresholds stay ordered whatever a step does. They begin where all classes are equally likely at
    z = 0.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        share = torch.arange(1, classes, dtype=torch.float64) / classes
        thresholds = share.logit()
        self.first = nn.Parameter(thresholds[0].float())
        self.log_gaps = nn.Parameter(thresholds.diff().log().float())

    @property
    def gaps(self) -> Tensor:
        """(C - 2,) b_(c+1) - b_c > 0."""
        return self.log_gaps.to(torch.promote_types(self.log_gaps.dtype, torch.float32)).exp()

    @property
    def thresholds(self) -> Tensor:
        """(C - 1,) b_c, ascending."""
        return self.first + F.pad(self.gaps, (1, 0)).cumsum(0)

    def forward(self, latent: Tensor) -> Tensor:
        """Log-probabilities (..., C), in float32 at least."""
        z = latent.to(torch.promote_types(latent.dtype, torch.float32))
        thresholds = self.thresholds.to(z.dtype)
        below = F.pad(F.logsigmoid(thresholds - z), (0, 1))
        above = F.pad(F.logsigmoid(z - thresholds), (1, 0))
        # Of the gaps themselves, because a narrow one is lost between large thresholds.
        between = F.pad((-(-self.gaps.to(z.dtype)).expm1()).log(), (1, 1))
        return below + above + between
