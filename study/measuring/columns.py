"""From sums over samples to the columns of a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from study.data.base import Ints
from study.measuring.passes import TrainingSums, ValidationSums
from study.metrics import (
    Agreement,
    ClassMoments,
    CollapseMetrics,
    Gaussian,
    GroupSums,
    collapse_metrics,
    geodesic_deviation,
    group_gaps,
    held_out_collapse,
    imbalance_geometry,
    minority_collapse,
    ood_orthogonality,
    ray_share,
    reference_drift,
)
from study.precision import RelativeError
from study.store import HEAD_INPUT


@dataclass
class Measurement:
    """Columns of one model, and the reasons of those that are undefined.

    `layers` holds the same for inner layers.

    `moments` and `decisions` (on validation samples) are what they follow from, for values by
    class; inner layers have none.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]
    moments: ClassMoments | None = None
    decisions: Agreement | None = None
    layers: dict[str, Measurement] = field(default_factory=dict)

    def by_layer(self) -> Iterator[tuple[str | None, Measurement]]:
        """The head's input, as rows name it, then the inner layers."""
        yield None, self
        yield from self.layers.items()

    def put(self, column: str, value: float | None, reason: str) -> None:
        """Record a value; one that is None or not finite is undefined, for a reason."""
        if value is not None and math.isfinite(value):
            self.values[column] = value
        else:
            self.values[column], self.reasons[column] = None, reason

    def add(self, metrics: CollapseMetrics) -> None:
        """Take over columns with their reasons."""
        self.values |= metrics
        self.reasons |= metrics.reasons

    def put_agreement(self, agreement: Agreement, columns: dict[str, str]) -> None:
        """Record shares of decisions: column -> attribute of the agreement."""
        for column, attribute in columns.items():
            self.put(column, getattr(agreement, attribute), agreement.undefined or "")


def head_columns(
    training: TrainingSums,
    agreement: Agreement,
    validation: ValidationSums,
    weight: Tensor,
    kept: tuple[Tensor, Tensor],
    *,
    class_counts: Ints,
    min_count: int,
    base: ClassMoments | None,
    other_data: ClassMoments | None,
) -> Measurement:
    """All columns of a model at its head's input.

    Args:
        training: of the measured training samples.
        agreement: of decisions on some of them.
        validation: of the validation samples.
        weight: (V, d) of the head.
        kept: features (N, d) of the training samples of `agreement`, and their classes (N,).
        class_counts: (V,) samples of each class in the training split.
        min_count: least samples of a measured class.
        base: moments of the reference, for another precision.
        other_data: moments of other data, where there are any.
    """
    moments = training.moments[HEAD_INPUT]
    metrics = collapse_metrics(moments, weight, min_count=min_count)
    own = validation.agreements["val"]
    result = Measurement(dict(metrics), dict(metrics.reasons), moments, own)
    names = {"nc4_agreement_train": "nc4_agreement", "ncc_accuracy_train": "ncc_accuracy"}
    result.put_agreement(agreement, names)
    names = {
        "nc4_agreement": "nc4_agreement",
        "ncc_accuracy": "ncc_accuracy",
        "nc4_unmeasured_share": "unmeasured_share",
    }
    result.put_agreement(own, names)
    counts = torch.from_numpy(class_counts)
    result.add(minority_collapse(moments, weight, counts, min_count=min_count))
    result.add(imbalance_geometry(moments, weight, counts, min_count=min_count))
    result.add(ray_share(*kept, min_count=min_count))
    if validation.moments is not None:
        result.add(held_out_collapse(moments, validation.moments, min_count=min_count))
    if other_data is not None:
        result.add(ood_orthogonality(moments, other_data, min_count=min_count))
    if base is not None:
        result.add(reference_drift(moments, base, weight, min_count=min_count))
        names = {"nc4_agreement_refmeans": "nc4_agreement", "ncc_accuracy_refmeans": "ncc_accuracy"}
        result.put_agreement(validation.agreements["refmeans"], names)
        error = validation.logits_error.value
        result.put("logits_error", error, "the logits are zero or not finite")
    put_noise(result, validation.noise.get(HEAD_INPUT))
    if training.groups:
        groups = {
            name: GroupSums(own, validation.groups[name]) for name, own in training.groups.items()
        }
        result.add(group_gaps(moments, groups, weight, min_count=min_count))
    _put_scores(result, training, validation)
    return result


def _put_scores(result: Measurement, training: TrainingSums, validation: ValidationSums) -> None:
    train, val = training.scores, validation.scores
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


def layer_columns(moments: ClassMoments, *, class_counts: Ints, min_count: int) -> Measurement:
    """Columns of an inner layer that follow from its moments: those that need no head."""
    no_head = torch.zeros(1, moments.dim, device=moments.device).expand(moments.classes, -1)
    metrics = collapse_metrics(moments, no_head, min_count=min_count)
    result = Measurement(dict(metrics), dict(metrics.reasons))
    for column in metrics:
        if column.startswith(("nc0_", "nc3_", "unc3_", "nc2_w_")):
            result.put(column, None, "an inner layer has no head of its own")
    counts = torch.from_numpy(class_counts)
    result.add(imbalance_geometry(moments, None, counts, min_count=min_count))
    return result


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
