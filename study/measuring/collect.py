"""From models and data to numbers, one model and one part of its layers at a time.

For each, one pass over training samples, a short one for training agreement, one over validation.
Of the reference its means and its validation features stay, and every other model is compared with
them, so that memory does not depend on how many follow. All see the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from operator import add
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from study.config import MeasureConfig
from study.data.base import Dataset
from study.measuring.attacked import AttackedSums
from study.measuring.columns import (
    Measurement,
    attacked_columns,
    head_columns,
    layer_columns,
    put_complexity,
    put_geodesic,
    put_layer_accuracy,
    put_noise,
)
from study.measuring.crew import Alone, Crew
from study.measuring.passes import Passes, Sizes, TrainingSums, ValidationSums
from study.measuring.regression import RegressionMeter, RegressionPasses
from study.measuring.samples import Beat
from study.metrics import ClassMoments, Gaussian, NearestCentre, OodScorer, OtherData
from study.models.base import FeatureModel
from study.store import HEAD_INPUT

LAYER_BYTES = 2**28
"""Moments of inner layers that are held at a time, beyond two layers."""
COVARIANCE_BYTES = 2**28
"""Covariances of inner layers that are kept for the path of features through them."""

SumsT = TypeVar("SumsT", TrainingSums, ValidationSums, OtherData, AttackedSums)


class Meter:
    """Measures a model at one precision after another, on the same samples.

    Args:
        crew: makes the passes; the model that its `Passes` hold is what is measured.
        data: what is measured on.
        measure: what is measured.
    """

    def __init__(self, crew: Crew, data: Dataset, measure: MeasureConfig) -> None:
        self.crew, self.min_count, self.probe = crew, measure.min_count, measure.probe
        self.derives = measure.complexity_samples is not None
        self.attack = None if measure.attack is None else measure.attack.name
        self.sizes: Sizes = crew.one("sizes")
        classes = self.sizes.classes
        self.ood = tuple(data.ood)
        self.class_counts = np.pad(data.class_counts, (0, classes - data.classes))
        self.parts = parts_of_layers(self.sizes.layers, classes, self.sizes.dim)
        self.base: ClassMoments | None = None

    def measure(self, *, reference: bool = False) -> Measurement:
        """Columns of the model as it is now. Every metric that does not exist is None.

        `reference`: it is what the models that follow are compared with.
        """
        layers: dict[str, Measurement] = {}
        gaussians: dict[str, Gaussian | str] = {}
        head = None
        for part in self.parts:
            head = self._measure_part(part, layers, gaussians, reference=reference)
        assert head is not None, "the head's input is in the last part"
        head.layers = layers
        if layers and head.moments is not None:
            put_geodesic(layers, gaussians | {HEAD_INPUT: self._gaussian(head.moments)})
        if reference:
            self.base = head.moments
        return head

    def _measure_part(
        self,
        part: Sequence[str],
        layers: dict[str, Measurement],
        gaussians: dict[str, Gaussian | str],
        *,
        reference: bool,
    ) -> Measurement | None:
        """Add the layers of a part; None, or columns at the head's input it has.

        Its sums and centres are gone before the next part begins.
        """
        head = None
        training = _merged(self.crew.all("training", part))
        centres: dict[str, NearestCentre] = {}
        for name in [name for name in part if name != HEAD_INPUT]:
            moments = training.moments.pop(name)
            layers[name] = layer_columns(
                moments, class_counts=self.class_counts, min_count=self.min_count
            )
            gaussians[name] = self._gaussian(moments)
            centres[name] = NearestCentre(moments, self.min_count)
            del moments
        if HEAD_INPUT in part:
            head, validation = self._measure_head(training, centres, reference=reference)
        else:
            validation = _merged(self.crew.all("validation", centres, None, keep=reference))
        for name, centre in centres.items():
            if name != HEAD_INPUT:
                put_layer_accuracy(layers[name], name, validation, centre.reason)
                put_noise(layers[name], validation.noise.get(name))
        self._probe(part, layers | ({} if head is None else {HEAD_INPUT: head}))
        return head

    def _probe(self, part: Sequence[str], measured: Mapping[str, Measurement]) -> None:
        """Add the columns of probes to the layers of a part that are probed."""
        if self.probe is None:
            return
        names = [name for name in part if self.probe.layers == "all" or name == HEAD_INPUT]
        for name, columns in self.crew.one("probe", names).items() if names else ():
            measured[name].add(columns)

    def _gaussian(self, moments: ClassMoments) -> Gaussian | str:
        """Of the features of a layer, or why there is none."""
        layers = len(self.sizes.layers)
        if 8 * layers * moments.dim**2 > COVARIANCE_BYTES:
            return (
                f"the covariances of {layers} layers of {moments.dim} features take more than "
                f"{COVARIANCE_BYTES // 2**20} MiB"
            )
        return Gaussian.of(moments)

    def _measure_head(
        self, training: TrainingSums, centres: dict[str, NearestCentre], *, reference: bool
    ) -> tuple[Measurement, ValidationSums]:
        """Columns at the head's input, and the sums of validation."""
        own = NearestCentre(training.moments[HEAD_INPUT], self.min_count)
        kept = self.crew.all("kept_samples")
        agreement = reduce(add, self.crew.all("agreement", own))
        base = None if reference else self.base
        others = None if base is None else NearestCentre(base, self.min_count)
        scorer = OodScorer(training.moments[HEAD_INPUT], self.min_count) if self.ood else None
        asked = {**centres, HEAD_INPUT: own}
        passes = self.crew.all("validation", asked, others, scorer, keep=reference)
        attacked = self.crew.all("attacked", own, others) if self.attack else []
        no_centres = own.reason
        del own, others, asked
        shares = [] if scorer is None else self.crew.all("other_data", scorer)
        validation = _merged(passes)
        head = head_columns(
            training,
            agreement,
            validation,
            self.crew.one("head_rows")[0],
            self.crew.one("thresholds"),
            _joined(kept),
            class_counts=self.class_counts,
            min_count=self.min_count,
            base=base,
            other_data={name: _merged([share[name] for share in shares]) for name in self.ood},
        )
        if self.derives:
            put_complexity(head, self.crew.all("complexity"))
        if self.attack is not None:
            head.attacks[self.attack] = attacked_columns(
                head,
                training.moments[HEAD_INPUT],
                _merged(attacked),
                min_count=self.min_count,
                no_centres=no_centres,
            )
        return head, validation


