"""The page docs/metrics.md, written from the table of columns.

`python -m study.columns > docs/metrics.md` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from study.columns.metric import Metric
from study.columns.table import METRICS

TITLES = {
    "NC0": "NC0: head rows sum to zero",
    "NC1": "NC1: variability inside classes vanishes",
    "NC2": "NC2: class means and head rows form a simplex frame",
    "GNC2": "GNC2: class means are spread uniformly over directions",
    "NC3": "NC3: head rows are dual to class means",
    "UNC3": "UNC3: duality is uniform over classes",
    "NC4": "NC4: the head decides as the nearest class mean",
    "NC5": "NC5: other data are orthogonal to class means",
    "OOD": "Other data, told from validation samples",
    "NRC1": "NRC1: features of a regression lie in as many directions as there are targets",
    "NRC2": "NRC2: features of a regression lie in the span of the head's rows",
    "NRC3": "NRC3: head rows of a regression have the angles of the targets",
    "ONC1": "ONC1: variability inside ordered classes vanishes",
    "ONC2": "ONC2: means of ordered classes lie on a line",
    "ONC3": "ONC3: latents and thresholds of ordered classes are in order",
    "features": "Features and inputs",
    "layers": "Layers",
    "probe": "Probes of other classes on frozen features",
    "minority": "Minority classes",
    "groups": "Groups of samples",
    "drift": "Drift under a precision",
    "precision": "Storage at a precision",
    "loss": "Losses",
    "accuracy": "Accuracies",
    "attack": "Under attack",
    "measured": "What was measured",
}
"""Family -> heading, in the order of the page; other families follow by their own name."""

PAGE = r"""# Metrics

Every column that is measured, as tables and figures call it. The identifier is its name in rows,
YAML and csv files. (This page is written by `python -m study.columns > docs/metrics.md`.)

| letter | meaning |
|---|---|
| $h_i$, $y_i$ | feature before the head and class of sample $i$, in evaluation mode |
| $V$, $C$, $d$ | classes of the head; measured classes; entries of a feature |
| $N_c$, $N$ | measured samples of class $c$, of all classes |
| $n_c$ | samples of class $c$ in the training split |
| $\mu_c$ | mean feature of class $c$ |
| $m_c$, $u_c$ | $\mu_c$ minus the unweighted mean of all $\mu_c$; $m_c / \Vert m_c\Vert$ |
| $s^2_c$ | mean of $\Vert h_i - \mu_c\Vert^2$ over class $c$ |
| $\Sigma_W$, $\Sigma_B$ | covariance of features inside classes; of class means |
| $\Sigma_T$ | covariance of all features |
| $M$, $W$ | matrices of rows $m_c$ and of head rows $w_c$ of measured classes |
| $\bar{w}$, $b_v$ | mean of head rows; biases |
| $y_i$, $z_i$, $n$ | of a regression: target of sample $i$, prediction of it, its entries |
| $\Sigma_y$ | covariance of target vectors |
| $P_n$, $P_W$ | projections onto $n$ leading axes of $\Sigma_T$, onto the span of rows $w$ |
| $b_c$ | of classes in an order: threshold between class $c$ and the next |
| $p_i(v)$, $z_i$ | predicted probability of class $v$ for sample $i$; logits |
| $A_g$, $n_g$ | accuracy on validation samples of group $g$; how many they are |
| $\mu_{c,g}$ | mean feature of the samples of class $c$ in group $g$ |
| $x'$ | of validation samples, where $x$ is of training samples |
| $x^{\mathrm{ref}}$ | at the reference precision |

Measured classes have at least `min_count` samples; class means count equally. Moments are of
training samples, decisions and losses of validation samples, unless a metric says
otherwise. mean and std over $c<c'$ are over pairs of measured classes, std is that of the
population, CoV is std / |mean|, $\dagger$ a pseudo-inverse.

Invariances: R a rotation of features and head, T a translation of features, S a scaling of features
leave the value unchanged.

"""


def document() -> str:
    """The page as text."""
    families = dict.fromkeys([*TITLES, *(metric.family for metric in METRICS.values())])
    return PAGE + "\n".join(line for family in families for line in _section(family))


def _section(family: str) -> Iterator[str]:
    yield f"## {TITLES.get(family, family)}\n"
    for column, metric in METRICS.items():
        if metric.family == family:
            yield from _entry(column, metric)


def _entry(column: str, metric: Metric) -> Iterator[str]:
    symbol = f", ${metric.symbol}$" if metric.symbol else ""
    yield f"### {metric.name}{symbol}\n"
    yield f"`{column}`: {metric.description}.\n"
    if metric.formula:
        yield f"$${metric.formula}$$\n"
    facts = [
        f"range {metric.range}{f' {metric.unit}' if metric.unit else ''}",
        *([f"invariances {' '.join(metric.invariances)}"] if metric.invariances else []),
        *([f"more collapse is {metric.direction}"] if metric.direction else []),
        *(["heavy tails: also tested as logarithm"] if metric.heavy_tailed else []),
    ]
    yield f"{'; '.join(facts)}. Source: {metric.citation}.\n"
