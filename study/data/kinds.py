"""Every kind of data.

A new one is a settings class, a file that loads it, and a line here.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

from study.data.config import (
    BalancedData,
    DataSettings,
    FreeData,
    ImagesData,
    StoriesData,
    TextData,
)
from study.data.modular_config import ModularData
from study.data.regression_config import FreeRegressionData, RegressionData

DATA_KINDS: tuple[type[DataSettings], ...] = (
    TextData,
    BalancedData,
    StoriesData,
    ImagesData,
    FreeData,
    ModularData,
    RegressionData,
    FreeRegressionData,
)

if TYPE_CHECKING:
    DataConfig: TypeAlias = DataSettings
else:
    DataConfig = Annotated[reduce(or_, DATA_KINDS), Field(discriminator="kind")]
