"""Speed and memory of the collapse metrics, each against a baseline timed in the same run.

    python tests/benchmarks/metrics.py

1. All columns at 4,096 classes x 512 against a plain implementation of the definitions, as
   published packages have it: one function a metric, tiles of broadcast differences over the pair
   matrix, C x C Gram matrices; float64 as ours.
2. The columns of pairs, and all columns, at 29,233 x 768 against this machine's float64 matrix
   product for half the pairs; extra memory.
3. Moments of a batch of 2,047 x 512 over 29,233 classes against the usual two passes of one-hot
   products, in float32.
4. Decisions of 8,188 samples over 29,233 classes x 768 against their two float32 matrix products.
5. Decisions of 8,192 samples over 90 and 563 classes, whose scores are all looked at twice, against
   the largest score of each block, which scores nearly all samples again in float64: the same
   answers.

Baselines and ours alternate; figures are medians, with the least time behind them. Compare on an
idle machine. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import math
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import psutil
import torch
from _machine import machine
from torch import Tensor
from torch.nn.functional import one_hot

from study.metrics import ClassMoments, NearestCentre, collapse_metrics, decisions
from study.metrics.measured import MeasuredClasses
from study.metrics.pairs import pair_statistics

CLASSES, DIM = 29_233, 768
GEMM_TILE = 2048
PLAIN_TILE = 64


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    name: str,
    baseline: Callable[[], object],
    ours: Callable[[], object],
    repeats: int,
    *,
    most: float = math.inf,
    least: float = 0.0,
) -> bool:
    """Alternate the two and print medians, least times and their ratio; whether it is met.

    `most` is that of ours / baseline, `least` that of baseline / ours.
    """
    times = [(seconds(baseline), seconds(ours)) for _ in range(repeats)]
    base, mine = ([pair[side] for pair in times] for side in (0, 1))
    ratio = statistics.median(mine) / statistics.median(base)
    print(
        f"{name}: baseline {statistics.median(base):.4g} s (least {min(base):.4g}), ours "
        f"{statistics.median(mine):.4g} s "
        f"(least {min(mine):.4g}); ours / baseline {ratio:.3g}, baseline / ours "
        f"{1 / ratio:.4g}; target "
        + (f"baseline / ours >= {least:g}" if least else f"ours / baseline <= {most:g}"),
        flush=True,
    )
    return ratio <= most and 1 / ratio >= least


def has_room(name: str, run: Callable[[], object]) -> bool:
    """Print by how much the resident memory rises while it runs; whether by less than 1 GiB."""
    process, done = psutil.Process(), threading.Event()
    start = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    print(
        f"{name}: {(peak - start) / 2**30:.3f} GiB above the {start / 2**30:.3f} GiB before; "
        "target < 1 GiB",
        flush=True,
    )
    return peak - start < 2**30


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def moments_with(classes: int, dim: int) -> ClassMoments:
    """Moments as 100 samples a class would leave them."""
    moments = ClassMoments(classes, dim, scatter=True)
    moments.counts.fill_(100)
    moments.means.copy_(drawn(classes, dim, seed=1))
    moments.deviations.copy_(100 * dim * (0.5 + drawn(classes, seed=2).abs()))
    moments.scatter.copy_(torch.eye(dim) * 100 * classes)
    return moments


def plain_etf_error(vectors: Tensor) -> Tensor:
    gram = vectors @ vectors.T
    return torch.linalg.norm(gram / torch.linalg.norm(gram) - plain_frame(len(vectors)))


def plain_frame(classes: int) -> Tensor:
    return (torch.eye(classes, dtype=torch.float64) - 1 / classes) / (classes - 1) ** 0.5


def plain_pairs(classes: int, value: Callable[[slice, slice], Tensor]) -> Tensor:
    """The off-diagonal values of a C x C matrix, tile by tile; `value` gives a tile."""
    parts = []
    for i in range(0, classes, PLAIN_TILE):
        for j in range(0, classes, PLAIN_TILE):
            tile = value(slice(i, i + PLAIN_TILE), slice(j, j + PLAIN_TILE))
            parts.append(
                tile[~torch.eye(len(tile), dtype=torch.bool)] if i == j else tile.flatten()
            )
    return torch.cat(parts)


def plain_cosines(vectors: Tensor) -> Tensor:
    units = vectors / vectors.norm(dim=1, keepdim=True)
    return plain_pairs(len(units), lambda rows, columns: units[rows] @ units[columns].T)


def plain_log_distances(units: Tensor) -> Tensor:
    return plain_pairs(
        len(units), lambda rows, columns: -(units[rows, None] - units[columns]).norm(dim=2).log()
    )


def plain_cdnv(means: Tensor, spreads: Tensor, power: int) -> Tensor:
    def value(rows: slice, columns: slice) -> Tensor:
        distances = (means[rows, None] - means[columns]).norm(dim=2)
        return (spreads[rows, None] + spreads[columns]) / 2 / distances**power

    return plain_pairs(len(means), value)


def plain_metrics(m: ClassMoments, weight: Tensor) -> dict[str, float]:
    """The definitions as they are written, computed as the published packages do.

    One function a metric, each over tiles of the pair matrix, distances by broadcast differences.
    """
    mu, s2, w = m.means, m.variance_norms, weight.double()
    classes, dim = mu.shape
    centred = mu - mu.mean(0)
    norms = centred.norm(dim=1)
    units = centred / norms[:, None]
    cdnv = plain_cdnv(mu, s2, 4).mean()
    logs, cosines, raw = plain_log_distances(units), plain_cosines(centred), plain_cosines(mu)
    w_centred = w - w.mean(0)
    w_norms = w_centred.norm(dim=1)
    between = centred.T @ centred / classes
    counts, trace = m.counts.double(), norms.square().mean()
    bias = (classes - 1) / classes**2 * (s2 / (counts - 1)).sum()
    cos = (w * centred).sum(1) / w.norm(dim=1) / norms
    centred_cos = (w_centred * centred).sum(1) / w_norms / norms
    dots = (w * centred).sum(1)
    dual = w @ centred.T
    about = mu - (counts[:, None] * mu).sum(0) / counts.sum()
    spectrum = torch.linalg.eigvalsh(m.scatter + (counts[:, None] * about).T @ about)
    out = {
        "nc1_cdnv": cdnv,
        "nc1_cdnv_galanti": plain_cdnv(mu, s2, 2).mean(),
        "nc1_cdnv_log10": cdnv.log10(),
        "nc1_cdnv_log": plain_cdnv(mu, s2, 4).log10().mean(),
        "nc1_ratio": (counts * s2).sum() / counts.sum() / trace,
        "nc1_ratio_debiased": (counts * s2).sum() / (counts.sum() - classes) / (trace - bias),
        "nc1_pinv": torch.trace(
            m.scatter / counts.sum() @ torch.linalg.pinv(between, hermitian=True)
        )
        / classes,
        "nc2_equinorm": norms.std(correction=0) / norms.mean(),
        "nc2_log_norm_mean": norms.log().mean(),
        "nc2_log_norm_std": norms.log().std(correction=0),
        "nc2_log_equinorm": norms.log().std(correction=0) / norms.log().mean().abs(),
        "nc2_interference_mean": cosines.mean(),
        "nc2_interference_std": cosines.std(correction=0),
        "nc2_interference_cov": cosines.std(correction=0) / cosines.mean().abs(),
        "nc2_coherence": (plain_cosines(centred) + 1 / (classes - 1)).abs().mean(),
        "nc2_uncentred_cos_mean": raw.mean(),
        "nc2_uncentred_cos_std": raw.std(correction=0),
        "nc2_etf_error": plain_etf_error(centred),
        "nc2_etf_floor": torch.tensor(
            (2 - 2 * (min(dim, classes - 1) / (classes - 1)) ** 0.5) ** 0.5
        ),
        "nc2_w_equinorm": w_norms.std(correction=0) / w_norms.mean(),
        "nc2_w_interference_std": plain_cosines(w_centred).std(correction=0),
        "nc2_w_etf_error": plain_etf_error(w_centred),
        "gnc2_log_distance_mean": logs.mean(),
        "gnc2_log_distance_std": logs.std(correction=0),
        "gnc2_log_distance_cov": logs.std(correction=0) / logs.mean().abs(),
        "nc3_cosine_mean": cos.mean(),
        "unc3_cosine_std": cos.std(correction=0),
        "unc3_cosine_cov": cos.std(correction=0) / cos.mean().abs(),
        "nc3_centred_error": (1 - centred_cos).mean(),
        "unc3_centred_variance": centred_cos.var(correction=0),
        "nc3_dot_mean": dots.mean(),
        "nc3_dot_std": dots.std(correction=0),
        "nc3_distance": (w / w.norm(dim=1, keepdim=True) - units).norm(dim=1).mean(),
        "nc3_frobenius": torch.linalg.norm(w / w.norm() - centred / centred.norm()),
        "nc0_row_sum": w.sum(0).square().sum() / classes / w.square().sum(),
        "nc0_row_sum_norm": w.mean(0).norm(),
        "gof_cos_abs_mean": plain_cosines(mu).abs().mean(),
        "effective_rank": torch.special.entr(spectrum / spectrum.sum()).sum().exp(),
        "feature_norm_rms": ((counts * (s2 + mu.square().sum(1))).sum() / counts.sum()).sqrt(),
        "nc3_dual_error": torch.linalg.norm(dual / dual.norm() - plain_frame(classes)),
        "coincident_pairs": (logs == torch.inf).sum(),
        "classes_measured": torch.tensor(classes),
        "samples_measured": counts.sum(),
        "min_count": torch.tensor(10),
    }
    return {name: value.item() for name, value in out.items()}


def against_plain() -> bool:
    moments, weight = moments_with(4096, 512), drawn(4096, 512, seed=3)
    definitions: dict[str, float] = {}
    ours = collapse_metrics(moments, weight)
    times = [seconds(lambda: collapse_metrics(moments, weight)) for _ in range(5)]
    plain = seconds(lambda: definitions.update(plain_metrics(moments, weight)))
    times += [seconds(lambda: collapse_metrics(moments, weight)) for _ in range(5)]
    worst = max(
        abs(ours[name] - value) / max(abs(value), 1e-3) for name, value in definitions.items()
    )
    assert ours.keys() == definitions.keys()
    mine = statistics.median(times)
    print(
        f"all columns at 4,096 x 512: plain {plain:.4g} s (once), ours {mine:.4g} s (median of "
        f"10, least {min(times):.4g}); "
        f"plain / ours {plain / mine:.4g}; target >= 150; largest relative difference {worst:.2g}",
        flush=True,
    )
    return plain / mine >= 150


def against_products() -> bool:
    moments, weight = moments_with(CLASSES, DIM), drawn(CLASSES, DIM, seed=3)
    vectors = drawn(CLASSES, DIM, seed=4, dtype=torch.float64)
    buffer = torch.empty(GEMM_TILE, GEMM_TILE, dtype=torch.float64)

    def products() -> None:
        """Every pair i < j, and of the diagonal blocks the half that a half of the tile needs."""
        for i in range(0, CLASSES, GEMM_TILE):
            rows = vectors[i : i + GEMM_TILE]
            for j in range(i + GEMM_TILE, CLASSES, GEMM_TILE):
                columns = vectors[j : j + GEMM_TILE]
                torch.mm(
                    rows,
                    columns.T,
                    out=buffer.view(-1)[: len(rows) * len(columns)].view(len(rows), len(columns)),
                )
            torch.mm(rows[: len(rows) // 2], rows.T)

    def ours() -> object:
        return collapse_metrics(moments, weight)

    lean = has_room(f"all columns at {CLASSES:,} x {DIM}", ours)
    measured = MeasuredClasses.of(moments, 10)
    against = f"at {CLASSES:,} x {DIM} against the float64 product of half the pairs"
    return all(
        [
            compare(f"pairs {against}", products, lambda: pair_statistics(measured), 3, most=1.3),
            compare(f"all columns {against}", products, ours, 3, most=1.6),
            lean,
        ]
    )


def against_one_hot() -> bool:
    features, classes = drawn(2047, 512, seed=5), CLASSES
    labels = torch.randint(0, classes, (2047,), generator=torch.Generator().manual_seed(6))
    totals, squares = torch.zeros(classes, 512), torch.zeros(classes)

    def two_passes() -> None:
        columns = one_hot(labels, classes).to(features.dtype)
        totals.add_(columns.T @ features)
        deviations = (features - totals[labels]).square().sum(1)
        columns = one_hot(labels, classes).to(features.dtype)
        squares.add_(columns.T @ deviations)

    moments = ClassMoments(classes, 512)
    moments.update(features, labels)
    name = "moments of 2,047 x 512 over 29,233 classes against two one-hot passes"
    return compare(name, two_passes, lambda: moments.update(features, labels), 15, least=40)


def against_decision_products() -> bool:
    moments, weight = moments_with(CLASSES, DIM), drawn(CLASSES, DIM, seed=3)
    features = drawn(8188, DIM, seed=7)
    labels = torch.randint(0, CLASSES, (8188,), generator=torch.Generator().manual_seed(8))
    centres, buffer = moments.means.float(), torch.empty(1024, CLASSES)

    def products() -> None:
        for rows in torch.split(features, 1024):
            torch.mm(rows, weight.T, out=buffer[: len(rows)])
            torch.mm(rows, centres.T, out=buffer[: len(rows)])

    name = f"decisions of 8,188 over {CLASSES:,} x {DIM} against their two float32 products"
    ours = partial(NearestCentre(moments).agreement, features, labels, weight)
    return compare(name, products, ours, 5, most=1.3)


def among_few(classes: int, dim: int) -> bool:
    moments, noise = moments_with(classes, dim), drawn(8192, dim, seed=9)
    weight = moments.means.float() + 0.3 * drawn(classes, dim, seed=10)
    labels = torch.randint(0, classes, (8192,), generator=torch.Generator().manual_seed(11))
    features = moments.means.float()[labels] + noise
    centre, answers = NearestCentre(moments), {}

    def decided(few: int) -> None:
        with patch.object(decisions, "FEW", few):
            answers[few] = centre.agreement(features, labels, weight)

    name = f"decisions of 8,192 over {classes} x {dim} against blocks scored again in float64"
    met = compare(name, partial(decided, 0), partial(decided, decisions.FEW), 15, least=2)
    assert torch.equal(answers[0].agreed, answers[decisions.FEW].agreed)
    assert torch.equal(answers[0].own, answers[decisions.FEW].own)
    return met


def main() -> int:
    """Print all figures; 1 where a target is missed."""
    torch.set_num_threads(2)
    print(machine("torch", threads=torch.get_num_threads()), flush=True)
    few = (partial(among_few, classes, dim) for classes in (90, 563) for dim in (128, 768))
    parts: list[Callable[[], bool]] = [against_one_hot, *few, against_decision_products]
    parts += [against_plain, against_products]
    met = [part() for part in parts]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
