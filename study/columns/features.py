"""Frames that class sizes shape, and the distribution of all features."""

from __future__ import annotations

from study.columns.metric import Metric
from study.columns.sources import DANG, DHERIN, MUNN, OURS, ROY, STANDARD, THRAMPOULIDIS, WANG

FEATURES = {
    "gof_cos_abs_mean": Metric(
        "NC2",
        "lower",
        f"{DANG}, general orthogonal frame",
        "mean over pairs of |cosine| of class means from the origin; 0 in an orthogonal frame",
        name="absolute cosine of class means",
        symbol=r"\overline{|\cos(\mu, \mu')|}",
        formula=r"\mathrm{mean}_{c<c'} |\cos(\mu_c, \mu_{c'})|",
        range="[0, 1]",
        invariances="RS",
    ),
    "gof_norm_slope": Metric(
        "NC2",
        None,
        f"{DANG}, imbalanced data without bias",
        "slope of the log-norm of class means on the log of training samples; -1/4 in theory",
        name="slope of log-norm on class size",
        symbol=r"d\log\Vert\mu\Vert / d\log n",
        formula=r"\mathrm{cov}_c(\log\Vert\mu_c\Vert, \log n_c) / \mathrm{var}_c(\log n_c)",
        range="(-inf, inf)",
        invariances="RS",
    ),
    "gof_distance": Metric(
        "NC2",
        "lower",
        f"{DANG}, imbalanced data without bias, vanishing decay",
        "Frobenius distance of the means' Gram matrix, from the origin, to diag(n^-1/2)",
        name="distance to orthogonal frame",
        symbol=r"\Delta_{\mathrm{GOF}}",
        formula=r"\Vert A / \Vert A\Vert_F - D / \Vert D\Vert_F \Vert_F, \; "
        r"A_{cc'} = \langle\mu_c, \mu_{c'}\rangle, \; D = \mathrm{diag}(n_c^{-1/2})",
        range="[0, sqrt 2]",
        invariances="RS",
    ),
    "seli_w_distance": Metric(
        "NC2",
        "lower",
        f"{THRAMPOULIDIS}, SELI",
        "Frobenius distance of the head's Gram matrix to that of encoded labels (SELI)",
        name="distance of head to SELI",
        symbol=r"\Delta_{\mathrm{SELI}}(W)",
        formula=r"\Vert WW^T / \Vert WW^T\Vert_F - G / \Vert G\Vert_F \Vert_F, \; "
        r"G = (P \, \mathrm{diag}(n_c) \, P)^{1/2}, \; P = I - \frac{1}{C} 11^T",
        range="[0, sqrt 2]",
        invariances="RTS",
    ),
    "effective_rank": Metric(
        "NC2",
        None,
        ROY,
        "exp of the entropy of the eigenvalues of all features' covariance",
        name="effective rank of features",
        symbol=r"\mathrm{erank}(\Sigma_T)",
        formula=r"\exp(-\sum_i p_i \log p_i), \; p_i = l_i / \sum_j l_j, \; "
        r"l_i \; \mathrm{eigenvalues \; of} \; \Sigma_T",
        range="[1, inf)",
        invariances="RTS",
    ),
    "feature_norm_rms": Metric(
        "NC2",
        None,
        STANDARD,
        "root of the mean squared norm of features, not centred",
        name="RMS norm of features",
        symbol=r"\Vert h\Vert_{\mathrm{rms}}",
        formula=r"\sqrt{\frac{1}{N} \sum_i \Vert h_i\Vert^2}",
        range="[0, inf)",
        invariances="R",
    ),
    "geometric_complexity": Metric(
        "features",
        None,
        f"{DHERIN}; {MUNN}",
        "mean squared Frobenius norm of the derivative of features by inputs; Dirichlet energy",
        name="geometric complexity",
        symbol=r"\langle \Vert J\Vert^2\rangle",
        formula=r"\frac{1}{n} \sum_i \sum_{k, j} (\frac{d h_{ik}}{d x_{ij}})^2",
        range="[0, inf)",
        invariances="RT",
    ),
    "ray_share": Metric(
        "NC1",
        "higher",
        OURS,
        "mean over classes of the share of the second moment in its first direction; 1 on rays",
        name="share of a class on its ray",
        symbol=r"\overline{l_1 / \sum l}",
        formula=r"\mathrm{mean}_c \, l_{c1} / \sum_i l_{ci}, \; l_c \; "
        r"\mathrm{eigenvalues \; of} \; \frac{1}{N_c} \sum_{y_i = c} h_i h_i^T",
        range="[0, 1]",
        invariances="RS",
    ),
    "geodesic_deviation": Metric(
        "layers",
        "lower",
        f"{OURS}, after {WANG}",
        "excess of the Wasserstein path from the first layer to the head through this layer",
        True,
        name="excess of the path of features",
        symbol=r"\Delta_{\mathrm{geo}}",
        formula=r"[W_2(P_1, P_l) + W_2(P_l, P_L) - W_2(P_1, P_L)] / W_2(P_1, P_L)",
        range="[0, inf)",
        invariances="RTS",
    ),
}
