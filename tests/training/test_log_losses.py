"""Logarithms of losses against float64."""

from __future__ import annotations

import pytest
import torch

from study.training.log_losses import log_cross_entropy, log_focal, log_sums


def test_logarithms_of_losses_equal_those_in_float64_and_sum_by_row() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(300, 7, generator=generator) * torch.logspace(-2, 4, 300)[:, None]
    y = torch.randint(7, (300,), generator=generator)
    z.requires_grad_()
    logs = log_cross_entropy(z, y)
    (slope,) = torch.autograd.grad(logs.sum(), z)
    assert torch.isfinite(slope).all() and bool((slope.abs().sum(1) > 0).all())
    reference = z.detach().double()
    u = torch.stack(
        [
            row[torch.arange(7) != c].logsumexp(0) - row[c]
            for row, c in zip(reference, y, strict=True)
        ]
    )
    # log(1 + exp(u)), then its logarithm, where float64 has both.
    expected = torch.where(u < -30, u, torch.logaddexp(u, torch.zeros_like(u)).log())
    torch.testing.assert_close(logs.double(), expected, rtol=1e-5, atol=1e-4)
    focal = log_focal(z.detach(), y, 2.0).double()
    torch.testing.assert_close(
        focal, expected - 2 * torch.logaddexp(-u, torch.zeros_like(u)), rtol=1e-5, atol=1e-4
    )
    owners = torch.randint(5, (300,), generator=generator)
    sums = log_sums(logs.detach().double(), owners, 6)
    for row in range(5):
        assert float(sums[row]) == pytest.approx(float(expected[owners == row].logsumexp(0)), 1e-5)
    assert float(sums[5]) == -torch.inf
