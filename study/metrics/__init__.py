"""Neural-collapse metrics of features, their classes and a linear head.

One-pass moments, closed forms, one fused pass over pairs, nearest-centre decisions.
"""

from study.metrics.agreement import Agreement, NearestCentre, linear_decisions
from study.metrics.classes import ClassTable, per_class
from study.metrics.collapse import collapse_metrics
from study.metrics.minority import minority_collapse
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.ood import ood_orthogonality
from study.metrics.reference import reference_drift
from study.metrics.result import CollapseMetrics
from study.metrics.table import METRICS, Metric

__all__ = [
    "METRICS",
    "Agreement",
    "ClassMoments",
    "ClassTable",
    "CollapseMetrics",
    "Metric",
    "MomentsError",
    "NearestCentre",
    "collapse_metrics",
    "linear_decisions",
    "minority_collapse",
    "ood_orthogonality",
    "per_class",
    "reference_drift",
]
