"""Gaps between groups against loops over samples and classes in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from study.metrics import ClassMoments, GroupSums, MomentsError, group_gaps
from study.metrics.groups import ACCURACY_COLUMNS
from study.metrics.scores import Scores

V, D = 5, 4


class Samples:
    """Random features, classes, groups and logits."""

    def __init__(self, seed: int = 0, n: int = 300, groups: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.y = rng.integers(0, V, n)
        self.g = rng.integers(0, groups, n)
        self.h = rng.normal(size=(V, D))[self.y] + rng.normal(size=(n, D)) + 2.0
        self.h += 0.7 * rng.normal(size=(groups, D))[self.g]
        self.logits = rng.normal(size=(n, V)) + 1.5 * np.eye(V)[self.y] * self.g[:, None]
        self.weight = rng.normal(size=(V, D))

    def sums(self, chosen: np.ndarray) -> GroupSums:
        part = GroupSums(ClassMoments(V, D), Scores())
        y = torch.from_numpy(self.y[chosen])
        part.moments.update(torch.from_numpy(self.h[chosen]), y)
        part.scores.update(torch.from_numpy(self.logits[chosen]), y)
        return part

    def groups(self) -> dict[str, GroupSums]:
        return {f"g{g}": self.sums(self.g == g) for g in np.unique(self.g)}

    def gaps(self, min_count: int = 10) -> dict[str, float | None]:
        whole = self.sums(np.full(len(self.y), True)).moments
        return group_gaps(whole, self.groups(), torch.from_numpy(self.weight), min_count=min_count)


def by_hand(s: Samples, min_count: int) -> dict[str, float]:
    measured = [c for c in range(V) if (s.y == c).sum() >= min_count]
    centre = np.mean([s.h[s.y == c].mean(0) for c in measured], axis=0)
    middle = np.mean([s.weight[c] for c in measured], axis=0)
    hits: list[list[bool]] = []
    cosines = []
    for g in np.unique(s.g):
        hits.append([])
        own = []
        for y, own_g, z in zip(s.y, s.g, s.logits, strict=True):
            if own_g == g:
                hits[-1].append(max(range(V), key=lambda c: float(z[c])) == y)
        for c in range(V):
            chosen = (s.y == c) & (s.g == g)
            if chosen.sum() >= min_count:
                m, w = s.h[chosen].mean(0) - centre, s.weight[c] - middle
                own.append(m @ w / math.sqrt(m @ m) / math.sqrt(w @ w))
        cosines.append(np.mean(own))
    shares = [np.mean(each) for each in hits]
    best, worst = int(np.argmax(shares)), int(np.argmin(shares))
    parts = [np.var(hits[g]) / len(hits[g]) for g in (best, worst)]
    return {
        "group_accuracy_gap": shares[best] - shares[worst],
        "group_accuracy_gap_se": math.sqrt(sum(parts)),
        "group_accuracy_worst": shares[worst],
        "group_cosine_gap": max(cosines) - min(cosines),
    }


@pytest.mark.parametrize(("seed", "groups", "min_count"), [(0, 3, 10), (1, 2, 1), (2, 4, 14)])
def test_gaps_are_those_of_loops(seed: int, groups: int, min_count: int) -> None:
    samples = Samples(seed, groups=groups)
    gaps = samples.gaps(min_count)
    assert gaps == pytest.approx(by_hand(samples, min_count), rel=1e-12)
    assert set(gaps) == {*ACCURACY_COLUMNS, "group_cosine_gap"}


def test_groups_that_are_treated_alike_have_no_gap() -> None:
    samples = Samples(0)
    first = samples.sums(np.full(300, True))
    both = {"a": first, "b": samples.sums(np.full(300, True))}
    gaps = group_gaps(first.moments, both, torch.from_numpy(samples.weight))
    assert gaps["group_accuracy_gap"] == gaps["group_cosine_gap"] == 0
    assert gaps["group_accuracy_worst"] == first.scores.accuracy


def test_the_gap_of_the_cosine_depends_on_no_scale_shift_or_rotation() -> None:
    plain, other = Samples(3), Samples(3)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(D, D)))[0]
    other.h = 3 * (other.h + 5) @ turn
    other.weight = 7 * (other.weight - 2) @ turn
    assert other.gaps() == pytest.approx(plain.gaps(), rel=1e-9)


def test_classes_of_one_group_give_their_self_duality() -> None:
    """Groups of classes: as where NC3 is measured on some words alone."""
    samples = Samples(4, groups=2)
    samples.g = (samples.y >= 3).astype(int)
    gap = samples.gaps()["group_cosine_gap"]
    means = np.stack([samples.h[samples.y == c].mean(0) for c in range(V)])
    m, w = means - means.mean(0), samples.weight - samples.weight.mean(0)
    cosines = (m * w).sum(1) / np.linalg.norm(m, axis=1) / np.linalg.norm(w, axis=1)
    assert gap == pytest.approx(abs(cosines[:3].mean() - cosines[3:].mean()), rel=1e-12)


def reasons(samples: Samples, groups: dict[str, GroupSums], min_count: int = 10) -> dict[str, str]:
    whole = samples.sums(np.full(len(samples.y), True)).moments
    weight = torch.from_numpy(samples.weight)
    gaps = group_gaps(whole, groups, weight, min_count=min_count)
    assert all(gaps[name] is None for name in gaps.reasons)
    return gaps.reasons


def test_what_does_not_exist_has_a_reason() -> None:
    samples = Samples(0)
    groups = samples.groups()
    unseen = {**groups, "g9": GroupSums(groups["g0"].moments, Scores())}
    assert set(reasons(samples, unseen)) == set(ACCURACY_COLUMNS)
    assert reasons(samples, unseen)["group_accuracy_gap"] == "no validation sample in group g9"
    few = {**groups, "g8": GroupSums(ClassMoments(V, D), groups["g0"].scores)}
    assert "10 training samples in group g8" in reasons(samples, few)["group_cosine_gap"]
    assert "0 classes have at least 1000" in reasons(samples, groups, 1000)["group_cosine_gap"]
    broken = Scores()
    broken.update(torch.full((1, V), torch.nan), torch.tensor([0]))
    infinite = {**groups, "g7": GroupSums(groups["g0"].moments, broken)}
    assert "not finite" in reasons(samples, infinite)["group_accuracy_worst"]
    samples.weight[:] = 1.0
    assert "no direction" in reasons(samples, groups)["group_cosine_gap"]
    samples.weight[:] = np.inf
    assert "infinite" in reasons(samples, groups)["group_cosine_gap"]


def test_a_mean_in_the_middle_has_no_direction() -> None:
    whole, part = ClassMoments(2, 2), GroupSums(ClassMoments(2, 2), Scores())
    h = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    whole.update(h, torch.tensor([0, 1]))
    part.moments.update(torch.zeros(1, 2), torch.tensor([0]))
    part.scores.update(torch.eye(2), torch.tensor([0, 1]))
    gaps = group_gaps(whole, {"a": part, "b": part}, h, min_count=1)
    assert "a class mean in group a" in gaps.reasons["group_cosine_gap"]


def test_sums_that_do_not_fit_are_refused() -> None:
    samples = Samples(0)
    groups = samples.groups()
    whole, weight = groups["g0"].moments, torch.from_numpy(samples.weight)
    with pytest.raises(MomentsError, match="two groups, got 1"):
        group_gaps(whole, {"g0": groups["g0"]}, weight)
    odd = GroupSums(ClassMoments(V, D + 1), Scores())
    with pytest.raises(MomentsError, match="group 'odd' are of 5 classes x 5"):
        group_gaps(whole, {**groups, "odd": odd}, weight)
