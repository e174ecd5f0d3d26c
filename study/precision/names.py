"""Names of precisions: what they mean, how they are parsed.

No torch here, so that plans and errors are instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal

Family = Literal["cast", "int", "float"]
Granularity = Literal["channel", "group", "tensor"]
Tuning = Literal["qat", "efqat", "ft"]
Method = Literal["gptq", "awq", "hqq", "smooth"]

GRAMMAR = """\
precision  = "fp32" | "ft-fp32" | "kv8" | "kv4" | half , [ cache ] | tuned , [ scope ]
           | weights , [ cache ] , [ scope ] ;
half       = "bf16" | "fp16" ;
tuned      = "qat-" , integer | "efqat-" , integer ;
weights    = [ method ] , integer | [ method | "smooth-" ] , inputs , "-dynamic"
           | inputs , "-static" | float | floats ;
method     = rounding | "rot-" , [ rounding ] ;
rounding   = "gptq-" | "awq-" | "hqq-" ;
integer    = "int" , bits , [ group | "-tensor" ] , [ "-asym" ] ;
inputs     = "int" , bits , [ group ] , [ "-asym" ] , [ "-a4" ] ;
bits       = "2" | "3" | "4" | "5" | "6" | "7" | "8" ;
group      = "-g32" | "-g64" | "-g128" ;
float      = fp8 | block | "nf4" | "ternary" ;
floats     = fp8 , "-static" | fp8 , "-dynamic" | block , "-dynamic" | "ternary-dynamic" ;
fp8        = "fp8" | "fp8-e5m2" ;
block      = "mxfp8" | "mxfp6-e2m3" | "mxfp6-e3m2" | "mxfp4" | "nvfp4" ;
cache      = "-kv8" | "-kv4" ;
scope      = "/body" | "/head" | "/first" | "/attention" | "/mlp" | "/block" , number ;
number     = nonzero , [ digit , [ digit ] ] ;
nonzero    = "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" ;
digit      = "0" | nonzero ;
"""

ROUNDINGS: tuple[Method, ...] = ("gptq", "awq", "hqq")
"""Methods that choose the integers of a weight by more than the nearest one."""
SCOPES = ("all", "body", "head", "first", "attention", "mlp")
BLOCK = re.compile(r"block[1-9][0-9]{0,2}")

TRAINED = {
    "int8": "int8",
    "int4": "int4",
    "int2": "int2",
    "fp8": "fp8",
    "ternary": "ternary-dynamic/body",
}
"""`train.quantize` -> the precision at which the network that was trained is measured."""
REFERENCE = "fp32"
"""The precision that others are compared with."""
CASTS = {"fp32": 32, "bf16": 16, "fp16": 16}
INTEGER_BITS = (8, 7, 6, 5, 4, 3, 2)
GROUPS = (32, 64, 128)
# name -> (bits of a weight, weights that share a scale; None: one scale per output channel, in
# `ternary` one for the tensor)
FLOATS: dict[str, tuple[int, int | None]] = {
    "fp8": (8, None),
    "fp8-e5m2": (8, None),
    "mxfp8": (8, 32),
    "mxfp6-e2m3": (6, 32),
    "mxfp6-e3m2": (6, 32),
    "mxfp4": (4, 32),
    "nvfp4": (4, 16),
    "nf4": (4, 64),
    "ternary": (2, None),
}
STATIC_FLOATS = ("fp8", "fp8-e5m2")
DYNAMIC_FLOATS = (
    *STATIC_FLOATS,
    "mxfp8",
    "mxfp6-e2m3",
    "mxfp6-e3m2",
    "mxfp4",
    "nvfp4",
    "ternary",
)
"""Float formats that inputs of layers can have, too; `ternary` rounds these to int8."""
CACHE = re.compile(r"(?P<weights>.*)-kv(?P<bits>8|4)")


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
    activation   format to which the inputs of linear layers and convolutions are rounded as well
    static       False: scales of inputs are chosen at run time, one a token (a sample, before
                 convolutions); True: one a layer, from calibration
    cache        bits of the keys and values of attention, or None
    tuning       fine-tuning before the measurement: `qat`, `efqat`, or `ft` (the control without
                 quantization)
    method       how integers are chosen, where not as the nearest: `gptq`, `awq`, `hqq`, `smooth`
    rotated      whether weights are rounded in a basis that a random rotation made (`rot-`)
    scope        `all` weights, `body` (head and embeddings stay), `head`, `first` (the first weight
                 of the model), `attention` or `mlp` (of all blocks), `block3`
    """

    family: Family
    format: str
    bits: int
    granularity: Granularity = "channel"
    group: int | None = None
    symmetric: bool = True
    activation: str | None = None
    static: bool = False
    cache: int | None = None
    tuning: Tuning | None = None
    method: Method | None = None
    rotated: bool = False
    scope: str = "all"

    @property
    def name(self) -> str:
        """The one name of this precision: `parse_precision(p.name) == p`."""
        prefixes = (self.tuning, "rot" if self.rotated else None, self.method)
        prefix = "".join(f"{each}-" for each in prefixes if each is not None)
        group = f"-g{self.group}" if self.family == "int" and self.group is not None else ""
        tensor = "-tensor" if self.family == "int" and self.granularity == "tensor" else ""
        zero_points = "" if self.symmetric else "-asym"
        four = "-a4" if self.activation == "int4" else ""
        scales = "" if self.activation is None else "-static" if self.static else "-dynamic"
        cache = "" if self.cache is None else f"-kv{self.cache}"
        scope = "" if self.scope == "all" else f"/{self.scope}"
        if cache and self.format == REFERENCE:
            return cache.removeprefix("-")
        return f"{prefix}{self.format}{group}{tensor}{zero_points}{four}{scales}{cache}{scope}"

    @property
    def untuned(self) -> Precision:
        """The same arithmetic without the fine-tuning."""
        return replace(self, tuning=None)

    @property
    def calibrated(self) -> bool:
        """Whether inputs of the layers are needed, which come from training samples."""
        return self.method in ("gptq", "awq", "smooth") or self.static

    @property
    def of_weights_alone(self) -> bool:
        """Whether it leaves open what the passes of the model compute in."""
        plain = self.family != "cast" or self.format == REFERENCE
        return plain and self.activation is None and self.cache is None

    @property
    def depends_on_layers(self) -> bool:
        """Whether there are layers or models that do not take it, of any size."""
        plain = self.family == "cast" or self.group is None
        ordinary = self.scope in ("all", "body", "head") and not self.rotated
        return not (plain and ordinary and self.activation is None and self.cache is None)

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
                tuned = (replace(weights, tuning="qat"), replace(weights, tuning="efqat"))
                yield from (weights, *tuned, *_methods(weights))
            for weights, activation in product(rows, ("int8", "int4")):
                dynamic = replace(weights, activation=activation)
                yield from (dynamic, replace(dynamic, static=True), *_methods(dynamic))
                yield replace(dynamic, method="smooth")


