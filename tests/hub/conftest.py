"""Runs of a few trainings, and a stand-in of the Hub where the real client asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import TOKEN, Hub, hub_server
from places import ROOT

from study.store import RunPaths, Store
from study.store.sealed import seal_table


def write_run(folder: Path, trainings: int) -> Path:
    """The first trainings of a study that is kept here, as a packed run of its own."""
    whole, here = Store(ROOT / "runs" / "collapse_language"), RunPaths(folder)
    planned = whole.planned()
    chosen = planned["training"].unique(maintain_order=True)[:trainings]
    planned = planned.filter(pl.col("training").is_in(chosen.to_list()))
    folder.mkdir(parents=True)
    study = yaml.safe_load(whole.paths.study.read_text())
    del study["analysis"]  # of trainings that are not all here
    here.study.write_text(yaml.safe_dump(study, sort_keys=False))
    for name in ("data", "launches"):
        shutil.copytree(whole.paths.root / name, folder / name)
    for name in chosen:
        shutil.copytree(whole.paths.training(name), here.training(name))
    here.planned.write_bytes(seal_table(planned.to_arrow(), {}))
    rows = whole.read(planned["cell"])
    here.packed.write_bytes(seal_table(rows.to_arrow(), whole.metrics()))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two trainings, which tests leave as it is."""
    return write_run(tmp_path_factory.mktemp("finished") / "runs" / "tiny", 2)


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two trainings more."""
    return write_run(tmp_path_factory.mktemp("grown") / "runs" / "tiny", 4)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, whose owner this process is, with a cache of its own."""
    from huggingface_hub import constants

    with hub_server() as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_DISABLE_XET set where they are read first.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
