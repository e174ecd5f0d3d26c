"""The cumulative link against its definition, and the head that it stands on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from study.models import build_model, load_checkpoint, parameter_count, save_checkpoint
from study.models.link import CumulativeLink
from study.models.vision_config import MLP

CPU = torch.device("cpu")


def drawn_link(classes: int, seed: int = 0) -> CumulativeLink:
    link = CumulativeLink(classes).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in link.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return link


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_probabilities_are_differences_of_the_cumulative_ones(classes: int) -> None:
    link = drawn_link(classes)
    latents = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    below = expit(link.thresholds.detach().numpy() - latents.numpy())
    ends = [np.zeros((25, 1)), below, np.ones((25, 1))]
    expected = np.diff(np.hstack(ends), axis=1)
    p = link(latents).exp().detach().numpy()
    np.testing.assert_allclose(p, expected, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_logarithms_keep_their_digits_far_away() -> None:
    """log p falls like -|z| where differences of probabilities are 0."""
    link = CumulativeLink(4)
    far = link(torch.tensor([[60.0], [-60.0]]))
    assert torch.isfinite(far).all()
    thresholds = link.thresholds
    assert far[0, 0].item() == pytest.approx(thresholds[0].item() - 60, rel=1e-6)
    assert far[1, -1].item() == pytest.approx(-60 - thresholds[-1].item(), rel=1e-6)


def test_thresholds_stay_ordered_and_begin_with_equal_classes() -> None:
    link = CumulativeLink(5)
    np.testing.assert_allclose(link(torch.zeros(1, 1)).exp().detach(), 0.2, rtol=1e-6)
    with torch.no_grad():
        link.log_gaps.sub_(torch.tensor([30.0, 0.0, 8.0]))
    assert (link.thresholds.diff() >= 0).all()
    assert torch.isfinite(link(torch.zeros(1, 1))).all()


def test_gradients_are_those_of_the_loss() -> None:
    link = drawn_link(4)
    latent = torch.randn(6, 1, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 2, 3, 1, 0])

    def loss(z: torch.Tensor, first: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        values = {"first": first, "log_gaps": gaps}
        log_p = torch.func.functional_call(link, values, (z,))
        return -log_p.gather(1, classes[:, None]).sum()

    torch.autograd.gradcheck(loss, (latent, link.first, link.log_gaps))


def test_a_head_of_a_link_is_saved_whole(tmp_path: Path) -> None:
    settings = MLP(width=6, depth=1, head="cumulative_link")
    model = build_model(settings, classes=5, input_shape=(3,), seed=0).eval()
    assert model.head.weight.shape == (1, 6) and model.head.bias is None
    assert model.outputs == 5
    counted = parameter_count(settings, classes=5, input_shape=(3,))
    assert counted == sum(p.numel() for p in model.parameters()) == 3 * 6 + 6 + 6 + 4
    with torch.no_grad():
        model.link.first.add_(0.5)
    save_checkpoint(model, tmp_path)
    again = load_checkpoint(tmp_path).eval()
    x = torch.randn(4, 3)
    logits = model(x)
    assert logits.shape == (4, 5)
    assert torch.equal(again(x), logits)
    assert torch.equal(logits, model.link(model.head(model.features(x))))
