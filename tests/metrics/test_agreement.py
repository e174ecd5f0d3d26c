"""Linear and nearest-centre decisions against float64 loops over samples."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import metrics_brute_force as brute
import numpy as np
import pytest
import torch
from torch import Tensor

from study.metrics import (
    Agreement,
    ClassMoments,
    MomentsError,
    NearestCentre,
    collapse_metrics,
    decisions,
    reference_drift,
)
from study.metrics.decisions import CLASSES, FEW, AffineScores, Question, decide


@pytest.fixture(autouse=True, params=[FEW, 0], ids=["all-scores", "blocks"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide by each of the two screens, in blocks of few samples."""
    monkeypatch.setattr(decisions, "FEW", request.param)
    monkeypatch.setattr(decisions, "SCORES", 1)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moments_with(means: Tensor, counts: Tensor | None = None) -> ClassMoments:
    """Moments of given means (V, d), each of 10 samples unless told."""
    moments = ClassMoments(*means.shape)
    moments.means.copy_(means)
    moments.counts.copy_(torch.full((len(means),), 10) if counts is None else counts)
    return moments


def labels_for(samples: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_decisions_and_shares_equal_loops(dtype: torch.dtype, biased: bool) -> None:
    classes, dim, samples = 90, 8, 500
    counts = torch.arange(classes) % 30  # a third is unmeasured
    means, features = drawn(classes, dim, seed=1), drawn(samples, dim, seed=2).to(dtype)
    weight, labels = (
        (means + 0.5 * drawn(classes, dim, seed=3)).to(dtype),
        labels_for(samples, classes),
    )
    bias = drawn(classes, seed=4).to(dtype) if biased else None
    x, w = brute.as_numpy(features), brute.as_numpy(weight)
    linear, nearest = brute.decisions(
        means.numpy(), (counts >= 10).numpy(), x, w, None if bias is None else brute.as_numpy(bias)
    )
    y, measured = labels.numpy(), (counts >= 10).numpy()

    centre = NearestCentre(moments_with(means, counts))
    agreement = centre.agreement(features, labels, weight, bias)

    np.testing.assert_array_equal(centre.nearest(features).numpy(), nearest)
    assert agreement.nc4_agreement == pytest.approx(np.mean(linear == nearest))
    assert agreement.ncc_accuracy == pytest.approx(np.mean(nearest == y))
    assert agreement.linear_accuracy == pytest.approx(np.mean(linear == y))
    assert agreement.unmeasured_share == pytest.approx(np.mean(~measured[y] | ~measured[linear]))
    assert 0 < agreement.nc4_agreement < 1
    assert 0 < agreement.unmeasured_share < 1
    for c in range(classes):
        assert agreement.samples[c] == (y == c).sum()
        assert agreement.agreed[c] == ((linear == nearest) & (y == c)).sum()


def test_blocks_of_samples_and_classes_join_without_seams() -> None:
    means, features = drawn(2 * CLASSES + 9, 4, seed=5), drawn(1100, 4, seed=6)
    nearest = NearestCentre(moments_with(means)).nearest(features)
    expected = (features[:, None] - means).square().sum(dim=2).argmin(dim=1)
    assert torch.equal(nearest, expected)


@pytest.mark.parametrize("distance", [0, 1, CLASSES + 3])
def test_ties_go_to_the_lowest_index(distance: int) -> None:
    """Every centre occurs twice, so every sample is tied between two of them.

    They are `distance` classes apart (0: none does).
    """
    half = drawn(CLASSES + 3, 6, seed=7)
    means = {0: half, 1: half.repeat_interleave(2, dim=0), CLASSES + 3: half.repeat(2, 1)}[distance]
    features = drawn(300, 6, seed=8)
    alone = (features[:, None] - half).square().sum(dim=2).argmin(dim=1)
    first = 2 * alone if distance == 1 else alone
    assert torch.equal(NearestCentre(moments_with(means)).nearest(features), first)
    weight = means
    linear = (features @ half.T).argmax(dim=1) * (2 if distance == 1 else 1)
    assert torch.equal(AffineScores(weight).argmax(features), linear)


def test_ties_that_rounding_breaks_go_to_the_lowest_index() -> None:
    """Rows that are permutations of one another tie for equal features.

    In floating point their sums differ.
    """
    row = drawn(50, seed=25)
    generator = torch.Generator().manual_seed(26)
    weight = torch.stack(
        [row[torch.randperm(50, generator=generator)] for _ in range(CLASSES + 100)]
    )
    features = torch.full((3, 50), 0.1, dtype=torch.float64) * torch.tensor([[1.0], [3], [7]])
    assert len((weight @ features[0]).unique()) > 1
    assert AffineScores(weight).argmax(features).tolist() == [0, 0, 0]


def test_equal_logits_go_to_the_lowest_index() -> None:
    """Rows of a coarse quantization repeat; a zero head ties all classes."""
    features = drawn(20, 6, seed=9)
    assert AffineScores(torch.zeros(2000, 6)).argmax(features).tolist() == [0] * 20
    assert (
        AffineScores(torch.zeros(2000, 6), torch.arange(2000) // 500 * 1.0)
        .argmax(features)
        .tolist()
        == [1500] * 20
    )


def test_differences_that_float32_cannot_see_decide() -> None:
    """Pairs of centres 2e-7 apart behind an offset of 1e3.

    Reference: the side of its pair that a sample lies on.
    """
    pairs = 600
    direction, middle = drawn(pairs, 30, seed=10), 30 * drawn(pairs, 30, seed=11) + 1e3
    direction = direction / direction.norm(dim=1, keepdim=True)
    means = torch.cat([middle + 1e-7 * direction, middle - 1e-7 * direction])
    side = torch.where(drawn(pairs, seed=12) > 0, 1.0, -1.0).to(torch.float64)
    features = middle + 1e-2 * side[:, None] * direction
    nearest = NearestCentre(moments_with(means)).nearest(features)
    assert torch.equal(nearest, torch.arange(pairs) + torch.where(side > 0, 0, pairs))


def test_scores_beyond_float32_are_decided_all_the_same() -> None:
    weight, features = drawn(700, 5, seed=13), drawn(40, 5, seed=14)
    expected = (features @ weight.T).argmax(dim=1)
    for scale in (1e30, 1e-30):
        assert torch.equal(AffineScores(weight * scale).argmax(features * scale), expected)


def test_weights_whose_digits_float32_loses_are_decided_all_the_same() -> None:
    weight, features = drawn(700, 5, seed=13), drawn(40, 5, seed=14)
    expected = (features @ weight.T).argmax(dim=1)
    assert torch.equal(AffineScores(weight * 1e-44).argmax(features * 1e17), expected)
    assert torch.equal(AffineScores(weight * 1e17).argmax(features * 1e-44), expected)


def test_a_centre_that_float32_cannot_hold_decides_all_the_same() -> None:
    """Around the rounded centre the sum of the entries is positive, around the centre negative."""
    centre = torch.full((16,), 1000 + 0.45 * 2**-14, dtype=torch.float64)
    features = torch.full((1, 16), 1000.0)
    features[0, 0] += 2**-14  # the step of float32 there
    weight = torch.tensor([[1.0], [-1.0]]).expand(2, 16)
    assert (features - centre.float()).sum() > 0 > (features - centre).sum()
    assert AffineScores(weight, None, centre).argmax(features).tolist() == [1]


def test_scores_that_a_float32_weight_cannot_hold_are_decided_in_float64() -> None:
    weight = torch.tensor([[1e40, 0], [2e40, 0], [0, 1e40]], dtype=torch.float64)
    features = torch.tensor([[1e-20, 0], [-1e-20, 1e-20], [0, 0]], dtype=torch.float64)
    assert AffineScores(weight).argmax(features).tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("classes", "offset"), [(90, 0.0), (90, 50.0), (563, 3.0)])
def test_samples_between_two_centres_at_every_distance(
    dtype: torch.dtype, classes: int, offset: float
) -> None:
    """They lie on the way from a centre to another, 1e-1 to 1e-9 of it beyond its middle.

    Rounding to the type moves them. Reference: distances in extended precision.
    """
    dim, samples = 24, 160
    means = offset + drawn(classes, dim, seed=32)
    pairs = labels_for(2 * samples, classes, seed=33).view(2, samples)
    beyond = torch.logspace(-1, -9, samples, dtype=torch.float64)[:, None]
    starts, ends = means[pairs[0]], means[pairs[1]]
    features = (starts + (0.5 + beyond) * (ends - starts)).to(dtype)
    x = features.double().numpy().astype(np.longdouble)
    squares = np.stack([((x - mean) ** 2).sum(axis=1) for mean in means.numpy()], axis=1)
    first, second = np.sort(squares, axis=1)[:, :2].T
    told = second - first > 1e-11 * (1 + offset) ** 2
    assert told.mean() > 0.8
    nearest = NearestCentre(moments_with(means)).nearest(features).numpy()
    np.testing.assert_array_equal(nearest[told], squares.argmin(axis=1)[told])


def test_float32_settles_nearly_all() -> None:
    """Few samples, or blocks beside their own, are left to float64, also behind an offset."""
    means, samples = 3 + drawn(CLASSES + 51, 64, seed=34), labels_for(2000, CLASSES + 51)
    features = means[samples] + 0.5 * drawn(2000, 64, seed=35)
    scores = NearestCentre(moments_with(means)).decide
    winners, blocks = scores.screen(features.float(), None)
    share = blocks.sum(dim=1).double().mean()
    assert share < 0.02 if decisions.FEW else 1 <= share < 1.02
    settled = ~blocks.any(dim=1)
    expected = torch.cdist(features, means).argmin(dim=1)
    assert torch.equal(winners[settled], expected[settled])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_caller_may_round_products_of_its_own(precision: str) -> None:
    """Where PyTorch may round factors, decisions do not; afterwards it may as before."""
    weight, features = drawn(500, 256, seed=36).float(), drawn(2000, 256, seed=37).float()
    expected = (features.double() @ weight.double().T).argmax(dim=1)
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(AffineScores(weight).argmax(features), expected)
            rounded = features @ weight.T
        assert torch.equal(AffineScores(weight).argmax(features), expected)
        assert rounded.dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-7, 1e-5, 1e-3])
