"""From sums over samples to the columns of a row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from study.data.base import Ints
from study.measuring.attacked import KEPT, OWN, AttackedSums
from study.measuring.passes import TrainingSums, ValidationSums
from study.metrics import (
    Agreement,
    ClassMoments,
    CollapseMetrics,
    Gaussian,
    GroupSums,
    OtherData,
    collapse_metrics,
    geodesic_deviation,
    group_gaps,
    held_out_collapse,
    imbalance_geometry,
    leap_columns,
    minority_collapse,
    ood_metrics,
    ordinal_collapse,
    ray_share,
    reference_drift,
)
from study.metrics.measured import MeasuredClasses
from study.metrics.scores import HeldOutScores, Scores
from study.precision import RelativeError
from study.store import HEAD_INPUT

CLEAN = "measured on clean samples alone"
"""Why a row of attacked samples lacks a column."""
OF_CENTRES = ("classes_measured", "samples_measured", "min_count", "coincident_pairs")
"""Columns of the class means that attacked samples are measured by."""
OF_ROWS = ("nc0_", "nc3_", "unc3_", "nc2_w_", "minority_head_", "seli_w_")
"""How columns begin that are about a row of the head for each class."""


@dataclass
class Measurement:
    """Columns of one model, and the reasons of those that are undefined.

    `layers` holds the same for inner layers, `attacks` for attacked samples by name of the attack.

    `moments` and `decisions` (on validation samples) are what they follow from, for values by
    class; inner layers have none.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]
    moments: ClassMoments | None = None
    decisions: Agreement | None = None
    layers: dict[str, Measurement] = field(default_factory=dict)
    attacks: dict[str, Measurement] = field(default_factory=dict)

    def by_layer(self) -> Iterator[tuple[str | None, Measurement]]:
        """The head's input, as rows name it, then the inner layers."""
        yield None, self
        yield from self.layers.items()

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each layer, then one for each attack."""
        for layer, measurement in self.by_layer():
            yield measurement._row(layer=layer)
        for name, measurement in self.attacks.items():
            yield measurement._row(layer=None, attack=name)

    def _row(self, **subject: str | None) -> dict[str, Any]:
        undefined = json.dumps(self.reasons, sort_keys=True) if self.reasons else None
        return {**subject, **self.values, "undefined": undefined}

    def put(self, column: str, value: float | None, reason: str) -> None:
        """Record a value; one that is None or not finite is undefined, for a reason."""
        if value is not None and math.isfinite(value):
            self.values[column] = value
            self.reasons.pop(column, None)
        else:
            self.values[column], self.reasons[column] = None, reason

    def add(self, metrics: CollapseMetrics) -> None:
        """Take over columns with their reasons."""
        self.values |= metrics
        self.reasons = {
            column: reason for column, reason in self.reasons.items() if column not in metrics
        } | metrics.reasons

    def put_agreement(self, agreement: Agreement, columns: dict[str, str]) -> None:
        """Record shares of decisions: column -> attribute of the agreement."""
        for column, attribute in columns.items():
            self.put(column, getattr(agreement, attribute), agreement.undefined or "")

    def put_decisions(self, train: Agreement, val: Agreement) -> None:
        """Record decisions by the model's own class means."""
        names = {"nc4_agreement_train": "nc4_agreement", "ncc_accuracy_train": "ncc_accuracy"}
        self.put_agreement(train, names)
        names = {
            "nc4_agreement": "nc4_agreement",
            "ncc_accuracy": "ncc_accuracy",
            "nc4_unmeasured_share": "unmeasured_share",
        }
        self.put_agreement(val, names)

    def put_kept_decisions(self, val: Agreement) -> None:
        """Record decisions by the class means of the reference."""
        names = {"nc4_agreement_refmeans": "nc4_agreement", "ncc_accuracy_refmeans": "ncc_accuracy"}
        self.put_agreement(val, names)


def head_columns(
    training: TrainingSums,
    agreement: Agreement,
    validation: ValidationSums,
    weight: Tensor,
    thresholds: Tensor | None,
    kept: tuple[Tensor, Tensor],
    *,
    class_counts: Ints,
    min_count: int,
    base: ClassMoments | None,
    other_data: Mapping[str, OtherData],
) -> Measurement:
    """All columns of a model at its head's input.

    Args:
        training: of the measured training samples.
        agreement: of decisions on some of them.
        validation: of the validation samples.
        weight: (V, d) of the head, (1, d) where thresholds cut its output into classes.
        thresholds: (V - 1,) of classes in an order, or None.
        kept: features (N, d) of the training samples of `agreement`, and their classes (N,).
        class_counts: (V,) samples of each class in the training split.
        min_count: least samples of a measured class.
        base: moments of the reference, for another precision.
        other_data: sets of other data by their names.
    """
    moments = training.moments[HEAD_INPUT]
    rows = weight if thresholds is None else _no_rows(moments)
    metrics = collapse_metrics(moments, rows, min_count=min_count)
    own = validation.agreements["val"]
    result = Measurement(dict(metrics), dict(metrics.reasons), moments, own)
    result.put_decisions(agreement, own)
    counts = torch.from_numpy(class_counts)
    result.add(minority_collapse(moments, rows, counts, min_count=min_count))
    result.add(imbalance_geometry(moments, rows, counts, min_count=min_count))
    result.add(ray_share(*kept, min_count=min_count))
    if validation.moments is not None:
        result.add(held_out_collapse(moments, validation.moments, min_count=min_count))
    if other_data and validation.detection is not None:
        inside = validation.detection
        result.add(ood_metrics(moments, inside, other_data, min_count=min_count))
    if base is not None:
        result.add(reference_drift(moments, base, rows, min_count=min_count))
        result.put_kept_decisions(validation.agreements["refmeans"])
        error = validation.logits_error.value
        result.put("logits_error", error, "the logits are zero or not finite")
    put_noise(result, validation.noise.get(HEAD_INPUT))
    if training.groups:
        groups = {
            name: GroupSums(own, validation.groups[name]) for name, own in training.groups.items()
        }
        result.add(group_gaps(moments, groups, rows, min_count=min_count))
    put_scores(result, training.scores, validation.scores)
    if thresholds is not None:
        _without_rows(result, "the head has one row for all classes")
        result.add(ordinal_collapse(moments, weight, thresholds, min_count=min_count))
    return result


