"""What a study declares of its analysis, checked before it runs."""

from __future__ import annotations

from collections.abc import Iterator

from study.columns import METRICS
from study.config import AnalysisConfig
from study.settings.faults import Fault, nearest

FAMILIES = ("NC", "GNC", "UNC")  # beginnings of the families of collapse


def declared_faults(analysis: AnalysisConfig) -> Iterator[Fault]:
    """Names that are no column of a row; levels and primary ones must be metrics."""
    if not (analysis.primary or analysis.margin or analysis.level):
        return
    collapse = [name for name, metric in METRICS.items() if metric.family.startswith(FAMILIES)]
    for number, name in enumerate(analysis.primary or ()):
        if name not in collapse:
            place = f"analysis.primary[{number}]"
            yield Fault(place, f"{name!r} is no metric of collapse", nearest(name, collapse))
    for name in analysis.margin:
        if name not in METRICS:
            yield Fault(f"analysis.margin.{name}", "unknown column", nearest(name, METRICS))
    for name in analysis.level:
        if name not in collapse:
            place = f"analysis.level.{name}"
            yield Fault(place, f"{name!r} is no metric of collapse", nearest(name, collapse))
