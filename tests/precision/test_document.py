"""docs/precision.md is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys

from places import ROOT

from study.precision import known_precisions
from study.precision.document import document
from study.precision.names import GRAMMAR

PAGE = ROOT / "docs" / "precision.md"


def test_the_page_is_the_generators_output() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run: python -m study.precision > docs/precision.md"
    )


def test_the_module_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "study.precision"], check=True, capture_output=True, text=True
    )
    assert done.stdout == document()


def test_the_page_holds_the_grammar_and_known_names_with_their_bits() -> None:
    page = document()
    assert GRAMMAR in page
    rows = re.findall(
        r"^\| `(.+?)` \| (\d+) \| .+? \| ([\d.]+) \| ([\d.]+) \|", page, flags=re.MULTILINE
    )
    assert {name for name, *_ in rows} <= set(known_precisions())
    figures = {name: tuple(map(float, numbers)) for name, *numbers in rows}
    # by hand: 768 x 768 weights, one fp32 or bf16 scale for each row, group or the tensor
    assert figures["int4-g32"] == (4, 5.0, 4.5)
    assert figures["int8"] == (8, 8.042, 8.021)
    assert figures["nvfp4"] == (4, 4.5, 4.5)
    assert figures["mxfp6-e2m3"] == (6, 6.25, 6.25)
    assert figures["nf4"] == (4, 4.127, 4.126)
    assert figures["bf16"] == (16, 16, 16)
