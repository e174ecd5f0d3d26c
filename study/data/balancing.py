"""Choosing windows of a text so that every class has the samples it should.

Without torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.base import DataError, Fact, Ints
from study.data.config import BalancedData
from study.data.imbalance import class_sizes

Tokens = npt.NDArray[np.unsignedinteger[Any]]

_READ_AT_ONCE = 1 << 24


def window_quotas(config: BalancedData, counts: Ints) -> tuple[Ints, Ints]:
    """Which tokens are classes, and how many windows each class gets.

    Tokens are in ascending order, numbers from the largest to the smallest class.

    Args:
        config: the settings.
        counts: (V,) how often the training text has each token at a place where a window can end.

    Raises:
        DataError: fewer than two tokens, or fewer than `target_classes`, are frequent enough.
    """
    least = max(config.min_class_count, config.quota or 1)
    targets = np.flatnonzero(counts >= least)
    frequent = f"only {len(targets)} tokens occur {least} times or more in the training text"
    if config.target_classes is not None and config.target_classes > len(targets):
        raise DataError(f"data.target_classes: {config.target_classes} asked for, but {frequent}")
    if len(targets) < 2:
        setting = "quota" if (config.quota or 0) > config.min_class_count else "min_class_count"
        raise DataError(f"data.{setting}: {frequent}; two are needed")
    targets = np.sort(targets[np.argsort(-counts[targets], kind="stable")[: config.target_classes]])
    quota = config.quota or int(counts[targets].min())
    return targets, class_sizes(config, quota, len(targets))


def choose_ends(tokens: Tokens, context: int, sizes: Ints, generator: np.random.Generator) -> Ints:
    """Places of the last tokens of windows, ascending.

    There are as many of each token as its size, or all if there are fewer.

    Every set of places of a token is equally likely: each place gets a random key, and the least
    keys are taken. The text is read in blocks, so that it need not fit into memory.

    Args:
        tokens: (n,) the text.
        context: length of a window, T; the first T - 1 places cannot end one.
        sizes: (V,) wanted number for each token.
        generator: source of the keys.
    """
    ends, keys = np.zeros(0, dtype=np.int64), np.zeros(0)
    # Keys from these on cannot be among the least of their token any more.
    enough = np.where(sizes > 0, np.inf, 0.0)
    for start in range(context - 1, len(tokens), _READ_AT_ONCE):
        block = tokens[start : start + _READ_AT_ONCE]
        drawn = generator.random(len(block))
        hopeful = np.flatnonzero(drawn < enough[block])
        places, keys = (
            np.concatenate([ends, start + hopeful]),
            np.concatenate([keys, drawn[hopeful]]),
        )
        order = np.lexsort((keys, tokens[places]))
        sorted_tokens = tokens[places[order]]
        rank = np.arange(len(order)) - np.searchsorted(sorted_tokens, sorted_tokens)
        last = order[rank == sizes[sorted_tokens] - 1]
        enough[tokens[places[last]]] = keys[last]
        smallest = order[rank < sizes[sorted_tokens]]
        ends, keys = places[smallest], keys[smallest]
    return np.sort(ends)


def duplicate_facts(windows: npt.NDArray[np.integer[Any]]) -> dict[str, Fact]:
    """What windows with equal contexts imply.

    Windows are (S, T), their last token is the target.

    duplicate_contexts: windows whose context occurs in another window too.
    conflicting_contexts: those among them whose context is followed by different targets.
    train_accuracy_bound: share of the windows that the best function of the context predicts.
    train_loss_bound: least mean cross-entropy of any function of the context, nats per sample: the
        entropy of the target given the context over these windows.
    """
    number_of: dict[bytes, int] = {}
    contexts = [number_of.setdefault(row.tobytes(), len(number_of)) for row in windows[:, :-1]]
    pairs, count = np.unique(np.stack([contexts, windows[:, -1]]), axis=1, return_counts=True)
    of_context = np.bincount(pairs[0], weights=count)
    most_frequent = np.zeros(len(of_context))
    np.maximum.at(most_frequent, pairs[0], count)
    targets_of_context = np.bincount(pairs[0])
    return {
        "duplicate_contexts": int(of_context[of_context > 1].sum()),
        "conflicting_contexts": int(of_context[targets_of_context > 1].sum()),
        "train_accuracy_bound": float(most_frequent.sum() / len(windows)),
        "train_loss_bound": float(
            (count * np.log(of_context[pairs[0]] / count)).sum() / len(windows)
        ),
    }