def _methods(weights: Precision) -> Iterator[Precision]:
    yield replace(weights, rotated=True)
    for method, rotated in product(ROUNDINGS, (False, True)):
        yield replace(weights, method=method, rotated=rotated)


def _floats() -> Iterator[Precision]:
    for name, (bits, group) in FLOATS.items():
        granularity: Granularity = "channel" if group is None else "group"
        if name == "ternary":
            granularity = "tensor"
        weights = Precision("float", name, bits, granularity, group)
        yield weights
        inputs = replace(weights, activation="int8" if name == "ternary" else name)
        if name in DYNAMIC_FLOATS:
            yield inputs
        if name in STATIC_FLOATS:
            yield replace(inputs, static=True)


@cache
def known_precisions() -> dict[str, Precision]:
    """Every precision of the grammar by its name, plain formats first.

    Caches and scopes are not among them: they are parsed apart.
    """
    casts = [Precision("cast", name, bits) for name, bits in CASTS.items()]
    weights = sorted([*_integers(), *_floats()], key=_prefixes)
    return {p.name: p for p in [*casts, replace(casts[0], tuning="ft"), *weights]}


def _prefixes(precision: Precision) -> int:
    return sum((precision.tuning is not None, precision.method is not None, precision.rotated))


@cache
def _nearest(name: str, known: tuple[str, ...]) -> str:
    """The known name that is most like another one.

    It is kept, because each point of a grid asks for it again.
    """
    from difflib import get_close_matches

    return get_close_matches(name[:100].strip().lower(), known, n=1, cutoff=0.0)[0]


def parse_precision(name: str) -> Precision:
    """The precision called `name`; PrecisionError names the nearest known one.

    The grammar stands in `GRAMMAR`.
    """
    known = known_precisions()
    base, slash, scope = name.partition("/")
    base, cache = _cache_of(base)
    precision = known.get(base)
    if precision is not None and cache is not None:
        of_cache = base != "fp32" or name in ("kv8", "kv4")
        precision = replace(precision, cache=cache) if of_cache and not precision.tuning else None
    if precision is not None and not slash:
        return precision
    if precision is not None and precision.family != "cast" and scope != "all":
        if scope in SCOPES or BLOCK.fullmatch(scope):
            return replace(precision, scope=scope)
        nearest = f"{precision.name}/{_nearest(scope, SCOPES[1:])}"
    else:
        nearest = _nearest(base, tuple(known))
        if scope in SCOPES[1:] and known[nearest].family != "cast":
            nearest = f"{nearest}/{scope}"
    raise PrecisionError(
        f"unknown precision {name!r}: the nearest known one is {nearest!r}. Known are "
        f"{', '.join(CASTS)}, ft-fp32, int2 to int8 with -g32, -g64, -g128 or -tensor, then -asym, "
        f"then -a4, then -dynamic or -static (not after -tensor), {', '.join(FLOATS)} (also with "
        "-dynamic, but nf4); before an integer format of weights alone qat-, efqat-, gptq-, awq-, "
        "hqq- or rot- (also rot-gptq-), before one of inputs, too, smooth- or rot-; kv8, kv4, or "
        "-kv8, -kv4 behind a format; then /body, /head, /first, /attention, /mlp or /block3 "
        "(docs/precision.md has the grammar)"
    )


def _cache_of(name: str) -> tuple[str, int | None]:
    """A name without its cache, and the bits of that; `kv8` alone is that of fp32."""
    match = CACHE.fullmatch(f"{REFERENCE}-{name}" if name in ("kv8", "kv4") else name)
    return (name, None) if match is None else (match["weights"], int(match["bits"]))


def options_used(precision: Precision) -> tuple[str, ...]:
    """The groups of `precision_options` that change what this precision measures.

    They enter its cell's key.
    """
    if precision.tuning is not None:
        return ("efqat", "qat") if precision.tuning == "efqat" else ("qat",)
    used = {
        "calibration": precision.calibrated,
        "gptq": precision.method == "gptq",
        "rotation": precision.rotated,
        "smooth": precision.method == "smooth",
    }
    return tuple(name for name, applies in used.items() if applies)
