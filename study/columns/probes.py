"""Probes of frozen features: what they know of classes that were not trained on."""

from __future__ import annotations

from typing import Literal

from study.columns.metric import Metric
from study.columns.sources import GALANTI, KORNBLITH, ROY

Shots = int | Literal["all"]

SHOTS: tuple[Shots, ...] = (1, 2, 5, 10, 20, 50, 100, "all")
"""Samples of a class that a probe may learn from: a fixed list, so that columns are known."""
KINDS = {
    "linear": (KORNBLITH, "linear probe", "ridge classifier"),
    "ncc": (GALANTI, "centre probe", "nearest class mean"),
}
"""Kind of probe -> source, name, what it is."""


def _of_probes() -> dict[str, Metric]:
    """The columns of each kind of probe with every number of shots."""
    columns = {}
    for kind, (citation, name, what) in KINDS.items():
        for shots in SHOTS:
            learned = f"{shots} samples of each class" if shots != "all" else "all samples"
            size = {1: "1 shot", "all": "all samples"}.get(shots, f"{shots} shots")
            index = rf"\mathrm{{{kind}}}, {'N' if shots == 'all' else shots}"
            columns[f"probe_{kind}_{shots}"] = Metric(
                "probe",
                None,
                citation,
                f"accuracy on other classes of a {what} on frozen features, learned from {learned}",
                better="higher",
                name=f"{name}, {size}",
                symbol=f"A_{{{index}}}",
                range="[0, 1]",
                invariances="RTS",
            )
            if shots != "all":
                columns[f"probe_{kind}_{shots}_std"] = Metric(
                    "probe",
                    None,
                    citation,
                    f"standard deviation over draws of probe_{kind}_{shots}",
                    name=f"spread, {name}, {size}",
                    symbol=f"s_{{{index}}}",
                    range="[0, 1]",
                    invariances="RTS",
                )
    return columns


PROBES = {
    **_of_probes(),
    "probe_effective_rank": Metric(
        "probe",
        None,
        ROY,
        "exp of the entropy of the eigenvalues of the covariance of the probe's training features",
        name="effective rank of probe data",
        symbol=r"r_{\mathrm{probe}}",
        range="[1, inf)",
        invariances="RTS",
    ),
}
