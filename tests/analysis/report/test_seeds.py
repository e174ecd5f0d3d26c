"""No verdict depends on the seed of permutations and draws."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from places import ROOT, SEARCH_SPACES, SHARED
from simulated_studies import SCENARIOS, simulate

import analysis

PUBLISHED = SHARED / "lc-2024_10_24.csv"
MAP = SEARCH_SPACES / "columns" / "linguistic_collapse_2024_10.yaml"
WORDS = ("verdict", "verdict_before", "reading")
PERMUTATIONS = 10_000  # by default
CLOSE = 13  # number of that study


def words(source: Path, seed: int, sections: tuple[str, ...], **options: Path) -> pl.DataFrame:
    """What the tables of a report say in words, a row a line, beside what names the line."""
    frames = analysis.report(source, seed=seed, only=sections, **options).frames
    lines = [
        frame.select(
            table=pl.lit(name),
            line=pl.int_range(pl.len()),
            **{word: word if word in frame.columns else pl.lit(None, pl.String) for word in WORDS},
        )
        for name, frame in frames.items()
        if "verdict" in frame.columns
    ]
    return pl.concat(lines)


def test_verdicts_of_one_configuration_are_those_of_other_seeds(tmp_path: Path) -> None:
    """The study has a p so near the level that ten thousand permutations leave it open."""
    path = tmp_path / "study.parquet"
    simulate(SCENARIOS["seeds"], CLOSE).write_parquet(path)
    first = words(path, 0, ("within",))
    frame = analysis.report(path, only=("within",)).frames["within"]
    assert frame.filter(pl.col("permutations") > PERMUTATIONS).height
    assert all(words(path, seed, ("within",)).equals(first) for seed in range(1, 4))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_verdicts_of_the_study_of_scale_are_those_of_ten_seeds() -> None:
    first = words(ROOT / "runs" / "scale", 0, ())
    for seed in range(1, 10):
        assert words(ROOT / "runs" / "scale", seed, ()).equals(first), seed


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"no published measurements at {PUBLISHED}")
def test_verdicts_of_the_published_measurements_are_those_of_ten_seeds() -> None:
    first = words(PUBLISHED, 0, (), columns=MAP)
    for seed in range(1, 10):
        assert words(PUBLISHED, seed, (), columns=MAP).equals(first), seed
