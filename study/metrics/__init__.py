"""Neural-collapse metrics of features, their classes and a linear head.

One-pass moments, closed forms, one fused pass over pairs, nearest-centre decisions.

Names of tensors may end in their shape, one letter a dimension and `x` between them, so
`x_Bxd` is (B, d) and `sizes_K` is (K,):

    B, N   samples of a batch
    V      classes of the head
    C      measured classes: those with at least `min_count` samples
    K      some of the classes: those in a batch, those of the minority, or blocks of classes
    I, J   classes in the rows and in the columns of a tile of pairs
    R      rows of a block
    k, r   leading axes of features; the rank of their covariance
    d      entries of a feature

Example: classes collapsed to the corners of a tetrahedron, with a head that points at them.

    >>> import torch
    >>> from study.metrics import ClassMoments, NearestCentre, collapse_metrics
    >>> corners_Cxd = torch.tensor([[1., 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> labels_N = torch.arange(4).repeat(20)
    >>> moments = ClassMoments(classes=4, dim=3)
    >>> moments.update(corners_Cxd[labels_N], labels_N)
    >>> metrics = collapse_metrics(moments, corners_Cxd)
    >>> names = ("nc1_ratio", "nc2_etf_error", "nc3_cosine_mean")
    >>> {name: round(metrics[name], 6) for name in names}
    {'nc1_ratio': 0.0, 'nc2_etf_error': 0.0, 'nc3_cosine_mean': 1.0}
"""

from study.columns import METRICS, Metric
from study.metrics.agreement import Agreement, NearestCentre, linear_decisions
from study.metrics.classes import ClassTable, per_class
from study.metrics.collapse import collapse_metrics
from study.metrics.covariance import Gaussian, geodesic_deviation
from study.metrics.groups import GroupSums, group_gaps
from study.metrics.held_out import held_out_collapse
from study.metrics.imbalance import imbalance_geometry
from study.metrics.leaps import Leaps, leap_columns, leaps
from study.metrics.minority import minority_collapse
from study.metrics.moments import ClassMoments, MomentsError
from study.metrics.ood import OtherData, auroc, fpr95, ood_metrics, ood_orthogonality
from study.metrics.ood_scores import OodScorer, ScoredSamples
from study.metrics.ordinal import ordinal_collapse
from study.metrics.rays import ray_share
from study.metrics.reference import reference_drift
from study.metrics.regression import RegressionMoments, feature_size, regression_collapse
from study.metrics.result import CollapseMetrics
from study.metrics.target_scores import TargetScores

__all__ = [
    "METRICS",
    "Agreement",
    "ClassMoments",
    "ClassTable",
    "CollapseMetrics",
    "Gaussian",
    "GroupSums",
    "Leaps",
    "Metric",
    "MomentsError",
    "NearestCentre",
    "OodScorer",
    "OtherData",
    "RegressionMoments",
    "ScoredSamples",
    "TargetScores",
    "auroc",
    "collapse_metrics",
    "feature_size",
    "fpr95",
    "geodesic_deviation",
    "group_gaps",
    "held_out_collapse",
    "imbalance_geometry",
    "leap_columns",
    "leaps",
    "linear_decisions",
    "minority_collapse",
    "ood_metrics",
    "ood_orthogonality",
    "ordinal_collapse",
    "per_class",
    "ray_share",
    "reference_drift",
    "regression_collapse",
]
