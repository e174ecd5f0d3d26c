"""Equal weights are measured once, and their rows are those of measuring again."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from tiny_study import launch, rows, tiny

from study.measuring.passes import Passes
from study.measuring.subject import weights_digest
from study.models import GPTNeoModel, build_model
from study.models.base import FeatureModel
from study.store import Store
from study.store.known import Known
from study.store.paths import CachePaths, cache_of


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each pass over training samples."""
    made: list[str] = []
    training = Passes.training

    def counted(self: Passes, layers: tuple[str, ...]) -> object:
        made.append("training")
        return training(self, layers)

    monkeypatch.setattr(Passes, "training", counted)
    return made


def cells_of(run: Path) -> pl.DataFrame:
    return rows(run).drop("cell", "training").sort("epochs", "precision", "epoch")


def test_trainings_of_one_initialisation_share_its_rows(tmp_path: Path, passes: list[str]) -> None:
    here, alone = tmp_path / "here", tmp_path / "alone"
    for folder in (here, alone):
        folder.mkdir()
    # epochs 1 and 2 from the same weights: at two precisions the untrained model, 1, 1 and 2
    assert launch(here, tiny(measure={"at": "each"})) == 0
    assert len(passes) == 2 * 4
    taken = Store(here / "runs/tiny").read().filter(pl.col("measured_from").is_not_null())
    assert taken["epoch"].unique().to_list() == [0]
    assert sorted(taken["precision"]) == ["fp32", "int8"]
    assert taken["measured_from"].str.starts_with("tiny/").all()
    assert taken["measured_from"].str.ends_with("/epoch-00000").all()
    for epochs in (1, 2):  # each with a cache of its own
        part = alone / str(epochs)
        part.mkdir()
        assert launch(part, tiny(measure={"at": "each"}, grid={"epochs": [epochs]})) == 0
    expected = pl.concat([cells_of(alone / f"{epochs}/runs/tiny") for epochs in (1, 2)])
    assert_frame_equal(cells_of(here / "runs/tiny"), expected, check_exact=True)

    # another study of the same folder measures nothing; what is damaged it measures again
    passes.clear()
    assert launch(here, tiny(name="again", measure={"at": "each"})) == 0
    assert passes == []
    known = CachePaths(cache_of(here / "runs")).measured
    files = [path for path in known.glob("??/*.json") if path.parent.name != "leases"]
    assert len(files) == 8
    contents = {path: path.read_bytes() for path in files}
    for path in files[:4]:
        path.write_bytes(path.read_bytes()[:-20])
    files[4].write_text(files[4].read_text().replace("0.", "1.", 1))
    files[5].unlink()
    assert launch(here, tiny(name="third", measure={"at": "each"})) == 0
    assert 6 <= len(passes) <= 8
    assert_frame_equal(cells_of(here / "runs/third"), expected, check_exact=True)
    for path in files:
        assert Known(known).read(path.stem) is not None
        assert len(path.read_bytes()) == pytest.approx(len(contents[path]), abs=8)


def test_the_untrained_model_is_left_out_where_it_is_never_measured(
    tmp_path: Path, passes: list[str]
) -> None:
    study = tiny(measure={"at": "each", "initial": "never"}, grid={"epochs": [2]})
    assert launch(tmp_path, study) == 0
    frame = Store(tmp_path / "runs/tiny").read()
    assert sorted(frame["epoch"]) == [1, 1, 2, 2]
    assert len(passes) == 4
    assert launch(tmp_path, tiny(measure={"at": [0, 2], "initial": "never"})) == 2


def test_one_process_at_a_time_measures_the_same(tmp_path: Path) -> None:
    known, inside, waits = Known(tmp_path), list[str](), list[str]()

    def enter(name: str) -> None:
        with known.alone("key", lambda: waits.append(name)):
            inside.append(name)
            time.sleep(0.3)
            inside.append(name)

    both = [threading.Thread(target=enter, args=(name,)) for name in ("a", "b")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert inside in (["a", "a", "b", "b"], ["b", "b", "a", "a"])
    assert set(waits) == {inside[-1]}


def test_what_waits_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    known = Known(tmp_path)
    with known.alone("key", stop), pytest.raises(KeyboardInterrupt), known.alone("key", stop):
        pass
    with known.alone("key", stop):
        pass


def model(seed: int = 0) -> FeatureModel:
    return build_model(GPTNeoModel(width=16, depth=1, heads=2), classes=9, context=8, seed=seed)


def test_the_hash_of_weights_is_of_their_bits() -> None:
    assert weights_digest(model()) == weights_digest(model()) != weights_digest(model(1))
    changed = model()
    with torch.no_grad():
        changed.head.weight[3, 4] = torch.nextafter(changed.head.weight[3, 4], torch.tensor(9.0))
    assert weights_digest(changed) != weights_digest(model())
