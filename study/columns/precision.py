"""What a precision did: drift of features, and the storage of weights."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import OURS

DRIFT = {
    "logits_error": Metric(
        "drift",
        None,
        OURS,
        "relative error of the logits against the reference precision's",
        True,
        better="lower",
        name="relative error of logits",
        symbol=r"\Vert z - z^{\mathrm{ref}}\Vert / \Vert z^{\mathrm{ref}}\Vert",
        formula=r"\sqrt{\sum_i \Vert z_i - z^{\mathrm{ref}}_i\Vert^2 / "
        r"\sum_i \Vert z^{\mathrm{ref}}_i\Vert^2}",
        range="[0, inf)",
        invariances="R",
    ),
    "signal_to_noise": Metric(
        "drift",
        None,
        OURS,
        "10 log10 of sum ||h||^2 / sum ||h' - h||^2, in dB: features h' of a layer against h of "
        "the reference precision, on the first agreement_samples validation samples",
        True,
        better="higher",
        name="signal to noise of features",
        symbol=r"\mathrm{SNR}",
        unit="dB",
        formula=r"10 \log_{10} [\sum_i \Vert h^{\mathrm{ref}}_i\Vert^2 / "
        r"\sum_i \Vert h_i - h^{\mathrm{ref}}_i\Vert^2]",
        range="(-inf, inf)",
        invariances="RS",
    ),
    "mean_drift": Metric(
        "drift",
        "lower",
        OURS,
        "mean squared shift of class means over the reference's tr Sigma_B",
        True,
        better="lower",
        name="drift of class means",
        symbol=r"\overline{\Vert\mu - \mu^{\mathrm{ref}}\Vert^2} / "
        r"\mathrm{tr}\,\Sigma^{\mathrm{ref}}_B",
        formula=r"\mathrm{mean}_c \Vert\mu_c - \mu^{\mathrm{ref}}_c\Vert^2 / "
        r"\mathrm{tr}\,\Sigma^{\mathrm{ref}}_B",
        range="[0, inf)",
        invariances="RTS",
    ),
}
STORAGE = {
    "bits_per_weight": Metric(
        "precision",
        None,
        OURS,
        "bits of a rounded weight, with its share of scales",
        name="bits per weight",
        symbol="b",
        unit="bits",
        range="[0, inf)",
    ),
    "model_bytes": Metric(
        "precision",
        None,
        OURS,
        "bytes of parameters and buffers as stored, with scales",
        better="lower",
        name="size of model",
        symbol="B",
        unit="bytes",
        range="[0, inf)",
    ),
    "quantized_share": Metric(
        "precision",
        None,
        OURS,
        "share of the parameters that the precision rounds",
        name="share of rounded parameters",
        symbol="q",
        range="[0, 1]",
    ),
    "weight_error": Metric(
        "precision",
        None,
        OURS,
        "relative error of the rounded weights against the checkpoint's, fine-tuning included",
        True,
        better="lower",
        name="relative error of weights",
        symbol=r"\Vert\theta - \theta^{\mathrm{ref}}\Vert / \Vert\theta^{\mathrm{ref}}\Vert",
        formula=r"\Vert\theta - \theta^{\mathrm{ref}}\Vert / \Vert\theta^{\mathrm{ref}}\Vert",
        range="[0, inf)",
    ),
}
