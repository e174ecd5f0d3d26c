"""One checkpoint becomes rows; `measure(model, loader)` does so for any model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.measuring.loaders import measure as measure

__all__ = ["measure"]


def __getattr__(name: str) -> object:
    """What needs torch, imported when it is first asked for."""
    if name != "measure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from study.measuring.loaders import measure

    return measure