def test_a_second_score_as_close_as_float32_errs_is_decided_in_float64(gap: float) -> None:
    """Rows differ by `gap` of their length along the sample, the larger one last."""
    features = drawn(50, 40, seed=27)
    weight = torch.cat([features, features * (1 + gap)])
    winners = AffineScores(weight).argmax(features)
    scores = features @ weight.T
    assert torch.equal(winners, torch.arange(50) + (50 if gap else 0))
    assert torch.equal(scores.argmax(dim=1) % 50, torch.arange(50))


def test_products_computed_elsewhere_decide_alike_for_several_questions_at_once() -> None:
    features, weight, bias = drawn(900, 8, seed=28), drawn(700, 8, seed=29), drawn(700, seed=30)
    head, other = AffineScores(weight, bias), AffineScores(drawn(30, 8, seed=31))
    products = features.float() @ weight.float().T + bias.float()
    given, alone = decide([Question(head, features, products), Question(other, features)])
    assert torch.equal(given, (features @ weight.T + bias).argmax(dim=1))
    assert torch.equal(alone, other.argmax(features))


def test_batches_add_up() -> None:
    means, features, labels = drawn(40, 5, seed=15), drawn(333, 5, seed=16), labels_for(333, 40)
    centre = NearestCentre(moments_with(means))
    whole = centre.agreement(features, labels, means)
    parts = [
        centre.agreement(x, y, means)
        for x, y in zip(features.split(100), labels.split(100), strict=True)
    ]
    parts.append(centre.agreement(features[:0], labels[:0], means))
    joined = reduce(add, parts)
    for name in ("samples", "agreed", "own", "correct"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))
    assert joined.unmeasured == whole.unmeasured
    assert joined.nc4_agreement == whole.nc4_agreement


