"""What later phases of a training leave of the first."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import CHAUDHRY, STANDARD

PHASES = {
    "first_phase_accuracy": Metric(
        "accuracy",
        None,
        STANDARD,
        "share of validation samples of the classes of the first phase classified correctly",
        better="higher",
        name="accuracy on first classes",
        symbol=r"A^{\mathrm{first}}",
        range="[0, 1]",
        invariances="",
    ),
    "forgetting": Metric(
        "accuracy",
        None,
        f"{CHAUDHRY}, section 3, from the end of the first phase",
        "first_phase_accuracy at the end of the first phase less that now, at the same precision",
        better="lower",
        name="forgetting",
        symbol=r"F",
        range="[-1, 1]",
        invariances="",
    ),
}
