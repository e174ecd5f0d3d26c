"""What leaves each column unchanged.

Rotation (R), translation (T), scaling (S) of the features; and what does not.

Reference: the column `inv` of the metric definitions.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from study.columns import METRICS
from study.metrics import ClassMoments, CollapseMetrics, NearestCentre, collapse_metrics

INVARIANT = {
    "": ("feature_norm_rms",),
    "T": (
        "nc1_cdnv", "nc1_cdnv_log10", "nc1_cdnv_log", "nc2_log_norm_mean", "nc2_log_equinorm",
        "nc3_dot_mean", "nc3_dot_std",
    ),
    "S": ("nc2_uncentred_cos_mean", "nc2_uncentred_cos_std", "gof_cos_abs_mean"),
    "TS": (
        "nc0_row_sum", "nc0_row_sum_norm", "nc1_cdnv_galanti", "nc1_ratio", "nc1_ratio_debiased",
        "nc1_pinv", "nc2_equinorm", "nc2_log_norm_std", "nc2_interference_mean",
        "nc2_interference_std", "nc2_interference_cov", "nc2_coherence",
        "nc2_etf_error", "nc2_etf_floor", "nc2_w_equinorm", "nc2_w_interference_std",
        "nc2_w_etf_error", "gnc2_log_distance_mean",
        "gnc2_log_distance_std", "gnc2_log_distance_cov", "nc3_cosine_mean", "unc3_cosine_std",
        "unc3_cosine_cov", "nc3_centred_error", "unc3_centred_variance", "nc3_distance",
        "nc3_frobenius", "nc3_dual_error", "classes_measured", "samples_measured", "min_count",
        "coincident_pairs", "effective_rank",
    ),
}  # fmt: skip
COLUMNS = [column for columns in INVARIANT.values() for column in columns]
HEAD = ("nc2_w_equinorm", "nc2_w_interference_std", "nc2_w_etf_error")
CLASSES, DIM, FACTOR = 30, 12, 2.5


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(CLASSES).repeat(12)
MEANS = 3 * drawn(CLASSES, DIM, seed=1)
FEATURES = MEANS[LABELS] + drawn(len(LABELS), DIM, seed=2)
WEIGHT = MEANS + drawn(CLASSES, DIM, seed=3)
ROTATION = torch.linalg.qr(drawn(DIM, DIM, seed=4)).Q
SHIFT = 5 * drawn(DIM, seed=5)


def moments_of(features: Tensor) -> ClassMoments:
    moments = ClassMoments(CLASSES, DIM, scatter=True)
    moments.update(features, LABELS)
    return moments


def measured(features: Tensor = FEATURES, weight: Tensor = WEIGHT) -> CollapseMetrics:
    return collapse_metrics(moments_of(features), weight)


def test_the_table_names_every_column() -> None:
    assert sorted(COLUMNS) == sorted(measured())


def test_the_page_of_metrics_says_the_same() -> None:
    claims = {letters: tuple(f"R{letters}" for _ in names) for letters, names in INVARIANT.items()}
    assert claims == {
        letters: tuple(METRICS[name].invariances for name in names)
        for letters, names in INVARIANT.items()
    }


@pytest.mark.parametrize("column", COLUMNS)
def test_a_rotation_changes_nothing(column: str) -> None:
    assert measured(FEATURES @ ROTATION, WEIGHT @ ROTATION)[column] == pytest.approx(
        measured()[column], rel=1e-9
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_a_translation_changes_only_the_uncentred_columns(column: str) -> None:
    moved, still = measured(FEATURES + SHIFT)[column], measured()[column]
    assert (moved == pytest.approx(still, rel=1e-9)) == (
        column not in INVARIANT["S"] + INVARIANT[""]
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_a_scaling_changes_only_the_scaled_columns(column: str) -> None:
    scaled, still = measured(FEATURES * FACTOR)[column], measured()[column]
    assert (scaled == pytest.approx(still, rel=1e-9)) == (
        column not in INVARIANT["T"] + INVARIANT[""]
    )


def test_how_the_scaled_columns_scale() -> None:
    scaled, still = measured(FEATURES * FACTOR), measured()
    assert scaled["nc1_cdnv"] == pytest.approx(still["nc1_cdnv"] / FACTOR**2, rel=1e-9)
    assert scaled["feature_norm_rms"] == pytest.approx(FACTOR * still["feature_norm_rms"], rel=1e-9)
    assert scaled["nc3_dot_mean"] == pytest.approx(still["nc3_dot_mean"] * FACTOR, rel=1e-9)


@pytest.mark.parametrize("column", HEAD)
def test_the_heads_geometry_ignores_its_scale_and_offset(column: str) -> None:
    assert measured(weight=FACTOR * WEIGHT + SHIFT)[column] == pytest.approx(
        measured()[column], rel=1e-9
    )


def test_a_vector_added_to_all_head_rows_changes_the_cosine_but_not_its_centred_form() -> None:
    moved, still = measured(weight=WEIGHT + SHIFT), measured()
    assert moved["nc3_centred_error"] == pytest.approx(still["nc3_centred_error"], rel=1e-9)
    assert moved["nc3_cosine_mean"] != pytest.approx(still["nc3_cosine_mean"], rel=1e-3)


def test_the_row_sum_ignores_the_heads_scale_and_its_norm_scales() -> None:
    scaled, still = measured(weight=FACTOR * WEIGHT), measured()
    assert scaled["nc0_row_sum"] == pytest.approx(still["nc0_row_sum"], rel=1e-9)
    assert scaled["nc0_row_sum_norm"] == pytest.approx(FACTOR * still["nc0_row_sum_norm"], rel=1e-9)


@pytest.mark.parametrize("change", ["R", "T", "S"])
def test_nearest_centre_decisions_move_with_the_features(change: str) -> None:
    transform = {
        "R": lambda x: x @ ROTATION,
        "T": lambda x: x + 100 * SHIFT,
        "S": lambda x: FACTOR * x,
    }[change]
    samples = MEANS[LABELS] + 6 * drawn(len(LABELS), DIM, seed=6)
    still = NearestCentre(moments_of(FEATURES)).nearest(samples)
    assert torch.equal(
        NearestCentre(moments_of(transform(FEATURES))).nearest(transform(samples)), still
    )
    assert 0.1 < float((still == LABELS).double().mean()) < 0.9
