"""Collapse of regressions and of ordered classes, and explained variance."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import ANDRIOPOULOS, MA, OURS, STANDARD

EXPLAINED = r"\mathrm{mean}_j \; 1 - \sum_i (z_{ij} - y_{ij})^2 / \sum_i (y_{ij} - \bar{y}_j)^2"

REGRESSION = {
    "nrc1": Metric(
        "NRC1",
        "lower",
        f"{ANDRIOPOULOS}, NRC1",
        "mean squared residual of unit features off the n leading principal axes of the features",
        name="NRC1, features off n axes",
        symbol=r"\mathrm{NRC1}",
        formula=r"\mathrm{mean}_i \Vert\hat{h}_i - P_n \hat{h}_i\Vert^2, "
        r"\; \hat{h} = h / \Vert h\Vert",
        range="[0, 1]",
        invariances="RS",
    ),
    "nrc1_variance": Metric(
        "NRC1",
        "lower",
        f"{OURS}; 1 less the explained variance of {ANDRIOPOULOS}",
        "share of the features' variance off their n leading principal axes",
        name="variance off n axes",
        symbol=r"\mathrm{NRC1}_{\Sigma}",
        formula=r"\mathrm{tr}((I - P_n) \Sigma_T) / \mathrm{tr} \Sigma_T",
        range="[0, 1]",
        invariances="RTS",
    ),
    "nrc2": Metric(
        "NRC2",
        "lower",
        f"{ANDRIOPOULOS}, NRC2",
        "mean squared residual of unit features off the row space of the head",
        name="NRC2, features off head rows",
        symbol=r"\mathrm{NRC2}",
        formula=r"\mathrm{mean}_i \Vert\hat{h}_i - P_W \hat{h}_i\Vert^2, "
        r"\; \hat{h} = h / \Vert h\Vert",
        range="[0, 1]",
        invariances="RS",
    ),
    "nrc2_variance": Metric(
        "NRC2",
        "lower",
        f"{OURS}; nrc2 of {ANDRIOPOULOS}, of variance",
        "share of the features' variance off the row space of the head",
        name="variance off head rows",
        symbol=r"\mathrm{NRC2}_{\Sigma}",
        formula=r"\mathrm{tr}((I - P_W) \Sigma_T) / \mathrm{tr} \Sigma_T",
        range="[0, 1]",
        invariances="RTS",
    ),
    "nrc3": Metric(
        "NRC3",
        "lower",
        f"{ANDRIOPOULOS}, NRC3",
        "squared distance of the head's Gram matrix to the root of the targets' covariance less a "
        "multiple of the identity, both of norm 1",
        name="NRC3, head Gram off target root",
        symbol=r"\mathrm{NRC3}",
        formula=r"\min_{\gamma} \Vert W W^{T} / \Vert W W^{T}\Vert_F - A / \Vert A\Vert_F"
        r"\Vert_F^2, \; A = \Sigma_y^{1/2} - \gamma^{1/2} I",
        range="[0, 4]",
        invariances="RTS",
    ),
}
ORDINAL = {
    "onc1": Metric(
        "ONC1",
        "lower",
        f"{MA}, ONC1; the formula of nc1_ratio",
        "within-class over between-class variance (traces) of classes in an order",
        True,
        name="ONC1, within / between variance",
        symbol=r"\mathrm{ONC1}",
        formula=r"\frac{\mathrm{tr} \Sigma_W}{\mathrm{tr} \Sigma_B}",
        range="[0, inf)",
        invariances="RTS",
    ),
    "onc2": Metric(
        "ONC2",
        "lower",
        f"{MA}, ONC2; the number is that of {OURS}",
        "share of the class means' variance off their first principal axis",
        name="ONC2, means off one line",
        symbol=r"\mathrm{ONC2}",
        formula=r"1 - \lambda_1 / \sum_i \lambda_i, \; \lambda \mathrm{\; of \;} \Sigma_B",
        range="[0, 1]",
        invariances="RTS",
    ),
    "onc3": Metric(
        "ONC3",
        "lower",
        f"{MA}, ONC3; the number is that of {OURS}",
        "share of neighbouring classes whose latents do not ascend",
        name="ONC3, neighbours out of order",
        symbol=r"\mathrm{ONC3}",
        formula=r"1 - \mathrm{mean}_{c < C} 1[\langle w, \mu_c\rangle < "
        r"\langle w, \mu_{c+1}\rangle]",
        range="[0, 1]",
        invariances="RTS",
    ),
    "onc3_thresholds": Metric(
        "ONC3",
        "lower",
        f"{MA}, ONC3; the number is that of {OURS}",
        "share of neighbouring classes whose threshold does not lie between their latents",
        name="thresholds not between",
        symbol=r"\mathrm{ONC3}_b",
        formula=r"1 - \mathrm{mean}_{c < C} 1[\langle w, \mu_c\rangle < b_c < "
        r"\langle w, \mu_{c+1}\rangle]",
        range="[0, 1]",
        invariances="R",
    ),
}
EXPLAINED_VARIANCE = {
    "val_r2": Metric(
        "accuracy",
        None,
        STANDARD,
        "share of the variance of validation targets that a regression explains, mean over targets",
        better="higher",
        name="validation R²",
        symbol=r"R^2_{\mathrm{val}}",
        formula=EXPLAINED,
        range="(-inf, 1]",
        invariances="R",
    ),
    "train_r2": Metric(
        "accuracy",
        None,
        STANDARD,
        "val_r2 of the measured training samples",
        better="higher",
        name="training R²",
        symbol=r"R^2_{\mathrm{train}}",
        formula=EXPLAINED + r", \; i \; \mathrm{of \; training}",
        range="(-inf, 1]",
        invariances="R",
    ),
}
