"""Leaps of features under attack against loops over their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from study.metrics import ClassMoments, Leaps, NearestCentre, leap_columns, leaps
from study.metrics.agreement import LinearHead
from study.metrics.measured import MeasuredClasses

V, D = 5, 3
CPU = torch.device("cpu")


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clean_moments(seed: int = 0) -> ClassMoments:
    """Class 4 has a single sample, and is not measured."""
    labels = torch.tensor([0, 1, 2, 3] * 8 + [4])
    m = ClassMoments(V, D)
    m.update(drawn(V, D, seed=seed)[labels] + 0.3 * drawn(len(labels), D, seed=seed + 1), labels)
    return m


def test_columns_equal_a_loop_over_samples() -> None:
    m = clean_moments()
    weight, bias = drawn(V, D, seed=2), drawn(V, seed=3)
    labels = torch.arange(200) % V
    clean = m.means[labels].float() + 0.5 * drawn(200, D, seed=4)
    attacked = clean + 0.9 * drawn(200, D, seed=5)
    radii = torch.rand(200, generator=torch.Generator().manual_seed(6))
    head, centres = LinearHead(weight, bias), NearestCentre(m, min_count=2)
    # Batches add up, one of them without a sample.
    sums = Leaps.empty(CPU)
    for part in (slice(0, 70), slice(70, 70), slice(70, 200)):
        sums += leaps(clean[part], attacked[part], labels[part], radii[part], head, centres)
    trace = MeasuredClasses.of(m, 2).between_trace
    columns = leap_columns(sums, trace, no_centres=None)

    W, b = weight.double().numpy(), bias.double().numpy()
    means = m.means.numpy()
    centre = means[:4].mean(axis=0)
    spread = np.mean([np.sum((mean - centre) ** 2) for mean in means[:4]])
    fooled = right = changed = arrived = 0
    progress, distance = [], []
    for h, moved, y in zip(
        clean.double().numpy(), attacked.double().numpy(), labels.tolist(), strict=True
    ):
        before, after = int(np.argmax(W @ h + b)), int(np.argmax(W @ moved + b))
        nearest = int(np.argmin([np.sum((moved - mean) ** 2) for mean in means[:4]]))
        right += before == y
        fooled += before == y != after
        changed += before != after
        arrived += before != after == nearest
        distance.append(np.sum((moved - h) ** 2) / spread)
        if before != after and max(before, after) < 4:
            way = means[after] - means[before]
            progress.append((moved - h) @ way / (way @ way))
    assert 0 < fooled < right and 10 < arrived < changed and len(progress) < changed
    assert columns == pytest.approx(
        {
            "attack_radius": float(radii.max()),
            "attack_success": fooled / right,
            "leap_share": arrived / 200,
            "leap_arrival": arrived / changed,
            "leap_progress": np.mean(progress),
            "leap_distance": np.mean(distance),
        },
        rel=1e-10,
    )


def test_a_feature_that_moves_to_another_vertex_leaps_all_the_way() -> None:
    """Vertices of a simplex frame are 2 C / (C - 1) of the between-class spread apart."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    m = ClassMoments(4, 3)
    m.update(corners, torch.arange(4))
    head, centres = LinearHead(corners), NearestCentre(m, min_count=1)
    sums = leaps(corners, corners[[1, 2, 3, 0]], torch.arange(4), torch.ones(4), head, centres)
    trace = MeasuredClasses.of(m, 1).between_trace
    assert leap_columns(sums, trace, no_centres=None) == pytest.approx(
        {
            "attack_radius": 1.0,
            "attack_success": 1.0,
            "leap_share": 1.0,
            "leap_arrival": 1.0,
            "leap_progress": 1.0,
            "leap_distance": 2 * 4 / 3,
        }
    )


def test_what_does_not_exist_is_undefined_for_its_reason() -> None:
    m = clean_moments()
    head, centres = LinearHead(m.means, -m.means.square().sum(1) / 2), NearestCentre(m, 2)
    trace = MeasuredClasses.of(m, 2).between_trace
    h, labels = m.means, torch.arange(V)

    def columns(moved: Tensor, at: NearestCentre, spread: Tensor = trace) -> dict[str, str]:
        sums = leaps(h, moved, labels, torch.zeros(V), head, at)
        return leap_columns(sums, spread, no_centres=at.reason).reasons

    assert columns(h, centres).keys() == {"leap_arrival", "leap_progress"}
    assert "changes no decision" in columns(h, centres)["leap_progress"]
    none = NearestCentre(m, min_count=99)
    assert columns(h, none).keys() == {
        "leap_share", "leap_arrival", "leap_progress", "leap_distance"
    }  # fmt: skip
    broken = columns(torch.full_like(h, torch.nan), centres)
    assert len(broken) == 5 and set(broken.values()) == {"features or the head are infinite or NaN"}
    assert "leap_distance" in columns(h, centres, torch.zeros(()))
    nothing = leap_columns(Leaps.empty(CPU), trace, no_centres=None)
    assert set(nothing.values()) == {None} and len(nothing.reasons) == 6
    always = leaps(h, h, (head.scores.argmax(h) + 1) % V, torch.zeros(V), head, centres)
    assert "attack_success" in leap_columns(always, trace, no_centres=None).reasons
