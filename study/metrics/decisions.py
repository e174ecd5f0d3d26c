"""The class of the largest affine score, exact, without the sample x class matrix.

Shapes: B samples, C classes, K blocks of classes, d entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CLASSES = 512
"""Classes of a block."""
FEW = 4096
"""Classes up to which the two largest scores of a sample decide, not the largest of each block."""
SCORES = 1 << 20
"""Scores of a block of samples and classes on a CPU, where they stay in cache."""
DEVICE_SCORES = 1 << 26
"""The same elsewhere, where large products run at full speed."""
UNIT_SINGLE = torch.finfo(torch.float32).eps / 2
UNIT_DOUBLE = torch.finfo(torch.float64).eps / 2
SINGLE_RANGE = 1e37  # numbers beyond it are scored in float64


class AffineScores:
    """Scores <w_c, x> + b_c of C classes.

    `argmax` decides as exact arithmetic on the given numbers would.

    Float32 products screen the classes. A dot product of d entries, in whatever order, errs by at
    most d u ||w|| ||x|| (Higham 2002, eq. 3.5; u the unit roundoff). Of few classes, the largest
    score wins where the second is further away than two such errors. Of many, whose two largest
    take longer to find than the products, the largest score of every block says which blocks may
    hold the winner, nearly always one. What is left is scored again in float64; scores within the
    same bound of float64 are ties, and the lowest index wins.
    """

    def __init__(self, weight_Cxd: Tensor, bias_C: Tensor | None = None) -> None:
        """Finite weight (C, d) and bias (C,), of any floating type."""
        self.weight = weight_Cxd
        self.bias = bias_C
        self.single_weight = weight_Cxd.to(torch.float32)
        self.single_bias = None if bias_C is None else bias_C.to(torch.float32)
        norms = torch.linalg.vector_norm(weight_Cxd, dim=1, dtype=torch.float64)
        self.block_norms = _block_maxima(norms)
        self.block_biases = _block_maxima(
            norms.new_zeros(len(norms)) if bias_C is None else bias_C.double().abs()
        )
        # d products, the rounding of the inputs, the bias and its addition
        self.factor = weight_Cxd.shape[1] + 4

    def argmax(self, x_Bxd: Tensor) -> Tensor:
        """(B,) index of the largest score of finite x (B, d) of any floating type."""
        return decide([Question(self, x_Bxd)])[0]

    def screen(self, x_Bxd: Tensor, products_BxC: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B,) winners, and (B, K) which blocks decide again in float64.

        A sample without such a block keeps its winner. Waits for no device.
        """
        length_B = torch.linalg.vector_norm(x_Bxd, dim=1, dtype=torch.float64)
        # (B, K) bound on |w_c| |x| + |b_c| over the block; the rounding errors are proportional
        size_BxK = length_B[:, None] * self.block_norms + self.block_biases
        slack_BxK = self.factor * (UNIT_SINGLE * size_BxK + torch.finfo(torch.float32).tiny)
        sound_BxK = (size_BxK < SINGLE_RANGE) & (self.block_norms < SINGLE_RANGE)
        sound_BxK &= (length_B < SINGLE_RANGE)[:, None]
        if len(self.weight) <= FEW:
            z_BxC = self._products(x_Bxd, slice(None)) if products_BxC is None else products_BxC
            top_B, winner_B = z_BxC.max(dim=1)
            second_B = z_BxC.scatter_(1, winner_B[:, None], -torch.inf).amax(dim=1)
            apart_B = top_B.double() - second_B.double() > 2 * slack_BxK.amax(dim=1)
            sure_B = apart_B & sound_BxK.all(dim=1)
            return winner_B, ~sure_B[:, None].expand_as(size_BxK)
        top_BxK = self._block_tops(x_Bxd, products_BxC).double()
        best_B = (top_BxK - slack_BxK).amax(dim=1, keepdim=True)
        # a top that overflowed says nothing, of its own block or of others
        certain = sound_BxK.all(dim=1, keepdim=True)
        blocks_BxK = (top_BxK + slack_BxK >= best_B) | ~certain
        return torch.zeros(len(x_Bxd), dtype=torch.int64, device=x_Bxd.device), blocks_BxK

    def settle(self, x_Bxd: Tensor, winner_B: Tensor, blocks_BxK: Tensor) -> Tensor:
        """(B,) winners, after the blocks named on the CPU have decided in float64."""
        rows_of_blocks = [block.nonzero().squeeze(1) for block in blocks_BxK.T]
        best_B = torch.full((len(x_Bxd),), -torch.inf, dtype=torch.float64, device=x_Bxd.device)
        for k, rows_on_host in enumerate(rows_of_blocks):
            if not len(rows_on_host):
                continue
            rows, start = rows_on_host.to(x_Bxd.device, non_blocking=True), k * CLASSES
            x = x_Bxd[rows].to(torch.float64)
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

    def _products(self, x_Bxd: Tensor, classes: slice, out: Tensor | None = None) -> Tensor:
        """(B, classes) scores in float32."""
        scores = torch.mm(x_Bxd.to(torch.float32), self.single_weight[classes].T, out=out)
        return scores if self.single_bias is None else scores.add_(self.single_bias[classes])

    def _block_tops(self, x_Bxd: Tensor, products_BxC: Tensor | None) -> Tensor:
        """(B, K) largest score of every block, in float32."""
        x, classes = x_Bxd.to(torch.float32), len(self.weight)
        top = x.new_empty(len(x), len(self.block_norms))
        buffer = x.new_empty(len(x) * CLASSES)
        for k, start in enumerate(range(0, classes, CLASSES)):
            block = slice(start, min(start + CLASSES, classes))
            if products_BxC is None:
                size = block.stop - block.start
                scores = self._products(x, block, buffer[: len(x) * size].view(len(x), size))
            else:
                scores = products_BxC[:, block]
            torch.amax(scores, dim=1, out=top[:, k])
        return top


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
    classes = len(scores.weight)
    at_once = SCORES if scores.weight.device.type == "cpu" else DEVICE_SCORES
    return max(256, at_once // (classes if classes <= FEW else CLASSES))


def _block_maxima(values_C: Tensor) -> Tensor:
    return torch.stack([block.amax() for block in torch.split(values_C, CLASSES)])
