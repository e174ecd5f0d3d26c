"""The study of scale: its rows are its YAML's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from places import ROOT
from polars.testing import assert_frame_equal

from study.config import load_study
from study.grid import expand
from study.launch import main as launch
from study.store import VOLATILE, RunPaths, Store
from study.store.provenance import hardware, versions

RUN = ROOT / "runs" / "scale"
FILE = ROOT / "search_spaces" / "scale.yaml"


def test_the_rows_are_those_of_the_study() -> None:
    cells = expand(load_study(FILE))
    rows = Store(RUN).read()
    assert set(rows["cell"]) == {cell.key for cell in cells}
    assert rows["training"].n_unique() >= 250


@pytest.mark.long
def test_cells_trained_anew_give_the_same_rows(tmp_path: Path) -> None:
    """All precisions of the smallest training, on a computer like the one of the study."""
    plays = ROOT / "search_spaces" / "shakespeare.txt"
    if not plays.exists():
        pytest.skip("needs the plays: make shakespeare")
    (tmp_path / plays.name).symlink_to(plays)
    file = tmp_path / "one.yaml"
    whole = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    point = {
        "width": [32], "depth": [1], "data.train_tokens": [60000], "train.weight_decay": [1],
        "seed": [2],
    }  # fmt: skip
    content = {"extends": str(FILE), "grid": whole["grid"][0] | point}
    file.write_text(yaml.safe_dump(content))
    cells = expand(load_study(file))
    record = json.loads(RunPaths(RUN).provenance(cells[0].training_key).read_text())["passes"][0]
    here = {"processor": hardware()["processor"], "torch": versions()["torch"]}
    there = {"processor": record["hardware"]["processor"], "torch": record["versions"]["torch"]}
    if here != there:
        pytest.skip(f"rows are equal bit for bit on {there} alone, this is {here}")
    assert launch([str(file), "--runs", str(tmp_path), "--serial"]) == 0
    anew, stored = (Store(run).read([c.key for c in cells]) for run in (tmp_path / "scale", RUN))
    stored = stored.sort("cell", "epoch").drop(VOLATILE, strict=False)
    assert_frame_equal(
        anew.sort("cell", "epoch").select(stored.columns),
        stored,
        check_exact=True,
        check_dtypes=False,
    )
