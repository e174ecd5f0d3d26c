"""The passes of one model over the measured samples, as sums.

Sums of several shares of the samples add up to those of all. Shapes: N samples of a batch, d
feature entries, V classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import Compute, MeasureConfig
from study.data.base import Dataset, Ints, Split
from study.measuring.arithmetic import arithmetic, check_compute
from study.measuring.attacked import AttackedSums, attacked_sums
from study.measuring.calibration import calibration
from study.measuring.complexity import complexity_sums
from study.measuring.groups import members
from study.measuring.samples import (
    Batch,
    Beat,
    batches,
    blocks,
    measured_rows,
    samples_elsewhere,
)
from study.metrics import (
    Agreement,
    ClassMoments,
    CollapseMetrics,
    NearestCentre,
    OodScorer,
    OtherData,
    ScoredSamples,
)
from study.metrics.agreement import LinearHead, LinkHead, agreements
from study.metrics.probes import ProbeFeatures, probe_metrics
from study.metrics.scores import HeldOutScores, Scores
from study.models.base import FeatureModel
from study.models.heads import rows_of
from study.models.spread import hooked, offloaded
from study.precision import (
    REFERENCE,
    Precision,
    PrecisionError,
    Record,
    RelativeError,
    at_precision,
    check_precision,
)
from study.precision.options import PrecisionOptions
from study.store import HEAD_INPUT

MEMORY_OF_FEATURES = 2**28
"""Bytes of the reference's validation features that wait in memory; more wait in a file."""


@dataclass
class TrainingSums:
    """Class moments by layer; scores where the head's input is among them.

    So are `groups`, the moments at the head's input by group of samples.
    """

    moments: dict[str, ClassMoments]
    scores: Scores
    groups: dict[str, ClassMoments] = field(default_factory=dict)

    def merge(self, other: TrainingSums) -> None:
        """Add the sums of other samples."""
        for name, moments in other.moments.items():
            if name in self.moments:
                self.moments[name].merge(moments)
            else:
                self.moments[name] = moments
        self.scores.merge(other.scores)
        for name, moments in self.groups.items():
            moments.merge(other.groups[name])


@dataclass
class ValidationSums:
    """Moments, decisions, scores and errors on validation samples.

    samples       how many they are
    moments       at the head's input, where it is measured
    agreements    decisions with the model's own class means (`val`) and the reference's
                  (`refmeans`), and with those of inner layers, by their names
    logits_error  of the logits against the reference's
    noise         of the features against the reference's by layer, on the first samples
    groups        scores by group of samples, where the data have groups
    detection     scores of the samples, where there are other data
    """

    scores: HeldOutScores
    samples: int = 0
    moments: ClassMoments | None = None
    agreements: dict[str, Agreement] = field(default_factory=dict)
    logits_error: RelativeError = field(default_factory=RelativeError)
    noise: dict[str, RelativeError] = field(default_factory=dict)
    groups: dict[str, Scores] = field(default_factory=dict)
    detection: ScoredSamples | None = None

    def merge(self, other: ValidationSums) -> None:
        """Add the sums of other samples."""
        self.samples += other.samples
        if self.moments is None:
            self.moments = other.moments
        elif other.moments is not None:
            self.moments.merge(other.moments)
        for name, agreement in other.agreements.items():
            self.agree(name, agreement)
        self.scores.merge(other.scores)
        self.logits_error.merge(other.logits_error)
        for name, noise in other.noise.items():
            self.noise.setdefault(name, RelativeError()).merge(noise)
        for name, scores in self.groups.items():
            scores.merge(other.groups[name])
        if self.detection is not None and other.detection is not None:
            self.detection.merge(other.detection)

    def agree(self, name: str, agreement: Agreement) -> None:
        """Add the decisions on a batch."""
        known = self.agreements.get(name)
        self.agreements[name] = agreement if known is None else known + agreement


@dataclass(frozen=True)
class Sizes:
    """Inner layers that are measured, classes V, entries d, and parameters."""

    layers: tuple[str, ...]
    classes: int
    dim: int
    parameters: int


