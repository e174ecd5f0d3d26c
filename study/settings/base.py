"""The base of every settings class.

Frozen, no unknown fields, no silent conversions except those that YAML needs.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Settings(BaseModel):
    """Frozen settings with unknown fields forbidden and strict types.

    `true` is not a number, `"3"` is not an int.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _float_from_yaml(value: Any) -> Any:
    """PyYAML reads `3e-4` (no dot) as a string.

    A float field takes what Python's float() takes.
    """
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return value
    return value


Float = Annotated[float, BeforeValidator(_float_from_yaml)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(gt=0, lt=1)]
LARGEST_INT = 2**63 - 1
"""What a column of 64 bits can hold."""
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_INT)]
Width = Annotated[int, Field(ge=1, le=1_000_000)]
Depth = Annotated[int, Field(ge=1, le=10_000)]
"""Sizes of a network; a larger one is a slip, whose plan alone would take all memory."""