def passes_over(model: FeatureModel, data: Dataset, *arguments: Any, **options: Any) -> Passes:
    """The passes of a model by what its data predict; arguments are those of `Passes`."""
    kind = RegressionPasses if data.predicts == "vectors" else Passes
    return kind(model, data, *arguments, **options)


def meter_of(crew: Crew, data: Dataset, measure: MeasureConfig) -> Meter | RegressionMeter:
    """What measures the model that a crew holds, by what its data predict."""
    if data.predicts == "vectors":
        return RegressionMeter(crew, data)
    return Meter(crew, data, measure)


def parts_of_layers(names: Sequence[str], classes: int, dim: int) -> list[tuple[str, ...]]:
    """Layers that are measured in one pass.

    All where their moments are small, else two at a time.

    Two take no more memory than the decisions at the head's input, which are made by themselves.
    """
    of_one = 8 * classes * dim
    if len(names) * of_one <= LAYER_BYTES:
        return [(*names, HEAD_INPUT)]
    return [*_batched(names, max(2, LAYER_BYTES // of_one)), (HEAD_INPUT,)]


def _batched(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    left = iter(names)
    while part := tuple(islice(left, size)):
        yield part


def _merged(sums: list[SumsT]) -> SumsT:
    first, *others = sums
    for each in others:
        first.merge(each)  # type: ignore[arg-type]
    return first


def _joined(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Samples of several shares together, on the device of the first."""
    device = samples[0][0].device
    features, targets = zip(*samples, strict=True)
    return torch.cat([h.to(device) for h in features]), torch.cat([y.to(device) for y in targets])


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
    """Measure models that exist side by side on the same samples, one after another.

    Args:
        models: by name, in evaluation mode, all with as many classes and features.
        data: both splits.
        measure: what is measured.
        seed: of the measured samples.
        device: where the models live.
        reference: name of the model whose means the others are also measured by.
        beat: called with the name of the pass and the share of it that is done.

    Returns:
        by name of the model, its columns. Every metric that does not exist is None with its reason.

    Raises:
        ValueError: a model is in training mode, or a pass has no sample.
    """
    if training := [name for name, model in models.items() if model.training]:
        raise ValueError(f"models {training} are in training mode: call .eval() first")
    first = next(iter(models.values()))
    passes = passes_over(first, data, measure, seed=seed, device=device, beat=beat)
    meter = meter_of(Alone(passes), data, measure)
    results = {}
    for name in sorted(models, key=lambda name: name != reference):
        passes.model = models[name]
        results[name] = meter.measure(reference=name == reference)
    return {name: results[name] for name in models}
