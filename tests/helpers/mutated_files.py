"""Files as they go wrong: mutated, one seed a file; and what may come of them."""

from __future__ import annotations

import copy
import random
import re
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LONGEST_LINE, LONGEST_TIME = 500, 10.0

PIECES = (
    "010", "1:30", "1e-3", "1e400", ".nan", "9" * 30, "9" * 5000, "0x" + "f" * 40, "-1", "1_000",
    "!!bool zz", "!!int x", "!!float x", "!!timestamp x", "!!binary x", "!!set {a}",
    "!!omap [a: 1]", "!!python/object/apply:os.system ['true']", "!local 3", "&a", "*a", "&a [*a]",
    "<<: *a", "<<: 3", "[1000000000]", "[[[[", "]]", "{", "}", ": ", "- ", "? ", "| ", "> ", "# ",
    "\t", "---\n", "...\n", "%YAML 1.1\n", "\x00", "\ufeff", '"\\ud800"', "\u2028",
    "2020-13-45", "2020-01-01", "on", "~", "null", "'", '"', "/dev/zero", "x" * 5000,
    "../" * 2000, "hub:x/y",
    "int4-g0", "int999", "qat-int4", "each", "[0, 0]", "{kind: cosine}", "kind: mlp",
    "extends: .\n", "rules: [{when: {depth: 7}, set: {train.lr: 1}}]\n", ".a: &b {x: 1}\n",
)  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """A file with one to three changes of its letters, words, lines or indentation."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        text = chance.choice(_CHANGES)(text, chance)
    return text


def _place(text: str, chance: random.Random) -> int:
    return chance.randint(0, len(text))


def _insert(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + chance.choice(PIECES) + text[place:]


def _delete(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + text[place + chance.randint(1, 12) :]


def _replace_word(text: str, chance: random.Random) -> str:
    words = text.split(" ")
    words[chance.randrange(len(words))] = chance.choice((*PIECES, *words))
    return " ".join(words)


def _change_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    place = chance.randrange(len(lines))
    line = lines[place]
    lines[place] = chance.choice((line + line, "  " + line, line.lstrip(), "", line.rstrip("\n")))
    return "".join(lines)


def _change_letter(text: str, chance: random.Random) -> str:
    place = _place(text, chance)
    return text[:place] + chr(chance.choice((0, 7, 27, 58, 123, 0xE9, 0x2028))) + text[place + 1 :]


def _repeat(text: str, chance: random.Random) -> str:
    start = _place(text, chance)
    return text + text[start : start + chance.randint(1, 400)] * chance.randint(1, 5)


def _change_number(text: str, chance: random.Random) -> str:
    numbers = list(re.finditer(r"[0-9][0-9.e-]*", text))
    if not numbers:
        return text
    match = chance.choice(numbers)
    other = chance.choice(("0", "7", "1e-3", "0.5", "-2", "64", "1000000", str(10**12), "2.5e300"))
    return text[: match.start()] + other + text[match.end() :]


_CHANGES = (
    _insert,
    _delete,
    _replace_word,
    _change_lines,
    _change_letter,
    _repeat,
    _change_number,
    _change_number,
    _change_number,
)


VALUES: tuple[Any, ...] = (
    0, -1, 3, 10**9, 10**18, 2**63, 1.5, -1e308, float("nan"), True, None, "", "x", "linear",
    "\u00e9", "\u202e\U0001f600", "\x00", "x" * 5000, "9" * 30, [], {}, [[1]], [10**9], {"a": 1},
    ["x", "x"],
)  # fmt: skip
"""Values of another type, size or script than a setting has."""


def mutated_tree(tree: Any, chance: random.Random, values: Sequence[Any] = VALUES) -> Any:
    """Content of JSON or YAML with one to three entries replaced, deleted, renamed or added."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.randint(1, 3)):
        nodes = [node for node in _nodes(tree) if node]
        if not nodes:
            return chance.choice(values)
        node = chance.choice(nodes)
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        match chance.randrange(10):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[chance.choice(("x", "", "\u00e9", "x" * 5000))] = node.pop(key)
            case 2 if isinstance(node, dict):
                node[chance.choice(("x", "", "\u00e9", "x" * 5000))] = chance.choice(values)
            case 3:
                node[key] = copy.deepcopy(chance.choice(nodes))
            case _:
                node[key] = copy.deepcopy(chance.choice(values))
    return tree


def _nodes(tree: Any) -> list[Any]:
    """All mappings and lists of a tree."""
    if not isinstance(tree, dict | list):
        return []
    children = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(node for child in children for node in _nodes(child))]


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """A binary file with bytes changed, left out or put in, most of them near its start."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        place = chance.randrange(min(len(data), chance.choice((8, 200, 3000, len(data)))) or 1)
        match chance.randrange(8):
            case 0:
                del data[place : place + chance.randint(1, 50)]
            case 1:
                data[place:place] = chance.randbytes(chance.randint(1, 50))
            case 2 if chance.random() < 0.3:
                del data[place:]
            case _:
                data[place : place + 1] = chance.randbytes(1)
    return bytes(data)


def is_used(use: Callable[[], object], refusal: type[Exception], case: object) -> bool:
    """Whether an input is used and not refused as it should be.

    A refusal is of lines of at most 500 letters; both take at most 10 s. Any other error goes on
    up, with the case.
    """
    start = time.monotonic()
    try:
        use()
    except refusal as error:
        lines = str(error).splitlines()
        assert max(map(len, lines)) <= LONGEST_LINE, (case, str(error)[:1000])
        return False
    except BaseException as error:  # polars panics with what is no Exception
        error.add_note(f"case {case}")
        raise
    finally:
        assert time.monotonic() - start < LONGEST_TIME, case
    return True


@contextmanager
def in_little_memory() -> Iterator[None]:
    """Assert that what runs in it takes at most 2 GiB more than was ever taken before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 2**20  # KiB
