"""Gaps between groups of samples (`data.group`)."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import OURS, SAGAWA, STANDARD, XU

GROUPS = {
    "group_accuracy_gap": Metric(
        "groups",
        None,
        f"{STANDARD}; its groups as in {SAGAWA}, section 2",
        "largest less smallest accuracy on validation samples of a group (data.group)",
        better="lower",
        name="accuracy gap of groups",
        symbol=r"\Delta A_g",
        formula=r"\max_g A_g - \min_g A_g",
        range="[0, 1]",
        invariances="R",
    ),
    "group_accuracy_gap_se": Metric(
        "groups",
        None,
        STANDARD,
        "standard error of group_accuracy_gap where samples are independent",
        name="standard error of that gap",
        symbol=r"\mathrm{SE}(\Delta A_g)",
        formula=r"\sqrt{\sum_{g = \max, \min} A_g (1 - A_g) / n_g}",
        range="[0, 1]",
        invariances="R",
    ),
    "group_accuracy_worst": Metric(
        "groups",
        None,
        f"{SAGAWA}, section 2",
        "smallest accuracy on validation samples of a group",
        better="higher",
        name="worst-group accuracy",
        symbol=r"\min_g A_g",
        formula=r"\min_g A_g",
        range="[0, 1]",
        invariances="R",
    ),
    "group_cosine_gap": Metric(
        "groups",
        None,
        f"{OURS}, after {XU}",
        "largest less smallest mean cosine of centred head row and centred class mean of a group",
        better="lower",
        name="self-duality gap of groups",
        symbol=r"\Delta \cos_g",
        formula=r"\max_g c_g - \min_g c_g, \; "
        r"c_g = \mathrm{mean}_c \cos(w_c - \bar{w}, \mu_{c,g} - \mu_G)",
        range="[0, 2]",
        invariances="RTS",
    ),
}
