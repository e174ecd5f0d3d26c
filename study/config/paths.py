"""Dotted paths of settings, and trees of raw ones."""

from __future__ import annotations

from typing import Any

from study.config.cell import COLUMNS
from study.config.execution import Resources

SHORT_NAMES = {"width": "model.width", "depth": "model.depth", "epochs": "train.epochs"}


def full_path(name: str) -> str:
    """The dotted path that a short name stands for; other names are paths already."""
    return SHORT_NAMES.get(name, name)


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path, copying the mappings on the way so that points share nothing."""
    *parents, leaf = path.split(".")
    for parent in parents:
        below = tree.get(parent)
        tree[parent] = dict(below) if isinstance(below, dict) else {}
        tree = tree[parent]
    tree[leaf] = value


def known_paths(*, execution: bool) -> dict[str, None]:
    """Dotted paths that an axis (or, with `execution`, a rule) may set.

    They are leaves, and groups with a short form.
    """
    paths = dict.fromkeys([*COLUMNS, "train.schedule"])
    if execution:
        paths |= dict.fromkeys([f"resources.{name}" for name in Resources.model_fields] + ["keep"])
    return paths
