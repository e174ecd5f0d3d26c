"""Where an attack moves features: from the vertex of one class to that of another.

Su et al. 2024 (arXiv 2311.07444, section 5) find that features of a collapsed network leap between
vertices under attack. Shapes: N samples, V classes, d entries of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from study.metrics.agreement import LinearHead, NearestCentre
from study.metrics.moments import all_finite
from study.metrics.result import CollapseMetrics

COLUMNS = ("attack_success", "leap_share", "leap_arrival", "leap_progress", "leap_distance")


@dataclass(frozen=True)
class Leaps:
    """Sums over attacked samples, which are added with `+`.

    They are scalars on the device of the features.

    Attributes:
        samples: how many they are.
        right: those that the head decides rightly before the attack.
        fooled: those of them that it decides wrongly afterwards.
        changed: samples whose decision the attack changes.
        arrived: those of them that end nearest to the centre of the class they are decided for.
        placed: those of them whose classes, before and after, have centres apart from each other.
        progress: sum over `placed` of the share of the way between these centres.
        distance: sum over all samples of ||h' - h||^2.
        largest: largest norm of a perturbation, over eps.
        broken: whether a feature or the head is infinite or NaN.
    """

    samples: Tensor
    right: Tensor
    fooled: Tensor
    changed: Tensor
    arrived: Tensor
    placed: Tensor
    progress: Tensor
    distance: Tensor
    largest: Tensor
    broken: Tensor

    @classmethod
    def empty(cls, device: torch.device) -> Leaps:
        """Of no samples."""
        count = torch.zeros((), dtype=torch.int64, device=device)
        total = count.double()
        return cls(*6 * (count,), *3 * (total,), broken=count.bool())

    def __add__(self, other: Leaps) -> Leaps:
        joined = {
            each.name: getattr(self, each.name) + getattr(other, each.name).to(self.samples.device)
            for each in fields(self)
        }
        largest = torch.maximum(self.largest, other.largest.to(self.samples.device))
        return Leaps(**(joined | {"largest": largest}))


@torch.no_grad()
def leaps(
    clean_Nxd: Tensor,
    attacked_Nxd: Tensor,
    labels_N: Tensor,
    radii: Tensor,
    head: LinearHead,
    centres: NearestCentre,
) -> Leaps:
    """The leaps of a batch.

    Args:
        clean_Nxd: features before the attack.
        attacked_Nxd: features of the same samples afterwards.
        labels_N: their classes.
        radii: norms of the perturbations over eps, of any shape.
        head: decides on features.
        centres: of clean training samples.
    """
    nothing = Leaps.empty(clean_Nxd.device)
    if not len(labels_N):
        return nothing
    values = {"samples": nothing.samples + len(labels_N), "largest": radii.amax().double()}
    finite = all_finite(clean_Nxd) & all_finite(attacked_Nxd)
    if head.reason is not None or not finite:
        return Leaps(**(vars(nothing) | values | {"broken": ~nothing.broken}))
    before_N, after_N = (head.scores.argmax(h) for h in (clean_Nxd, attacked_Nxd))
    right_N, changed_N = before_N == labels_N, before_N != after_N
    moved_Nxd = attacked_Nxd.double() - clean_Nxd.double()
    values |= {
        "right": right_N.sum(),
        "fooled": (right_N & (after_N != labels_N)).sum(),
        "changed": changed_N.sum(),
        "distance": moved_Nxd.square().sum(),
    }
    if centres.reason is None:
        arrived_N = changed_N & (centres.nearest(attacked_Nxd) == after_N)
        ways = _progress(moved_Nxd[changed_N], before_N[changed_N], after_N[changed_N], centres)
        values |= {
            "arrived": arrived_N.sum(),
            "placed": nothing.placed + len(ways),
            "progress": ways.sum(),
        }
    return Leaps(**(vars(nothing) | values))


def _progress(
    moved_Kxd: Tensor, before_K: Tensor, after_K: Tensor, centres: NearestCentre
) -> Tensor:
    """<h' - h, mu_a - mu_b> / ||mu_a - mu_b||^2, b before and a after.

    Of samples of which both have a mean, and not the same.
    """
    both = centres.measured[before_K] & centres.measured[after_K]
    moved_Kxd, before_K, after_K = moved_Kxd[both], before_K[both], after_K[both]
    ways_Kxd = centres.means_of(after_K) - centres.means_of(before_K)
    squares_K = ways_Kxd.square().sum(1)
    apart = squares_K > 0
    return (moved_Kxd * ways_Kxd).sum(1)[apart] / squares_K[apart]


def leap_columns(sums: Leaps, between_trace: Tensor, *, no_centres: str | None) -> CollapseMetrics:
    """Columns of attacked samples, by sums over them.

    With h and h' the features of a sample before and after the attack, b and a the classes that
    the head decides for then, and mu_c, Sigma_B of clean training samples:

        attack_success  share of the samples with b right whose a is wrong, in [0, 1]
        leap_share      share of all samples with a != b whose nearest centre is mu_a, in [0, 1]
        leap_arrival    the same share of the samples with a != b: do features arrive at the vertex
                        of the class that the attack makes the head decide for?
        leap_progress   mean over the samples with a != b of <h' - h, mu_a - mu_b> /
                        ||mu_a - mu_b||^2: 0 no move, 1 the whole way between the two vertices
        leap_distance   mean over all samples of ||h' - h||^2 / tr Sigma_B, at least 0; of vertices
                        of a simplex frame it is 2 C / (C - 1)
        attack_radius   largest norm of a perturbation over eps, at most 1

    Args:
        sums: over the samples.
        between_trace: tr Sigma_B of clean training samples.
        no_centres: why there are no class centres, or None.
    """
    out = CollapseMetrics()
    samples, changed = int(sums.samples), int(sums.changed)
    if not samples:
        out.undefine("no sample was attacked", *COLUMNS, "attack_radius")
        return out
    out.put("attack_radius", sums.largest)
    if bool(sums.broken):
        out.undefine("features or the head are infinite or NaN", *COLUMNS)
        return out
    never = "the head decides no sample rightly before the attack"
    out.put_ratio("attack_success", sums.fooled.double(), sums.right, 0, never)
    if no_centres is not None:
        out.undefine(no_centres, *COLUMNS[1:])
        return out
    unchanged = "the attack changes no decision"
    out.put("leap_share", int(sums.arrived) / samples)
    out.put_ratio("leap_arrival", sums.arrived.double(), sums.changed, 0, unchanged)
    coincide = "no changed decision is between classes with centres apart from each other"
    out.put_ratio(
        "leap_progress", sums.progress, sums.placed, 0, coincide if changed else unchanged
    )
    equal = "all class means are equal: they have no between-class spread"
    out.put_ratio("leap_distance", sums.distance / samples, between_trace, 0, equal)
    return out
