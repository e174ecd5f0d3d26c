"""Names of precisions: what they mean, how they are parsed.

No torch here, so that plans and errors are instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Family = Literal["cast", "int", "float"]
Granularity = Literal["channel", "group", "tensor"]
Scope = Literal["all", "body", "head"]
Tuning = Literal["qat", "efqat", "ft"]

GRAMMAR = """\
precision  = cast | "ft-fp32" | weights , [ scope ] ;
cast       = "fp32" | "bf16" | "fp16" ;
weights    = [ tuning ] , integer | dynamic | float ;
tuning     = "qat-" | "efqat-" ;
integer    = "int" , bits , [ group | "-tensor" ] , [ "-asym" ] ;
dynamic    = "int" , bits , [ group ] , [ "-asym" ] , "-dynamic" ;
bits       = "2" | "3" | "4" | "5" | "6" | "7" | "8" ;
group      = "-g32" | "-g64" | "-g128" ;
float      = "fp8" | "fp8-e5m2" | "mxfp8" | "mxfp6-e2m3" | "mxfp6-e3m2"
           | "mxfp4" | "nvfp4" | "nf4" ;
scope      = "/body" | "/head" ;
"""

REFERENCE = "fp32"
"""The precision that others are compared with."""
CASTS = {"fp32": 32, "bf16": 16, "fp16": 16}
INTEGER_BITS = (8, 7, 6, 5, 4, 3, 2)
GROUPS = (32, 64, 128)
# name -> (bits of a weight, weights that share a scale; None: one scale per output channel)
FLOATS: dict[str, tuple[int, int | None]] = {
    "fp8": (8, None),
    "fp8-e5m2": (8, None),
    "mxfp8": (8, 32),
    "mxfp6-e2m3": (6, 32),
    "mxfp6-e3m2": (6, 32),
    "mxfp4": (4, 32),
    "nvfp4": (4, 16),
    "nf4": (4, 64),
}


class PrecisionError(ValueError):
    """A precision that does not exist, or that a model, layer or device cannot take.

    The message is for the user.
    """


@dataclass(frozen=True)
class Precision:
    """The arithmetic at which a checkpoint is measured, whatever it was trained in.

    family       cast (every parameter, buffer and activation in `format`), int or float (weights
                 rounded to `format`)
    format       `fp32`, `int4`, `mxfp6-e2m3`, ...
    bits         bits of one weight, without scales and zero points
    granularity  which weights share a scale: an output channel, `group` consecutive ones of it, or
                 the whole tensor
    symmetric    False: integer zero points (`-asym`)
    activation   `int8`: the inputs of linear layers are rounded as well, one scale a token, chosen
                 at run time
    tuning       fine-tuning before the measurement: `qat`, `efqat`, or `ft` (the control without
                 quantization)
    scope        `all` weights, `body` (head and embeddings stay) or `head`
    """

    family: Family
    format: str
    bits: int
    granularity: Granularity = "channel"
    group: int | None = None
    symmetric: bool = True
    activation: Literal["int8"] | None = None
    tuning: Tuning | None = None
    scope: Scope = "all"

    @property
    def name(self) -> str:
        """The one name of this precision: `parse_precision(p.name) == p`."""
        tuning = "" if self.tuning is None else f"{self.tuning}-"
        group = f"-g{self.group}" if self.family == "int" and self.group is not None else ""
        tensor = "-tensor" if self.granularity == "tensor" else ""
        zero_points = "" if self.symmetric else "-asym"
        activation = "" if self.activation is None else "-dynamic"
        scope = "" if self.scope == "all" else f"/{self.scope}"
        return tuning + self.format + group + tensor + zero_points + activation + scope

    @property
    def untuned(self) -> Precision:
        """The same arithmetic without the fine-tuning."""
        return replace(self, tuning=None)

    def __str__(self) -> str:
        return self.name


def _integers() -> Iterator[Precision]:
    for bits in INTEGER_BITS:
        for symmetric in (True, False):
            channel = Precision("int", f"int{bits}", bits, symmetric=symmetric)
            rows = [
                channel,
                *(replace(channel, granularity="group", group=group) for group in GROUPS),
            ]
            for weights in [*rows, replace(channel, granularity="tensor")]:
                yield from (
                    weights,
                    replace(weights, tuning="qat"),
                    replace(weights, tuning="efqat"),
                )
            yield from (replace(weights, activation="int8") for weights in rows)


def _floats() -> Iterator[Precision]:
    for name, (bits, group) in FLOATS.items():
        yield Precision(
            "float", name, bits, granularity="channel" if group is None else "group", group=group
        )


@cache
def known_precisions() -> dict[str, Precision]:
    """Every precision of the grammar by its name, plain formats first."""
    casts = [Precision("cast", name, bits) for name, bits in CASTS.items()]
    weights = [*_integers(), *_floats()]
    scoped = [replace(each, scope=scope) for scope in ("body", "head") for each in weights]
    return {p.name: p for p in [*casts, replace(casts[0], tuning="ft"), *weights, *scoped]}


@cache
def _nearest(name: str) -> str:
    """The known name that is most like another one.

    It is kept, because each point of a grid asks for it again.
    """
    from difflib import get_close_matches

    return get_close_matches(name[:100].strip().lower(), known_precisions(), n=1, cutoff=0.0)[0]


def parse_precision(name: str) -> Precision:
    """The precision called `name`; PrecisionError names the nearest known one.

    The grammar stands in `GRAMMAR`.
    """
    known = known_precisions()
    if name in known:
        return known[name]
    raise PrecisionError(
        f"unknown precision {name!r}: the nearest known one is {_nearest(name)!r}. Known are "
        f"{', '.join(CASTS)}, ft-fp32, int2 to int8 with -g32, -g64, -g128 or -tensor, then -asym, "
        f"then -dynamic (not after -tensor), {', '.join(FLOATS)}; qat- or efqat- before an integer "
        "format without -dynamic, /body or /head behind a weight format (docs/precision.md has "
        "the grammar)"
    )


def options_used(precision: Precision) -> tuple[str, ...]:
    """The groups of `precision_options` that change what this precision measures.

    They enter its cell's key.
    """
    if precision.tuning is None:
        return ()
    return ("efqat", "qat") if precision.tuning == "efqat" else ("qat",)
