"""What every column of a row means, one entry per column.

There is no torch here, so that stores and reports read it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher"]

WU = "Wu & Papyan 2024 (Linguistic Collapse)"
PAPYAN = "Papyan, Han & Donoho 2020"
KOTHAPALLI = "Kothapalli 2023 (arXiv 2206.04041)"
GALANTI = "Galanti, Gyorgy & Hutter 2021 (arXiv 2112.15121)"
TIRER = "Tirer, Huang & Niles-Weed 2023"
LIU = "Liu et al. 2023"
ZHAO = "Zhao et al. 2026 (arXiv 2602.16642)"
AMMAR = "Ben Ammar et al. 2024 (NECO)"
TIRER_BRUNA = "Tirer & Bruna 2022 (MSE without bias)"
GUO = "Guo et al. 2017"
PEREYRA = "Pereyra et al. 2017"
FANG = "Fang et al. 2021"
OURS = "this project"
DANG = "Dang et al. 2023 (arXiv 2301.00437)"
THRAMPOULIDIS = "Thrampoulidis et al. 2022 (arXiv 2208.05512)"
ROY = "Roy & Vetterli 2007"
WANG = "Wang, Gai & Zhang 2024 (arXiv 2405.00985)"
STANDARD = "standard definition"


@dataclass(frozen=True)
class Metric:
    """A column of a row, and where its definition comes from.

    `direction` means more collapse (None: neither direction does), `citation` names the source.

    heavy_tailed: a few classes or pairs can dominate the value, so its rank or logarithm should be
    read beside it.
    """

    family: str
    direction: Direction | None
    citation: str
    description: str
    heavy_tailed: bool = False


METRICS: dict[str, Metric] = {
    # the head alone
    "nc0_row_sum": Metric(
        "NC0",
        "lower",
        f"{ZHAO}, NC0; normalised by {OURS}",
        "||sum of all head rows||^2 over V times the sum of their squared norms; 0 at self-duality",
    ),
    "nc0_row_sum_norm": Metric("NC0", "lower", f"{ZHAO}, NC0", "norm of the mean of all head rows"),
    # variability collapse
    "nc1_cdnv": Metric(
        "NC1",
        "lower",
        f"{WU}, eq. 4 (k = 2)",
        "mean over pairs of (s2 + s2') / (2 distance^4)",
        True,
    ),
    "nc1_cdnv_galanti": Metric(
        "NC1", "lower", GALANTI, "mean over pairs of (s2 + s2') / (2 distance^2)", True
    ),
    "nc1_cdnv_log10": Metric("NC1", "lower", f"{WU}, appendix E", "log10 of nc1_cdnv"),
    "nc1_cdnv_log": Metric(
        "NC1", "lower", OURS, "mean over pairs of log10 of the pair's (s2 + s2') / (2 distance^4)"
    ),
    "nc1_ratio": Metric(
        "NC1", "lower", TIRER, "within-class over between-class variance (traces)", True
    ),
    "nc1_ratio_debiased": Metric(
        "NC1", "lower", OURS, "nc1_ratio without the bias of small classes, to first order", True
    ),
    "nc1_pinv": Metric("NC1", "lower", PAPYAN, "tr(Sigma_W pinv(Sigma_B)) / C", True),
    # variability of held-out features
    "nc1_ratio_val": Metric(
        "NC1", "lower", f"{OURS}; the formula of {TIRER}", "nc1_ratio of validation features", True
    ),
    "nc1_cdnv_galanti_val": Metric(
        "NC1",
        "lower",
        f"{OURS}; the formula of {GALANTI}",
        "nc1_cdnv_galanti of validation features",
        True,
    ),
    "within_val_about_train": Metric(
        "NC1",
        "lower",
        OURS,
        "mean squared distance of validation features to their class's training mean, over "
        "tr Sigma_B",
        True,
    ),
    "mean_shift": Metric(
        "NC1",
        "lower",
        OURS,
        "mean squared distance of validation and training means of a class, over tr Sigma_B",
        True,
    ),
    # geometry of the class means
    "nc2_equinorm": Metric(
        "NC2", "lower", PAPYAN, "coefficient of variation of the norms of centred class means"
    ),
    "nc2_log_norm_mean": Metric(
        "NC2", None, f"{WU}, eq. 5", "mean log-norm of centred class means"
    ),
    "nc2_log_norm_std": Metric(
        "NC2", "lower", f"{WU}, eq. 5", "std of the log-norms of centred class means"
    ),
    "nc2_log_equinorm": Metric(
        "NC2", "lower", WU, "coefficient of variation of the log-norms, as published", True
    ),
    "nc2_interference_mean": Metric(
        "NC2", None, f"{WU}, eq. 6", "mean over pairs of the cosine of centred class means"
    ),
    "nc2_interference_std": Metric(
        "NC2", "lower", f"{WU}, eq. 6", "std over pairs of the cosine of centred class means"
    ),
    "nc2_interference_cov": Metric(
        "NC2", "lower", f"{WU}, eq. 6", "std / |mean| of the interference", True
    ),
    "nc2_coherence": Metric("NC2", "lower", PAPYAN, "mean over pairs of |cosine + 1/(C-1)|"),
    "nc2_uncentred_cos_mean": Metric(
        "NC2", None, TIRER_BRUNA, "mean over pairs of the cosine of class means"
    ),
    "nc2_uncentred_cos_std": Metric(
        "NC2", "lower", TIRER_BRUNA, "std over pairs of the cosine of class means"
    ),
    "nc2_etf_error": Metric(
        "NC2",
        "lower",
        KOTHAPALLI,
        "Frobenius distance of the means' Gram matrix to a simplex frame's",
    ),
    "nc2_etf_floor": Metric(
        "NC2", None, OURS, "least nc2_etf_error of any C vectors in d dimensions"
    ),
    "nc2_w_equinorm": Metric(
        "NC2", "lower", PAPYAN, "coefficient of variation of the norms of centred head rows"
    ),
    "nc2_w_interference_std": Metric(
        "NC2", "lower", PAPYAN, "std over pairs of the cosine of centred head rows"
    ),
    "nc2_w_etf_error": Metric("NC2", "lower", KOTHAPALLI, "nc2_etf_error of the centred head rows"),
    # frames that class sizes shape, and the distribution of all features
    "gof_cos_abs_mean": Metric(
        "NC2",
        "lower",
        f"{DANG}, general orthogonal frame",
        "mean over pairs of |cosine| of class means from the origin; 0 in an orthogonal frame",
    ),
    "gof_norm_slope": Metric(
        "NC2",
        None,
        f"{DANG}, imbalanced data without bias",
        "slope of the log-norm of class means on the log of training samples; -1/4 in theory",
    ),
    "gof_distance": Metric(
        "NC2",
        "lower",
        f"{DANG}, imbalanced data without bias, vanishing decay",
        "Frobenius distance of the means' Gram matrix, from the origin, to diag(n^-1/2)",
    ),
    "seli_w_distance": Metric(
        "NC2",
        "lower",
        f"{THRAMPOULIDIS}, SELI",
        "Frobenius distance of the head's Gram matrix to that of encoded labels (SELI)",
    ),
    "effective_rank": Metric(
        "NC2", None, ROY, "exp of the entropy of the eigenvalues of all features' covariance"
    ),
    "feature_norm_rms": Metric(
        "NC2", None, STANDARD, "root of the mean squared norm of features, not centred"
    ),
    "ray_share": Metric(
        "NC1",
        "higher",
        OURS,
        "mean over classes of the share of the second moment in its first direction; 1 on rays",
    ),
    "geodesic_deviation": Metric(
        "layers",
        "lower",
        f"{OURS}, after {WANG}",
        "excess of the Wasserstein path from the first layer to the head through this layer",
        True,
    ),
    # hyperspherical uniformity
    "gnc2_log_distance_mean": Metric(
        "GNC2", "lower", f"{WU}, eq. 7; {LIU}", "mean over pairs of log(1 / distance of directions)"
    ),
    "gnc2_log_distance_std": Metric(
        "GNC2", "lower", f"{WU}, eq. 7; {LIU}", "std over pairs of log(1 / distance of directions)"
    ),
    "gnc2_log_distance_cov": Metric(
        "GNC2", "lower", f"{WU}, eq. 7; {LIU}", "std / |mean| of the log inverse distances", True
    ),
    # duality of means and head
    "nc3_cosine_mean": Metric(
        "NC3", "higher", f"{WU}, eq. 8", "mean cosine of head row and centred class mean"
    ),
    "unc3_cosine_std": Metric(
        "UNC3", "lower", f"{WU}, eq. 8", "std of the cosine of head row and centred class mean"
    ),
    "unc3_cosine_cov": Metric("UNC3", "lower", f"{WU}, eq. 8", "std / |mean| of that cosine", True),
    "nc3_centred_error": Metric(
        "NC3",
        "lower",
        f"{OURS}; the cosine of {WU}, eq. 8, centred",
        "mean of 1 - cosine of centred head row and class mean",
    ),
    "unc3_centred_variance": Metric(
        "UNC3", "lower", f"{OURS}; the cosine of {WU}, eq. 8, centred", "variance of that cosine"
    ),
    "nc3_dot_mean": Metric(
        "NC3", "higher", f"{WU}, figs 27, 28", "mean dot product of head row and centred class mean"
    ),
    "nc3_dot_std": Metric("NC3", "lower", f"{WU}, figs 27, 28", "std of that dot product"),
    "nc3_distance": Metric(
        "NC3",
        "lower",
        f"{PAPYAN}; {WU}, eq. 11",
        "mean distance of unit head row and unit centred mean",
    ),
    "nc3_frobenius": Metric(
        "NC3", "lower", PAPYAN, "Frobenius distance of normalised head and means"
    ),
    "nc3_dual_error": Metric(
        "NC3",
        "lower",
        KOTHAPALLI,
        "Frobenius distance of normalised W M^T to a simplex frame's Gram matrix",
    ),
    # decisions
    "nc4_agreement": Metric(
        "NC4",
        "higher",
        f"{WU}, eq. 9, 10",
        "share of validation samples the nearest centre decides as the head",
    ),
    "nc4_agreement_train": Metric("NC4", "higher", PAPYAN, "nc4_agreement on training samples"),
    "nc4_unmeasured_share": Metric(
        "NC4", None, OURS, "share of samples whose label or linear decision is an unmeasured class"
    ),
    "ncc_accuracy": Metric(
        "NC4",
        "higher",
        PAPYAN,
        "share of validation samples whose nearest centre is their own class",
    ),
    "ncc_accuracy_train": Metric(
        "NC4",
        "higher",
        PAPYAN,
        "share of training samples whose nearest centre is their own class",
    ),
    # against the class means of the reference precision
    "nc4_agreement_refmeans": Metric(
        "NC4", "higher", OURS, "nc4_agreement with the reference precision's class means"
    ),
    "ncc_accuracy_refmeans": Metric(
        "NC4", "higher", OURS, "ncc_accuracy with the reference precision's class means"
    ),
    "nc3_cosine_mean_refmeans": Metric(
        "NC3", "higher", OURS, "nc3_cosine_mean with the reference precision's class means"
    ),
    "logits_error": Metric(
        "drift", None, OURS, "relative error of the logits against the reference precision's", True
    ),
    "signal_to_noise": Metric(
        "drift",
        None,
        OURS,
        "10 log10 of sum ||h||^2 / sum ||h' - h||^2, in dB: features h' of a layer against h of "
        "the reference precision, on the first agreement_samples validation samples",
        True,
    ),
    "mean_drift": Metric(
        "drift",
        "lower",
        OURS,
        "mean squared shift of class means over the reference's tr Sigma_B",
        True,
    ),
    # what the precision did to the weights
    "bits_per_weight": Metric(
        "precision", None, OURS, "bits of a rounded weight, with its share of scales"
    ),
    "model_bytes": Metric(
        "precision", None, OURS, "bytes of parameters and buffers as stored, with scales"
    ),
    "quantized_share": Metric(
        "precision", None, OURS, "share of the parameters that the precision rounds"
    ),
    "weight_error": Metric(
        "precision",
        None,
        OURS,
        "relative error of the rounded weights against the checkpoint's, fine-tuning included",
        True,
    ),
    # other data, and imbalance
    "nc5_ood_orthogonality": Metric(
        "NC5",
        "lower",
        AMMAR,
        "mean |cosine| of class means and the mean feature of other data (data.ood)",
    ),
    "minority_classes": Metric(
        "minority",
        None,
        OURS,
        "classes with fewer training samples than the geometric mean of largest and smallest",
    ),
    "minority_means_cos": Metric(
        "minority",
        "lower",
        FANG,
        "mean cosine of centred means of minority classes; 1: they have merged",
    ),
    "minority_head_cos": Metric(
        "minority",
        "lower",
        FANG,
        "mean cosine of centred head rows of minority classes; 1: they have merged",
    ),
    # losses and accuracies
    "val_loss": Metric("loss", None, STANDARD, "validation cross-entropy, nats per sample"),
    "val_accuracy": Metric(
        "accuracy", None, STANDARD, "share of validation samples classified correctly"
    ),
    "val_top5_accuracy": Metric(
        "accuracy",
        None,
        STANDARD,
        "share of validation samples with the class among the five first",
    ),
    "val_calibration_error": Metric(
        "loss", None, f"{GUO}, eq. 3", "expected calibration error over 15 bins"
    ),
    "prediction_entropy": Metric(
        "loss",
        None,
        f"{PEREYRA}, section 3",
        "mean entropy of the predictions of validation samples, nats",
    ),
    "prediction_entropy_train": Metric(
        "loss", None, f"{PEREYRA}, section 3", "prediction_entropy of the measured training samples"
    ),
    "perplexity": Metric("loss", None, STANDARD, "exp of val_loss", True),
    "train_loss": Metric(
        "loss",
        None,
        STANDARD,
        "cross-entropy of the measured training samples, evaluation mode",
    ),
    "train_accuracy": Metric(
        "accuracy", None, STANDARD, "share of the measured training samples classified correctly"
    ),
    "generalization_gap": Metric("loss", None, STANDARD, "val_loss - train_loss"),
    "train_loss_running": Metric("loss", None, STANDARD, "running loss of the training pass"),
    "train_accuracy_running": Metric(
        "accuracy", None, STANDARD, "running accuracy of the training pass"
    ),
    "zero_error_epoch": Metric(
        "accuracy",
        None,
        PAPYAN,
        "first epoch without an error on the training split: the start of the terminal phase",
    ),
    "entropy_floor": Metric(
        "loss",
        None,
        STANDARD,
        "least expected loss of any model, nats per sample; known where a grammar wrote the data",
    ),
    # what was measured
    "classes_measured": Metric("measured", None, OURS, "classes with at least min_count samples"),
    "samples_measured": Metric("measured", None, OURS, "samples of the measured classes"),
    "min_count": Metric("measured", None, OURS, "fewest samples of a measured class"),
    "coincident_pairs": Metric(
        "measured", None, OURS, "pairs of measured classes with identical means"
    ),
    "undefined": Metric("measured", None, OURS, "JSON of undefined column -> reason"),
}
