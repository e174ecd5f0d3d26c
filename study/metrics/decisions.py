"""The class of the largest affine score, exact, without the sample x class matrix.

Shapes: B samples, C classes, K blocks of classes, d entries.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

SAMPLES = 2048  # samples scored at a time; with CLASSES a block of scores stays in cache
CLASSES = 512
UNIT_SINGLE = torch.finfo(torch.float32).eps / 2
UNIT_DOUBLE = torch.finfo(torch.float64).eps / 2
SINGLE_RANGE = 1e37  # scores beyond it are screened in float64


class AffineScores:
    """Scores <w_c, x> + b_c of C classes.

    `argmax` decides as exact arithmetic on the given numbers would.

    Float32 products give the largest score of every block of classes. A dot product of d entries,
    in whatever order, errs by at most d u ||w|| ||x|| (Higham 2002, eq. 3.5; u the unit roundoff),
    so the blocks that may hold the winner are known - nearly always one - and these are scored
    again in float64. Scores within the same bound of float64 are ties, and the lowest index wins.
    """

    def __init__(self, weight_Cxd: Tensor, bias_C: Tensor | None = None) -> None:
        """Finite weight (C, d) and bias (C,), of any floating type."""
        self.weight = weight_Cxd
        self.bias = bias_C
        self.single_weight = weight_Cxd.to(torch.float32)
        self.single_bias = None if bias_C is None else bias_C.to(torch.float32)
        norms = torch.linalg.vector_norm(weight_Cxd, dim=1, dtype=torch.float64)
        self.block_norms = self._block_maxima(norms)
        self.block_biases = self._block_maxima(
            norms.new_zeros(len(norms)) if bias_C is None else bias_C.double().abs()
        )

    @staticmethod
    def _block_maxima(values_C: Tensor) -> Tensor:
        return torch.stack([block.amax() for block in torch.split(values_C, CLASSES)])

    def argmax(self, x_Bxd: Tensor) -> Tensor:
        """(B,) index of the largest score of finite x (B, d) of any floating type."""
        if not len(x_Bxd):
            return torch.zeros(0, dtype=torch.int64, device=x_Bxd.device)
        return torch.cat([self._argmax(part) for part in torch.split(x_Bxd, SAMPLES)])

    def _argmax(self, x_Bxd: Tensor) -> Tensor:
        x = x_Bxd.to(torch.float64)
        # (B, K) bound on |w_c| |x| + |b_c| over the block; the rounding errors are proportional to
        # it
        size_BxK = (
            torch.linalg.vector_norm(x, dim=1)[:, None] * self.block_norms + self.block_biases
        )
        factor = x.shape[1] + 4  # d products, the rounding of the inputs, the bias and its addition
        top_BxK, unit = self._screen(x_Bxd, float(size_BxK.amax()) < SINGLE_RANGE)
        slack_BxK = factor * (unit * size_BxK + torch.finfo(torch.float32).tiny)
        candidates = top_BxK + slack_BxK >= (top_BxK - slack_BxK).amax(dim=1, keepdim=True)
        best = x.new_full((len(x),), -torch.inf)
        chosen = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for k, start in enumerate(range(0, len(self.weight), CLASSES)):
            rows = candidates[:, k].nonzero().squeeze(1)
            if not len(rows):
                continue
            scores = x[rows] @ self.weight[start : start + CLASSES].to(torch.float64).T
            if self.bias is not None:
                scores += self.bias[start : start + CLASSES]
            tie = 2 * factor * UNIT_DOUBLE * size_BxK[rows, k]
            top = scores.amax(dim=1)
            first = (scores >= (top - tie)[:, None]).to(torch.uint8).argmax(dim=1)
            better = top > best[rows] + tie
            chosen[rows[better]] = start + first[better]
            best[rows] = torch.maximum(best[rows], top)
        return chosen

    def _screen(self, x_Bxd: Tensor, single: bool) -> tuple[Tensor, float]:
        """(B, K) largest score of every block, and the unit roundoff of their arithmetic."""
        dtype = torch.float32 if single else torch.float64
        weight = self.single_weight if single else self.weight.to(dtype)
        bias = self.single_bias if single or self.bias is None else self.bias.to(dtype)
        x = x_Bxd.to(dtype)
        top = x.new_empty(len(x), len(self.block_norms))
        buffer = x.new_empty(len(x) * min(CLASSES, len(weight)))
        for k, start in enumerate(range(0, len(weight), CLASSES)):
            block = weight[start : start + CLASSES]
            scores = buffer[: len(x) * len(block)].view(len(x), len(block))
            torch.mm(x, block.T, out=scores)
            if bias is not None:
                scores += bias[start : start + CLASSES]
            torch.amax(scores, dim=1, out=top[:, k])
        return top.to(torch.float64), UNIT_SINGLE if single else UNIT_DOUBLE


class FaissCentres:
    """Nearest of C centres by faiss `IndexFlatL2`.

    It runs on the GPU where the centres and a GPU build of faiss are.

    faiss answers in float32; where its two nearest centres are closer than its rounding can tell
    apart, `scores` decides, so that the answer is that of `scores` for every sample.
    """

    def __init__(self, scores: AffineScores) -> None:
        """scores: those whose argmax is the nearest centre, <c, x> - ||c||^2 / 2.

        Their weight holds the centres.
        """
        faiss: Any = importlib.import_module("faiss")
        self._faiss = faiss
        self.scores = scores
        self.largest = float(scores.block_norms.amax())
        centres = scores.single_weight
        self.index = faiss.IndexFlatL2(centres.shape[1])
        if centres.is_cuda and hasattr(faiss, "StandardGpuResources"):
            self.resources = faiss.StandardGpuResources()  # must outlive the index
            self.index = faiss.index_cpu_to_gpu(self.resources, centres.get_device(), self.index)
        self.index.add(centres.cpu().numpy())

    def argmax(self, x_Bxd: Tensor) -> Tensor:
        """(B,) index of the centre nearest to finite x (B, d)."""
        if not len(x_Bxd) or self.index.ntotal == 1:
            return self.scores.argmax(x_Bxd)
        self._faiss.omp_set_num_threads(torch.get_num_threads())
        distances, neighbours = self.index.search(x_Bxd.to("cpu", torch.float32).numpy(), 2)
        gap_B = torch.from_numpy(distances[:, 1] - distances[:, 0]).to(x_Bxd.device)
        winner = torch.from_numpy(neighbours[:, 0]).to(x_Bxd.device)
        # ||x||^2 + ||c||^2 - 2 <x, c> errs by at most (d + 4) u (||x|| + ||c||)^2, for each of the
        # two distances
        size_B = (
            torch.linalg.vector_norm(x_Bxd, dim=1, dtype=torch.float64) + self.largest
        ).square()
        unsure = ~(gap_B > 2 * (x_Bxd.shape[1] + 4) * UNIT_SINGLE * size_B)
        winner[unsure] = self.scores.argmax(x_Bxd[unsure])
        return winner
