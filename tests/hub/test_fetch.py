"""Runs and tables read from a stand-in of the Hub, those of people who mean no good, too."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import READER, Hub
from polars.testing import assert_frame_equal

import analysis
from analysis.__main__ import main as report
from analysis.reading.load import load
from analysis.reading.places import place_of
from analysis.report.request import default_folder
from analysis.report.runs import run_names
from study.clean import main as clean
from study.hub.fetching import fetch
from study.hub.names import HubError, parse_name
from study.launch import main as relaunch
from study.launching import launch
from study.pack import main as pack
from study.status import main as status
from study.store import RunPaths, Store, StoreError
from study.tune import main as tune

NAME = "hub:ada/tiny"
SMALL = {"permutations": 50, "bootstrap": 50, "allow_missing": True}


@pytest.fixture
def packed(hub: Hub, finished: Path, tmp_path: Path) -> dict[str, bytes]:
    """The files of a run as a push would have them there."""
    folder = tmp_path / "packed"
    assert pack([str(finished), str(folder)]) == 0
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_report_names_the_commit_that_it_is_of(
    hub: Hub,
    packed: dict[str, bytes],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit = hub.add("ada/tiny", packed)
    table = load(NAME)
    assert (table.source, table.name) == (f"{NAME}@{commit}", "tiny")
    assert_frame_equal(table.frame, load(finished).frame)
    asked = len(hub.requests)
    assert hub.asked("GET", "trainings/") == 0  # which no report reads
    document = analysis.report(f"{NAME}@{commit}", only=["data"], **SMALL)
    assert not any("/resolve/" in path for _, path in hub.requests[asked:])  # it is in the cache
    assert ("Source", f"{NAME}@{commit}") in document.provenance
    monkeypatch.chdir(tmp_path)
    assert report([NAME, "--only", "data"]) == 0
    assert f"{NAME}@{commit}" in Path("tiny-report/report.html").read_text()
    assert run_names([place_of(NAME), place_of(finished)]) == ["ada-tiny", "runs-tiny"]


def test_a_table_is_chosen_by_its_path(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame(
        {"run": range(8), "width": [1, 2] * 4, "nc1": [float(i) for i in range(8)]}
    ).with_columns(loss=pl.col("nc1") * 2 + 1)
    commit = hub.add(
        "bob/tables",
        {"a b/all.csv": frame.write_csv().encode(), "readme.md": b"", "x.parquet": b"PAR1"},
    )
    given = {"unit": ["run"], "response": "loss", "metrics": ["nc1"], "axes": ["width"]}
    document = analysis.report("hub:bob/tables/a b/all.csv", only=["axes"], **given, **SMALL)
    assert ("Source", f"hub:bob/tables@{commit}/a b/all.csv") in document.provenance
    assert default_folder(["hub:bob/tables/a b/all.csv"]) == Path("all-report")
    mapping = {"unit": "run", "response": "loss", "axes": ["width"], "metrics": {"nc1": {}}}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(mapping))
    assert len(load("hub:bob/tables@main/a b/all.csv", columns=tmp_path / "map.yaml").frame) == 8
    for source, said in (
        ("hub:bob/tables", "holds no run: name one of its tables, hub:bob/tables/FILE; it has a b"),
        ("hub:bob/tables/b.csv", "hub:bob/tables has no file b.csv; it has a b/all.csv, x.parquet"),
        ("hub:bob/tables/x.parquet", "cannot be read"),
        ("hub:bob/tables/readme.md", "is neither a run directory nor a table"),
        ("hub:bob/tables@v9/a b/all.csv", "it has no such revision"),
        ("hub:bob/nothing", "there is no such data set, or none that you may see"),
        ("hub:bob", "hub:bob is no name of a data set: write hub:OWNER/NAME"),
        ("hub:bob/tables/../all.csv", "lies outside of the data set"),
    ):
        assert report([source]) == 2
        assert said in capsys.readouterr().err, source


def test_a_private_run_is_for_those_who_may_see_it(
    hub: Hub,
    packed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.add("ada/tiny", packed, private=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert status([NAME]) == 2
    assert "for a private one run `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err


def test_without_the_network_it_is_what_was_fetched_last(
    hub: Hub,
    packed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = hub.add("ada/tiny", packed)
    fetch(parse_name(NAME))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nobody)
    with pytest.raises(HubError, match=r"the Hub cannot be reached, or has broken off \(Connect"):
        fetch(parse_name(NAME))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch(parse_name(NAME)).name == parse_name(f"{NAME}@{commit}")
    with pytest.raises(HubError, match="not all of it lies in the cache"):
        fetch(parse_name("hub:ada/other"))


def test_what_would_change_a_run_there_is_refused(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = "get a copy, `collapse-study pack hub:ada/tiny runs/tiny`, and give runs/tiny"
    for command, arguments in (
        (relaunch, [NAME]),
        (relaunch, [NAME, "--dry-run"]),
        (relaunch, ["study.yaml", "--runs", NAME]),
        (tune, [NAME]),
        (clean, [NAME]),
        (pack, [NAME, "--in-place"]),
    ):
        assert command(arguments) == 2
        assert copy in capsys.readouterr().err
    with pytest.raises(HubError, match="nothing is launched"):
        launch(NAME, serial=True)
    assert status([NAME, "--serve"]) == 2
    assert "--serve: what lies on the Hub does not change" in capsys.readouterr().err
    assert report([NAME, "--serve"]) == 2
    assert report([NAME, "--readme"]) == 2
    assert pack(["hub:ada/tiny/rows.parquet", "copy"]) == 2
    assert "is a file: give the data set, hub:ada/tiny" in capsys.readouterr().err
    assert hub.requests == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../planted", "data/../../planted", "/planted", "a\\..\\planted"])
def test_a_path_that_leaves_the_data_set_is_refused(
    hub: Hub, packed: dict[str, bytes], tmp_path: Path, path: str
) -> None:
    hub.add("ada/tiny", {**packed, path: b"mine"})
    with pytest.raises(HubError, match="outside of itself: nothing of it is fetched"):
        fetch(parse_name(NAME))
    assert not list(tmp_path.rglob("*planted*"))


def test_a_link_is_the_text_that_it_is_stored_as(
    hub: Hub, packed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git keeps where a link leads as the content of a file, and no client makes one of it."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("name: secret")
    hub.add("ada/tiny", {**packed, "study.yaml": str(secret).encode()})
    assert status([NAME]) == 2
    assert "secret" not in capsys.readouterr().err.replace(str(secret), "")


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch planted']",
        "!!python/object/apply:os.system ['touch planted']",
    ],
)
def test_a_study_with_tags_of_python_runs_nothing(
    hub: Hub,
    packed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add("ada/tiny", {**packed, "study.yaml": text.encode()})
    assert status([NAME]) == 2
    assert report([NAME, "--only", "data"]) == 2
    assert pack([NAME, "copy"]) == 0  # which reads no settings
    assert relaunch(["copy", "--dry-run"]) == 2
    assert not (tmp_path / "planted").exists()


def test_files_of_no_run_are_not_fetched(hub: Hub, packed: dict[str, bytes]) -> None:
    others = {
        "README.md": b"---\n!!python/object:a.b {}\n---\n",
        "model.pkl": b"\x80\x04.",
        "cells/ab/" + "ab" * 16 + ".parquet": b"PAR1",
        ".env": b"A=1",
        "checkpoints/a/model.safetensors": b"0",
    }
    hub.add("ada/tiny", {**packed, **others})
    folder = fetch(parse_name(NAME)).path
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert not names & others.keys() and "rows.parquet" in names


def test_rows_are_checked_as_those_of_any_run(hub: Hub, packed: dict[str, bytes]) -> None:
    content = bytearray(packed["rows.parquet"])
    content[len(content) // 2] ^= 1
    hub.add("ada/tiny", {**packed, "rows.parquet": bytes(content)})
    with pytest.raises(StoreError, match=r"rows\.parquet is damaged"):
        Store(fetch(parse_name(NAME)).path).read()


def test_a_column_too_many_is_shown_as_it_is(
    hub: Hub, packed: dict[str, bytes], tmp_path: Path
) -> None:
    from study.store.sealed import seal_table

    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("rows.parquet", "planned.parquet"):
        (folder / name).write_bytes(packed[name])
    store = Store(folder)
    mark = "<script>alert(1)</script>"
    rows = store.read().with_columns(pl.lit(mark).alias("nc1_<b>"), pl.lit(mark).alias("study"))
    content = seal_table(rows.to_arrow(), store.metrics())
    hub.add("ada/tiny", {**packed, "rows.parquet": content})
    document = analysis.report(NAME, only=["data", "training"], **SMALL)
    page = document.write(tmp_path / "report").read_text()
    assert mark not in page


def test_what_is_too_large_is_left_to_the_user(
    hub: Hub, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("ada/tiny", packed)
    monkeypatch.setattr("study.hub.fetching.MOST_BYTES", 1000)
    with pytest.raises(HubError, match="hf download ada/tiny --repo-type dataset"):
        fetch(parse_name(NAME))
    assert not any("/resolve/" in path for _, path in hub.requests)


def test_the_library_datasets_reads_the_rows(
    hub: Hub, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    assert pack([str(finished), "--push", NAME, "--public"]) == 0
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    cache = str(tmp_path / "datasets")
    rows = datasets.load_dataset("ada/tiny", "rows", split="train", cache_dir=cache)
    assert len(rows) == len(Store(finished).read())
    loss = Store(finished).read()["val_loss"].to_list()
    assert Counter(rows["val_loss"][:]) == Counter(loss)
    folder = tmp_path / "folder"
    for path, content in hub.files("ada/tiny").items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    again = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
    assert Counter(again["val_loss"][:]) == Counter(loss)
    assert RunPaths(folder).planned.exists()
