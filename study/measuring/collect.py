"""From models and data to numbers.

One pass over training samples, a short one for training agreement, one over validation.

All models of a checkpoint (its precisions) see the same batches, read once. Shapes: N samples
of a batch, d feature entries, V classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.config import MeasureConfig
from study.data.base import IGNORE, Dataset, Ints, Split
from study.metrics import (
    Agreement,
    ClassMoments,
    CollapseMetrics,
    NearestCentre,
    collapse_metrics,
    linear_decisions,
    minority_collapse,
    ood_orthogonality,
    reference_drift,
)
from study.metrics.scores import HeldOutScores, Scores
from study.models.base import FeatureModel
from study.precision import RelativeError
from study.store import HEAD_INPUT

LOGITS = 2**21
"""Logits held at a time: 8 MB stay in cache and are not given back to the system each time."""
HEAD_SAMPLES = 256
"""Least samples at a time: with fewer, reading the head takes longer than the product."""
BATCH_SAMPLES = 8_192
"""Samples read at a time."""
IMAGE_VALUES = 2**19
"""Pixels that a model sees at a time, because what it computes from them is many times larger."""
TOKENS = 2**16
"""Tokens that a model sees at a time, where few tokens of a row are samples."""

Beat = Callable[[str, float], None]


@dataclass
class Measurement:
    """Columns of one model, and the reasons of those that are undefined.

    `layers` holds the same for inner layers.

    `moments` and `decisions` (on validation samples) are what they follow from, for values by
    class.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]
    moments: ClassMoments
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


