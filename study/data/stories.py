"""`kind: stories`: text of a grammar whose least possible loss is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from study.data.base import IGNORE, DataError, Dataset, Ints, class_facts
from study.data.cache import digest
from study.data.config import StoriesData
from study.data.grammar import Grammar, Rows
from study.data.groups import token_groups


@dataclass(frozen=True)
class Stories:
    """Rows of a grammar.

    Samples are all tokens after the first of a row, or the recalled ones among them.
    """

    rows: Rows
    determined_only: bool

    def __len__(self) -> int:
        return len(self.rows.tokens)

    @property
    def samples(self) -> int:
        return (
            int(self.rows.recalled[:, 1:].sum())
            if self.determined_only
            else self.rows.tokens[:, 1:].size
        )

    def batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 (B, T-1) each."""
        tokens = torch.from_numpy(self.rows.tokens[rows].astype(np.int64))
        # Of a single row both parts are contiguous views, so one of them has to be a copy.
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
        if self.determined_only:
            targets[torch.from_numpy(~self.rows.recalled[rows, 1:])] = IGNORE
        return inputs, targets

    def class_counts(self, classes: int) -> Ints:
        """(classes,) samples of each class."""
        targets = self.rows.tokens[:, 1:]
        samples = targets[self.rows.recalled[:, 1:]] if self.determined_only else targets.ravel()
        return np.bincount(samples, minlength=classes)

    def ideal_loss(self) -> float:
        """Mean loss in nats of a reader who knows the grammar, over all samples."""
        surprise = self.rows.surprise[:, 1:].astype(np.float64)
        return float(
            (surprise[self.rows.recalled[:, 1:]] if self.determined_only else surprise).mean()
        )


def load_stories(config: StoriesData, base: Path, cache: Path) -> Dataset:
    """Write training and validation stories; the facts hold the entropy per sample.

    Nothing is read.

    entropy_floor: expected loss of the best possible model, exactly. The losses of that model on
    the very stories of the splits are train_ideal_loss and val_ideal_loss; they differ from the
    floor by sampling.

    Raises:
        DataError: a split is smaller than a row, or a row too short for a sample.
    """
    config.check_rows()
    grammar = Grammar(config.words_per_list, config.zipf_exponent, config.ambiguity)
    determined = config.predict == "determined"
    splits = []
    for number, (name, tokens) in enumerate(
        (("train", config.train_tokens), ("val", config.val_tokens))
    ):
        generator = np.random.default_rng([config.seed, number])
        split = Stories(
            grammar.write(tokens // config.context, config.context, generator), determined
        )
        if split.samples == 0:
            raise DataError(
                f"data.context: the {name} rows of {config.context} tokens end before a word that "
                "is determined; 64 tokens tell several"
            )
        splits.append(split)
    train, val = splits
    names = grammar.vocabulary
    counts = train.class_counts(len(names))
    by_split = {"train": counts, "val": val.class_counts(len(names))}
    groups = None if config.group is None else token_groups(config.group, base, names, by_split)
    return Dataset(
        train=train,
        val=val,
        classes=len(names),
        input_shape=(config.context - 1,),
        fingerprint=digest(
            " ".join(names),
            *(split.rows.tokens.tobytes() for split in splits),
            *(() if groups is None else groups.content),
        ),
        class_counts=counts,
        class_names=names,
        facts={
            "train_chunks": len(train),
            "val_chunks": len(val),
            "train_tokens_used": train.rows.tokens.size,
            "val_tokens_used": val.rows.tokens.size,
            **class_facts(counts),
            "entropy_floor": grammar.recall_entropy
            if determined
            else grammar.entropy(config.context),
            "train_ideal_loss": train.ideal_loss(),
            "val_ideal_loss": val.ideal_loss(),
        },
        groups=groups,
    )
