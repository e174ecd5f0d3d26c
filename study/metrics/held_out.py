"""Collapse of held-out features about their own class means and those of training.

Shapes: V classes of the head, K classes in both samples, d feature entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.metrics.measured import MeasuredClasses, nonfinite_reason
from study.metrics.moments import CHUNK, ClassMoments, MomentsError
from study.metrics.pairs import galanti_mean
from study.metrics.result import CollapseMetrics

OWN_COLUMNS = ("nc1_ratio_val", "nc1_cdnv_galanti_val")
ABOUT_TRAIN_COLUMNS = ("within_val_about_train", "mean_shift")


@torch.no_grad()
def held_out_collapse(
    m: ClassMoments, held_out: ClassMoments, *, min_count: int = 10
) -> CollapseMetrics:
    """Collapse of validation features, by moments of training and of validation.

    With N_c, mu_c and s2_c counts, means and variance norms of training, N'_c, mu'_c and s2'_c of
    validation, and C classes that have at least `min_count` samples of the sample in question:

        nc1_ratio_val          [sum_c N'_c s2'_c / sum_c N'_c] / tr Sigma'_B, the formula of
                               nc1_ratio (Tirer et al. 2023) on validation alone
        nc1_cdnv_galanti_val   mean over pairs of (s2'_c + s2'_c') / (2 ||mu'_c - mu'_c'||^2), the
                               formula of nc1_cdnv_galanti (Galanti et al. 2021)
        within_val_about_train mean over validation samples of measured training classes of
                               ||h - mu_y||^2, over tr Sigma_B of training
        mean_shift             mean_c ||mu'_c - mu_c||^2 / tr Sigma_B of training, over the classes
                               with `min_count` samples in both

    All are at least 0 and do not change with translation, rotation or scale of the features. By
    the decomposition of a square about a mean, ||h - mu_y||^2 sums over a class to
    N'_c (s2'_c + ||mu'_c - mu_c||^2), so that moments are enough. A validation mean of N'_c samples
    is itself noisy: without any shift `mean_shift` is about mean_c s2'_c / N'_c / tr Sigma_B.

    Raises MomentsError if the shapes do not fit.

    Example: validation samples lie 1 from their means, which lie 1 from those of training.

        >>> train, val = ClassMoments(2, 1), ClassMoments(2, 1)
        >>> train.update(torch.tensor([[-4.], [4.]]), torch.tensor([0, 1]))
        >>> val.update(torch.tensor([[-4.], [-2.], [4.], [6.]]), torch.tensor([0, 0, 1, 1]))
        >>> columns = held_out_collapse(train, val, min_count=1)
        >>> columns["nc1_ratio_val"], columns["nc1_cdnv_galanti_val"]  # 1 / 16 and 1 / 64
        (0.0625, 0.015625)
        >>> columns["within_val_about_train"], columns["mean_shift"]  # (1 + 1) / 16 and 1 / 16
        (0.125, 0.0625)
    """
    if (m.classes, m.dim) != (held_out.classes, held_out.dim):
        raise MomentsError(
            f"moments of {m.classes} classes x {m.dim} cannot be compared with held-out moments of "
            f"{held_out.classes} classes x {held_out.dim}"
        )
    out = CollapseMetrics()
    if reason := nonfinite_reason(held_out):
        out.undefine(f"of validation, {reason}", *OWN_COLUMNS, *ABOUT_TRAIN_COLUMNS)
        return out
    _put_own(out, MeasuredClasses.of(held_out, min_count))
    if reason := nonfinite_reason(m):
        out.undefine(reason, *ABOUT_TRAIN_COLUMNS)
    else:
        _put_about_train(out, MeasuredClasses.of(m, min_count), held_out)
    return out


def _too_large(measured: MeasuredClasses) -> bool:
    return not (measured.means.in_range and bool(measured.spreads.isfinite().all()))


BEYOND = "the squares of the features are beyond the range of float64"


def _put_own(out: CollapseMetrics, measured: MeasuredClasses) -> None:
    if len(measured) < 2:
        out.undefine(
            f"{len(measured)} classes have at least {measured.min_count} validation samples; two "
            "are needed",
            *OWN_COLUMNS,
        )
        return
    if _too_large(measured):
        out.undefine(BEYOND, *OWN_COLUMNS)
        return
    counts = measured.counts
    out.put_ratio(
        "nc1_ratio_val",
        (counts * measured.spreads).sum() / counts.sum(),
        measured.between_trace,
        0,
        "all class means of validation are equal: they have no between-class spread",
    )
    mean, coincident = galanti_mean(measured)
    if coincident:
        out.undefine(
            f"pairs of classes with the same validation mean: {coincident}; their distance is zero",
            "nc1_cdnv_galanti_val",
        )
    else:
        out.put("nc1_cdnv_galanti_val", mean)


def _put_about_train(
    out: CollapseMetrics, measured: MeasuredClasses, held_out: ClassMoments
) -> None:
    if len(measured) < 2:
        out.undefine(
            f"{len(measured)} classes have at least {measured.min_count} samples; two are needed",
            *ABOUT_TRAIN_COLUMNS,
        )
        return
    counts = held_out.counts[measured.indices]
    classes_K = measured.indices[counts > 0]
    if not len(classes_K):
        out.undefine("no validation sample has a measured class", *ABOUT_TRAIN_COLUMNS)
        return
    counts_K = counts[counts > 0]
    shifts_K = _squared_shifts(measured.moments, held_out, classes_K)
    spreads_K = held_out.variance_norms[classes_K]
    if _too_large(measured) or not bool((shifts_K + spreads_K).isfinite().all()):
        out.undefine(BEYOND, *ABOUT_TRAIN_COLUMNS)
        return
    trace = measured.between_trace
    equal = "all class means of training are equal: they have no between-class spread"
    within = (counts_K * (spreads_K + shifts_K)).sum() / counts_K.sum()
    out.put_ratio("within_val_about_train", within, trace, 0, equal)
    enough = counts_K >= measured.min_count
    if bool(enough.any()):
        out.put_ratio("mean_shift", shifts_K[enough].mean(), trace, 0, equal)
    else:
        out.undefine(
            f"no measured class has at least {measured.min_count} validation samples", "mean_shift"
        )


def _squared_shifts(m: ClassMoments, held_out: ClassMoments, classes_K: Tensor) -> Tensor:
    """(K,) ||mu'_c - mu_c||^2 of classes with samples in both, some classes at a time."""
    shifts = []
    for classes in torch.split(classes_K, CHUNK):
        (means, rows), (others, numbers) = m.rows_of(classes), held_out.rows_of(classes)
        shifts.append((others[numbers].to(m.device) - means[rows]).square().sum(dim=1))
    return torch.cat(shifts)
