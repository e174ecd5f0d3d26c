"""NC4: decisions by the head and by the nearest class mean."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import OURS, PAPYAN, WU

NEAREST_CENTRE = r"\arg\min_c \Vert h_i - \mu_c\Vert"
AGREEMENT = r"\mathrm{mean}_i 1[\arg\max_v (\langle w_v, h_i\rangle + b_v) = " + NEAREST_CENTRE

DECISIONS = {
    "nc4_agreement": Metric(
        "NC4",
        "higher",
        f"{WU}, eq. 9, 10",
        "share of validation samples the nearest centre decides as the head",
        name="nearest-centre agreement",
        symbol=r"\mathrm{NC4}",
        formula=AGREEMENT + "]",
        range="[0, 1]",
        invariances="R",
    ),
    "nc4_agreement_train": Metric(
        "NC4",
        "higher",
        PAPYAN,
        "nc4_agreement on training samples",
        name="nearest-centre agreement, train",
        symbol=r"\mathrm{NC4}_{\mathrm{train}}",
        formula=AGREEMENT + r"], \; i \; \mathrm{of \; training}",
        range="[0, 1]",
        invariances="R",
    ),
    "nc4_unmeasured_share": Metric(
        "NC4",
        None,
        OURS,
        "share of samples whose label or linear decision is an unmeasured class",
        name="share of unmeasured classes",
        symbol=r"\mathrm{NC4}_{\mathrm{unmeasured}}",
        formula=r"\mathrm{mean}_i 1[N_{y_i} < N_{\min} \; \mathrm{or} \; "
        r"N_{\hat{y}_i} < N_{\min}], \; \hat{y}_i = \arg\max_v (\langle w_v, h_i\rangle + b_v)",
        range="[0, 1]",
        invariances="R",
    ),
    "ncc_accuracy": Metric(
        "NC4",
        "higher",
        PAPYAN,
        "share of validation samples whose nearest centre is their own class",
        name="nearest-centre accuracy",
        symbol=r"\mathrm{NCC}",
        formula=r"\mathrm{mean}_i 1[y_i = " + NEAREST_CENTRE + "]",
        range="[0, 1]",
        invariances="RTS",
    ),
    "ncc_accuracy_train": Metric(
        "NC4",
        "higher",
        PAPYAN,
        "share of training samples whose nearest centre is their own class",
        name="nearest-centre accuracy, train",
        symbol=r"\mathrm{NCC}_{\mathrm{train}}",
        formula=r"\mathrm{mean}_i 1[y_i = "
        + NEAREST_CENTRE
        + r"], \; i \; \mathrm{of \; training}",
        range="[0, 1]",
        invariances="RTS",
    ),
    # against the class means of the reference precision
    "nc4_agreement_refmeans": Metric(
        "NC4",
        "higher",
        OURS,
        "nc4_agreement with the reference precision's class means",
        name="agreement, reference means",
        symbol=r"\mathrm{NC4}_{\mathrm{ref}}",
        formula=AGREEMENT + r"^{\mathrm{ref}}]",
        range="[0, 1]",
        invariances="R",
    ),
    "ncc_accuracy_refmeans": Metric(
        "NC4",
        "higher",
        OURS,
        "ncc_accuracy with the reference precision's class means",
        name="centre accuracy, reference means",
        symbol=r"\mathrm{NCC}_{\mathrm{ref}}",
        formula=r"\mathrm{mean}_i 1[y_i = \arg\min_c \Vert h_i - \mu^{\mathrm{ref}}_c\Vert]",
        range="[0, 1]",
        invariances="RTS",
    ),
    "nc3_cosine_mean_refmeans": Metric(
        "NC3",
        "higher",
        OURS,
        "nc3_cosine_mean with the reference precision's class means",
        name="mean cosine, reference means",
        symbol=r"\overline{\cos(w, m^{\mathrm{ref}})}",
        formula=r"\mathrm{mean}_c \cos(w_c, m^{\mathrm{ref}}_c)",
        range="[-1, 1]",
        invariances="RTS",
    ),
}