def test_what_cannot_be_decided_has_a_reason() -> None:
    means, features, labels = drawn(4, 3, seed=17), drawn(5, 3, seed=18), labels_for(5, 4)
    moments = moments_with(means)
    centre = NearestCentre(moments)
    good = centre.agreement(features, labels, means)
    broken_features, broken_weight = features.clone(), means.clone()
    broken_features[2, 1], broken_weight[0, 0] = math.nan, math.inf
    moments.nonfinite = 3
    for agreement, reason in (
        (centre.agreement(broken_features, labels, means), "features are infinite or NaN"),
        (
            centre.agreement(features, labels, broken_weight),
            "the head has an infinite or NaN entry",
        ),
        (
            centre.agreement(features, labels, means, torch.tensor([0.0, 0, math.nan, 0])),
            "the head has",
        ),
        (
            NearestCentre(moments).agreement(features, labels, means),
            "3 of 43 samples have an infinite or NaN feature",
        ),
        (
            NearestCentre(moments_with(means), 11).agreement(features, labels, means),
            "no class has at least 11 samples",
        ),
        (centre.agreement(features[:0], labels[:0], means), "no samples"),
    ):
        assert (
            agreement.nc4_agreement
            is agreement.ncc_accuracy
            is agreement.unmeasured_share
            is agreement.linear_accuracy
            is None
        )
        assert reason in agreement.undefined
        assert (good + agreement).undefined == (
            None if "no samples" in reason else agreement.undefined
        )
    assert good.undefined is None
    with pytest.raises(MomentsError, match="there are no centres: no class has"):
        NearestCentre(moments_with(means), 11).nearest(features)
    with pytest.raises(MomentsError, match="infinite or NaN"):
        centre.nearest(broken_features)


