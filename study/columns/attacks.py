"""Samples under attack, in rows of their own and in columns of a report."""

from __future__ import annotations

from study.columns.metric import Metric, Quantity
from study.columns.sources import MADRY, OURS, STANDARD, SU

CHANGED = r"\mathrm{mean}_{i: \, a_i \neq b_i} "
ARRIVED = r"1[\arg\min_c \Vert h_i' - \mu_c\Vert = a_i]"

ATTACKS = {
    "attack_success": Metric(
        "attack",
        None,
        STANDARD,
        "share of the rightly decided samples that are wrongly decided under attack",
        better="lower",
        name="attack success",
        symbol=r"P(a \neq y | b = y)",
        formula=r"\mathrm{mean}_{i: \, b_i = y_i} 1[a_i \neq y_i]",
        range="[0, 1]",
        invariances="R",
    ),
    "leap_share": Metric(
        "attack",
        None,
        f"{OURS}, after {SU}",
        "share of samples that an attack drives to another class and nearest to its clean centre",
        name="samples that leap",
        symbol=r"P(\mathrm{leap})",
        formula=r"\mathrm{mean}_i 1[a_i \neq b_i] " + ARRIVED,
        range="[0, 1]",
        invariances="R",
    ),
    "leap_arrival": Metric(
        "attack",
        None,
        f"{OURS}, after {SU}",
        "share of the samples of changed decision that are nearest to the new class's clean centre",
        name="leaps that arrive",
        symbol=r"P(\mathrm{leap} | a \neq b)",
        formula=CHANGED + ARRIVED,
        range="[0, 1]",
        invariances="R",
    ),
    "leap_progress": Metric(
        "attack",
        None,
        f"{OURS}, after {SU}",
        "mean share of the way to the new class's clean centre, of samples of changed decision",
        name="way to the new centre",
        symbol=r"\overline{s}_{\mathrm{leap}}",
        formula=CHANGED + r"\frac{\langle h_i' - h_i, \mu_{a_i} - \mu_{b_i}\rangle}"
        r"{\Vert\mu_{a_i} - \mu_{b_i}\Vert^2}",
        range="(-inf, inf)",
        invariances="R",
    ),
    "leap_distance": Metric(
        "attack",
        None,
        f"{OURS}, after {SU}",
        "mean squared distance that features move under attack, over tr Sigma_B of clean samples",
        heavy_tailed=True,
        name="move under attack",
        symbol=r"\overline{\Vert h' - h\Vert^2} / \mathrm{tr} \Sigma_B",
        formula=r"\mathrm{mean}_i \Vert h_i' - h_i\Vert^2 / \mathrm{tr} \Sigma_B",
        range="[0, inf)",
        invariances="R",
    ),
    "attack_radius": Metric(
        "attack",
        None,
        f"{OURS}, after {MADRY}, section 2.1",
        "largest norm of a perturbation over eps; at most 1, but for rounding",
        name="radius of the attack",
        symbol=r"\max \Vert r\Vert / \epsilon",
        formula=r"\max_i \Vert r_i\Vert / \epsilon",
        range="[0, 1.00001)",
        invariances="R",
    ),
}
ROBUST = {
    "robust_accuracy": Quantity(name="accuracy under attack", symbol=r"A_{\mathrm{robust}}"),
    "attack_gap": Quantity(
        name="accuracy lost to the attack", symbol=r"A_{\mathrm{val}} - A_{\mathrm{robust}}"
    ),
    "robust_loss": Quantity(name="loss under attack", symbol=r"L_{\mathrm{robust}}", unit="nats"),
}
"""Columns that a report makes of the validation accuracy and loss of attacked rows."""
