"""Measuring models of target vectors: passes, sums and columns of a regression.

There are no classes, so that the columns of class means and of decisions are undefined.
Shapes: N samples of a batch, n entries of a target, d of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from study.columns import METRICS
from study.columns.phases import PHASES
from study.measuring.columns import Measurement, put_noise
from study.measuring.passes import Passes, Sizes
from study.measuring.samples import measured_rows
from study.metrics import RegressionMoments, TargetScores, feature_size, regression_collapse
from study.precision import RelativeError
from study.store import HEAD_INPUT

if TYPE_CHECKING:
    from study.data.base import Dataset
    from study.measuring.crew import Crew

NO_CLASSES = "the targets are vectors, so there are no classes"
OF_CLASSES = tuple(
    name
    for name, metric in METRICS.items()
    if metric.family.startswith(("NC", "GNC", "UNC", "accuracy"))
    and name not in ("effective_rank", "feature_norm_rms", "val_r2", "train_r2", *PHASES)
    and not name.endswith("_refmeans")
)
"""Columns of rows about classes, but for those that need another reference, data or phases."""


@dataclass
class TargetSums:
    """Sums over a split: moments by layer, scores, and errors by the reference.

    samples       of the shares so far
    logits_error  of the predictions against the reference's
    noise         of the features against the reference's by layer, on the first samples
    """

    scores: TargetScores
    samples: int = 0
    moments: dict[str, RegressionMoments] = field(default_factory=dict)
    logits_error: RelativeError = field(default_factory=RelativeError)
    noise: dict[str, RelativeError] = field(default_factory=dict)

    def merge(self, other: TargetSums) -> None:
        """Add the sums of other samples."""
        self.samples += other.samples
        self.scores.merge(other.scores)
        for name, moments in other.moments.items():
            self.moments[name].merge(moments)
        self.logits_error.merge(other.logits_error)
        for name, noise in other.noise.items():
            self.noise.setdefault(name, RelativeError()).merge(noise)


class RegressionPasses(Passes):
    """The passes of a regression; see `study.measuring.passes.Passes`."""

    @torch.no_grad()
    def training_targets(self, layers: Sequence[str]) -> TargetSums:
        """Moments of layers and scores, on the measured training samples."""
        sums = TargetSums(TargetScores(self.classes, self.device))
        rows = measured_rows(self.data.train, self.measure.train_tokens, self.seed)
        for features, batch in self._features(self.data.train, rows, layers, "training moments"):
            sums.samples += len(batch.targets)
            for name, h in features.items():
                if name not in sums.moments:
                    sums.moments[name] = RegressionMoments(self.classes, h.shape[1], self.device)
                sums.moments[name].update(h, batch.targets)
            sums.scores.update(self.logits(features[HEAD_INPUT]), batch.targets)
        return sums

    @torch.no_grad()
    def validation_targets(self, layers: Sequence[str], *, keep: bool) -> TargetSums:
        """Scores on the validation split, and errors by the reference.

        `keep`: this is the reference, which later precisions are compared with.
        """
        sums = TargetSums(TargetScores(self.classes, self.device))
        self.rewind(layers, keep=keep)
        rows = np.arange(len(self.data.val))
        for features, batch in self._features(self.data.val, rows, layers, "validation"):
            left = max(0, self.measure.agreement_samples - sums.samples - self.before(batch))
            for name, h in features.items():
                self.add_noise(sums.noise, name, h[:left], keep)
            sums.samples += len(batch.targets)
            h = features[HEAD_INPUT]
            predictions = self.logits(h)
            sums.scores.update(predictions, batch.targets)
            if self.reference is not None and keep:
                self.reference.features.append(h)
            elif self.reference is not None:
                kept = self.reference.features.read(len(h), self.device)
                sums.logits_error.update(predictions, self.reference.logits(kept))
        return sums


class RegressionMeter:
    """Measures a model of target vectors at one precision after another.

    See `study.measuring.collect.Meter`.
    """

    def __init__(self, crew: Crew, data: Dataset) -> None:
        self.crew, self.targets = crew, data.classes
        self.sizes: Sizes = crew.one("sizes")
        self.has_reference = False

    def measure(self, *, reference: bool = False) -> Measurement:
        """Columns of the model as it is now. Every metric that does not exist is None."""
        layers = (*self.sizes.layers, HEAD_INPUT)
        training, *others = self.crew.all("training_targets", layers)
        for each in others:
            training.merge(each)
        validation, *others = self.crew.all("validation_targets", layers, keep=reference)
        for each in others:
            validation.merge(each)
        weight, _ = self.crew.one("head_rows")
        head = _layer(training.moments[HEAD_INPUT], weight)
        _put_scores(head, training.scores, validation.scores)
        if self.has_reference and not reference:
            error = validation.logits_error.value
            head.put("logits_error", error, "the predictions are zero or not finite")
        put_noise(head, validation.noise.get(HEAD_INPUT))
        for name in self.sizes.layers:
            head.layers[name] = _layer(training.moments[name], None)
            put_noise(head.layers[name], validation.noise.get(name))
        self.has_reference = self.has_reference or reference
        return head


def _layer(moments: RegressionMoments, weight: Tensor | None) -> Measurement:
    """Columns that follow from the moments of a layer and the head (n, d) behind it."""
    result = Measurement(dict.fromkeys(OF_CLASSES), dict.fromkeys(OF_CLASSES, NO_CLASSES))
    result.add(regression_collapse(moments, weight))
    result.add(feature_size(moments.features))
    result.put("samples_measured", moments.samples, "")
    return result


def _put_scores(head: Measurement, train: TargetScores, val: TargetScores) -> None:
    columns = {
        "train_loss": train.loss,
        "val_loss": val.loss,
        "generalization_gap": val.loss - train.loss,
    }
    for name, value in columns.items():
        head.put(name, value, "the predictions of a measured sample are not finite")
    for name, scores in (("train_r2", train), ("val_r2", val)):
        constant = scores.r2 is None
        reason = "a target does not vary" if constant else "the predictions are not finite"
        head.put(name, scores.r2, reason)
