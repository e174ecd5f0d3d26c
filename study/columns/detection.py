"""How well scores tell other data from validation samples."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import (
    AMMAR,
    HENDRYCKS,
    HENDRYCKS_SCALING,
    LEE,
    LIANG,
    LIU_ENERGY,
    OURS,
)


def _columns_of(
    score: str, name: str, symbol: str, formula: str, citation: str, invariances: str
) -> dict[str, Metric]:
    """The columns of a score S, larger where a sample is like the training data."""
    return {
        f"ood_auroc_{score}": Metric(
            "OOD",
            None,
            citation,
            f"area under the ROC curve of validation samples against other data (data.ood) by the "
            f"{name}; 0.5 is chance, 1 a full separation",
            better="higher",
            name=f"AUROC, {name}",
            symbol=rf"\mathrm{{AUROC}}({symbol})",
            formula=r"\mathrm{mean}_{i,j} \, [S_i > S_j] + \frac{1}{2} [S_i = S_j], \; "
            rf"S = {formula}",
            range="[0, 1]",
            invariances=invariances,
        ),
        f"ood_fpr95_{score}": Metric(
            "OOD",
            None,
            f"{citation}; the rate of {LIANG}",
            f"share of other data (data.ood) that the {name} accepts where it accepts 95% of "
            "validation samples; less is better",
            better="lower",
            name=f"FPR95, {name}",
            symbol=rf"\mathrm{{FPR95}}({symbol})",
            formula=rf"\mathrm{{mean}}_j \, [S_j \geq \tau_{{95}}], \; S = {formula}",
            range="[0, 1]",
            invariances=invariances,
        ),
    }


DETECTION = {
    **_columns_of(
        "msp",
        "softmax maximum",
        r"\mathrm{msp}",
        r"\max_v p(v)",
        HENDRYCKS,
        "R",
    ),
    **_columns_of(
        "maxlogit", "largest logit", r"\max z", r"\max_v z_v", f"{HENDRYCKS_SCALING}", "R"
    ),
    **_columns_of("energy", "energy", r"-E", r"\log \sum_v \exp z_v", f"{LIU_ENERGY}, eq. 4", "R"),
    **_columns_of(
        "ncc",
        "nearest class mean",
        r"\mathrm{ncc}",
        r"-\min_c \Vert h - \mu_c\Vert",
        OURS,
        "RTS",
    ),
    **_columns_of(
        "mahalanobis",
        "Mahalanobis distance",
        r"\mathrm{mahalanobis}",
        r"-\min_c (h - \mu_c)^T \Sigma_W^{\dagger} (h - \mu_c)",
        f"{LEE}, eq. 2",
        "RTS",
    ),
    **_columns_of(
        "neco",
        "NECO",
        r"\mathrm{neco}",
        r"\Vert P (h - \mu)\Vert / \Vert h - \mu\Vert, \; "
        r"P \; \mathrm{on} \; C - 1 \; \mathrm{axes \; of} \; \Sigma_T",
        f"{AMMAR}, eq. 6",
        "RTS",
    ),
}
