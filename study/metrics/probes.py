"""What can be read of other classes from frozen features, by few and by all shots.

Shapes: N samples to learn from, n of them in a draw, M samples to test on, K classes, d features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.columns.probes import Shots
from study.metrics.result import ROUNDING, CollapseMetrics

RIDGE = 1e-3
"""Strength of the penalty on a linear probe, in units of the mean variance of a feature."""
KINDS = ("linear", "ncc")
RANK = "probe_effective_rank"


def probe_columns(shots: Sequence[Shots]) -> list[str]:
    """The columns of probes; of all shots, which are drawn once, there is no spread."""
    ends = [("",) if each == "all" else ("", "_std") for each in shots]
    return [RANK] + [
        f"probe_{kind}_{each}{end}"
        for kind in KINDS
        for each, its_ends in zip(shots, ends, strict=True)
        for end in its_ends
    ]


@dataclass(frozen=True)
class ProbeFeatures:
    """Frozen features (N, d) to learn from and (M, d) to test on, with labels below K."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    classes: int


@torch.no_grad()
def probe_metrics(
    features: ProbeFeatures,
    *,
    shots: Sequence[Shots],
    draws: int,
    seed: int,
    pca: int | None = None,
) -> CollapseMetrics:
    """Accuracy of probes on frozen features, by the number of samples of a class.

        probe_linear_k       accuracy of `ridge_scores` on the M test samples, learned from k
                             samples of each class; mean over draws. `all`: from all N
        probe_ncc_k          the same of `centre_scores`
        ..._std              sample standard deviation over draws
        probe_effective_rank exp of the entropy of the eigenvalues of the covariance of the N
                             features, in [1, min(N - 1, d)] (Roy & Vetterli 2007)

    Accuracies are in [0, 1], 1 / K by chance. The draws depend on `seed`, k and the labels alone,
    so that models and precisions are tested on the same draws. `pca`: features are first projected
    on so many principal directions of the N features, whose labels it does not use. Linear probes
    of frozen features measure transfer as in Kornblith et al. 2021 (over-collapse), nearest-centre
    probes few-shot learning as in Galanti, Gyorgy & Hutter 2021.

    Undefined where features are not finite or all equal, where a class has fewer samples than
    shots, or where features have fewer directions than `pca`.

    Example: one sample of each class is enough where the classes are two points.

        >>> h, y = torch.tensor([[0., 1.], [1., 0.]]), torch.tensor([0, 1])
        >>> columns = probe_metrics(ProbeFeatures(h, y, h, y, 2), shots=[1, "all"], draws=3, seed=0)
        >>> columns["probe_linear_1"], columns["probe_ncc_all"], columns["probe_effective_rank"]
        (1.0, 1.0, 1.0)
    """
    out = CollapseMetrics()
    names = probe_columns(shots)
    train, val = features.train.double(), features.val.double()
    if not bool(train.isfinite().all() and val.isfinite().all()):
        out.undefine("some of the probe's features are infinite or NaN", *names)
        return out
    centre = train.mean(dim=0)
    train, val = train - centre, val - centre
    noise = ROUNDING * float(centre.square().sum().sqrt())
    if float(train.square().sum().sqrt()) <= noise * len(train) ** 0.5:
        out.undefine("all of the probe's features are equal", *names)
        return out
    spectrum, axes = torch.linalg.eigh(train.T @ train)
    weights = spectrum.clamp(min=0) / spectrum.clamp(min=0).sum()
    out.put(RANK, torch.special.entr(weights).sum().exp())
    if pca is not None:
        most = min(len(train) - 1, train.shape[1])
        if pca > most:
            reason = f"the probe's features have at most {most} principal directions, not {pca}"
            out.undefine(reason, *names[1:])
            return out
        train, val = train @ axes[:, -pca:], val @ axes[:, -pca:]
    labels, targets = features.train_labels, features.val_labels
    least = int(torch.bincount(labels, minlength=features.classes).min())
    for each in shots:
        columns = [f"probe_{kind}_{each}" for kind in KINDS]
        if each != "all" and each > least:
            spreads = [f"{name}_std" for name in columns]
            out.undefine(f"a class of the probe has {least} samples", *columns, *spreads)
            continue
        drawn = drawn_samples(labels, features.classes, each, draws, seed)
        for name, scored in zip(columns, (ridge_scores, centre_scores), strict=True):
            scores = [scored(train[at], labels[at], val, features.classes) for at in drawn]
            right = torch.stack([(own.argmax(dim=1) == targets).sum() for own in scores])
            # One division, so that as many right decisions are the same number, bit for bit.
            out.put(name, right.sum().double() / (len(targets) * len(right)))
            if each != "all":
                out.put(f"{name}_std", (right.double() / len(targets)).std())
    return out


def drawn_samples(
    labels: Tensor, classes: int, shots: Shots, draws: int, seed: int
) -> list[Tensor]:
    """Places of so many samples of each class, without replacement; of `all` once all."""
    if shots == "all":
        return [torch.arange(len(labels))]
    of_class = [np.flatnonzero(labels.numpy() == number) for number in range(classes)]
    places = []
    for draw in range(draws):
        generator = np.random.default_rng([seed, shots, draw])
        places += [[rows[generator.permutation(len(rows))[:shots]] for rows in of_class]]
    return [torch.from_numpy(np.concatenate(rows)) for rows in places]


def ridge_scores(train: Tensor, labels: Tensor, val: Tensor, classes: int) -> Tensor:
    """(M, K) scores of `val` (M, d) by a ridge classifier on `train` (n, d), float64.

    W minimises ||X W - T||_F^2 + a ||W||_F^2, X the features and T the labels as one-hot rows, both
    less their means over the n samples, so that the intercept is not penalised; the scores are
    (x - mean x) W + mean T, the largest of which decides. a = RIDGE ||X||_F^2 / d, so that they do
    not change with rotation, translation or scale of the features. Closed form:
    W = X^T (X X^T + a I)^-1 T, or (X^T X + a I)^-1 X^T T where d <= n (Hoerl & Kennard 1970).
    """
    centre, onehot = train.mean(dim=0), torch.nn.functional.one_hot(labels, classes).double()
    x, mean = train - centre, onehot.mean(dim=0)
    n, d = x.shape
    penalty = RIDGE * x.square().sum() / d
    if float(penalty) == 0:  # equal samples: W = 0 is the minimiser
        return mean.expand(len(val), -1)
    if d <= n:
        weight = torch.linalg.solve(
            x.T @ x + penalty * torch.eye(d, dtype=x.dtype), x.T @ (onehot - mean)
        )
    else:
        gram = x @ x.T + penalty * torch.eye(n, dtype=x.dtype)
        weight = x.T @ torch.linalg.solve(gram, onehot - mean)
    scores: Tensor = (val - centre) @ weight + mean
    return scores


def centre_scores(train: Tensor, labels: Tensor, val: Tensor, classes: int) -> Tensor:
    """(M, K) scores of `val` (M, d): the larger, the nearer a class mean.

    The means are those of `train` (n, d). A score is 2 x . mu - ||mu||^2, which is ||x||^2 less the
    squared distance; float64.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    sums = torch.zeros(classes, train.shape[1], dtype=train.dtype).index_add_(0, labels, train)
    means = sums / counts[:, None]
    scores: Tensor = 2 * val @ means.T - means.square().sum(dim=1)
    return scores
