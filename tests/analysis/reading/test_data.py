"""What a run records of its data, from training to report.

Class frequencies, the entropy floor, tables of classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from overlaps import unreadable
from tiny_study import launch, tiny

import analysis
import study.measure
from analysis.figures.classes import frequencies
from analysis.findings.classes import EACH, class_table
from analysis.reading.class_lists import ASKED
from analysis.reading.table import AnalysisError, DataSet
from analysis.report.page import Report
from study.data import load_data
from study.data.config import StoriesData
from study.store import RunPaths, Store, StoreError

STORIES: dict[str, Any] = {
    "kind": "stories", "context": 32, "train_tokens": 2048, "val_tokens": 1024, "words_per_list": 2,
}  # fmt: skip
STUDY = tiny(
    grid={"epochs": [1], "precision": ["fp32"], "data.ambiguity": [0, 0.3], "seed": [0, 1, 2]}
) | {"data": STORIES}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    assert launch(folder, STUDY) == 0
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    checkpoint = next(Store(run).paths.root.glob("checkpoints/*/epoch-00001"))
    out = RunPaths(run).class_tables / "model.parquet"
    threads = torch.get_num_threads()
    assert (
        study.measure.main(
            [str(checkpoint), "--classes", str(out), "--min-count", "5", "--threads", "1"]
        )
        == 0
    )
    assert torch.get_num_threads() == threads
    made = analysis.report(
        run, permutations=50, bootstrap=50, only=("training", "axes", "data", "classes")
    )
    made.write(run / "report")
    return made


def grammar(ambiguity: float) -> StoriesData:
    return StoriesData(**STORIES, ambiguity=ambiguity)


def test_a_run_keeps_the_samples_of_each_class(run: Path) -> None:
    records = Store(run).data()
    assert sorted(record.settings["ambiguity"] for record in records) == [0, 0.3]
    for record in records:
        data = load_data(
            grammar(record.settings["ambiguity"]), base=run, cache=run.parent / ".cache"
        )
        targets = np.concatenate(
            [data.train.batch(np.array([row]))[1].numpy().ravel() for row in range(len(data.train))]
        )
        assert record.classes is not None
        assert (
            record.classes["samples"].to_list()
            == np.bincount(targets, minlength=data.classes).tolist()
        )
        assert record.classes["name"].to_list() == list(data.class_names)


def test_data_of_a_run_that_are_damaged(run: Path, tmp_path: Path) -> None:
    record = next((run / "data").glob("*.json"))
    for name in (record.name, record.with_suffix(".parquet").name):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes((run / "data" / name).read_bytes())
    classes = tmp_path / "data" / record.with_suffix(".parquet").name
    classes.write_bytes(classes.read_bytes()[:-9])
    assert [data_set.classes for data_set in Store(tmp_path).data()] == [None]
    (tmp_path / "data" / record.name).write_text("{")
    with pytest.raises(StoreError, match="damaged: delete it"):
        Store(tmp_path).data()


def test_data_sets_are_named_by_what_tells_them_apart(report: Report) -> None:
    table = report.frames["data"]
    assert table["data"].to_list() == ["ambiguity 0.0", "ambiguity 0.3"]
    for each, line in zip(report.table.data, table.to_dicts(), strict=True):
        assert each.classes is not None
        used = each.classes.filter(pl.col("samples") > 0)["samples"].to_numpy()
        assert line["classes_in_use"] == len(used)
        assert line["samples_per_class_mean"] == pytest.approx(used.mean(), rel=1e-12)
        assert line["samples_per_class_std"] == pytest.approx(used.std(), rel=1e-12)


def test_frequencies_are_drawn_by_rank(report: Report) -> None:
    assert unreadable(report) == {}
    (axis,) = report.figures["class_frequency"].axes
    drawn = [
        line
        for collection in axis.collections
        for line in getattr(collection, "get_segments", list)()
    ]
    for each, line in zip(report.table.data, drawn, strict=True):
        assert each.classes is not None
        samples = sorted((n for n in each.classes["samples"] if n), reverse=True)
        assert line.tolist() == [[rank, n] for rank, n in enumerate(samples, start=1)]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_of_many_data_sets_none_is_named() -> None:
    classes = pl.DataFrame({"class": [0, 1], "name": ["a", "b"], "samples": [5, 0]})
    figure = frequencies([DataSet(str(number), {}, {}, classes) for number in range(9)])
    assert not figure.texts
    figure = frequencies([DataSet(str(number), {}, {}, classes) for number in range(8)])
    assert [text.get_text() for text in figure.texts] == [str(number) for number in range(8)]


def test_rows_carry_the_floor_and_the_report_the_distance(report: Report) -> None:
    floors = {
        ambiguity: load_data(grammar(ambiguity), base=Path(), cache=Path()).facts["entropy_floor"]
        for ambiguity in (0, 0.3)
    }
    rows = report.table.frame.filter(pl.col("epoch") == 1)
    assert len(rows) == 6
    for row in rows.to_dicts():
        assert row["entropy_floor"] == floors[row["ambiguity"]]
        assert row["val_loss_above_floor"] == row["val_loss"] - row["entropy_floor"]
    above = np.array([row["val_loss"] - floors[row["ambiguity"]] for row in rows.to_dicts()])
    assert report.frames["floor"]["val_loss_above_floor"].to_list() == sorted(above)
    best = rows.to_dicts()[int(above.argmin())]
    text = next(part.text for part in report.summary if part.title == "Entropy floor")
    low, high = (f"{floors[key]:.4g}" for key in (0, 0.3))
    assert text == (
        f"The least expected val_loss of any model is known: {low} to {high} nats per sample. 6 "
        f"trainings end +{np.median(above):.4g} nats from it (median); the closest has "
        f"{best['val_loss']:.4g} where {best['entropy_floor']:.4g} is possible."
    )


def test_the_distance_can_be_the_response(run: Path) -> None:
    document = analysis.report(
        run, response="val_loss_above_floor", permutations=50, bootstrap=50, only=("association",)
    )
    rows = document.table.frame.filter(pl.col("epoch") == 1)
    line = (
        document.frames["association"].filter(pl.col("metric") == "nc3_cosine_mean").to_dicts()[0]
    )
    expected = np.corrcoef(rows["nc3_cosine_mean"], rows["val_loss"] - rows["entropy_floor"])[0, 1]
    assert line["estimate"] == pytest.approx(expected, abs=1e-12)
    assert line["agrees"] == (expected < 0)


def test_one_floor_is_a_line_in_the_curves(run: Path, report: Report, tmp_path: Path) -> None:
    def dashes(page: Report) -> dict[str, list[float]]:
        panels = {
            axis.get_title(loc="left").removesuffix(" (nats)"): axis
            for axis in page.figures["curves"].axes
        }
        heights = {
            name: [
                float(np.asarray(line.get_ydata())[0])
                for line in axis.lines
                if line.get_linestyle() == "--"
            ]
            for name, axis in panels.items()
        }
        return {name: lines for name, lines in heights.items() if lines}

    assert dashes(report) == {}  # there are two floors
    one = Store(run).read().filter(pl.col("ambiguity") == 0.3)
    one.write_parquet(tmp_path / "one.parquet")
    single = analysis.report(
        tmp_path / "one.parquet", permutations=50, bootstrap=50, only=("training",)
    )
    floor = one["entropy_floor"][0]
    assert dashes(single) == {"validation loss": [floor], "training loss": [floor]}
    assert f"{floor:.4g} nats" in next(part.caption for part in single.sections[0].figures)


def test_classes_against_the_average(report: Report, run: Path) -> None:
    measured = pl.read_parquet(RunPaths(run).class_tables / "model.parquet")
    lines = report.frames["classes"].to_dicts()
    assert [line["why"] for line in lines[:2]] == ["average of all", "deviation of all"]
    for name in ("norm", "cdnv", "interference", "head_cosine"):
        values = measured[name].to_numpy()
        assert lines[0][name] == pytest.approx(values.mean(), rel=1e-12)
        assert lines[1][name] == pytest.approx(values.std(ddof=1), rel=1e-12)
    width = STUDY["grid"]["width"][0]
    scaled = [norm**2 / width**0.5 for norm in measured["norm"]]
    assert measured["scaled_norm"].to_list() == pytest.approx(scaled, rel=1e-12)
    assert lines[0]["classes"] == len(measured) > 2 * EACH
    listed = lines[2:]
    by_cdnv = measured.sort("cdnv")["name"].to_list()
    assert [line["name"] for line in listed if line["why"] == "least CDNV"] == by_cdnv[:EACH]
    assert [line["name"] for line in listed if line["why"] == "largest CDNV"] == by_cdnv[::-1][
        :EACH
    ]
    most = [line["count"] for line in listed if line["why"] == "most samples"]
    assert most == sorted(measured["count"].to_list(), reverse=True)[:EACH]
    for line in listed:
        assert line["cdnv_times"] == pytest.approx(line["cdnv"] / lines[0]["cdnv"], rel=1e-12)
    assert "classes" in report.figures


def test_classes_by_name() -> None:
    columns = (
        "norm",
        "scaled_norm",
        "variance_norm",
        "cdnv",
        "cdnv_galanti",
        "interference",
        "head_cosine",
        "agreement",
        "ncc_accuracy",
        "accuracy",
    )
    names = ["ĠTom", "Tom", "the", "▁cat"]
    frame = pl.DataFrame(
        {"precision": ["fp32"] * 4, "class": range(4), "name": names, "count": [9, 8, 7, 6]}
    ).with_columns(*(pl.Series(name, [1.0, 2.0, 3.0, 4.0]) for name in columns))
    table = class_table(frame, {ASKED: ["Tom", "cat"]})
    assert table["name"].to_list() == ["", "", "ĠTom", "Tom", "▁cat"]
    assert table["norm"].to_list()[2:] == [1.0, 2.0, 4.0]
    assert table["norm_times"].to_list()[2:] == [0.4, 0.8, 1.6]
    with pytest.raises(
        AnalysisError, match=r"no measured class is called 'Tim'.*Did you mean `Tom`"
    ):
        class_table(frame, {ASKED: ["Tim"]})


def test_facts_are_printed(run: Path) -> None:
    record = json.loads(next((run / "data").glob("*.json")).read_text())
    logs = "".join(path.read_text() for path in run.glob("trainings/*/console.log"))
    assert f"samples_per_class_mean {record['facts']['samples_per_class_mean']}" in logs


def test_what_is_no_table_of_classes_is_refused(run: Path, tmp_path: Path) -> None:
    folder = RunPaths(tmp_path / "run").class_tables
    shutil.copytree(
        run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "classes", "trainings")
    )
    with pytest.raises(AnalysisError, match="has no table of classes"):
        analysis.report(tmp_path / "run", only=("classes",), classes=("Tom",))
    folder.mkdir()
    pl.DataFrame({"precision": ["fp32"], "class": [0]}).write_parquet(folder / "some.parquet")
    with pytest.raises(
        AnalysisError, match=r"some.parquet: is no table of classes, it has no column 'name'"
    ):
        analysis.report(tmp_path / "run", only=("classes",))
    (folder / "some.parquet").write_text("text")
    with pytest.raises(AnalysisError, match="a file there is no table of classes"):
        analysis.report(tmp_path / "run", only=("classes",))
