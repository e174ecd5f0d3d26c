"""Exact collapse, and data for which metrics do not exist."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from study.metrics import (
    METRICS,
    ClassMoments,
    CollapseMetrics,
    MomentsError,
    NearestCentre,
    collapse_metrics,
    per_class,
)
from study.metrics.duality import DUALITY_COLUMNS, HEAD_COLUMNS, ROW_SUM_COLUMNS
from study.metrics.geometry import FEATURE_COLUMNS, LOG_DISTANCE


def simplex(classes: int, dim: int, seed: int) -> Tensor:
    """(C, d) rows of a randomly rotated simplex equiangular tight frame.

    Needs C <= d + 1.
    """
    generator = torch.Generator().manual_seed(seed)
    centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
    axes = torch.linalg.svd(centred).U[
        :, : classes - 1
    ]  # the C - 1 dimensions that the frame spans
    random = torch.randn(dim, classes - 1, dtype=torch.float64, generator=generator)
    return centred @ axes @ torch.linalg.qr(random).Q.T


def moments_of(features: Tensor, labels: Tensor, classes: int) -> ClassMoments:
    moments = ClassMoments(classes, features.shape[1], scatter=True)
    moments.update(features, labels)
    return moments


def gaussian_moments(
    classes: int = 12, dim: int = 6, each: int = 10
) -> tuple[ClassMoments, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    labels = torch.arange(classes).repeat(each)
    features = torch.randn(len(labels), dim, dtype=torch.float64, generator=generator)
    weight = torch.randn(classes, dim, dtype=torch.float64, generator=generator)
    return moments_of(features, labels, classes), weight


def assert_undefined(metrics: CollapseMetrics, *columns: str, reason: str) -> None:
    for column in columns:
        assert metrics[column] is None, column
        assert reason in metrics.reasons[column], metrics.reasons[column]


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize(("classes", "dim"), [(2, 5), (7, 16), (17, 16), (100, 128)])
def test_exact_simplex_frame(classes: int, dim: int, offset: float) -> None:
    """References: the definition of collapse, closed forms at the simplex frame."""
    frame = simplex(classes, dim, seed=classes)
    features, labels = 3 * frame.repeat(4, 1) + offset, torch.arange(classes).repeat(4)
    moments = moments_of(features, labels, classes)
    metrics = collapse_metrics(moments, 2 * frame, min_count=1)
    for column in (
        "nc0_row_sum",
        "nc0_row_sum_norm",
        "nc2_etf_error",
        "nc2_w_etf_error",
        "nc3_distance",
        "nc3_dual_error",
        "nc3_frobenius",
    ):
        assert metrics[column] < (1e-13 if offset == 0 else 1e-7), column
    tolerance = 1e-9 if offset == 0 else 1e-7  # an offset of 1e3 leaves 1e-13 of the features
    for column in (
        "nc1_cdnv", "nc1_ratio", "nc2_equinorm", "nc2_log_norm_std", "nc2_interference_std",
        "nc2_coherence", "nc2_w_equinorm", "nc2_w_interference_std", "gnc2_log_distance_std",
        "unc3_cosine_std", "nc3_centred_error", "unc3_centred_variance", "nc2_etf_floor",
    ):  # fmt: skip
        assert metrics[column] == pytest.approx(0, abs=tolerance), column
    assert metrics["nc2_interference_mean"] == pytest.approx(-1 / (classes - 1), abs=tolerance)
    assert metrics["gnc2_log_distance_mean"] == pytest.approx(
        -0.5 * math.log(2 * classes / (classes - 1)), abs=tolerance
    )
    assert metrics["nc3_cosine_mean"] == pytest.approx(1, abs=tolerance)
    bias = (
        -2 * frame @ torch.full((dim,), offset, dtype=torch.float64)
    )  # the head sees the offset, too
    decided = NearestCentre(moments, min_count=1).agreement(features, labels, 2 * frame, bias)
    assert decided.nc4_agreement == decided.ncc_accuracy == decided.linear_accuracy == 1
    assert decided.unmeasured_share == 0


@pytest.mark.parametrize("dim", [3, 8])
def test_the_floor_is_the_error_of_the_best_frame_that_fits(dim: int) -> None:
    """An orthonormal basis attains the floor (Eckart & Young 1936).

    It spans d of the C - 1 dimensions of the simplex.
    """
    frame = simplex(20, 25, seed=dim)
    projected = torch.linalg.svd(frame).U[:, :dim]
    moments = moments_of(projected, torch.arange(20), 20)
    metrics = collapse_metrics(moments, projected, min_count=1)
    assert metrics["nc2_etf_error"] == pytest.approx(metrics["nc2_etf_floor"], rel=1e-12)


def test_zero_spread_leaves_the_logarithms_undefined() -> None:
    features, labels = torch.eye(4, dtype=torch.float64).repeat(3, 1), torch.arange(4).repeat(3)
    metrics = collapse_metrics(moments_of(features, labels, 4), torch.eye(4), min_count=1)
    assert metrics["nc1_cdnv"] == metrics["nc1_ratio"] == metrics["nc1_pinv"] == 0
    assert_undefined(metrics, "nc1_cdnv_log10", "nc1_cdnv_log", reason="spread")


def test_two_classes_without_spread_leave_only_the_mean_logarithm_undefined() -> None:
    moments, weight = gaussian_moments()
    moments.deviations[:2] = 0
    metrics = collapse_metrics(moments, weight)
    assert_undefined(metrics, "nc1_cdnv_log", reason="without any spread: 2;")
    assert metrics["nc1_cdnv_log10"] is not None


@pytest.mark.parametrize("classes_with_samples", [0, 1])
def test_fewer_than_two_measured_classes(classes_with_samples: int) -> None:
    moments, weight = gaussian_moments()
    moments.counts[classes_with_samples:] = 0
    metrics = collapse_metrics(moments, weight)
    assert_undefined(
        metrics, *FEATURE_COLUMNS, *DUALITY_COLUMNS, *HEAD_COLUMNS, reason="two are needed"
    )
    assert metrics["classes_measured"] == classes_with_samples
    assert metrics["samples_measured"] == 10 * classes_with_samples


def test_coincident_means() -> None:
    features, labels = (
        torch.randn(30, 5, generator=torch.Generator().manual_seed(1)),
        torch.arange(3).repeat(10),
    )
    features[labels == 2] = features[labels == 0]
    metrics = collapse_metrics(moments_of(features, labels, 3), torch.eye(5)[:3])
    assert metrics["coincident_pairs"] == 1
    assert_undefined(
        metrics,
        "nc1_cdnv",
        "nc1_cdnv_galanti",
        "nc1_cdnv_log10",
        "nc1_cdnv_log",
        reason="pairs of classes with the same mean: 1;",
    )
    assert_undefined(metrics, *LOG_DISTANCE, reason="same direction")
    assert metrics["nc1_ratio"] is not None
    assert metrics["nc2_interference_mean"] is not None


def test_parallel_means_of_different_norm_leave_the_log_distance_undefined() -> None:
    means = torch.tensor([[1.0, 0], [3, 0], [-2, 5], [-2, -5]], dtype=torch.float64)
    metrics = collapse_metrics(moments_of(means, torch.arange(4), 4), torch.ones(4, 2), min_count=1)
    assert_undefined(metrics, *LOG_DISTANCE, reason="with the same direction: 1;")
    assert metrics["coincident_pairs"] == 0
    assert metrics["nc1_cdnv_galanti"] is not None


def test_equal_means_have_no_geometry() -> None:
    features, labels = torch.full((30, 4), 0.1), torch.arange(3).repeat(10)
    metrics = collapse_metrics(moments_of(features, labels, 3), torch.eye(4)[:3])
    assert metrics["coincident_pairs"] == 3
    assert_undefined(
        metrics,
        "nc1_ratio",
        "nc1_ratio_debiased",
        "nc1_pinv",
        "nc2_equinorm",
        "nc2_etf_error",
        reason="equal",
    )
    assert_undefined(metrics, "nc3_frobenius", "nc3_dual_error", reason="equal")
    assert_undefined(
        metrics, "nc2_coherence", "nc2_log_norm_std", "nc3_cosine_mean", reason="global mean"
    )
    assert metrics["nc2_uncentred_cos_mean"] == pytest.approx(1)


def test_a_class_at_the_global_mean_has_no_direction() -> None:
    means = torch.tensor([[1.0, 0], [-1, 0], [0, 0]], dtype=torch.float64)
    metrics = collapse_metrics(
        moments_of(means + 0.1, torch.arange(3), 3), torch.ones(3, 2), min_count=1
    )
    assert_undefined(
        metrics,
        "nc2_interference_std",
        "nc2_coherence",
        *LOG_DISTANCE,
        reason="equal the global mean: 1;",
    )
    assert_undefined(
        metrics,
        "nc2_log_norm_mean",
        "nc3_cosine_mean",
        "nc3_centred_error",
        "nc3_distance",
        reason="global mean",
    )
    # distances 2, 1, 1 are still distances: no spread, but defined
    assert metrics["nc1_cdnv_galanti"] == 0


def test_a_zero_mean_has_no_uncentred_cosine() -> None:
    means = torch.tensor([[1.0, 0], [2, 1], [0, 0]], dtype=torch.float64)
    metrics = collapse_metrics(moments_of(means, torch.arange(3), 3), torch.ones(3, 2), min_count=1)
    assert_undefined(
        metrics, "nc2_uncentred_cos_mean", "nc2_uncentred_cos_std", reason="zero vector"
    )
    assert metrics["nc2_interference_mean"] is not None


def test_a_zero_head_row_has_no_cosine() -> None:
    moments, weight = gaussian_moments()
    weight[3] = 0
    metrics = collapse_metrics(moments, weight)
    assert_undefined(
        metrics,
        "nc3_cosine_mean",
        "unc3_cosine_std",
        "nc3_distance",
        reason="zero head rows of measured classes: 1;",
    )
    assert metrics["nc3_centred_error"] is not None
    assert metrics["nc3_dual_error"] is not None


def test_a_head_of_equal_rows_has_no_geometry() -> None:
    moments, weight = gaussian_moments()
    metrics = collapse_metrics(moments, weight[:1].expand(12, 6))
    assert_undefined(metrics, *HEAD_COLUMNS, reason="equal")
    assert_undefined(
        metrics, "nc3_centred_error", "unc3_centred_variance", reason="equal the mean row"
    )
    assert metrics["nc0_row_sum"] == pytest.approx(1, rel=1e-12)  # equality of Cauchy-Schwarz
    assert metrics["nc0_row_sum_norm"] == pytest.approx(float(weight[0].norm()), rel=1e-12)
    zero = collapse_metrics(moments, torch.zeros(12, 6))
    assert_undefined(zero, "nc0_row_sum", "nc3_frobenius", "nc3_dual_error", reason="zero")
    assert zero["nc0_row_sum_norm"] == 0


def test_the_row_sum_takes_rows_of_classes_that_are_not_measured() -> None:
    """Orthogonal rows a, b of squared norms 4 and 1: ||a + b||^2 / (2 (4 + 1)) = 1 / 2."""
    moments = moments_of(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), 2)
    metrics = collapse_metrics(moments, torch.tensor([[2.0, 0], [0, 1]]), min_count=1)
    assert metrics["classes_measured"] == 1
    assert metrics["nc0_row_sum"] == pytest.approx(0.5, rel=1e-12)
    assert metrics["nc0_row_sum_norm"] == pytest.approx(math.sqrt(5) / 2, rel=1e-12)


def test_a_head_row_at_the_mean_row_has_no_centred_direction() -> None:
    moments, weight = gaussian_moments()
    weight[2] = (weight.sum(dim=0) - weight[2]) / 11
    metrics = collapse_metrics(moments, weight)
    assert_undefined(metrics, "nc2_w_interference_std", "nc3_centred_error", reason="mean row")
    assert metrics["nc2_w_equinorm"] is not None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_non_finite_features_leave_all_feature_columns_undefined(
    value: float, dtype: torch.dtype
) -> None:
    moments, weight = gaussian_moments()
    before = moments.means.clone()
    broken = torch.ones(3, 6, dtype=dtype)
    broken[:2, 4] = value
    moments.update(broken, torch.tensor([0, 1, 2]))
    metrics = collapse_metrics(moments, weight)
    assert_undefined(
        metrics,
        *FEATURE_COLUMNS,
        *DUALITY_COLUMNS,
        reason="2 of 123 samples have an infinite or NaN feature",
    )
    assert all(metrics[column] is not None for column in HEAD_COLUMNS)
    assert torch.equal(before[:2], moments.means[:2])
    assert moments.counts[:3].tolist() == [10, 10, 11]
    with pytest.raises(MomentsError, match="finite features"):
        per_class(moments, weight)


def test_a_non_finite_head_leaves_the_head_columns_undefined() -> None:
    moments, weight = gaussian_moments()
    weight[0, 0] = math.inf
    metrics = collapse_metrics(moments, weight)
    assert_undefined(
        metrics,
        *ROW_SUM_COLUMNS,
        *HEAD_COLUMNS,
        *DUALITY_COLUMNS,
        reason="the head has an infinite, NaN",
    )
    assert all(metrics[column] is not None for column in FEATURE_COLUMNS)


def test_values_beyond_float64_are_undefined_not_infinite() -> None:
    moments, weight = gaussian_moments()
    moments.means.mul_(1e-100)
    metrics = collapse_metrics(moments, weight)
    assert_undefined(metrics, "nc1_cdnv", reason="beyond the range of float64")
    assert metrics["nc2_equinorm"] is not None
    assert all(value is None or math.isfinite(value) for value in metrics.values())
    features = torch.full((4, 2), 1e200, dtype=torch.float64) * torch.tensor([[1.0], [2], [3], [5]])
    huge = collapse_metrics(
        moments_of(features, torch.tensor([0, 1, 0, 1]), 2), torch.eye(2), min_count=1
    )
    assert all(value is None or math.isfinite(value) for value in huge.values())
    assert_undefined(huge, *FEATURE_COLUMNS, *DUALITY_COLUMNS, reason="beyond the range of float64")


def test_reasons_of_single_columns() -> None:
    moments, weight = gaussian_moments()
    plain = ClassMoments(12, 6)
    plain.load_state_dict(moments.state_dict() | {"scatter": None})
    assert_undefined(collapse_metrics(plain, weight), "nc1_pinv", reason="scatter=True")
    moments.means.copy_(torch.randn(12, 6, generator=torch.Generator().manual_seed(3)) * 0.4)
    mixed = collapse_metrics(moments, weight)
    assert_undefined(mixed, "nc2_log_equinorm", reason="both signs")
    moments.deviations.fill_(1e3)
    assert_undefined(
        collapse_metrics(moments, weight), "nc1_ratio_debiased", reason="sampling noise"
    )
    moments.counts[0] = 1
    assert_undefined(
        collapse_metrics(moments, weight, min_count=1),
        "nc1_ratio_debiased",
        reason="raise min_count",
    )


def test_every_reason_belongs_to_an_undefined_column_and_every_column_is_known() -> None:
    moments, weight = gaussian_moments()
    full = collapse_metrics(moments, weight)
    assert full.reasons.keys() <= {"nc2_log_equinorm"}
    moments.nonfinite = 1
    none = collapse_metrics(moments, weight)
    assert none.keys() == full.keys() <= METRICS.keys()
    assert {column for column, value in none.items() if value is None} == none.reasons.keys()


def test_bad_requests() -> None:
    moments, weight = gaussian_moments()
    with pytest.raises(MomentsError, match=r"shape \(12, 6\).*\(11, 6\)"):
        collapse_metrics(moments, weight[:11])
    with pytest.raises(MomentsError, match="floating-point"):
        collapse_metrics(moments, torch.ones(12, 6, dtype=torch.int64))
    with pytest.raises(MomentsError, match="min_count must be at least 1, got 0"):
        collapse_metrics(moments, weight, min_count=0)
    with pytest.raises(MomentsError, match="two measured classes"):
        per_class(moments, weight, min_count=11)
    weight[0] = math.nan
    with pytest.raises(MomentsError, match="finite head"):
        per_class(moments, weight)


def test_per_class_values_that_do_not_exist_are_none() -> None:
    means = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, -1], [-2, 0], [0, 0]], dtype=torch.float64)
    weight = torch.ones(6, 2)
    weight[2] = 0
    table = per_class(moments_of(means, torch.arange(6), 6), weight, min_count=1).columns()
    assert [value is None for value in table["cdnv"]] == [True, True, False, False, False, False]
    assert (
        table["interference"] == [None] * 6
    )  # class 5 is the global mean: nobody's angle to it exists
    assert [value is None for value in table["head_cosine"]] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