class _Enough(Exception):
    """All layers that are asked for have been computed."""


class _Features:
    """Features (N, d) of samples in their order, in memory or in a file."""

    def __init__(self) -> None:
        self.dtype, self.dim, self.samples = torch.float32, 0, 0
        self.file = SpooledTemporaryFile(MEMORY_OF_FEATURES)  # noqa: SIM115 (it lives on)

    def append(self, features_Nxd: Tensor) -> None:
        self.dtype, self.dim = features_Nxd.dtype, features_Nxd.shape[1]
        self.samples += len(features_Nxd)
        self.file.write(features_Nxd.cpu().contiguous().view(torch.uint8).numpy().data)

    def read(self, samples: int, device: torch.device) -> Tensor:
        """The features (N, d) of the next samples."""
        features_Nxd = torch.empty(samples, self.dim, dtype=self.dtype)
        content = self.file.read(features_Nxd.nbytes)
        features_Nxd.view(torch.uint8).numpy().reshape(-1)[:] = np.frombuffer(content, np.uint8)
        return features_Nxd.to(device)


class _Reference:
    """What later precisions are compared with: features, and the head as it was."""

    def __init__(self, model: FeatureModel, compute: Compute) -> None:
        self.model, self.compute = model, compute
        self.weight = rows_of(model.head).detach()
        self.bias = None if model.head.bias is None else model.head.bias.detach()
        # A cast rounds the thresholds, too.
        self.link = deepcopy(model.link)
        self.features = _Features()

    def logits(self, features: Tensor) -> Tensor:
        """As the reference's own."""
        with arithmetic(self.compute, features.device):
            z = F.linear(features, self.weight, self.bias)
            logits: Tensor = self.model.scaled(z) if self.link is None else self.link(z)
            return logits


