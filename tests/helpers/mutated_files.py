"""Files of settings as they go wrong: mutated, one seed a file."""

from __future__ import annotations

import random
import re

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
