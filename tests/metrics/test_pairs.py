"""Pair statistics against loops in extended precision, on means that attain error bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from study.metrics import ClassMoments, pairs
from study.metrics.measured import MeasuredClasses

CLASSES, DIM = 33, 32


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def frame(noise: float) -> Tensor:
    """A simplex equiangular frame whose entries are moved by about `noise`."""
    centred = torch.eye(CLASSES, dtype=torch.float64) - 1 / CLASSES
    axes = torch.linalg.svd(centred).U[:, :DIM]
    return centred @ axes + noise * drawn(CLASSES, DIM, seed=1)


def near(distance: float) -> Tensor:
    """Four pairs of means at this distance relative to their norms."""
    means, shifts = drawn(90, DIM, seed=2), drawn(4, DIM, seed=3)
    sizes = distance * means[:4].norm(dim=1) / shifts.norm(dim=1)
    means[[20, 45, 46, 89]] = means[:4] + sizes[:, None] * shifts
    return means


def cancelling(noise: float = 1e-4) -> Tensor:
    """Rows of +-1 that are orthogonal: their products are as many +1 as -1."""
    rows = torch.ones(1, 1, dtype=torch.float64)
    while len(rows) < DIM:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return torch.cat([rows, -rows]) + noise * drawn(2 * DIM, DIM, seed=4)


def six_decades() -> Tensor:
    """Norms from 1e-3 to 1e3."""
    return drawn(90, DIM, seed=5) * torch.logspace(-3, 3, 90, dtype=torch.float64)[:, None]


def fifteen_decades() -> Tensor:
    """Norms from 1.7e-7 to 1.9e8 around a mean of exactly zero: all sums of entries are exact."""
    powers = 2.0 ** torch.arange(-25, 26, dtype=torch.float64)
    means = drawn(len(powers), DIM, seed=8).sign() * powers[:, None]
    return torch.cat([means, -means])


def balanced() -> Tensor:
    """Means around a mean of exactly zero, because they are multiples of 1/16."""
    means = (16 * drawn(40, DIM, seed=9)).round() / 16
    return torch.cat([means, -means])


def coincident() -> Tensor:
    means = drawn(60, DIM, seed=10)
    means[7] = means[33]
    return means


def parallel() -> Tensor:
    means = balanced()
    means[5] = 2 * means[3]
    means[45] = -means[5]
    return means


def vanishing(number: int) -> Tensor:
    return torch.cat([balanced(), torch.zeros(number, DIM, dtype=torch.float64)])


CASES = {
    "frame 1e-3": frame(1e-3),
    "frame 1e-5": frame(1e-5),
    "frame 1e-6": frame(1e-6),
    "frame 1e-7": frame(1e-7),
    "frame 1e-9": frame(1e-9),
    "near 1e-4": near(1e-4),
    "near 1e-5": near(1e-5),
    "near 1e-6": near(1e-6),
    "near 1e-7": near(1e-7),
    "near with offset": near(1e-4) + 1e3,
    "frame with offset": frame(1e-3) + 1e3,
    "frame with larger offset": frame(1e-3) + 1e6,
    "cancelling": cancelling(),
    "six decades": six_decades(),
    "fifteen decades": fifteen_decades(),
    "tiny": 1e-15 * drawn(60, DIM, seed=11),
    "huge": 1e15 * drawn(60, DIM, seed=11),
    "two classes": drawn(2, DIM, seed=12),
}

CDNV = {"cdnv", "galanti", "log10_cdnv"}
COSINES = {"interference_mean", "interference_std", "coherence"}
LOG_DISTANCES = {"log_distance_mean", "log_distance_std"}
DEGENERATE = {
    "coincident": (coincident(), 1, 1, CDNV | LOG_DISTANCES),
    "parallel": (parallel(), 0, 2, LOG_DISTANCES),
    "vanishing": (vanishing(1) + 4096, 0, 0, COSINES | LOG_DISTANCES),
    "two vanishing": (vanishing(2) + 4096, 1, 1, CDNV | COSINES | LOG_DISTANCES),
    "zero and vanishing": (vanishing(1), 0, 0, COSINES | LOG_DISTANCES | {"uncentred_size"}),
    "all equal": (torch.ones(5, DIM).double(), 10, 10, CDNV | COSINES | LOG_DISTANCES),
}


def measured(means: Tensor) -> MeasuredClasses:
    moments = ClassMoments(*means.shape)
    moments.counts.fill_(100)
    moments.means.copy_(means)
    moments.deviations.copy_(100 * (0.5 + drawn(len(means), seed=6).abs()))
    return MeasuredClasses.of(moments, 1)


def brute_force(means: Tensor, spreads: Tensor) -> dict[str, np.longdouble]:
    """The definitions, from differences of vectors in extended precision."""
    mu, s2 = means.numpy().astype(np.longdouble), spreads.numpy().astype(np.longdouble)
    m = mu - mu.mean(axis=0)
    u = m / np.sqrt((m * m).sum(axis=1))[:, None]
    raw = mu / np.sqrt((mu * mu).sum(axis=1))[:, None]
    i, j = np.triu_indices(len(mu), 1)
    squares, half = ((mu[i] - mu[j]) ** 2).sum(axis=1), (s2[i] + s2[j]) / 2
    cosines = (u[i] * u[j]).sum(axis=1)
    logs = -np.log(((u[i] - u[j]) ** 2).sum(axis=1)) / 2
    return {
        "cdnv": (half / squares**2).mean(),
        "galanti": (half / squares).mean(),
        "log10_cdnv": np.log10(half / squares**2).mean(),
        "interference_mean": cosines.mean(),
        "interference_std": cosines.std(),
        "coherence": np.abs(cosines + np.longdouble(1) / (len(mu) - 1)).mean(),
        "uncentred_size": np.abs((raw[i] * raw[j]).sum(axis=1)).mean(),
        "log_distance_mean": logs.mean(),
        "log_distance_std": logs.std(),
    }


def kept(value: float, expected: np.longdouble) -> bool:
    """Whether six digits are right, or all that the rounding of cosines leaves at collapse."""
    return bool(abs(value - expected) <= max(1e-6 * abs(expected), np.longdouble(1e-15)))


def wrong(
    statistics: pairs.PairStatistics, expected: dict[str, np.longdouble]
) -> dict[str, tuple[float, np.longdouble]]:
    """Columns without their digits, with the value and the expected one."""
    values = {column: float(getattr(statistics, column)) for column in expected}
    return {
        column: (value, expected[column])
        for column, value in values.items()
        if not kept(value, expected[column])
    }


@pytest.mark.parametrize("tile", [13, pairs.TILE])
@pytest.mark.parametrize("name", CASES)
def test_pair_statistics_equal_brute_force(name: str, tile: int) -> None:
    classes = measured(CASES[name])
    ours = pairs.pair_statistics(classes, tile)
    assert not wrong(ours, brute_force(CASES[name], classes.spreads))
    assert ours.coincident == ours.parallel == 0


@pytest.mark.parametrize("tile", [13, pairs.TILE])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_means_spoil_no_other_columns(name: str, tile: int) -> None:
    means, coincident, parallel, undefined = DEGENERATE[name]
    classes = measured(means)
    ours = pairs.pair_statistics(classes, tile)
    assert (ours.coincident, ours.parallel) == (coincident, parallel)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = brute_force(means, classes.spreads)
    assert {column for column, value in expected.items() if not np.isfinite(value)} == undefined
    assert not wrong(
        ours, {column: value for column, value in expected.items() if column not in undefined}
    )


def test_pairs_across_strips_of_a_tile_equal_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of 400 x 200 has more entries than a strip; near pairs lie in both strips."""
    monkeypatch.setattr(pairs, "STRIP", pairs.DIAGONAL**2 // torch.get_num_threads())
    means = drawn(600, DIM, seed=13)
    means[[401, 402, 599]] = means[[3, 390, 399]] + 1e-5 * drawn(3, DIM, seed=14)
    classes = measured(means)
    strips = [pair.rows for pair in pairs.pair_tiles(classes, 400) if pair.columns.start == 400]
    assert [rows.start for rows in strips if rows.stop <= 400] == [0, 327]
    assert not wrong(pairs.pair_statistics(classes, 400), brute_force(means, classes.spreads))


@pytest.mark.parametrize("tile", [1, 20, 89, 300])
def test_tiles_give_every_pair_once(tile: int) -> None:
    classes = 600 if tile == 300 else 90
    seen = torch.zeros(classes, classes)
    for pair in pairs.pair_tiles(measured(drawn(classes, DIM, seed=7)), tile):
        seen[pair.rows, pair.columns] += pair.counted(torch.ones_like(pair.opposites))
    assert torch.equal(seen, torch.ones(classes, classes).triu(1))


@pytest.mark.parametrize(
    ("means", "column"),
    [(frame(0), "coherence"), (frame(0), "log_distance_std"), (near(1e-4), "cdnv")],
)
def test_float32_products_would_lose_digits(means: Tensor, column: str) -> None:
    """Why products are of float64, which keep them."""
    classes = measured(means)
    u, p = classes.means.directions().float(), classes.means.norms
    i, j = torch.triu_indices(len(means), len(means), 1)
    cosines = (u @ u.T).double()[i, j]
    squares = p[i].square() + p[j].square() - 2 * p[i] * p[j] * cosines
    float32 = {
        "coherence": (cosines + 1 / (len(means) - 1)).abs().mean(),
        "log_distance_std": (2 - 2 * cosines).log().div(2).std(correction=0),
        "cdnv": ((classes.spreads[i] + classes.spreads[j]) / 2 / squares.square()).mean(),
    }
    expected = brute_force(means, classes.spreads)[column]
    assert kept(float(getattr(pairs.pair_statistics(classes), column)), expected)
    assert not kept(float(float32[column]), expected)
