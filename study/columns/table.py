"""Every column that is measured, in the order of all tables and figures."""

from __future__ import annotations

from study.columns.attacks import ATTACKS
from study.columns.decisions import DECISIONS
from study.columns.detection import DETECTION
from study.columns.duality import DUALITY
from study.columns.features import FEATURES
from study.columns.geometry import FRAMES, UNIFORMITY
from study.columns.groups import GROUPS
from study.columns.metric import Metric
from study.columns.other_data import MINORITY, OTHER_DATA
from study.columns.outcomes import MEASURED, OUTCOMES
from study.columns.phases import PHASES
from study.columns.precision import DRIFT, STORAGE
from study.columns.probes import PROBES
from study.columns.targets import EXPLAINED_VARIANCE, ORDINAL, REGRESSION
from study.columns.variability import ROW_SUMS, VARIABILITY

METRICS: dict[str, Metric] = {
    **ROW_SUMS,
    **VARIABILITY,
    **FRAMES,
    **FEATURES,
    **UNIFORMITY,
    **DUALITY,
    **DECISIONS,
    **REGRESSION,
    **ORDINAL,
    **DRIFT,
    **STORAGE,
    **OTHER_DATA,
    **DETECTION,
    **PROBES,
    **MINORITY,
    **GROUPS,
    **ATTACKS,
    **OUTCOMES,
    **PHASES,
    **EXPLAINED_VARIANCE,
    **MEASURED,
}
