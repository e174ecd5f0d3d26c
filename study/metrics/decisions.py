"""The class of the largest affine score, exact, without the sample x class matrix.

Shapes: B samples, C classes, K blocks of classes, d entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLASSES = 512
"""Classes of a block."""
FEW = 4096
"""Classes up to which all scores of a sample are looked at twice, not the largest of each block."""
SCORES = 1 << 20
"""Scores, or features, of a block of samples on a CPU, where they stay in cache."""
DEVICE_SCORES = 1 << 26
"""The same elsewhere, where large products run at full speed."""
UNIT_SINGLE = torch.finfo(torch.float32).eps / 2
UNIT_DOUBLE = torch.finfo(torch.float64).eps / 2
TINY = torch.finfo(torch.float32).tiny  # numbers below it lose digits
SINGLE_RANGE = 1e37  # numbers beyond it are scored in float64


class AffineScores:
    """Scores <w_c, x - o> + b_c of C classes; the centre o is zero by default.

    `argmax` decides as exact arithmetic on the given numbers would.

    Float32 products screen the classes. A dot product of d entries, in whatever order, errs by at
    most d u ||w|| ||x|| (Higham 2002, eq. 3.5; u the unit roundoff). Of few classes, the largest
    score wins where no other is within two such errors of it. Of many, whose scores do not stay in
    cache to be looked at twice, the largest score of every block says which blocks may hold the
    winner, nearly always one. What is left is scored again in float64; scores within the same
    bound of float64 are ties, and the lowest index wins.
    """

    def __init__(
        self,
        weight_Cxd: Tensor,
        bias_C: Tensor | None = None,
        centre_d: Tensor | None = None,
    ) -> None:
        """Finite weight (C, d), bias (C,) and centre (d,), of any floating type."""
        classes, dim = weight_Cxd.shape
        self.weight, self.bias, self.centre = weight_Cxd, bias_C, centre_d
        self.single_weight = weight_Cxd.to(torch.float32)
        self.single_bias = None if bias_C is None else bias_C.to(torch.float32)
        self.single_centre = None if centre_d is None else centre_d.to(torch.float32)
        norms = torch.linalg.vector_norm(weight_Cxd, dim=1, dtype=torch.float64)
        self.block_norms = _block_maxima(norms)
        self.block_biases = _block_maxima(
            norms.new_zeros(len(norms)) if bias_C is None else bias_C.double().abs()
        )
        # A score rounds d products, weight, features, their difference, the bias and its addition,
        # and is compared with a rounded threshold; a hundredth covers errors of these errors.
        self.factor = 1.01 * (dim + 6)
        # The length of single features lacks squares that underflow; the centre and features of
        # more digits round by u times its length each, once and not for each of d products.
        self.unseen = torch.full_like(norms[0], math.sqrt(dim * TINY))
        if centre_d is not None:
            length = torch.linalg.vector_norm(centre_d, dtype=torch.float64)
            self.unseen += 2 * length / self.factor
        # The sum of the marks of some classes is below 2 C for a single class, and names it.
        self.marks = torch.arange(classes, 2 * classes, dtype=torch.float32, device=norms.device)

    def argmax(self, x_Bxd: Tensor) -> Tensor:
        """(B,) index of the largest score of finite x (B, d) of any floating type."""
        return decide([Question(self, x_Bxd)])[0]

    def screen(self, x_Bxd: Tensor, products_BxC: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B,) winners, and (B, K) which blocks decide again in float64.

        Of few classes these are all blocks or none, said once: (B, 1). A sample without such a
        block keeps its winner. Waits for no device.
        """
        single_Bxd = x_Bxd.to(torch.float32)
        if self.single_centre is not None:
            single_Bxd = single_Bxd - self.single_centre
        length_B = torch.linalg.vector_norm(single_Bxd, dim=1).double() + self.unseen
        if len(self.weight) <= FEW:
            if products_BxC is None:
                products_BxC = self._products(single_Bxd, slice(None))
            return self._screen_few(products_BxC, length_B)
        slack_BxK, sound_BxK = self._errors(length_B[:, None], self.block_norms, self.block_biases)
        top_BxK = self._block_tops(single_Bxd, products_BxC).double()
        best_B = (top_BxK - slack_BxK).amax(dim=1, keepdim=True)
        # a top that overflowed says nothing, of its own block or of others
        certain = sound_BxK.all(dim=1, keepdim=True)
        blocks_BxK = (top_BxK + slack_BxK >= best_B) | ~certain
        return torch.zeros(len(x_Bxd), dtype=torch.int64, device=x_Bxd.device), blocks_BxK

    def _screen_few(self, z_BxC: Tensor, length_B: Tensor) -> tuple[Tensor, Tensor]:
        """`screen` by scores (B, C), which are overwritten."""
        slack_B, sound_B = self._errors(length_B, self.block_norms.amax(), self.block_biases.amax())
        least_B = (z_BxC.amax(dim=1) - 2 * slack_B).to(torch.float32)
        close_BxC = z_BxC.ge_(least_B[:, None])
        sum_B = close_BxC @ self.marks
        sure_B = sound_B & (sum_B < 2 * len(self.marks))
        winner_B = torch.where(sure_B, sum_B - len(self.marks), 0).to(torch.int64)
        return winner_B, ~sure_B[:, None]

    def _errors(self, length: Tensor, norm: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds on errors of float32 scores, and whether float32 holds them."""
        size = length * (norm + TINY) + bias
        slack = self.factor * (UNIT_SINGLE * size + TINY)
        sound = (size < SINGLE_RANGE) & (norm < SINGLE_RANGE) & (length < SINGLE_RANGE)
        return slack, sound

    def settle(self, x_Bxd: Tensor, winner_B: Tensor, blocks_BxK: Tensor) -> Tensor:
        """(B,) winners, after the blocks named on the CPU have decided in float64."""
        rows_of_blocks = [block.nonzero().squeeze(1) for block in blocks_BxK.T]
        if len(rows_of_blocks) == 1:
            rows_of_blocks *= len(self.block_norms)
        best_B = torch.full((len(x_Bxd),), -torch.inf, dtype=torch.float64, device=x_Bxd.device)
        for k, rows_on_host in enumerate(rows_of_blocks):
            if not len(rows_on_host):
                continue
            rows, start = rows_on_host.to(x_Bxd.device, non_blocking=True), k * CLASSES
            x = x_Bxd[rows].to(torch.float64)
            if self.centre is not None:
                x -= self.centre
            scores = x @ self.weight[start : start + CLASSES].to(torch.float64).T
            if self.bias is not None:
                scores += self.bias[start : start + CLASSES]
            size = torch.linalg.vector_norm(x, dim=1) * self.block_norms[k] + self.block_biases[k]
            tie = 2 * self.factor * UNIT_DOUBLE * size
            top = scores.amax(dim=1)
            first = (scores >= (top - tie)[:, None]).to(torch.uint8).argmax(dim=1)
            best = best_B[rows]
            better = top > best + tie
            winner_B[rows] = torch.where(better, start + first, winner_B[rows])
            best_B[rows] = torch.maximum(best, top)
        return winner_B

    def _products(self, single_Bxd: Tensor, classes: slice, out: Tensor | None = None) -> Tensor:
        """(B, classes) scores in float32."""
        scores = torch.mm(single_Bxd, self.single_weight[classes].T, out=out)
        return scores if self.single_bias is None else scores.add_(self.single_bias[classes])

    def _block_tops(self, single_Bxd: Tensor, products_BxC: Tensor | None) -> Tensor:
        """(B, K) largest score of every block, in float32."""
        samples, classes = len(single_Bxd), len(self.weight)
        top = single_Bxd.new_empty(samples, len(self.block_norms))
        buffer = single_Bxd.new_empty(samples * CLASSES)
        for k, start in enumerate(range(0, classes, CLASSES)):
            block = slice(start, min(start + CLASSES, classes))
            if products_BxC is None:
                size = block.stop - block.start
                scores = self._products(
                    single_Bxd, block, buffer[: samples * size].view(samples, size)
                )
            else:
                scores = products_BxC[:, block]
            torch.amax(scores, dim=1, out=top[:, k])
        return top


@contextmanager
def _exact_factors(device: torch.device) -> Iterator[None]:
    """Within, products in float32 round no factor, whatever a caller allows."""
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    autocast = torch.is_autocast_enabled(device.type)
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False) if autocast else nullcontext():
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@dataclass(frozen=True)
class Question:
    """Which class has the largest score of each sample?

    Attributes:
        scores: of the classes.
        x: (B, d) of any floating type.
        products: (B, C) float32 scores of x, with their bias, computed elsewhere in float32
            products; they are overwritten. None where there are none.
    """

    scores: AffineScores
    x: Tensor
    products: Tensor | None = None


def decide(questions: Sequence[Question]) -> list[Tensor]:
    """(B,) index of the largest score of each sample, for every question.

    The decisions wait for their device once a block of samples, however many questions there are.
    Without meaning for samples that are not finite.
    """
    samples = len(questions[0].x)
    answers: list[list[Tensor]] = [[] for _ in questions]
    step = min(_samples_at_once(question.scores) for question in questions)
    with _exact_factors(questions[0].x.device):
        for start in range(0, max(samples, 1), step):
            part = slice(start, start + step)
            xs = [question.x[part] for question in questions]
            screens = [
                question.scores.screen(
                    x, None if question.products is None else question.products[part]
                )
                for question, x in zip(questions, xs, strict=True)
            ]
            widths = [blocks.shape[1] for _, blocks in screens]
            on_host = torch.cat([blocks for _, blocks in screens], dim=1).cpu()
            for answer, question, x, (winner, _), blocks in zip(
                answers, questions, xs, screens, torch.split(on_host, widths, dim=1), strict=True
            ):
                answer.append(question.scores.settle(x, winner, blocks))
    return [torch.cat(answer) for answer in answers]


def _samples_at_once(scores: AffineScores) -> int:
    """Samples whose block of scores stays in a CPU's cache, or fills another device."""
    classes, dim = scores.weight.shape
    at_once = SCORES if scores.weight.device.type == "cpu" else DEVICE_SCORES
    return max(256, at_once // max(classes if classes <= FEW else CLASSES, dim))


def _block_maxima(values_C: Tensor) -> Tensor:
    return torch.stack([block.amax() for block in torch.split(values_C, CLASSES)])
