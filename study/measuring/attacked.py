"""Samples under the attack of `measure.attack`, as sums.

The attack is made on the model as it is, at its own precision, so that a row says what someone
who has the rounded model can do. What has no gradient there, rounding of inputs and of the cache,
passes gradients straight through (Athalye, Carlini & Wagner 2018, section 4.1).

Shapes: N samples of a batch, B of its rows, d feature entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from study.config import MeasureConfig
from study.data.base import Dataset, Ints, Split
from study.measuring.arithmetic import arithmetic
from study.measuring.samples import Batch, Beat, batches, blocks, measured_rows
from study.metrics import (
    Agreement,
    ClassMoments,
    Leaps,
    NearestCentre,
    leaps,
)
from study.metrics.agreement import LinearHead, agreements
from study.metrics.scores import HeldOutScores
from study.models.attacks import Perturbable, ascend, perturbable
from study.models.base import FeatureModel
from study.settings.attack import AttackConfig
from study.training.log_losses import log_cross_entropy, log_sums
from study.training.losses import by_chunk

PIXELS, TOKENS = 2**16, 2**12
"""Values of the rows that are attacked at once: gradients keep what layers give for them."""
OWN, KEPT = "own", "refmeans"
"""Names of decisions by the class means of the model itself and by those of the reference."""


class Subject(Protocol):
    """What is attacked: the model, samples and settings of some `Passes`."""

    model: FeatureModel
    data: Dataset
    measure: MeasureConfig
    classes: int
    seed: int
    device: torch.device
    share: tuple[int, int]
    beat: Beat | None

    def logits(self, features: Tensor) -> Tensor:
        """Logits (N, V) of features (N, d)."""


@dataclass
class AttackedSplit:
    """Sums over the attacked samples of a split; `moments` of those of validation."""

    scores: HeldOutScores
    leaps: Leaps
    moments: ClassMoments | None = None
    agreements: dict[str, Agreement] = field(default_factory=dict)

    def merge(self, other: AttackedSplit) -> None:
        """Add the sums of other samples."""
        self.scores.merge(other.scores)
        self.leaps += other.leaps
        if self.moments is None:
            self.moments = other.moments
        elif other.moments is not None:
            self.moments.merge(other.moments)
        for name, agreement in other.agreements.items():
            self.agree(name, agreement)

    def agree(self, name: str, agreement: Agreement) -> None:
        """Add the decisions on a batch."""
        known = self.agreements.get(name)
        self.agreements[name] = agreement if known is None else known + agreement


@dataclass
class AttackedSums:
    """Sums over attacked samples of training and of validation."""

    train: AttackedSplit
    val: AttackedSplit

    def merge(self, other: AttackedSums) -> None:
        """Add the sums of other samples."""
        self.train.merge(other.train)
        self.val.merge(other.val)


def attacked_sums(
    passes: Subject, centres: NearestCentre, base: NearestCentre | None
) -> AttackedSums:
    """Attack validation samples, and training samples whose decisions count.

    Args:
        passes: of the model as it is.
        centres: of its clean training samples.
        base: of the reference's, for another precision.

    Raises ModelError where inputs of the model cannot be attacked.
    """
    data, measure = passes.data, passes.measure
    samples = min(measure.agreement_samples, measure.train_tokens or data.train.samples)
    rows = measured_rows(data.train, samples, passes.seed)
    train, val = (
        AttackedSplit(HeldOutScores(passes.device), Leaps.empty(passes.device)) for _ in range(2)
    )
    _add(passes, train, data.train, rows, {OWN: centres}, "attacked training samples")
    named = {OWN: centres} if base is None else {OWN: centres, KEPT: base}
    val.moments = ClassMoments(passes.classes, passes.model.head.in_features, passes.device)
    _add(passes, val, data.val, np.arange(len(data.val)), named, "attacked validation")
    return AttackedSums(train, val)


def _add(
    passes: Subject,
    sums: AttackedSplit,
    split: Split,
    rows: Ints,
    centres: Mapping[str, NearestCentre],
    doing: str,
) -> None:
    """Attack rows of a split, and add what becomes of their samples."""
    head = LinearHead(*passes.model.head_rows, passes.device)
    for batch in batches(split, rows, passes.device, doing, passes.beat, passes.share):
        if not len(batch.rows):
            continue
        # Starts follow from the rows of a batch, whatever its share and the precision.
        seeds = np.random.SeedSequence([passes.seed, len(split), int(batch.rows[0])])
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
        for part in _parts(batch):
            clean, attacked, radii = _attacked(passes, part, generator)
            sums.leaps += leaps(clean, attacked, part.targets, radii, head, centres[OWN])
            if sums.moments is not None:
                sums.moments.update(attacked, part.targets.cpu())
            for block in blocks(len(attacked), passes.classes, passes.device):
                h, y = attacked[block], part.targets[block]
                sums.scores.update(passes.logits(h), y)
                asked = {name: (centre, h) for name, centre in centres.items()}
                for name, agreement in agreements(y, asked, (head, h)).items():
                    sums.agree(name, agreement)


@dataclass(frozen=True)
class _Part:
    """Some rows of a batch.

    inputs     (B, ...)
    targets    (N,) classes of their samples
    owners     (N,) which of the rows a sample belongs to
    positions  (N,) which of the flattened positions it is
    """

    inputs: Tensor
    targets: Tensor
    owners: Tensor
    positions: Tensor


def _parts(batch: Batch) -> Iterator[_Part]:
    """Rows that are attacked at a time."""
    x = batch.inputs
    of_row = 1 if x.is_floating_point() else x.shape[1]
    owners = batch.positions // of_row
    size = max(1, (PIXELS if x.is_floating_point() else TOKENS) * len(x) // x.numel())
    for start in range(0, len(x), size):
        here = (owners >= start) & (owners < start + size)
        positions = batch.positions[here] - start * of_row
        yield _Part(x[start : start + size], batch.targets[here], owners[here] - start, positions)


def _attacked(
    passes: Subject, part: _Part, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, d) of samples before and after the attack, and its norms over eps."""
    model, attack = passes.model, passes.measure.attack
    assert attack is not None
    x = part.inputs
    x = x.to(model.head.weight.dtype) if x.is_floating_point() else x
    with arithmetic(passes.measure.compute, passes.device):
        target = perturbable(
            model,
            model.features,
            x,
            norm=attack.norm,
            eps=attack.eps,
            input_range=passes.data.input_range,
        )

        def features(r: Tensor) -> Tensor:
            h = target.features(r)
            return h.reshape(-1, h.shape[-1])[part.positions]

        def losses(r: Tensor) -> Tensor:
            of_samples = by_chunk(log_loss, passes.classes, features(r), part.targets)
            return log_sums(of_samples, part.owners, len(x))

        def log_loss(h: Tensor, y: Tensor) -> Tensor:
            return log_cross_entropy(model.logits(h).float(), y)

        r = strongest(target, losses, attack, generator, passes.device)
        with torch.no_grad():
            return features(torch.zeros_like(r)), features(r), target.ball.norms(r) / attack.eps


def strongest(
    target: Perturbable,
    losses: Callable[[Tensor], Tensor],
    attack: AttackConfig,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """The perturbation (B, ...) of inputs that the attack finds.

    It is 0 for a row whose loss it raises nowhere. fgsm takes one step from the input, pgd begins
    anywhere in the ball.
    """
    start = torch.zeros(target.shape, device=device)
    length = attack.eps
    if attack.kind == "pgd":
        start = target.ball.start(target.shape, generator).to(device)
        length = attack.length(attack.eps)
    return ascend(losses, target.ball, start, steps=attack.ascents, length=length, best=True)
