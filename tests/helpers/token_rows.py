"""A small in-memory data set of token chunks, for tests of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from study.config import CellConfig
from study.data.base import IGNORE, Dataset


class TokenRows:
    """Chunks of tokens (S, T).

    `before` is called with the number of batches handed out so far.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        last_only: bool = False,
        before: Callable[[int], None] | None = None,
    ):
        self.tokens, self.last_only, self.before, self.batches = (
            torch.from_numpy(tokens),
            last_only,
            before,
            0,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def samples(self) -> int:
        return len(self.tokens) * (1 if self.last_only else self.tokens.shape[1] - 1)

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        if self.before is not None:
            self.before(self.batches)
        self.batches += 1
        chunks = self.tokens[torch.from_numpy(np.asarray(rows))]
        targets = chunks[:, 1:].clone()
        if self.last_only:
            targets[:, :-1] = IGNORE
        return chunks[:, :-1], targets


def dataset(
    *,
    rows: int = 11,
    context: int = 17,
    classes: int = 23,
    seed: int = 0,
    last_only: bool = False,
    before: Callable[[int], None] | None = None,
) -> Dataset:
    """Tokens from a Markov chain, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    follow = generator.dirichlet(np.full(classes, 0.1), size=classes)
    tokens = np.zeros((rows, context), dtype=np.int64)
    for position in range(1, context):
        for row in range(rows):
            tokens[row, position] = generator.choice(classes, p=follow[tokens[row, position - 1]])
    split = TokenRows(tokens, last_only=last_only, before=before)
    counts = np.bincount(tokens[:, 1:].ravel(), minlength=classes)
    names = [str(number) for number in range(classes)]
    return Dataset(split, split, classes, (context - 1,), f"markov-{seed}", counts, names, {})


def cell(
    *, model: dict[str, Any] | None = None, measure: dict[str, Any] | None = None, **train: Any
) -> CellConfig:
    """A cell that trains a tiny GPT-Neo, two heads, window 4, on `dataset()`."""
    small = {"kind": "gpt_neo", "width": 8, "depth": 2, "heads": 2, "window": 4, "positions": 32}
    return CellConfig.model_validate(
        {
            "data": {"kind": "text", "context": 17},
            "model": small | (model or {})
            if (model or {}).get("kind", "gpt_neo") == "gpt_neo"
            else model,
            "train": {"epochs": 3, "batch_size": 4, "lr": 1e-2, "schedule": "linear", **train},
            "measure": measure or {},
            "seed": 5,
        }
    )
