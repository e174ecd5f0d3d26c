"""How much features change with the input: the geometric complexity of a model.

Shapes: B rows, d feature entries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_jacobians(features: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """(B,) float64 ||d h_b / d x_b||_F^2 of features (B, d) of rows of inputs.

    Their mean is `geometric_complexity`: the discrete Dirichlet energy of the feature map (Dherin
    et al. 2022, definition 3.1; Munn et al. 2024, of embeddings, where it bounds transfer). In
    [0, inf); it grows with the square of the scale of features. Exact, by d backward passes, one a
    feature; rows must not depend on each other, as in evaluation mode none do.

    Example: of a linear map it is the squared Frobenius norm of the matrix.

        >>> weight = torch.tensor([[1., 2.], [0., 2.]])
        >>> squared_jacobians(lambda x: x @ weight.T, torch.zeros(1, 2)).tolist()
        [9.0]
    """
    x = inputs.detach().requires_grad_(True)
    with torch.enable_grad():
        h = features(x)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    last = h.shape[1] - 1
    for number in range(h.shape[1]):
        (slope,) = torch.autograd.grad(h[:, number].sum(), x, retain_graph=number < last)
        total += slope.flatten(1).double().square().sum(dim=1)
    return total
