"""Other data, and minorities among the classes."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import AMMAR, FANG, OURS

OTHER_DATA = {
    "nc5_ood_orthogonality": Metric(
        "NC5",
        "lower",
        f"{AMMAR}, eq. 5",
        "mean |cosine| of class means and the mean feature of other data (data.ood)",
        name="cosine to other data",
        symbol=r"\overline{|\cos(\mu, \mu^{\mathrm{ood}})|}",
        formula=r"\mathrm{mean}_c |\cos(\mu_c, \mu^{\mathrm{ood}})|",
        range="[0, 1]",
        invariances="RS",
    ),
}
MINORITY = {
    "minority_classes": Metric(
        "minority",
        None,
        OURS,
        "classes with fewer training samples than the geometric mean of largest and smallest",
        name="minority classes",
        symbol="K",
        formula=r"|\{c: 0 < n_c < \sqrt{\max n \, \min n}\}|",
        range="[0, inf)",
        invariances="RTS",
    ),
    "minority_means_cos": Metric(
        "minority",
        "lower",
        f"{FANG}, section 4",
        "mean cosine of centred means of minority classes; 1: they have merged",
        name="cosine of minority means",
        symbol=r"\overline{\cos(m, m')}_{\mathrm{minority}}",
        formula=r"\mathrm{mean}_{c<c' \; \mathrm{of \; the \; minority}} "
        r"\langle u_c, u_{c'}\rangle",
        range="[-1, 1]",
        invariances="RTS",
    ),
    "minority_head_cos": Metric(
        "minority",
        "lower",
        f"{FANG}, section 4",
        "mean cosine of centred head rows of minority classes; 1: they have merged",
        name="cosine of minority head rows",
        symbol=r"\overline{\cos(w, w')}_{\mathrm{minority}}",
        formula=r"\mathrm{mean}_{c<c' \; \mathrm{of \; the \; minority}} "
        r"\cos(w_c - \bar{w}, w_{c'} - \bar{w})",
        range="[-1, 1]",
        invariances="RTS",
    ),
}
