"""Scores of other data against loops over samples, and what they detect against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from study.columns import METRICS, metric_of, metrics_among
from study.metrics import (
    ClassMoments,
    OodScorer,
    OtherData,
    ScoredSamples,
    auroc,
    fpr95,
    ood_metrics,
    ood_orthogonality,
)
from study.metrics.ood_scores import SCORES

C, D = 4, 7
COLUMNS = [f"ood_{kind}_{score}" for score in SCORES for kind in ("auroc", "fpr95")]


def training(seed: int = 0, *, flat: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, d) far from the origin, and classes; `flat`: on a plane of 5 dimensions."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(C), [30, 12, 25, 3])
    features = 3 * generator.normal(size=(C, D))[labels] + generator.normal(size=(len(labels), D))
    if flat:
        features[:, 5:] = features[:, :2] @ np.array([[1.0, 2.0], [0.5, -1.0]])
    return features + 2, labels


def moments(features: np.ndarray, labels: np.ndarray) -> ClassMoments:
    m = ClassMoments(C, D, scatter=True)
    m.update(torch.from_numpy(features), torch.from_numpy(labels))
    return m


def brute_force(
    x: np.ndarray, y: np.ndarray, h: np.ndarray, z: np.ndarray, min_count: int
) -> dict[str, list[float]]:
    """The definitions, sample by sample and class by class."""
    means = {c: x[y == c].mean(0) for c in np.unique(y)}
    measured = [c for c in means if (y == c).sum() >= min_count]
    within = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(x, y, strict=True))
    inverse = np.linalg.pinv(within / len(x), rcond=D * np.finfo(float).eps, hermitian=True)
    _, _, axes = np.linalg.svd(x - x.mean(0))
    projection = axes[: len(measured) - 1].T @ axes[: len(measured) - 1]
    scores: dict[str, list[float]] = {name: [] for name in SCORES}
    for feature, logits in zip(h, z, strict=True):
        total = math.fsum(math.exp(logit) for logit in logits)
        scores["msp"].append(math.log(max(math.exp(logit) / total for logit in logits)))
        scores["maxlogit"].append(max(logits))
        scores["energy"].append(math.log(total))
        apart = [feature - means[c] for c in measured]
        scores["ncc"].append(-min(math.sqrt(math.fsum(d**2)) for d in apart))
        scores["mahalanobis"].append(-min(float(d @ inverse @ d) for d in apart))
        centred = feature - x.mean(0)
        part = np.linalg.norm(projection @ centred) / np.linalg.norm(centred)
        scores["neco"].append(float(part))
    return scores


@pytest.mark.parametrize("flat", [False, True], ids=["full rank", "singular scatter"])
def test_scores_are_those_of_loops(flat: bool) -> None:
    x, y = training(flat=flat)
    generator = np.random.default_rng(1)
    h, z = 4 * generator.normal(size=(40, D)), 3 * generator.normal(size=(40, C))
    scores = OodScorer(moments(x, y), min_count=10).score(torch.from_numpy(h), torch.from_numpy(z))
    expected = brute_force(x, y, h, z, min_count=10)
    assert tuple(scores) == SCORES
    for name, values in scores.items():
        np.testing.assert_allclose(values.numpy(), expected[name], rtol=1e-8, err_msg=name)


def test_probabilities_that_round_to_one_are_told_apart() -> None:
    logits = torch.tensor([[60.0, 0.0, 1.0], [50.0, 0.0, 1.0]], dtype=torch.float64)
    x, y = training()
    msp = OodScorer(moments(x, y)).score(torch.zeros(2, D), logits)["msp"]
    assert msp[0] > msp[1]
    assert msp[1].item() == pytest.approx(-(math.exp(-50) + math.exp(-49)), rel=1e-12)


@pytest.mark.parametrize("tied", [False, True], ids=["distinct", "tied"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (20, 7), (37, 50), (200, 101)])
def test_detection_is_that_of_scikit_learn(n: int, m: int, tied: bool) -> None:
    for seed in range(5):
        generator = np.random.default_rng([seed, n])
        inside, outside = generator.normal(0.5, size=n), generator.normal(size=m)
        if tied:
            inside, outside = np.round(2 * inside), np.round(2 * outside)
        labels, scores = np.repeat([1, 0], [n, m]), np.concatenate([inside, outside])
        accepted, caught, _ = roc_curve(labels, scores, drop_intermediate=False)
        assert auroc(inside, outside) == pytest.approx(roc_auc_score(labels, scores), abs=1e-14)
        assert fpr95(inside, outside) == accepted[np.argmax(caught >= 0.95)]
    with pytest.raises(ValueError, match="none is missing"):
        auroc(inside, outside[:0])


def scored(scorer: OodScorer, features: np.ndarray, seed: int) -> ScoredSamples:
    """In two parts that are merged."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(features), C)))
    parts = []
    for half in (slice(0, 5), slice(5, None)):
        parts.append(ScoredSamples(scorer.reasons))
        parts[-1].update(scorer.score(torch.from_numpy(features[half]), logits[half]))
    parts[0].merge(parts[1])
    return parts[0]


