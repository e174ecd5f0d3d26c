"""What every kind of data is to the rest of the study.

Two splits, a number of classes, and facts about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from study.settings.faults import shortened

if TYPE_CHECKING:
    from torch import Tensor

Ints = npt.NDArray[np.int64]
Fact = str | int | float | None
Predicts = Literal["classes", "vectors"]

IGNORE = -100
"""Target of a position that is no sample; the value that torch's losses ignore by default."""


class DataError(ValueError):
    """Data that cannot be read or does not fit the settings.

    The message is for the user: one sentence of at most 500 characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, 500))


class Split(Protocol):
    """Training or validation data, addressed by row (a chunk of text, or an image)."""

    def __len__(self) -> int:
        """Rows: the unit that training shuffles."""

    @property
    def samples(self) -> int:
        """Predictions in the whole split: for text chunks, rows times (context - 1)."""

    def batch(self, rows: Ints) -> tuple[Tensor, Tensor]:
        """Inputs and targets of some rows, on the CPU.

        Args:
            rows: (B,) row numbers in [0, len).

        Returns:
            inputs, int64 (B, T-1) tokens, float32 (B, channels, height, width) images, float32
            (B, inputs) vectors or int64 (B,) sample numbers, and
            targets, int64 (B, T-1) or (B,); `IGNORE` marks positions that are no sample. Of a
            regression float32 (B, n), each row a sample.
        """


@dataclass(frozen=True)
class Groups:
    """Which group each sample is of: by its class, or by its row.

    names     (G,) of the groups
    of_class  (V,) the number of the group of each class, -1 for none; None: rows have groups
    of_rows   the same by split, of each row
    """

    names: tuple[str, ...]
    of_class: Ints | None = None
    of_rows: Mapping[str, Ints] | None = None

    def of(self, split: Literal["train", "val"], rows_N: Ints, labels_N: Ints) -> Ints:
        """(N,) numbers of the groups of samples, from their rows and their classes."""
        if self.of_rows is not None:
            numbers, places = self.of_rows[split], rows_N
        else:
            assert self.of_class is not None
            numbers, places = self.of_class, labels_N
        chosen: Ints = numbers[places]
        return chosen

    @property
    def content(self) -> tuple[bytes, ...]:
        """What a fingerprint of the data takes from them."""
        arrays = [self.of_class] if self.of_rows is None else list(self.of_rows.values())
        return ("\0".join(self.names).encode(), *(a.tobytes() for a in arrays if a is not None))


@dataclass(frozen=True)
class ProbeData:
    """Splits of other classes than those trained on, for probes to learn and test on."""

    train: Split
    val: Split
    classes: int
    fingerprint: str
    """Hash of their content, whatever it was read from."""


@dataclass(frozen=True)
class Dataset:
    """Splits of one corpus or image set with what is known about them."""

    train: Split
    val: Split
    classes: int
    """Size of the head, V. For text it is also the number of input tokens.

    Of a regression the entries of a target, n.
    """
    input_shape: tuple[int, ...]
    """Shape of one row's input: (T-1,) tokens or (channels, height, width).

    For samples without content, whose input is their number, (samples,): that of the unit vector
    with this number.
    """
    fingerprint: str
    """Hash of the content, whatever it was read from.

    Content is tokens and tokenizer, or images and labels.
    """
    class_counts: Ints
    """(V,) samples of each class in the training split as used; empty where there are none."""
    class_names: Sequence[str]
    """(V,) names of the classes, for reports; empty where there are none."""
    facts: Mapping[str, Fact]
    """Counts and statistics of the data, to print and to store beside a run."""
    ood: Mapping[str, Split] = field(default_factory=dict)
    """Sets of other data of the same shape by their names; their labels mean nothing."""
    groups: Groups | None = None
    """Groups of the samples of both splits, or None."""
    probes: Mapping[str, ProbeData] = field(default_factory=dict)
    """Data of probes of the same shape, by the name that `measure.probe.data` has for them."""
    input_range: tuple[Tensor, Tensor] | None = None
    """Least and largest values (channels, 1, 1) of inputs that are images; else None."""
    predicts: Predicts = "classes"
    """Whether targets are classes or vectors."""


@dataclass(frozen=True)
class Estimate:
    """How much data there is: rows are chunks, windows or images.

    Samples are predictions.
    """

    train_rows: int
    train_samples: int
    val_samples: int | None
    """None where only the training split's size was published."""
    classes: int
    input_shape: tuple[int, ...]
    """Shape of one row's input, as in `Dataset`."""
    origin: str = ""
    """Where numbers come from that were not counted here."""
    class_counts: tuple[int, ...] = ()
    """Training samples of each class of images; empty for other data."""
    probe_samples: int | None = 0
    """Samples of the probe that a cell asks for; None where they cannot be known yet."""


def sample_count(targets: Tensor) -> int:
    """Samples among the targets of a batch: vectors, or classes that are not ignored."""
    return len(targets) if targets.is_floating_point() else int((targets != IGNORE).count_nonzero())


def class_facts(counts: Ints) -> dict[str, Fact]:
    """Statistics of the samples per class, over the classes that have any.

    They are those of Wu & Papyan 2024, appendix A.
    """
    used = counts[counts > 0]
    return {
        "classes": len(counts),
        "classes_in_use": len(used),
        "samples": int(used.sum()),
        "samples_per_class_mean": float(used.mean()),
        "samples_per_class_std": float(used.std()),
        "samples_per_class_min": int(used.min()),
        "samples_per_class_max": int(used.max()),
    }
