"""The published grids: their plans state what the paper states, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import SEARCH_SPACES

from study.launch import main


def dry_run(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    command = [str(SEARCH_SPACES / name), "--runs", str(runs), "--dry-run"]
    assert main([*command, "--address", "of-a-cluster-with-gpus:6379"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_plan_of_the_grid_states_what_the_paper_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3.4 M to 205 M parameters (Wu & Papyan 2024, footnote 1).

    There are 229,367 chunks and 469,514,249 samples (appendix A).
    """
    said = dry_run("linguistic_collapse.yaml", tmp_path, capsys)
    assert "150 cells of 150 trainings" in said
    assert "Parameters 3.4 M to 205 M" in said
    assert "229,367" in said
    assert "469,514,249" in said
    # 30 architectures x (1 + 3 + 10 + 1 + 10) epochs x 469,514,249 samples
    assert f"{30 * 25 * 469_514_249 / 1e9:.3g} G tokens" in said


def test_plan_of_the_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table 1: 21 shuffling seeds of one 2 x 768 architecture."""
    said = dry_run("seeds_2x768.yaml", tmp_path, capsys)
    assert "21 cells of 21 trainings" in said
    assert "2x768" in said
