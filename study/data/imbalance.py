"""Numbers of samples per class under the two usual kinds of imbalance."""

from __future__ import annotations

import numpy as np

from study.data.base import Ints
from study.data.config import Imbalance


def class_sizes(config: Imbalance, largest: int, classes: int) -> Ints:
    """(classes,) numbers of samples, from the largest class to the smallest.

    No class has fewer than one sample.

    step: the last `minority_fraction` of the classes have largest / ratio, the others largest
        (Buda et al. 2018).
    exponential: class k of C has largest * ratio^(-k / (C-1)) (Cui et al. 2019; Cao et al. 2019).
    """
    if config.imbalance == "step":
        exponents = (
            np.arange(classes) >= classes - round(config.minority_fraction * classes)
        ).astype(np.float64)
    else:
        exponents = np.arange(classes) / max(1, classes - 1)
    return np.maximum(1, np.rint(largest * config.imbalance_ratio**-exponents)).astype(np.int64)
