"""What cannot work is said before anything starts: by a launch and by a dry run, all at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_search import hunt, search_of
from tiny_study import tiny, write_study

from study.config import Resources
from study.launch import main
from study.launching.checks import resource_faults
from study.settings.faults import StudyError
from study.store import RunPaths, Store
from study.tune import main as tune

TEXT = "the quick brown fox jumps over the lazy dog. " * 400


def refused(
    folder: Path, study: dict[str, Any], capsys: pytest.CaptureFixture[str], *options: str
) -> str:
    """What a launch and a dry run say, each with exit code 2, within seconds and without Ray.

    Seconds of this process: those of a clock on the wall are also those of other processes.
    """
    path = write_study(folder, study)
    said = []
    for option in ((), ("--dry-run",)):
        start = time.process_time()
        assert main([str(path), "--runs", str(folder / "runs"), *options, *option]) == 2
        assert time.process_time() - start < 15
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "Traceback" not in said[0]
    assert not (folder / "runs" / str(study["name"]) / "study.yaml").exists()
    return said[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"source": "missing.txt"}}, "data.source: no file or folder"),
        ({"data": {"source": "./missing/"}}, "data.source: no file or folder"),
        ({"data": {"tokenizer": "missing.json"}}, "data.tokenizer: no file"),
        ({"data": {"context": 4096}}, "data.context 4096 has 4095 inputs"),
        ({"data": {"context": 2000}}, "data.context: 2000 tokens do not fit into the 1,000"),
        ({"data": {"train_tokens": 10**9}}, "data.train_tokens: 1,000,000,000"),
        ({"data": {"context": 10**9}}, "data.context"),
        (
            {"model": {"heads": 1}, "grid": {"width": [10**6]}},
            "resources.memory_gib: a model of 12",
        ),
        ({"model": {"heads": 1}, "grid": {"width": [10**7]}}, "less than or equal to 1000000"),
        ({"model": {"heads": 1}, "grid": {"depth": [10**9]}}, "less than or equal to 10000"),
        (
            {"data": {"kind": "stories", "context": 300_000}},
            "are less than one row of data.context",
        ),
        ({"resources": {"cpus": 4096}}, "resources.cpus: is 4096, but this computer has"),
        ({"resources": {"gpus": 4096}}, "resources.gpus: is 4096, but this computer has"),
        ({"resources": {"memory_gib": 1e6}}, "resources.memory_gib: is 1e+06, but this computer"),
        (
            {"grid": {"precision": ["fp32", "int4-g32", "mxfp4-dynamic"]}},
            "precision: int4-g32 cannot take embedding.weight (Embedding, (103, 16)): 16 weights "
            "per output channel do not divide into groups of 32: take int4",
        ),
        ({"grid": {"precision": ["int4/block2"]}}, "/block2: Transformer has one block: measure"),
        (
            {"model": {"kind": "pretrained", "path": "nowhere", "heads": None}, "grid": {}},
            "model.path: no such folder",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    study = tiny(**changes)
    if study["data"]["kind"] == "stories":
        del study["data"]["source"], study["data"]["tokenizer"]
    if study["model"].get("kind") == "pretrained":
        del study["model"]["heads"]
        study["grid"] = {"epochs": [1]}
    assert said in refused(tmp_path, study, capsys)


def test_all_faults_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tiny(data={"context": 4096}, resources={"cpus": 4096, "gpus": 4096})
    study["grid"]["data.source"] = ["missing.txt", "absent.jsonl", "python-docs"]
    said = refused(tmp_path, study, capsys)
    for part in ("missing.txt", "absent.jsonl", "4095 inputs", "resources.cpus", "resources.gpus"):
        assert part in said


def test_a_checkpoint_with_too_few_positions_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tiny(data={"context": 32})
    study["model"] = {"kind": "pretrained", "path": "model"}
    study["grid"] = {"epochs": [1]}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"n_positions": 16}))
    said = refused(tmp_path, study, capsys)
    assert "has 16 positions, but a chunk has 31 inputs. Set data.context to at most 17" in said


IMAGES: dict[str, Any] = {
    "name": "images",
    "data": {"kind": "images", "quota": 2},
    "model": {"kind": "simple_cnn", "width": 8, "depth": 2},
    "train": {"epochs": 1},
}


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("int4-kv4/body", "writes no keys and values of attention: take 'int4/body'"),
        ("rot-int4", "rot- cannot rotate ImageClassifier"),
        ("int4/attention", "no attention in its blocks"),
        ("mxfp8-dynamic/body", "9 weights per output channel do not divide into groups of 32"),
    ],
)
def test_precisions_that_a_classifier_of_images_cannot_take_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, said: str
) -> None:
    assert said in refused(tmp_path, IMAGES | {"grid": {"precision": [precision]}}, capsys)


def test_calibration_on_more_rows_than_there_are_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"kind": "images", "source": "digits", "quota": 5}
    said = refused(tmp_path, IMAGES | {"data": data, "grid": {"precision": ["awq-int4"]}}, capsys)
    assert "samples: is 128, but awq-int4 has 50 training rows" in said


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.launching.checks._gpus", lambda: 0)
    (fault,) = resource_faults([Resources(device="cuda")], serial=True)
    assert fault.path == "resources.device"
    monkeypatch.setattr("study.launching.checks._gpus", lambda: 1)
    assert not list(resource_faults([Resources(device="cuda", gpus=1)], serial=False))


def test_what_is_done_needs_no_data(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    study = tiny(data={"source": "corpus.txt"}, grid={"epochs": [1], "precision": ["fp32"]})
    command = [str(write_study(tmp_path, study)), "--runs", str(tmp_path / "runs"), "--serial"]
    assert main(command) == 0
    (tmp_path / "corpus.txt").unlink()
    assert main(command) == 0
    assert main([*command, "--dry-run"]) == 0
    assert main([*command, "grid.seed=[0,1]"]) == 2
    assert len(Store(tmp_path / "runs" / "tiny").keys()) == 1


def test_a_search_is_checked_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {**hunt(), "resources": {"cpus": 4096}}
    path = tmp_path / "hunt.yaml"
    path.write_text(yaml.safe_dump(content))
    for option in ((), ("--dry-run",)):
        assert tune([str(path), "--runs", str(tmp_path / "runs"), *option]) == 2
        assert "resources.cpus: is 4096" in capsys.readouterr().err
    assert not RunPaths(tmp_path / "runs" / "hunt").journal.exists()


@pytest.mark.parametrize(
    "column",
    ["nc5_ood_orthogonality", "minority_means_cos", "ncc_accuracy_refmeans", "entropy_floor"],
)
def test_objectives_that_the_data_never_give(column: str) -> None:
    with pytest.raises(StudyError, match=rf"search\.objective\.{column}: {column} "):
        search_of(hunt(objective={column: "minimize"}))
    with pytest.raises(StudyError, match=rf"search\.constraints\[0\]: {column} "):
        search_of(hunt(constraints=[f"{column} >= 0.5"]))


def test_small_classes_may_be_looked_for() -> None:
    content = hunt(objective={"minority_means_cos": "minimize"})
    content["data"]["imbalance_ratio"] = 10
    assert search_of(content).columns == ("minority_means_cos",)