def _no_rows(moments: ClassMoments) -> Tensor:
    """Rows (V, d) of zeros in the place of those of a head."""
    return torch.zeros(1, moments.dim, device=moments.device).expand(moments.classes, -1)


def _without_rows(result: Measurement, reason: str) -> None:
    """Declare undefined, for a reason, what is about the rows of a head."""
    for column in result.values:
        if column.startswith(OF_ROWS):
            result.put(column, None, reason)


def put_scores(result: Measurement, train: Scores, val: HeldOutScores) -> None:
    """Record losses, accuracies and entropies."""
    scores = {
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": val.loss,
        "val_accuracy": val.accuracy,
        "val_top5_accuracy": val.top5_accuracy,
        "val_calibration_error": val.calibration_error,
        "prediction_entropy": val.entropy,
        "prediction_entropy_train": train.entropy,
        "perplexity": val.perplexity,
        "generalization_gap": val.loss - train.loss,
    }
    for name, value in scores.items():
        sound = math.isfinite(train.loss if "train" in name else val.loss)
        result.put(name, value if sound else None, "the logits of a measured sample are not finite")


def attacked_columns(
    clean: Measurement,
    moments: ClassMoments,
    sums: AttackedSums,
    *,
    min_count: int,
    no_centres: str | None,
) -> Measurement:
    """Columns of the row of attacked samples.

    Those of `clean` that it lacks are undefined.

    Args:
        clean: columns of the same model on clean samples.
        moments: of clean training samples.
        sums: over attacked samples.
        min_count: least samples of a measured class.
        no_centres: why there are no class centres, or None.
    """
    result = Measurement(dict.fromkeys(clean.values), dict.fromkeys(clean.values, CLEAN))
    for column in OF_CENTRES:
        result.put(column, clean.values[column], clean.reasons.get(column, ""))
    put_scores(result, sums.train.scores, sums.val.scores)
    result.put_decisions(sums.train.agreements[OWN], sums.val.agreements[OWN])
    if KEPT in sums.val.agreements:
        result.put_kept_decisions(sums.val.agreements[KEPT])
    assert sums.val.moments is not None
    result.add(held_out_collapse(moments, sums.val.moments, min_count=min_count))
    trace = MeasuredClasses.of(moments, min_count).between_trace
    result.add(leap_columns(sums.val.leaps, trace, no_centres=no_centres))
    return result


def layer_columns(moments: ClassMoments, *, class_counts: Ints, min_count: int) -> Measurement:
    """Columns of an inner layer that follow from its moments: those that need no head."""
    metrics = collapse_metrics(moments, _no_rows(moments), min_count=min_count)
    result = Measurement(dict(metrics), dict(metrics.reasons))
    _without_rows(result, "an inner layer has no head of its own")
    counts = torch.from_numpy(class_counts)
    result.add(imbalance_geometry(moments, None, counts, min_count=min_count))
    return result


def put_complexity(head: Measurement, shares: Iterable[tuple[float, int]]) -> None:
    """Record geometric_complexity, the mean over samples of `squared_jacobians`.

    `shares`: sums of them with their numbers.
    """
    totals, counts = zip(*shares, strict=True)
    reason = "the derivative of a feature is infinite or NaN"
    head.put("geometric_complexity", sum(totals) / sum(counts), reason)


def put_geodesic(
    layers: Mapping[str, Measurement], gaussians: Mapping[str, Gaussian | str]
) -> None:
    """Record how far each inner layer but the first is from the path of features.

    `gaussians`: of the inner layers in their order and then of the head's input, each or why there
    is none.
    """
    first, *_, last = gaussians.values()
    for number, (name, layer) in enumerate(layers.items()):
        here = gaussians[name]
        if not number:
            layer.put("geodesic_deviation", None, "the path begins at this layer")
        elif isinstance(first, str) or isinstance(here, str) or isinstance(last, str):
            reason = next(each for each in (first, here, last) if isinstance(each, str))
            layer.put("geodesic_deviation", None, reason)
        else:
            layer.add(geodesic_deviation(first, here, last))


def put_layer_accuracy(
    layer: Measurement, name: str, validation: ValidationSums, no_centres: str | None
) -> None:
    """Record the accuracy of an inner layer's nearest class centre.

    `no_centres`: why it has none, or None.
    """
    if no_centres:
        layer.put("ncc_accuracy", None, no_centres)
    else:
        layer.put_agreement(validation.agreements[name], {"ncc_accuracy": "ncc_accuracy"})


def put_noise(layer: Measurement, noise: RelativeError | None) -> None:
    """Record signal to noise of features, where they were compared with others."""
    if noise is None:
        return
    if noise.value == 0:
        layer.put("signal_to_noise", None, "the features are those of the reference, without noise")
    else:
        decibels = None if noise.value is None else -20 * math.log10(noise.value)
        layer.put("signal_to_noise", decibels, "the features are zero or not finite")
