"""The grammar of precision names."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from study.precision import (
    Precision,
    PrecisionError,
    known_precisions,
    options_used,
    parse_precision,
)
from study.precision.names import GRAMMAR, SCOPES
from study.precision.options import PrecisionOptions


def alternatives(rule: str) -> list[str]:
    """All strings that a rule of the EBNF generates.

    An independent reading of GRAMMAR, which has no recursion.
    """
    rules = dict(re.findall(r"^(\w+)\s*= (.+?) ;$", GRAMMAR, flags=re.MULTILINE | re.DOTALL))

    def expand(text: str) -> list[str]:
        generated = []
        for option in split(text, "|"):
            parts = [generate(part) for part in split(option, ",")]
            generated += ["".join(words) for words in itertools.product(*parts)]
        return generated

    def split(text: str, separator: str) -> list[str]:
        pieces, depth = [""], 0
        for character in text:
            depth += {"[": 1, "]": -1}.get(character, 0)
            if character == separator and depth == 0:
                pieces.append("")
            else:
                pieces[-1] += character
        return [piece.strip() for piece in pieces]

    def generate(part: str) -> list[str]:
        if part.startswith("["):
            return ["", *expand(part[1:-1])]
        return [part[1:-1]] if part.startswith('"') else expand(rules[part])

    return expand(rules[rule])


def test_known_names_are_those_that_the_printed_grammar_generates() -> None:
    weights, scopes = alternatives("weights"), alternatives("scope")
    tuned, caches = alternatives("tuned"), alternatives("cache")
    names = ["fp32", "ft-fp32", *alternatives("half"), *tuned, *weights]
    assert len(names) == len(set(names))
    assert set(names) == set(known_precisions())
    assert len(names) > 800
    assert len(scopes) == len(set(scopes)) == 5 + 999
    scoped = {scope for scope in scopes if parse_precision(f"rot-gptq-int4-g32{scope}")}
    assert scoped == set(scopes)
    assert {f"/{scope}" for scope in SCOPES[1:]} <= set(scopes)
    for name, scope in itertools.product(weights[::7], ["/body", "/block12"]):
        assert parse_precision(name + scope).name == name + scope
    for name, cache in itertools.product([*alternatives("half"), *weights[::7]], caches):
        assert parse_precision(name + cache).name == name + cache
    for cache in caches:
        assert parse_precision(cache[1:]) == Precision("cast", "fp32", 32, cache=int(cache[-1]))
        assert parse_precision(f"{weights[-1]}{cache}/head").scope == "head"


def test_name_round_trips() -> None:
    for name, precision in known_precisions().items():
        assert precision.name == name == str(precision)
        assert parse_precision(name) == precision


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fp32", Precision("cast", "fp32", 32)),
        ("bf16", Precision("cast", "bf16", 16)),
        ("int8", Precision("int", "int8", 8)),
        ("int4-g32", Precision("int", "int4", 4, granularity="group", group=32)),
        ("int3-tensor-asym", Precision("int", "int3", 3, granularity="tensor", symmetric=False)),
        ("int8-dynamic", Precision("int", "int8", 8, activation="int8")),
        (
            "int4-g32-dynamic",
            Precision("int", "int4", 4, granularity="group", group=32, activation="int8"),
        ),
        ("mxfp6-e2m3", Precision("float", "mxfp6-e2m3", 6, granularity="group", group=32)),
        ("nvfp4/body", Precision("float", "nvfp4", 4, granularity="group", group=16, scope="body")),
        ("qat-int2/head", Precision("int", "int2", 2, tuning="qat", scope="head")),
        (
            "efqat-int4-g64",
            Precision("int", "int4", 4, granularity="group", group=64, tuning="efqat"),
        ),
        ("ft-fp32", Precision("cast", "fp32", 32, tuning="ft")),
        ("gptq-int3/block2", Precision("int", "int3", 3, method="gptq", scope="block2")),
        ("rot-awq-int2", Precision("int", "int2", 2, method="awq", rotated=True)),
        (
            "smooth-int8-dynamic/mlp",
            Precision("int", "int8", 8, activation="int8", method="smooth", scope="mlp"),
        ),
        (
            "int4-a4-static-kv4/body",
            Precision("int", "int4", 4, activation="int4", static=True, cache=4, scope="body"),
        ),
        ("fp8-dynamic", Precision("float", "fp8", 8, activation="fp8")),
        (
            "ternary-dynamic-kv8",
            Precision("float", "ternary", 2, "tensor", activation="int8", cache=8),
        ),
        ("bf16-kv4", Precision("cast", "bf16", 16, cache=4)),
    ],
)
def test_fields(name: str, expected: Precision) -> None:
    assert parse_precision(name) == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("int4-g16", "int4-g64"),
        ("fp31", "fp32"),
        ("Int8", "int8"),
        ("qat-fp8", "qat-int8"),
        ("nvfp4/haed", "nvfp4/head"),
        ("int8-dynamc", "int8-dynamic"),
        ("mxfp6-e2m33", "mxfp6-e2m3"),
        ("gptg-int4", "gptq-int4"),
        ("int4/atention", "int4/attention"),
        ("bf16/head", "bf16"),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(PrecisionError, match=re.escape(f"unknown precision {name!r}")) as error:
        parse_precision(name)
    assert f"nearest known one is {nearest!r}" in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "int1",
        "int9",
        "qat-int8-dynamic",
        "ft-int4",
        "bf16/head",
        "int4-asym-g32",
        "int4-tensor-dynamic",
        "nf4-dynamic",
        "mxfp4-static",
        "int4-dynamic-a4",
        "int4-a4",
        "fp32-kv8",
        "kv8/body",
        "kv2",
        "qat-int4-kv8",
        "ft-fp32-kv8",
        "int4-kv8-dynamic",
        "int4/all",
        "int4/block0",
        "int4/block1000",
        "int4/block1/head",
        "smooth-int4",
        "gptq-qat-int4",
        "gptq-rot-int4",
        "rot-nvfp4",
    ],
)
def test_names_outside_the_grammar(name: str) -> None:
    with pytest.raises(PrecisionError):
        parse_precision(name)


def test_options_used() -> None:
    assert options_used(parse_precision("int4")) == ()
    assert options_used(parse_precision("ft-fp32")) == ("qat",)
    assert options_used(parse_precision("qat-int4/body")) == ("qat",)
    assert options_used(parse_precision("efqat-int4")) == ("efqat", "qat")
    assert options_used(parse_precision("gptq-int4/block1")) == ("calibration", "gptq")
    assert options_used(parse_precision("int8-static-kv8")) == ("calibration",)
    assert options_used(parse_precision("int8-dynamic-kv8")) == ()
    assert options_used(parse_precision("rot-hqq-int4")) == ("rotation",)
    fields = set(PrecisionOptions.model_fields)
    assert fields == {group for p in known_precisions().values() for group in options_used(p)}


def test_untuned_keeps_everything_but_the_tuning() -> None:
    assert parse_precision("qat-int2-g32-asym/head").untuned == parse_precision(
        "int2-g32-asym/head"
    )
    assert parse_precision("ft-fp32").untuned == parse_precision("fp32")


def test_names_are_parsed_without_torch() -> None:
    code = (
        "import sys; from study.precision import parse_precision; "
        "parse_precision('int4-g32');from study.precision.options import "
        "PrecisionOptions;sys.exit(1 if {'torch', 'torchao'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
