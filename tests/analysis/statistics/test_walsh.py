"""Walsh averages by rank against all of them, in order."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from analysis.statistics import walsh
from analysis.statistics.changes import signed_rank
from analysis.statistics.walsh import WalshAverages

RNG = np.random.default_rng(0)
DRAWS = {
    "free": RNG.standard_normal(300) + 0.1,
    "far from zero": 1e3 + 1e-3 * RNG.standard_normal(200),
    "tied": np.repeat(RNG.standard_normal(75), 4),
    "rounded": np.round(RNG.standard_normal(300), 1),
    "mostly zero": np.where(RNG.random(300) < 0.9, 0.0, RNG.standard_normal(300)),
    "equal": np.full(200, 0.3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_ranks_are_those_of_all_averages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walsh, "WHOLE", 0)
    d = DRAWS[name]
    rows, columns = np.triu_indices(len(d))
    every = np.sort((d[rows] + d[columns]) / 2)
    averages = WalshAverages(d)
    assert averages.total == len(every)
    assert averages.median == np.median(every)
    for rank in (0, 1, len(d), len(every) // 3, len(every) - 1):
        assert averages.at(rank) == every[rank]
    values, start = averages.around(500, 900)
    assert start <= 500
    assert start + len(values) > 900
    np.testing.assert_array_equal(values[500 - start : 901 - start], every[500:901])


@pytest.mark.parametrize("name", DRAWS)
def test_a_few_averages_give_the_interval_of_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = astuple(signed_rank(DRAWS[name]))
    monkeypatch.setattr(walsh, "WHOLE", 0)
    assert astuple(signed_rank(DRAWS[name])) == whole


@pytest.mark.parametrize("name", DRAWS)
def test_averages_of_other_signs_are_those_of_the_numbers(name: str) -> None:
    averages, own = WalshAverages(DRAWS[name]), WalshAverages(-DRAWS[name])
    last = averages.total - 1
    for _ in range(2):  # without and with all averages at hand
        values, start = averages.negative.around(0, last)
        assert start == 0
        np.testing.assert_array_equal(values, own.around(0, last)[0])
        averages.around(0, last)
    assert not np.signbit(values[values == 0]).any()


def test_few_averages_are_held_of_many() -> None:
    d = np.random.default_rng(1).standard_normal(2_000)
    values, _ = WalshAverages(d).around(10_000, 10_000)
    assert len(values) < 10 * len(d)
