"""`kind: balanced`: windows of a text with equally frequent next tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from study.data.balancing import choose_ends, duplicate_facts, window_quotas
from study.data.base import IGNORE, DataError, Dataset, Ints, class_facts
from study.data.config import BalancedData
from study.data.groups import token_groups
from study.data.text import classes_of_tokens, corpus_facts, with_groups
from study.data.token_files import Stored, tokenize


@dataclass(frozen=True)
class Windows:
    """Windows of T tokens that end at chosen places of a text.

    Only the last token of a window is a sample.
    """

    tokens: Stored
    """(n,) token numbers of the text, usually memory-mapped."""
    ends: Ints
    """(S,) place of the last token of each window, at least T - 1."""
    context: int
    class_of: Ints
    """(V,) class of each token number."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def samples(self) -> int:
        return len(self)

    def windows(self, rows: Ints) -> Ints:
        """(B, T) classes of the tokens of some windows."""
        places = self.ends[rows, None] + np.arange(1 - self.context, 1)
        classes: Ints = self.class_of[self.tokens[places]]
        return classes

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 (B, T-1) each; all targets but the last are ignored."""
        windows = torch.from_numpy(self.windows(rows))
        targets = torch.full((len(windows), self.context - 1), IGNORE)
        targets[:, -1] = windows[:, -1]
        return windows[:, :-1].contiguous(), targets


def load_balanced(config: BalancedData, base: Path, cache: Path) -> Dataset:
    """Choose windows of a corpus so that its tokens are balanced as next tokens.

    Which tokens are classes is decided on the training text: those frequent enough for the quota.
    Validation has the same classes and is balanced as far as its text allows, whatever the
    imbalance of the training windows.

    Raises:
        DataError: the corpus cannot be read, or fewer than two tokens are frequent enough.
    """
    files = tokenize(config, base, cache)
    class_of, class_names = classes_of_tokens(config, files)
    occurrences = np.bincount(files.train[config.context - 1 :], minlength=len(class_of))
    targets, quotas = window_quotas(config, occurrences)
    generator = np.random.default_rng([config.seed, 0])
    sizes = np.zeros(len(class_of), dtype=np.int64)
    sizes[generator.permutation(targets)] = quotas
    train = Windows(
        files.train,
        choose_ends(files.train, config.context, sizes, generator),
        config.context,
        class_of,
    )
    sizes[targets] = config.val_quota or quotas.max()
    generator = np.random.default_rng([config.seed, 1])
    val = Windows(
        files.val,
        choose_ends(files.val, config.context, sizes, generator),
        config.context,
        class_of,
    )
    if len(val) == 0:
        raise DataError(
            f"data.val_fraction: the validation split has none of the {len(targets)} classes"
        )
    counts = np.bincount(class_of[files.train[train.ends]], minlength=len(class_names))
    all_val_counts = np.bincount(class_of[files.val[val.ends]], minlength=len(class_names))
    val_counts = all_val_counts[class_of[targets]]
    by_split = {"train": counts, "val": all_val_counts}
    groups = (
        None if config.group is None else token_groups(config.group, base, class_names, by_split)
    )
    return Dataset(
        train=train,
        val=val,
        classes=len(class_names),
        input_shape=(config.context - 1,),
        fingerprint=with_groups(files.fingerprint, groups),
        class_counts=counts,
        class_names=class_names,
        facts={
            **corpus_facts(files),
            **class_facts(counts),
            "val_samples": len(val),
            "val_samples_per_class_min": int(val_counts.min()),
            "val_samples_per_class_max": int(val_counts.max()),
            **duplicate_facts(train.windows(np.arange(len(train)))),
        },
        groups=groups,
    )