def measured_rows(split: Split, samples: int | None, seed: int) -> Ints:
    """A seeded subset of rows with at most `samples` samples, in ascending order.

    It has at least one row; None takes all.

    The order of preference depends on the seed and the split's size alone, so a smaller subset is
    part of a larger one.
    """
    total = len(split)
    if samples is None or samples >= split.samples:
        return np.arange(total)
    take = max(1, samples * total // split.samples)
    return np.sort(np.random.default_rng([seed, total]).permutation(total)[:take])


@dataclass
class _Collector:
    """What one model accumulates."""

    model: FeatureModel
    classes: int
    device: torch.device
    inner: bool
    moments: dict[str, ClassMoments] = field(default_factory=dict)
    train_scores: Scores = field(init=False)
    val_scores: HeldOutScores = field(init=False)
    ood: ClassMoments | None = None
    agreements: dict[str, Agreement] = field(default_factory=dict)
    layer_hits: dict[str, int] = field(default_factory=dict)
    layer_reasons: dict[str, str] = field(default_factory=dict)
    logits_error: RelativeError = field(default_factory=RelativeError)
    centres: dict[str, NearestCentre] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dtype = self.model.head.weight.dtype
        self.train_scores, self.val_scores = Scores(self.device), HeldOutScores(self.device)

    def features(self, inputs: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """Features (N, d) of the wanted samples by layer.

        The head's input is `HEAD_INPUT`.
        """
        outputs: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for name, module in self.model.layers.items() if self.inner else ():
                stack.callback(module.register_forward_hook(_keeper(outputs, name)).remove)
            h = self.model.features(inputs.to(self.dtype) if inputs.is_floating_point() else inputs)
        flat = {name: _samples(value) for name, value in {**outputs, HEAD_INPUT: h}.items()}
        return (
            flat
            if len(positions) == len(flat[HEAD_INPUT])
            else {name: value[positions] for name, value in flat.items()}
        )

    def add_moments(self, features: dict[str, Tensor], targets: Tensor) -> None:
        """Add samples to the moments of each layer."""
        for name, h in features.items():
            if name not in self.moments:
                self.moments[name] = ClassMoments(
                    self.classes, h.shape[1], self.device, scatter=True
                )
            self.moments[name].update(h, targets)

    def add_ood(self, h: Tensor) -> None:
        """Add features of other data, whatever their labels."""
        if self.ood is None:
            self.ood = ClassMoments(1, h.shape[1], self.device)
        self.ood.update(h, torch.zeros(len(h), dtype=torch.int64, device=h.device))

    def decide(self, h: Tensor, targets: Tensor, means: Mapping[str, _Collector]) -> None:
        """Add the decisions on a batch to the agreements.

        `means` names the agreements, each with the model whose class means to use.
        """
        weight, bias = self.model.head_rows
        linear = linear_decisions(h, weight, bias)
        for column, owner in means.items():
            agreement = owner.centres[HEAD_INPUT].agreement(h, targets, weight, bias, linear=linear)
            self.agreements[column] = (
                self.agreements[column] + agreement if column in self.agreements else agreement
            )

    def decide_layers(self, features: dict[str, Tensor], targets: Tensor) -> None:
        """Count how often the nearest centre of an inner layer is the sample's class."""
        for name, h in features.items():
            if not bool(h.isfinite().all()):
                self.layer_reasons[name] = "validation features are infinite or NaN"
            elif name != HEAD_INPUT and self.centres[name].reason is None:
                hits = int((self.centres[name].nearest(h) == targets).sum())
                self.layer_hits[name] = self.layer_hits.get(name, 0) + hits


def _keeper(outputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        outputs[name] = output[0] if isinstance(output, tuple) else output

    return hook


def _samples(features: Tensor) -> Tensor:
    """Features as (samples, d).

    Feature maps (B, channels, height, width) are averaged over their positions.
    """
    return (
        features.mean(dim=(2, 3))
        if features.ndim == 4
        else features.reshape(-1, features.shape[-1])
    )


@torch.no_grad()
def collect(
    models: Mapping[str, FeatureModel],
    data: Dataset,
    measure: MeasureConfig,
    *,
    seed: int,
    device: torch.device,
    reference: str | None = None,
    beat: Beat | None = None,
) -> dict[str, Measurement]:
    """Measure every model on the same samples.

    Args:
        models: by name, on `device`, in evaluation mode.
        data: moments and training scores come from its training split, decisions from its
            validation split.
        measure: how many samples, which layers, the least count of a measured class.
        seed: of the measured subset (`data.seed`).
        device: where batches go and sums are kept.
        reference: the model whose class means the `_refmeans` columns and `mean_drift` of the
            others use, and whose logits `logits_error` compares with.
        beat: called with the name of the pass and the share of it that is done.

    Returns:
        by name of the model, its columns. Every metric that does not exist is None with its reason.

    Raises:
        ValueError: a model is in training mode, or a pass has no sample.
    """
    if training := [name for name, model in models.items() if model.training]:
        raise ValueError(f"models {training} are in training mode: call .eval() first")
    inner = measure.layers == "all"
    # Rows of a head beyond the classes stay in the softmax; as they never occur, no metric of
    # classes counts them.
    classes = max(data.classes, *(model.head.out_features for model in models.values()))
    counts = np.pad(data.class_counts, (0, classes - data.classes))
    collectors = {name: _Collector(model, classes, device, inner) for name, model in models.items()}
    rows = measured_rows(data.train, measure.train_tokens, seed)
    for inputs, targets, positions in _batches(data.train, rows, device, "training moments", beat):
        for collector in collectors.values():
            features = collector.features(inputs, positions)
            collector.add_moments(features, targets)
            for part in _blocks(len(targets), classes):
                collector.train_scores.update(
                    collector.model.logits(features[HEAD_INPUT][part]), targets[part]
                )
    for collector in collectors.values():
        collector.centres = {
            name: NearestCentre(m, measure.min_count) for name, m in collector.moments.items()
        }
    again = measured_rows(
        data.train, min(measure.agreement_samples, measure.train_tokens or data.train.samples), seed
    )
    for inputs, targets, positions in _batches(
        data.train, again, device, "training agreement", beat
    ):
        for collector in collectors.values():
            collector.decide(
                collector.features(inputs, positions)[HEAD_INPUT], targets, {"train": collector}
            )
    base = None if reference is None else collectors[reference]
    for inputs, targets, positions in _batches(
        data.val, np.arange(len(data.val)), device, "validation", beat
    ):
        features_of = {
            name: collector.features(inputs, positions) for name, collector in collectors.items()
        }
        for name, collector in collectors.items():
            others = {} if base is None or collector is base else {"refmeans": base}
            collector.decide(features_of[name][HEAD_INPUT], targets, {"val": collector, **others})
            collector.decide_layers(features_of[name], targets)
        for part in _blocks(len(targets), classes):
            logits = {
                name: c.model.logits(features_of[name][HEAD_INPUT][part])
                for name, c in collectors.items()
            }
            for name, collector in collectors.items():
                collector.val_scores.update(logits[name], targets[part])
                if reference is not None and name != reference:
                    collector.logits_error.update(logits[name], logits[reference])
    if data.ood is not None:
        rows = measured_rows(data.ood, measure.agreement_samples, seed)
        for inputs, _, positions in _batches(data.ood, rows, device, "other data", beat):
            for collector in collectors.values():
                collector.add_ood(collector.features(inputs, positions)[HEAD_INPUT])
    return {
        name: _measurement(collector, base, counts, measure.min_count)
        for name, collector in collectors.items()
    }


def _batches(
    split: Split, rows: Ints, device: torch.device, doing: str, beat: Beat | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Inputs of some rows at a time, with the targets of their samples.

    Targets are (N,); the third tensor says which of the flattened positions are samples.
    """
    if not len(rows):
        raise ValueError(f"{doing}: the split has no rows")
    at_once = max(1, BATCH_SAMPLES * len(split) // split.samples)
    for start in range(0, len(rows), at_once):
        inputs, targets = split.batch(rows[start : start + at_once])
        largest = IMAGE_VALUES if inputs.is_floating_point() else TOKENS
        size = max(1, largest * len(inputs) // inputs.numel())
        for part, part_targets in zip(
            torch.split(inputs, size), torch.split(targets, size), strict=True
        ):
            flat = part_targets.reshape(-1)
            positions = (flat != IGNORE).nonzero().squeeze(1)
            yield part.to(device), flat[positions].to(device), positions.to(device)
        if beat is not None:
            beat(doing, min(1.0, (start + at_once) / len(rows)))


def _blocks(samples: int, classes: int) -> Iterator[slice]:
    """Slices of samples whose logits fit `LOGITS`, or of `HEAD_SAMPLES`."""
    size = max(HEAD_SAMPLES, LOGITS // classes)
    for start in range(0, samples, size):
        yield slice(start, start + size)


def _measurement(
    collector: _Collector, base: _Collector | None, class_counts: Ints, min_count: int
) -> Measurement:
    """All columns of a model."""
    weight, _ = collector.model.head_rows
    metrics = collapse_metrics(collector.moments[HEAD_INPUT], weight, min_count=min_count)
    moments = collector.moments[HEAD_INPUT]
    result = Measurement(dict(metrics), dict(metrics.reasons), moments, collector.agreements["val"])
    result.put_agreement(collector.agreements["train"], {"nc4_agreement_train": "nc4_agreement"})
    names = {
        "nc4_agreement": "nc4_agreement",
        "ncc_accuracy": "ncc_accuracy",
        "nc4_unmeasured_share": "unmeasured_share",
    }
    result.put_agreement(collector.agreements["val"], names)
    result.add(
        minority_collapse(moments, weight, torch.from_numpy(class_counts), min_count=min_count)
    )
    if collector.ood is not None:
        result.add(ood_orthogonality(moments, collector.ood, min_count=min_count))
    if base is not None and collector is not base:
        result.add(reference_drift(moments, base.moments[HEAD_INPUT], weight, min_count=min_count))
        names = {"nc4_agreement_refmeans": "nc4_agreement", "ncc_accuracy_refmeans": "ncc_accuracy"}
        result.put_agreement(collector.agreements["refmeans"], names)
        result.put(
            "logits_error", collector.logits_error.value, "the logits are zero or not finite"
        )
    train, val = collector.train_scores, collector.val_scores
    scores = {
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": val.loss,
        "val_accuracy": val.accuracy,
        "val_top5_accuracy": val.top5_accuracy,
        "val_calibration_error": val.calibration_error,
        "perplexity": val.perplexity,
        "generalization_gap": val.loss - train.loss,
    }
    for name, value in scores.items():
        sound = math.isfinite(train.loss if name.startswith("train_") else val.loss)
        result.put(name, value if sound else None, "the logits of a measured sample are not finite")
    for name, moments in collector.moments.items():
        if name != HEAD_INPUT:
            result.layers[name] = _layer(collector, name, moments, min_count)
    return result


def _layer(collector: _Collector, name: str, moments: ClassMoments, min_count: int) -> Measurement:
    """Columns of an inner layer.

    Those that need no head, and the accuracy of its nearest class centre.
    """
    no_head = torch.zeros(moments.classes, moments.dim, device=collector.device)
    metrics = collapse_metrics(moments, no_head, min_count=min_count)
    result = Measurement(dict(metrics), dict(metrics.reasons), moments)
    for column in metrics:
        if column.startswith(("nc3_", "unc3_", "nc2_w_")):
            result.put(column, None, "an inner layer has no head of its own")
    hits, samples = collector.layer_hits.get(name, 0), collector.val_scores.samples
    reason = collector.centres[name].reason or collector.layer_reasons.get(name)
    result.put("ncc_accuracy", None if reason else hits / samples, reason or "")
    return result