def test_bad_requests() -> None:
    means, features, labels = drawn(4, 3, seed=17), drawn(5, 3, seed=18), labels_for(5, 4)
    centre = NearestCentre(moments_with(means))
    with pytest.raises(MomentsError, match="weight must be"):
        centre.agreement(features, labels, means[:3])
    with pytest.raises(MomentsError, match=r"bias must have shape \(4,\), got \(3,\)"):
        centre.agreement(features, labels, means, means[:3, 0])
    with pytest.raises(MomentsError, match="label 4 is outside"):
        centre.agreement(features, labels * 0 + 4, means)


def test_one_centre_takes_all() -> None:
    counts = torch.tensor([0, 10, 3])
    nearest = NearestCentre(moments_with(drawn(3, 4, seed=19), counts)).nearest(
        drawn(6, 4, seed=20)
    )
    assert nearest.tolist() == [1] * 6


def test_reference_means_of_a_quantized_model() -> None:
    """Reference: the definitions with numpy loops."""
    generator = torch.Generator().manual_seed(21)
    labels = torch.arange(12).repeat(10)
    features = (
        torch.randn(120, 6, dtype=torch.float64, generator=generator)
        + drawn(12, 6, seed=22)[labels]
    )
    quantized = (features * 4).round() / 4
    weight = (drawn(12, 6, seed=23) * 4).round() / 4
    reference, moved = ClassMoments(12, 6), ClassMoments(12, 6)
    reference.update(features, labels)
    moved.update(quantized, labels)

    columns = reference_drift(moved, reference, weight)

    _, mu, _, _ = brute.class_moments(features.numpy(), labels.numpy(), 12)
    _, mu_q, _, _ = brute.class_moments(quantized.numpy(), labels.numpy(), 12)
    m = mu - mu.mean(axis=0)
    drift = np.mean([((mu_q[c] - mu[c]) ** 2).sum() for c in range(12)]) / np.mean(
        (m**2).sum(axis=1)
    )
    cosines = [
        m[c] @ weight[c].numpy() / np.linalg.norm(m[c]) / weight[c].norm() for c in range(12)
    ]
    assert columns["mean_drift"] == pytest.approx(drift, rel=1e-9)
    assert columns["nc3_cosine_mean_refmeans"] == pytest.approx(np.mean(cosines), rel=1e-9)
    assert columns.reasons == {}
    itself = reference_drift(reference, reference, weight)
    assert itself["mean_drift"] == 0
    assert itself["nc3_cosine_mean_refmeans"] == pytest.approx(
        collapse_metrics(reference, weight)["nc3_cosine_mean"]
    )


def test_reference_columns_that_do_not_exist() -> None:
    means = drawn(4, 3, seed=24)
    moments, reference = moments_with(means), moments_with(means)

    def reasons(weight: Tensor = means, min_count: int = 10) -> dict[str, str]:
        columns = reference_drift(moments, reference, weight, min_count=min_count)
        assert {
            column for column, value in columns.items() if value is None
        } == columns.reasons.keys()
        return columns.reasons

    assert reasons() == {}
    assert "two are needed" in reasons(min_count=11)["mean_drift"]
    assert "zero head row" in reasons(torch.zeros(4, 3))["nc3_cosine_mean_refmeans"]
    assert "infinite" in reasons(means * math.inf)["nc3_cosine_mean_refmeans"]
    moments.nonfinite = 2
    assert reasons() == {"mean_drift": "2 of 42 samples have an infinite or NaN feature"}
    reference.nonfinite = 1
    assert "in the reference, 1 of 41" in reasons()["mean_drift"]
    reference.nonfinite = moments.nonfinite = 0
    moments.counts[0] += 1
    with pytest.raises(MomentsError, match="different samples"):
        reasons()
    with pytest.raises(MomentsError, match="cannot be compared"):
        reference_drift(moments, moments_with(means[:3]), means)


def test_agreements_of_other_classes_do_not_add() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(RuntimeError):
        Agreement.empty(3, cpu) + Agreement.empty(4, cpu)
