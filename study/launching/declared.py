"""What a study declares of its analysis, checked before it runs."""

from __future__ import annotations

from collections.abc import Iterator

from study.columns import columns_of_sets, metrics_among
from study.columns.attacks import ROBUST
from study.config import StudyConfig
from study.settings.faults import Fault, nearest

FAMILIES = ("NC", "GNC", "UNC", "NRC", "ONC")  # beginnings of the families of collapse


def declared_faults(study: StudyConfig) -> Iterator[Fault]:
    """Names that are no column of a row; levels and primary ones must be metrics."""
    analysis = study.analysis
    if not (analysis.primary or analysis.margin or analysis.level):
        return
    sets = {columns_of_sets(point.config.data.ood_sets) for point in study.all_points}
    metrics = metrics_among(column for columns in sets for column in columns)
    collapse = [name for name, metric in metrics.items() if metric.family.startswith(FAMILIES)]
    for number, name in enumerate(analysis.primary or ()):
        if name not in collapse:
            place = f"analysis.primary[{number}]"
            yield Fault(place, f"{name!r} is no metric of collapse", nearest(name, collapse))
    attacked = any(point.config.measure.attack is not None for point in study.all_points)
    known = [*metrics, *ROBUST] if attacked else list(metrics)
    for name in analysis.margin:
        if name not in known:
            yield Fault(f"analysis.margin.{name}", "unknown column", nearest(name, known))
    for name in analysis.level:
        if name not in collapse:
            place = f"analysis.level.{name}"
            yield Fault(place, f"{name!r} is no metric of collapse", nearest(name, collapse))
