"""What settings mean: the docstrings below the fields of their classes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the docstring below it, in the class or the nearest of its bases."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.__module__.startswith("study."):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(body, ast.ClassDef)
            for field, below in pairwise(body.body):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    for text in _string(below):
                        texts[field.target.id] = text
    return texts


def about(model: type[BaseModel]) -> str:
    """The docstring of a class, in one line."""
    return one_line(model.__doc__ or "")


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _string(node: ast.stmt) -> list[str]:
    """The text of a statement that is nothing but a text."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [one_line(node.value.value)] if isinstance(node.value.value, str) else []
    return []
