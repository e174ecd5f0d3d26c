"""Probes of a trained model, at every precision and layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from tiny_study import launch

from study.data import load_data
from study.data.config import ImagesData
from study.data.images import Images
from study.data.probes import with_probes
from study.metrics.probes import RIDGE, drawn_samples
from study.models import load_checkpoint
from study.precision import quantize
from study.store import RunPaths, Store

STUDY: dict[str, Any] = {
    "name": "probes",
    "data": {"kind": "images", "held_out_classes": [2, 5, 7], "quota": 20, "seed": 3},
    "model": {"kind": "mlp", "width": 12, "depth": 2},
    "train": {"lr": 0.01, "batch_size": 32},
    "measure": {
        "at": "last",
        "layers": "all",
        "probe": {"data": "held_out", "shots": [2, "all"], "layers": "all", "draws": 3},
    },
    "grid": {"epochs": [2], "precision": ["fp32", "int4"], "seed": [0]},
    "keep": "last",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    assert launch(folder, STUDY) == 0
    return folder / "runs" / "probes"


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_:UserWarning")
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_columns_are_what_sklearn_reads_from_the_kept_model(run: Path, precision: str) -> None:
    rows = Store(run).read().filter(epoch=2, precision=precision)
    config = ImagesData(**STUDY["data"])
    data = load_data(config, base=run, cache=run)
    probe = with_probes(data, config, ["held_out"], base=run, cache=run).probes["held_out"]
    model = load_checkpoint(RunPaths(run).checkpoint(rows["training"][0], epoch=2)).eval()
    model = quantize(model, precision).eval() if precision != "fp32" else model
    parts = []
    for split in (probe.train, probe.val):
        assert isinstance(split, Images)
        inputs, labels = split.batch(np.arange(len(split)))
        with torch.no_grad():
            parts.append((model.features(inputs).double().numpy(), labels.numpy()))
    (x, y), (val, targets) = parts
    row = rows.filter(rows["layer"].is_null()).to_dicts()[0]
    strength = RIDGE * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    decided = Ridge(alpha=strength).fit(x, np.eye(3)[y]).predict(val).argmax(1)
    assert row["probe_linear_all"] == pytest.approx((decided == targets).mean(), abs=1e-12)
    shares = []
    for drawn in drawn_samples(torch.from_numpy(y), 3, 2, 3, seed=3):
        at = drawn.numpy()
        nearest = NearestCentroid().fit(x[at], y[at]).predict(val)
        shares.append((nearest == targets).mean())
    assert row["probe_ncc_2"] == pytest.approx(np.mean(shares), abs=1e-12)
    assert row["probe_ncc_2_std"] == pytest.approx(np.std(shares, ddof=1), abs=1e-12)


def test_every_row_of_a_probed_layer_has_the_columns(run: Path) -> None:
    rows = Store(run).read()
    assert set(rows["layer"]) == {None, "block1", "block2"}
    for name in ("probe_linear_2", "probe_ncc_all", "probe_effective_rank"):
        assert not rows[name].null_count()
    last = rows.filter(epoch=2, precision="fp32")
    head, block = (
        last.filter(last["layer"].eq_missing(layer))["probe_linear_all"].item()
        for layer in (None, "block2")
    )
    assert head == block
    assert set(rows["held_out_classes"]) == {"[2,5,7]"}
    assert set(rows["probe_shots"]) == {'[2,"all"]'}


def test_the_head_alone_is_probed_unless_layers_are_asked_for(tmp_path: Path) -> None:
    probe = {"data": "held_out", "shots": [1], "draws": 2}
    study = {
        **STUDY,
        "measure": {"at": "last", "layers": "all", "probe": probe, "initial": "never"},
    }
    assert launch(tmp_path, study) == 0
    rows = Store(tmp_path / "runs" / "probes").read()
    of_layers = rows.filter(rows["layer"].is_not_null())
    assert of_layers["probe_ncc_1"].null_count() == len(of_layers) > 0
    assert not rows.filter(rows["layer"].is_null())["probe_ncc_1"].null_count()