class Passes:
    """The passes of a model, over one of several shares of the samples.

    Args:
        model: may change between passes, but for the number of classes and features.
        data: both splits, and sets of other data if there are any.
        measure: what is measured.
        seed: of the measured samples.
        device: where the model lives.
        share: (k, n) takes the k-th of n shares of the batches, counted from 0.
        beat: called with the name of the pass and the share of it that is done.

    Raises ModelError where the device has not the arithmetic of `measure`.
    """

    def __init__(
        self,
        model: FeatureModel,
        data: Dataset,
        measure: MeasureConfig,
        *,
        seed: int,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        beat: Beat | None = None,
    ) -> None:
        check_compute(measure.compute, device)
        self.model, self.data, self.measure = model, data, measure
        self.seed, self.device, self.share, self.beat = seed, device, share, beat
        # Rows of a head beyond the classes stay in the softmax; as they never occur, no metric of
        # classes counts them.
        self.classes = max(data.classes, model.outputs)
        self.reference: _Reference | None = None
        self.first_features: dict[str, _Features] = {}
        # Features of the training samples whose agreement is asked for, and their classes.
        self.kept: list[tuple[Tensor, Tensor]] = []

    def sizes(self) -> Sizes:
        """The names of the layers that are measured, and sizes of the model."""
        names = tuple(self.model.layers) if self.measure.layers == "all" else ()
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return Sizes(names, self.classes, self.model.head.in_features, parameters)

    def check(self, precisions: Sequence[Precision]) -> None:
        """Raise PrecisionError where the model cannot take one of the precisions."""
        others = [each.name for each in precisions if each.name != REFERENCE]
        if others and offloaded(self.model):
            raise PrecisionError(
                f"{', '.join(others)} cannot round weights that are not in memory, and with "
                "device_map auto some of this model are on disk, or on the host of a GPU: measure "
                "fp32 alone, allow more memory, or take more GPUs"
            )
        replacing = [each.name for each in precisions if not each.of_weights_alone]
        if replacing and hooked(self.model):
            raise PrecisionError(
                f"{', '.join(replacing)} replaces the forward passes of layers, which are hooks "
                "where device_map auto puts them on several devices: take precisions of weights "
                "alone, such as int8, or a device that holds the model"
            )
        for precision in precisions:
            check_precision(self.model, precision)

    @contextmanager
    def at(self, precision: Precision) -> Iterator[Record]:
        """Within, the model is at a precision; see `study.precision.at_precision`."""
        samples = calibration(self.data, PrecisionOptions(), self.seed, self.device)
        with at_precision(self.model, precision, samples) as record:
            yield record

    def head_rows(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, d) and bias (V,) of the head as it is now."""
        return self.model.head_rows

    def thresholds(self) -> Tensor | None:
        """(V - 1,) between ordered classes as they are now; None where there is no link."""
        return None if self.model.link is None else self.model.link.thresholds.detach()

    @torch.no_grad()
    def training(self, layers: Sequence[str]) -> TrainingSums:
        """Moments of layers, on the measured training samples."""
        sums = TrainingSums({}, Scores(self.device))
        train, measure = self.data.train, self.measure
        samples = min(measure.agreement_samples, measure.train_tokens or train.samples)
        again = torch.from_numpy(measured_rows(train, samples, self.seed))
        rows = measured_rows(train, measure.train_tokens, self.seed)
        groups = self.data.groups if HEAD_INPUT in layers else None
        if HEAD_INPUT in layers:
            self.kept = []
        if groups is not None:
            dim = self.model.head.in_features
            sums.groups = {
                name: ClassMoments(self.classes, dim, self.device) for name in groups.names
            }
        for features, batch in self._features(train, rows, layers, "training moments"):
            finite = bool(torch.stack([h.sum().isfinite() for h in features.values()]).all())
            for name, h in features.items():
                if name not in sums.moments:
                    sums.moments[name] = ClassMoments(
                        self.classes, h.shape[1], self.device, scatter=True
                    )
                sums.moments[name].update(h, batch.labels, finite=finite)
            if HEAD_INPUT in features:
                h = features[HEAD_INPUT]
                for part in blocks(len(h), self.classes, self.device):
                    sums.scores.update(self.logits(h[part]), batch.targets[part])
                chosen = torch.isin(batch.rows, again).nonzero().squeeze(1).to(self.device)
                self.kept.append((h[chosen], batch.targets[chosen]))
            for name, places in members(groups, "train", batch):
                h = features[HEAD_INPUT][places.to(self.device)]
                sums.groups[name].update(h, batch.labels[places], finite=finite)
        return sums

    def kept_samples(self) -> tuple[Tensor, Tensor]:
        """Features (N, d) that `training` kept for `agreement`, and their classes (N,)."""
        nothing = (
            torch.empty(0, self.model.head.in_features, device=self.device),
            torch.empty(0, dtype=torch.int64, device=self.device),
        )
        features, targets = zip(nothing, *self.kept, strict=True)
        return torch.cat(features), torch.cat(targets)

    @torch.no_grad()
    def agreement(self, centres: NearestCentre) -> Agreement:
        """Decisions on some of the training samples, whose features `training` kept."""
        head = self.head()
        total = Agreement.empty(self.classes, self.device)
        for h, targets in self.kept:
            total += agreements(targets, {"": (centres, h)}, (head, h))[""]
        self.kept = []
        return total

    @torch.no_grad()
    def validation(
        self,
        centres: Mapping[str, NearestCentre],
        base: NearestCentre | None,
        scorer: OodScorer | None = None,
        *,
        keep: bool,
    ) -> ValidationSums:
        """Moments, decisions and scores on the validation split.

        Args:
            centres: by layer, those that are asked for.
            base: the centres of the reference, for another precision.
            scorer: of the samples at the head's input, where there are other data.
            keep: this is the reference, which later precisions are compared with: all features at
                the head's input, and of each layer those of the first `agreement_samples`.
        """
        sums = ValidationSums(HeldOutScores(self.device))
        if scorer is not None:
            sums.detection = ScoredSamples(scorer.reasons)
        self.rewind(list(centres), keep=keep)
        head = self.head() if HEAD_INPUT in centres else None
        groups = None if head is None else self.data.groups
        if groups is not None:
            sums.groups = {name: Scores(self.device) for name in groups.names}
        rows = np.arange(len(self.data.val))
        for features, batch in self._features(self.data.val, rows, list(centres), "validation"):
            left = max(0, self.measure.agreement_samples - sums.samples - self.before(batch))
            for name, h in features.items():
                self.add_noise(sums.noise, name, h[:left], keep)
            sums.samples += len(batch.targets)
            if HEAD_INPUT in features:
                h = features[HEAD_INPUT]
                if sums.moments is None:
                    sums.moments = ClassMoments(self.classes, h.shape[1], self.device)
                sums.moments.update(h, batch.labels)
            reference = None
            if self.reference is not None and HEAD_INPUT in features:
                if keep:
                    self.reference.features.append(features[HEAD_INPUT])
                elif base is not None:
                    reference = self.reference.features.read(len(batch.targets), self.device)
            for part in blocks(len(batch.targets), self.classes, self.device):
                targets = batch.targets[part]
                asked = {name: (centres[name], h[part]) for name, h in features.items()}
                if head is None:
                    decided = agreements(targets, asked)
                else:
                    own, h = asked.pop(HEAD_INPUT)
                    asked["val"] = (own, h)
                    if base is not None:
                        asked["refmeans"] = (base, h)
                    logits = self.logits(h)
                    sums.scores.update(logits, targets)
                    for name, places in members(groups, "val", batch, part):
                        chosen = places.to(self.device)
                        sums.groups[name].update(logits[chosen], targets[chosen])
                    if scorer is not None and sums.detection is not None:
                        sums.detection.update(scorer.score(h, logits))
                    if reference is not None and self.reference is not None:
                        sums.logits_error.update(logits, self.reference.logits(reference[part]))
                    products = logits if self._are_products(logits) else None
                    decided = agreements(targets, asked, (head, h), products)
                for name, agreement in decided.items():
                    sums.agree(name, agreement)
        return sums

    def rewind(self, layers: Sequence[str], *, keep: bool) -> None:
        """Begin to keep what later precisions are compared with, or to read it once more."""
        if keep:
            self.first_features |= {name: _Features() for name in layers}
            if HEAD_INPUT in layers:
                self.reference = _Reference(self.model, self.measure.compute)
            return
        for name in layers:
            if name in self.first_features:
                self.first_features[name].file.seek(0)
        if self.reference is not None and HEAD_INPUT in layers:
            self.reference.features.file.seek(0)

    def before(self, batch: Batch) -> int:
        """Validation samples of other shares in front of a batch of this one."""
        return self._elsewhere[batch.read]

    @cached_property
    def _elsewhere(self) -> list[int]:
        return samples_elsewhere(self.data.val, self.share, self.measure.agreement_samples)

    def add_noise(self, errors: dict[str, RelativeError], name: str, h: Tensor, keep: bool) -> None:
        """Keep the features of the first validation samples, or compare with them."""
        first = self.first_features.get(name)
        if first is None or not len(h):
            return
        if keep:
            first.append(h)
        else:
            noise = errors.setdefault(name, RelativeError())
            noise.update(h, first.read(len(h), self.device))

    def head(self) -> LinearHead | LinkHead:
        """How the model decides by its features."""
        link = self.model.link
        if link is None:
            return LinearHead(*self.model.head_rows, self.device)
        return LinkHead(self.logits, self.model.head.weight, link.thresholds)

    def logits(self, features: Tensor) -> Tensor:
        """Logits of features, in the arithmetic of the passes."""
        with arithmetic(self.measure.compute, self.device):
            return self.model.logits(features)

    def _are_products(self, logits: Tensor) -> bool:
        """Whether the logits are float32 products of the head's rows, with their bias."""
        model = self.model
        plain = model.logit_scale == 1 and model.logit_cap is None and model.link is None
        plain = plain and self.measure.compute == "fp32"
        return plain and logits.dtype == torch.float32 and type(model.head) is nn.Linear

    @torch.no_grad()
    def other_data(self, scorer: OodScorer) -> dict[str, OtherData]:
        """Moments and scores of each set of other data, whatever their labels."""
        sets = {}
        for name, split in self.data.ood.items():
            rows = measured_rows(split, self.measure.agreement_samples, self.seed)
            moments = ClassMoments(1, self.model.head.in_features, self.device)
            sets[name] = OtherData(moments, ScoredSamples(scorer.reasons))
            for features, _ in self._features(split, rows, [HEAD_INPUT], "other data"):
                h = features[HEAD_INPUT]
                moments.update(h, torch.zeros(len(h), dtype=torch.int64))
                for part in blocks(len(h), self.classes, self.device):
                    sets[name].scores.update(scorer.score(h[part], self.logits(h[part])))
        return sets

    @torch.no_grad()
    def probe(self, layers: Sequence[str]) -> dict[str, CollapseMetrics]:
        """Columns of probes by layer, of all samples of their data."""
        probe = self.measure.probe
        assert probe is not None
        data = self.data.probes[probe.data]
        train, val = (
            self._all_features(split, layers, doing)
            for split, doing in ((data.train, "probe"), (data.val, "validation of the probe"))
        )
        return {
            name: probe_metrics(
                ProbeFeatures(train[0][name], train[1], val[0][name], val[1], data.classes),
                shots=probe.shots,
                draws=probe.draws,
                seed=self.seed,
                pca=probe.pca,
            )
            for name in layers
        }

    def _all_features(
        self, split: Split, layers: Sequence[str], doing: str
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Features (N, d) by layer of all samples of all shares, and classes (N,)."""
        parts: dict[str, list[Tensor]] = {name: [] for name in layers}
        labels = []
        for features, batch in self._features(
            split, np.arange(len(split)), layers, doing, share=(0, 1)
        ):
            labels.append(batch.labels)
            for name, h in features.items():
                parts[name].append(h.cpu())
        return {name: torch.cat(h) for name, h in parts.items()}, torch.cat(labels)

    def complexity(self) -> tuple[float, int]:
        """Sums of squared derivatives of features by inputs; see `complexity_sums`."""
        return complexity_sums(self)

    def attacked(self, centres: NearestCentre, base: NearestCentre | None) -> AttackedSums:
        """Sums over samples under the attack of `measure`; see `attacked_sums`."""
        return attacked_sums(self, centres, base)

    def _features(
        self,
        split: Split,
        rows: Ints,
        layers: Sequence[str],
        doing: str,
        share: tuple[int, int] | None = None,
    ) -> Iterator[tuple[dict[str, Tensor], Batch]]:
        """Features (N, d) of samples by layer, batch by batch.

        The head's input is `HEAD_INPUT`; without it, the model ends at the last of the layers. Of
        another share than its own where one is given.
        """
        inner = [name for name in layers if name != HEAD_INPUT]
        modules = {name: self.model.layers[name] for name in inner} if inner else {}
        last = inner[-1] if HEAD_INPUT not in layers else None
        dtype = self.model.head.weight.dtype
        share = share or self.share
        for batch in batches(split, rows, self.device, doing, self.beat, share):
            outputs: dict[str, Tensor] = {}
            with ExitStack() as stack:
                stack.enter_context(arithmetic(self.measure.compute, self.device))
                for name, module in modules.items():
                    hook = _keeper(outputs, name, name == last)
                    stack.callback(module.register_forward_hook(hook).remove)
                try:
                    x = batch.inputs
                    x = x.to(dtype) if x.is_floating_point() else x
                    outputs[HEAD_INPUT] = self.model.features(x)
                except _Enough:
                    pass
            yield {name: _samples(outputs[name], batch.positions) for name in layers}, batch


def _keeper(
    outputs: dict[str, Tensor], name: str, last: bool
) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        outputs[name] = output[0] if isinstance(output, tuple) else output
        if last:
            raise _Enough

    return hook


def _samples(features: Tensor, positions: Tensor) -> Tensor:
    """Features (N, d) of the wanted samples.

    Feature maps (B, channels, height, width) are averaged over their positions.
    """
    flat = (
        features.mean(dim=(2, 3))
        if features.ndim == 4
        else features.reshape(-1, features.shape[-1])
    )
    return flat if len(positions) == len(flat) else flat[positions]
