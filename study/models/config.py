"""What the settings of every kind of model offer: build it, count its parameters.

Imports no torch, so that plans are instant: a builder is named by its import path and
imported when a model is built.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, ClassVar, Literal

from study.settings.base import Settings
from study.settings.faults import Fault

if TYPE_CHECKING:
    from study.models.base import FeatureModel

Reads = Literal["tokens", "images", "samples", "vectors"]
_DIMENSIONS: dict[Reads, int] = {"tokens": 1, "images": 3, "samples": 1, "vectors": 1}


class ModelError(ValueError):
    """A model that cannot be built, read or written; the message says what to change."""


class ModelSettings(Settings):
    """Settings of one kind of model.

    Each kind is a subclass, listed in `study.models.kinds`.
    """

    reads: ClassVar[Reads | None]
    """What the inputs are; None where only the checkpoint tells."""
    also_reads: ClassVar[tuple[Reads, ...]] = ()
    """What else they may be."""
    builder: ClassVar[str]
    """Import path `module:name` of what `build` calls with the settings and its own arguments."""

    if TYPE_CHECKING:

        @property
        def kind(self) -> str:
            """The name of the kind: in each subclass a field with one possible value."""

    def build(
        self, *, classes: int, input_shape: tuple[int, ...], seed: int, base: Path = Path()
    ) -> FeatureModel:
        """The model; see `study.models.build_model`."""
        dimensions = {_DIMENSIONS[each] for each in self.readable()}
        if dimensions and len(input_shape) not in dimensions:
            raise ModelError(
                f"model.kind {self.kind} reads {' or '.join(self.readable())}, not inputs of shape "
                f"{input_shape}"
            )
        model: FeatureModel = resolve_name(self.builder)(
            self, classes=classes, input_shape=input_shape, seed=seed, base=base
        )
        return model

    @classmethod
    def readable(cls) -> tuple[Reads, ...]:
        """What the inputs may be; nothing where only the checkpoint tells."""
        return () if cls.reads is None else (cls.reads, *cls.also_reads)

    def skeleton(
        self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()
    ) -> FeatureModel:
        """The modules of the model on the device `meta`: shapes without memory."""
        from study.models.unfilled import unfilled

        with unfilled():
            return self.build(classes=classes, input_shape=input_shape, seed=0, base=base)

    def shape_fault(self, input_shape: tuple[int, ...], *, base: Path) -> Fault | None:
        """Why the model cannot take inputs of a shape.

        None where it can, or where only building it tells.
        """
        return None

    @abstractmethod
    def count(
        self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()
    ) -> int | None:
        """Parameters of the model; see `study.models.parameter_count`."""