def other_data(scorer: OodScorer, features: np.ndarray, seed: int) -> OtherData:
    single = ClassMoments(1, features.shape[1])
    single.update(torch.from_numpy(features), torch.zeros(len(features), dtype=torch.int64))
    return OtherData(single, scored(scorer, features, seed))


def test_columns_of_several_sets_and_their_mean() -> None:
    x, y = training()
    m = moments(x, y)
    scorer = OodScorer(m)
    generator = np.random.default_rng(3)
    near, far = x[::2] + 0.1, 9 * generator.normal(size=(30, D))
    inside = scored(scorer, training(seed=5)[0], 6)
    sets = {"near": other_data(scorer, near, 7), "far": other_data(scorer, far, 8)}
    columns = ood_metrics(m, inside, sets)
    alone = {name: ood_metrics(m, inside, {name: other}) for name, other in sets.items()}
    assert list(alone["far"]) == ["nc5_ood_orthogonality", *COLUMNS]
    for column, value in alone["far"].items():
        assert columns[f"{column}_far"] == value
        assert columns[f"{column}_near"] == alone["near"][column]
        assert columns[column] == pytest.approx((value + alone["near"][column]) / 2, rel=1e-12)
    own, other = inside.values("ncc").numpy(), sets["far"].scores.values("ncc").numpy()
    assert alone["far"]["ood_auroc_ncc"] == auroc(own, other) > 0.9
    assert alone["far"]["ood_fpr95_mahalanobis"] == fpr95(
        inside.values("mahalanobis").numpy(), sets["far"].scores.values("mahalanobis").numpy()
    )
    expected = ood_orthogonality(m, sets["far"].moments)["nc5_ood_orthogonality"]
    assert alone["far"]["nc5_ood_orthogonality"] == expected
    assert columns.keys() <= metrics_among(columns).keys()
    described = metric_of("ood_auroc_neco_far")
    assert described is not None and "far alone" in described.description
    assert metric_of("ood_auroc_neco") is METRICS["ood_auroc_neco"]
    assert metric_of("nc1_ratio_far") is None


def test_what_does_not_exist_has_its_reason() -> None:
    x, y = training()
    m = moments(x, y)

    def columns(scorer: OodScorer, h: np.ndarray) -> tuple[dict[str, float | None], dict[str, str]]:
        result = ood_metrics(m, scored(scorer, x, 1), {"other": other_data(scorer, h, 2)})
        return result, result.reasons

    values, reasons = columns(OodScorer(m, min_count=100), x)
    assert values["ood_auroc_energy"] is not None
    assert all("at least 100" in reasons[f"ood_auroc_{name}"] for name in SCORES[3:])
    values, reasons = columns(OodScorer(m, min_count=30), x)
    assert values["ood_auroc_mahalanobis"] is not None
    assert "1 measured classes ask for 0 of 7 axes" in reasons["ood_fpr95_neco"]
    collapsed = moments(np.eye(C, D)[y], y)
    assert "do not vary within" in OodScorer(collapsed).reasons["mahalanobis"]
    equal = moments(np.ones((len(x), D)), y)
    assert "all features are equal" in OodScorer(equal).reasons["neco"]
    without = ClassMoments(C, D)
    without.update(torch.from_numpy(x), torch.from_numpy(y))
    assert set(OodScorer(without).reasons) == {"mahalanobis", "neco"}
    broken = x.copy()
    broken[3, 2] = math.nan
    values, reasons = columns(OodScorer(m), broken)
    assert reasons["ood_auroc_ncc"] == f"1 of {2 * len(x)} samples have no finite score"
    assert values["ood_auroc_msp"] is not None
