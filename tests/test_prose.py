"""How docstrings begin: with a summary that fits in a line of 80 columns."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from places import ROOT

LONGEST = 80
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def long_summaries(text: str) -> list[str]:
    """First lines of the docstrings of a module that are longer than `LONGEST`."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED))
    summaries = ((ast.get_docstring(node) or "").partition("\n")[0] for node in nodes)
    return [summary for summary in summaries if len(summary) > LONGEST]


@pytest.mark.parametrize("package", ["study", "analysis"])
def test_summaries_fit_in_a_line(package: str) -> None:
    paths: list[Path] = sorted((ROOT / package).rglob("*.py"))
    lines = {str(path): long_summaries(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: summaries for path, summaries in lines.items() if summaries} == {}


def test_a_long_summary_is_seen_wherever_it_stands() -> None:
    long = "x" * (LONGEST + 1)
    method = f'    def b():\n        """{long}\n\n        z"""\n'
    text = f'"""Short."""\nclass A:\n    """{"y" * LONGEST}"""\n{method}'
    assert long_summaries(text) == [long]
