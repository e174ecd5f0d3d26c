"""Per-class moments of features, collected in one pass and mergeable.

Shapes: B samples of a batch, K distinct classes in it, V classes of the head, d feature entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 8192  # samples converted to float64 at a time, so that a huge batch costs no huge copy
INTEGER_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class MomentsError(ValueError):
    """Features, labels or a saved state that do not fit the moments.

    The message says which and what to do.
    """


def check_batch(features: Tensor, labels: Tensor, classes: int, dim: int) -> None:
    """Raise MomentsError unless features are (B, d) and labels integers (B,).

    Features must be floating, labels in [0, V).
    """
    if features.ndim != 2 or features.shape[1] != dim:
        raise MomentsError(
            f"features must have shape (batch, {dim}), got {tuple(features.shape)}: give "
            "what the head reads, not what it gives"
        )
    if not features.is_floating_point():
        raise MomentsError(f"features must be floating point, got {features.dtype}")
    if labels.shape != features.shape[:1]:
        raise MomentsError(
            f"labels must have shape ({features.shape[0]},), one for each row of features, got "
            f"{tuple(labels.shape)}"
        )
    if labels.dtype not in INTEGER_TYPES:
        raise MomentsError(f"labels must be integers, got {labels.dtype}: give class numbers")
    if len(labels):
        low, high = (int(value) for value in labels.aminmax())
        if low < 0 or high >= classes:
            raise MomentsError(
                f"label {low if low < 0 else high} is outside [0, {classes}); drop the positions "
                "that are not samples (such as -100) first, or give the head (or "
                "ClassMoments) more classes"
            )


def all_finite(values: Tensor) -> Tensor:
    """Scalar bool, on the device of the values: whether none is infinite or NaN."""
    if not values.numel():
        return torch.ones((), dtype=torch.bool, device=values.device)
    # extremes pass NaN on, and a CPU finds them in a tenth of the time of `isfinite` of each
    return torch.stack(values.aminmax()).isfinite().all()


class ClassMoments:
    """Counts, means and variance norms of every class, in float64.

    Optionally also the pooled scatter.

    Batches are folded in by the pairwise update of Chan, Golub and LeVeque (1983), eq. 2.1, per
    class: with n_a, n_b samples and delta = mean_b - mean_a,

        mean <- mean_a + delta n_b / (n_a + n_b)
        sum of squared deviations <- S_a + S_b + ||delta||^2 n_a n_b / (n_a + n_b)

    and likewise for the (d, d) scatter with delta delta^T. An update costs O(B d), or O(B d^2) with
    the scatter, whatever V is. Memory is that of the classes that occur: while these are fewer than
    half of V, their means lie in the order of their first appearance.

    Samples with an infinite or NaN feature are kept out of the sums and counted in `nonfinite`;
    `collapse_metrics` then declares every column that needs the features undefined, because the
    moments of the rest would describe other data.

    Attributes:
        counts: (V,) int64, finite samples per class.
        means: (V, d) float64, class means; zero rows where `counts` is zero. Asking for them takes
            memory for all V classes; `rows_of` does not.
        deviations: (V,) float64, sum over the class of ||h - mean||^2.
        scatter: (d, d) float64, sum over all samples of (h - mean)(h - mean)^T, or None if it was
            not asked for.
        nonfinite: number of samples left out because they hold an infinity or a NaN.

    Example:
        >>> moments = ClassMoments(classes=3, dim=2)
        >>> moments.update(torch.tensor([[2., 0.], [4., 0.], [5., 5.]]), torch.tensor([0, 0, 2]))
        >>> moments.counts.tolist()
        [2, 0, 1]
        >>> moments.means.tolist()
        [[3.0, 0.0], [0.0, 0.0], [5.0, 5.0]]
        >>> moments.variance_norms.tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(
        self, classes: int, dim: int, device: str | torch.device = "cpu", scatter: bool = False
    ) -> None:
        if classes < 1 or dim < 1:
            raise MomentsError(
                f"classes and dim must be at least 1, got classes={classes}, dim={dim}"
            )
        self.classes = classes
        self.dim = dim
        self.device = torch.device(device)
        self.nonfinite = 0
        self.counts = torch.zeros(classes, dtype=torch.int64, device=self.device)
        self._rows_Rxd = self._zeros(0, dim)
        self._row_V: Tensor | None = torch.full((classes,), -1)
        self._used = 0
        self.deviations = self._zeros(classes)
        self.scatter = self._zeros(dim, dim) if scatter else None

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def __repr__(self) -> str:
        return (
            f"ClassMoments(classes={self.classes}, dim={self.dim}, device={str(self.device)!r}, "
            f"scatter={self.scatter is not None}, samples={int(self.counts.sum())}, "
            f"nonfinite={self.nonfinite})"
        )

    @property
    def means(self) -> Tensor:
        """(V, d) float64, the live class means; it makes a row for every class."""
        if self._row_V is not None:
            present = (self._row_V >= 0).nonzero().squeeze(1)
            rows = self._row_V[present].to(self.device)
            dense_Vxd = self._zeros(self.classes, self.dim)
            dense_Vxd[present.to(self.device)] = self._rows_Rxd[rows]
            self._rows_Rxd, self._row_V = dense_Vxd, None
        return self._rows_Rxd

    def rows_of(self, classes_K: Tensor) -> tuple[Tensor, Tensor]:
        """A tensor of rows of d, and (K,) which of them are the means of these classes.

        The classes must have samples, unless there is a row for every class.
        """
        if self._row_V is None:
            return self._rows_Rxd, classes_K.to(self.device)
        return self._rows_Rxd, self._row_V[classes_K.cpu()].to(self.device)

    def _make_room(self, classes_K: Tensor) -> None:
        """Give each of the classes a row."""
        if self._row_V is None:
            return
        classes_K = classes_K.cpu()  # the table of rows lies there, so no device is waited for
        fresh = classes_K[self._row_V[classes_K] < 0]
        needed = self._used + len(fresh)
        if 2 * needed >= self.classes:
            _ = self.means
            return
        if needed > len(self._rows_Rxd):
            rows_Rxd = self._zeros(min(2 * needed, self.classes // 2), self.dim)
            rows_Rxd[: self._used] = self._rows_Rxd[: self._used]
            self._rows_Rxd = rows_Rxd
        self._row_V[fresh] = torch.arange(self._used, needed)
        self._used = needed

    @property
    def variance_norms(self) -> Tensor:
        """(V,) float64 variance norms; zero where `counts` is zero.

        s2_c = (1/N_c) sum ||h - mu_c||^2 (Wu & Papyan 2024, eq. 3).
        """
        return self.deviations / self.counts.clamp(min=1)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, *, finite: bool = False) -> None:
        """Fold in a batch of features (B, d) with labels (B,) in [0, V).

        Features are of any floating type, labels of any integer type, both on any device. Labels
        are best left on the CPU: sorting and checking them then waits for no device, nor do
        features that are known to be `finite`.

        Raises MomentsError for shapes, types or labels that do not fit; then nothing has been
        added.
        """
        check_batch(features, labels, self.classes, self.dim)
        for chunk, chunk_labels in zip(
            torch.split(features, CHUNK), torch.split(labels, CHUNK), strict=True
        ):
            x_Bxd, labels_B = chunk.to(self.device).to(torch.float64), chunk_labels.long()
            if not finite:
                x_Bxd, labels_B = self._finite(x_Bxd, labels_B)
            self._fold(x_Bxd, labels_B)

    def _finite(self, x_Bxd: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """The finite samples; the others are counted."""
        # The sum is not finite if an entry is not; it may also overflow by itself, so the entries
        # decide.
        if bool(x_Bxd.sum().isfinite()):
            return x_Bxd, labels_B
        finite_B = x_Bxd.isfinite().all(dim=1)
        self.nonfinite += int((~finite_B).sum())
        return x_Bxd[finite_B], labels_B[finite_B.to(labels_B.device)]

    def _fold(self, x_Bxd: Tensor, labels_B: Tensor) -> None:
        """Fold in finite samples."""
        if not len(labels_B):
            return
        present_K, inverse_B, sizes_K = torch.unique(
            labels_B, return_inverse=True, return_counts=True
        )
        inverse_B, sizes_K = inverse_B.to(self.device), sizes_K.to(self.device)
        mean_Kxd = (
            self._zeros(len(present_K), self.dim)
            .index_add_(0, inverse_B, x_Bxd)
            .div_(sizes_K[:, None])
        )
        centre_Bxd = mean_Kxd[inverse_B]  # its memory is reused: the features may be the caller's
        x_Bxd = torch.sub(x_Bxd, centre_Bxd, out=centre_Bxd)
        deviations_K = self._zeros(len(present_K)).index_add_(
            0, inverse_B, torch.linalg.vecdot(x_Bxd, x_Bxd)
        )
        if self.scatter is not None:
            self.scatter.addmm_(x_Bxd.T, x_Bxd)
        self._combine(present_K, sizes_K, mean_Kxd, deviations_K)

    def _combine(
        self, classes_K: Tensor, sizes_K: Tensor, mean_Kxd: Tensor, deviations_K: Tensor
    ) -> None:
        """Chan's update of the classes, each by `sizes_K` > 0 samples.

        The samples have the given means and deviations.
        """
        self._make_room(classes_K)
        means_Rxd, rows_K = self.rows_of(classes_K)
        classes_K = classes_K.to(self.device)
        old_K = self.counts[classes_K]
        share_K = sizes_K.to(torch.float64) / (old_K + sizes_K)  # integers alone would give float32
        delta_Kxd = mean_Kxd - means_Rxd[rows_K]
        weight_K = old_K * share_K
        self.counts.index_add_(0, classes_K, sizes_K)
        self.deviations.index_add_(
            0, classes_K, deviations_K + weight_K * torch.linalg.vecdot(delta_Kxd, delta_Kxd)
        )
        if self.scatter is not None:
            self.scatter.addmm_((delta_Kxd * weight_K[:, None]).T, delta_Kxd)
        means_Rxd.index_add_(0, rows_K, delta_Kxd.mul_(share_K[:, None]))

    @torch.no_grad()
    def merge(self, other: ClassMoments) -> None:
        """Fold in moments collected elsewhere, as if their samples had been updated here.

        `other` is left as it is. Raises MomentsError unless both are of the same classes and dim,
        and both or neither have a scatter.

        Example:
            >>> here, there = ClassMoments(1, 1), ClassMoments(1, 1)
            >>> here.update(torch.tensor([[1.], [3.]]), torch.tensor([0, 0]))
            >>> there.update(torch.tensor([[8.]]), torch.tensor([0]))
            >>> here.merge(there)
            >>> here.means.item(), here.counts.item()
            (4.0, 3)
        """
        if (self.classes, self.dim) != (other.classes, other.dim):
            raise MomentsError(
                f"moments of {other.classes} classes x {other.dim} cannot be merged into moments "
                f"of {self.classes} classes x {self.dim}"
            )
        if (self.scatter is None) != (other.scatter is None):
            raise MomentsError(
                "moments with a scatter and moments without one cannot be merged; collect both "
                "alike"
            )
        self.nonfinite += other.nonfinite
        if self.scatter is not None and other.scatter is not None:
            self.scatter += other.scatter.to(self.device)
        present = other.counts.nonzero().squeeze(1)
        for classes in torch.split(present, CHUNK):
            means, rows = other.rows_of(classes)
            parts = (classes, other.counts[classes], means[rows], other.deviations[classes])
            self._combine(*(part.to(self.device) for part in parts))

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs, as tensors and plain numbers.

        The tensors are the live ones.
        """
        return {
            "classes": self.classes,
            "dim": self.dim,
            "nonfinite": self.nonfinite,
            "counts": self.counts,
            "means": self.means,
            "deviations": self.deviations,
            "scatter": self.scatter,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the contents by a copy of a saved state.

        It must be of the same classes, dim and scatter; the device stays.
        """
        mine = self.state_dict()
        if set(state) != set(mine):
            raise MomentsError(f"the state must hold {sorted(mine)}, got {sorted(state)}")
        if (state["classes"], state["dim"]) != (self.classes, self.dim):
            raise MomentsError(
                f"the state is of {state['classes']} classes x {state['dim']}, these moments are "
                f"of {self.classes} classes x {self.dim}"
            )
        tensors = {name: value for name, value in mine.items() if isinstance(value, Tensor)}
        for name in ("counts", "means", "deviations", "scatter"):
            theirs = state[name]
            if (name in tensors) != isinstance(theirs, Tensor):
                raise MomentsError(
                    f"the state {'lacks' if name in tensors else 'holds'} {name!r}, unlike these "
                    "moments"
                )
            if name in tensors and (
                theirs.shape != tensors[name].shape or theirs.dtype != tensors[name].dtype
            ):
                raise MomentsError(
                    f"{name!r} of the state is {theirs.dtype} {tuple(theirs.shape)}, expected "
                    f"{tensors[name].dtype} {tuple(tensors[name].shape)}"
                )
        for name, tensor in tensors.items():
            tensor.copy_(state[name])
        self.nonfinite = int(state["nonfinite"])
