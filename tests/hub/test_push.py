"""Runs pushed to a stand-in of the Hub by the real client, and read back from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hub_server import READER, TOKEN, Hub
from places import ROOT
from polars.testing import assert_frame_equal

from study.hub.card import NAME as CARD
from study.hub.fetching import fetch
from study.hub.names import parse_name
from study.pack import main
from study.status import main as status
from study.store import RunPaths, Store
from study.store.packing import is_of_run
from study.store.sealed import seal_table

NAME = "hub:ada/tiny"


def push(run: Path, *options: str, name: str = NAME) -> int:
    return main([str(run), "--push", name, *options])


def change(hub: Hub, files: dict[str, bytes]) -> None:
    """A commit that the owner makes there by hand."""
    hub.add("ada/tiny", {**hub.files("ada/tiny"), **files})


def test_rows_come_back_bit_for_bit(
    hub: Hub, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(finished) == 0
    said = capsys.readouterr().out
    commit, files = hub.repositories["ada/tiny"].head
    cells = len(Store(finished).keys())
    assert said.startswith(f"{cells} of {cells} cells, ") and "It publishes, in launches/:" in said
    assert f"pushed: {NAME}@{commit} ({len(files) - 1} files, private)" in said
    assert "names no license" in said
    assert hub.repositories["ada/tiny"].private
    back = fetch(parse_name(NAME))
    assert str(back.name) == f"{NAME}@{commit}"
    assert_frame_equal(Store(back.path).read(), Store(finished).read())
    assert Store(back.path).metrics() == Store(finished).metrics()
    assert status([NAME]) == 0
    assert f"{cells}/" in capsys.readouterr().out
    assert main([NAME, str(tmp_path / "copy")]) == 0
    assert main([str(finished), str(tmp_path / "packed")]) == 0
    of_copy, of_run = (
        {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and path.suffix != ".parquet"
        }
        for root in (tmp_path / "copy", tmp_path / "packed")
    )
    assert of_copy == of_run
    assert_frame_equal(Store(tmp_path / "copy").read(), Store(finished).read())


def test_a_second_push_sends_nothing_and_a_grown_run_what_is_new(
    hub: Hub, finished: Path, grown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(finished, "--license", "mit") == 0
    sent = hub.asked("PUT", "/large/")
    assert push(finished) == 0
    assert "nothing is new there: " in capsys.readouterr().out
    assert len(hub.repositories["ada/tiny"].commits) == 2  # that of its making, and the first push
    assert hub.asked("PUT", "/large/") == sent
    change(hub, {"notes.txt": b"of somebody else"})
    assert push(grown) == 0
    assert len(hub.repositories["ada/tiny"].commits) == 4
    assert hub.files("ada/tiny")["notes.txt"] == b"of somebody else"
    assert hub.files("ada/tiny")[CARD].decode().count("license: mit") == 1  # as there before
    back = fetch(parse_name(NAME))
    assert_frame_equal(Store(back.path).read(), Store(grown).read())
    before = fetch(parse_name(f"{NAME}@{hub.repositories['ada/tiny'].commits[1][0]}"))
    assert Store(before.path).keys() == Store(finished).keys() < Store(grown).keys()


def test_nothing_is_pushed_but_files_of_a_run(
    hub: Hub, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "tiny"
    shutil.copytree(finished, run)
    (run / ".env").write_text("PASSWORD=1")
    (run / "wandb").mkdir()
    (run / "wandb" / "config.yaml").write_text("a: 1")
    (run / "data" / "deep").mkdir()
    (run / "data" / "deep" / "a.json").write_text("{}")
    (run / "notes.txt").write_text("mine")
    assert push(run, "--without-diff") == 0
    assert "no file of a run: data/deep/a.json, notes.txt, wandb/config.yaml" in (
        capsys.readouterr().out
    )
    pushed = set(hub.files("ada/tiny")) - {".gitattributes", CARD}
    assert all(map(is_of_run, pushed))
    assert {path.split("/")[0] for path in pushed} == {
        "rows.parquet",
        "study.yaml",
        "planned.parquet",
        "data",
        "launches",
        "trainings",
    }
    whole = b"".join(hub.files("ada/tiny").values())
    assert TOKEN.encode() not in whole and b"PASSWORD" not in whole
    assert b'"git_diff"' not in whole


def test_what_is_there_is_never_lost(
    hub: Hub,
    finished: Path,
    grown: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert push(grown) == 0
    before = dict(hub.files("ada/tiny"))
    assert push(finished) == 2
    lost = len(Store(grown).keys()) - len(Store(finished).keys())
    assert f"holds rows of {lost} cells that this run lacks, and a push loses none" in (
        capsys.readouterr().err
    )
    changed = tmp_path / "changed"
    shutil.copytree(grown, changed)
    rows = Store(grown).read()
    other = pl.col("val_loss") + (pl.col("cell") == rows["cell"].min())
    write_rows(changed, rows.with_columns(val_loss=other))
    assert push(changed) == 2
    assert "holds other rows of 1 cells, such as " in capsys.readouterr().err
    write_rows(changed, rows.with_columns(nc9=pl.lit(1.0)))
    assert push(changed) == 2
    write_rows(changed, rows.with_columns(host=pl.lit("another"), seconds=pl.lit(1.0)))
    assert push(changed) == 0  # nobody asks where the same was measured
    assert before.keys() == hub.files("ada/tiny").keys()


def write_rows(run: Path, rows: pl.DataFrame) -> None:
    metrics = Store(run).metrics()
    RunPaths(run).packed.write_bytes(seal_table(rows.to_arrow(), metrics))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"study.yaml": b"name: other"}, "holds study.yaml, but no run"),
        ({"rows.parquet": b"PAR1", "planned.parquet": b"PAR1"}, "rows that cannot be read"),
        ({CARD: b"# My own words\n"}, "README.md there holds text that no push has written"),
        ({CARD: b"---\n!!python/object:os.system [a]\n---\n"}, "front matter of README.md there"),
        ({CARD: b"---\n- a\n- b\n---\n"}, "front matter of README.md there"),
    ],
)
def test_a_data_set_of_something_else_is_left_as_it_is(
    hub: Hub,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
    said: str,
) -> None:
    hub.add("ada/tiny", files, private=True)
    assert push(finished) == 2
    assert said in capsys.readouterr().err
    assert hub.files("ada/tiny") == files


def test_the_owner_s_front_matter_stays_and_what_was_written_is_not_replaced(
    hub: Hub, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("ada/tiny", {CARD: b"---\nlicense: cc-by-4.0\nlanguage: en\n---\n"}, private=True)
    run = tmp_path / "tiny"
    shutil.copytree(finished, run)
    (run / CARD).write_text("Words of the run.\n")
    assert push(run) == 0
    text = hub.files("ada/tiny")[CARD].decode()
    assert text.startswith("---\nlanguage: en\nlicense: cc-by-4.0\n")
    assert "config_name: rows" in text
    assert "## What was found\n\nWords of the run.\n" in text
    assert "names no license" not in capsys.readouterr().out
    change(hub, {CARD: text.replace("cc-by-4.0", "mit").encode()})
    assert push(run) == 0
    assert "license: mit" in hub.files("ada/tiny")[CARD].decode()
    change(hub, {CARD: text.replace("Words of", "Other words of").encode()})
    assert push(run) == 2
    assert "holds text that no push has written" in capsys.readouterr().err


def test_only_what_is_asked_for_is_public(
    hub: Hub, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(finished, "--public") == 0
    assert not hub.repositories["ada/tiny"].private
    assert push(finished) == 2
    assert f"{NAME} is public, for everybody to read: push there with --public" in (
        capsys.readouterr().err
    )
    hub.repositories["ada/tiny"].private = True
    assert push(finished, "--public") == 2
    assert "make it public in its settings on the Hub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "a push needs a token of the Hub: run `hf auth login`, or set HF_TOKEN"),
        ("hf_unknown", "the Hub does not accept the token"),
        (READER, "the token has no right to do this: take one that may write there"),
    ],
)
def test_who_may_not_push_is_told_so(
    hub: Hub,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    said: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    assert push(finished) == 2
    err = capsys.readouterr().err
    assert said in err and (not token or token not in err)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("/commit/", 403, "the token has no right"),
        ("/commit/", 409, "somebody has pushed there at the same time: push again"),
        ("/commit/", 500, "the Hub answers with 500: try again"),
        ("/commit/", 0, "the Hub cannot be reached, or has broken off ("),
        ("/repos/create", 404, "there is no such data set, or none that you may see"),
        ("/repos/create", 503, "the Hub answers with 503: try again"),
        ("/preupload/", 413, "the Hub takes no commit of this size"),
        ("/objects/batch", 403, "the token has no right"),
    ],
)
def test_a_push_that_breaks_off_leaves_nothing_half_and_goes_on(
    hub: Hub,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    status: int,
    said: str,
) -> None:
    hub.faults["POST", place] = [status]
    assert push(finished) == 2
    assert said in capsys.readouterr().err
    assert all(set(each.head[1]) == {".gitattributes"} for each in hub.repositories.values())
    assert push(finished) == 0
    assert "rows.parquet" in hub.files("ada/tiny")


def test_what_fails_once_is_tried_again(hub: Hub, finished: Path) -> None:
    hub.faults["POST", "/preupload/"] = [500]
    hub.faults["PUT", "/large/"] = [0]
    assert push(finished) == 0
    assert "rows.parquet" in hub.files("ada/tiny")


def test_a_push_at_the_same_time_is_not_run_over(
    hub: Hub, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other() -> None:
        hub.before_commit.clear()
        hub.add("ada/tiny", {"notes.txt": b"of somebody else"})

    hub.before_commit.append(other)
    assert push(finished) == 2
    assert "somebody has pushed there at the same time: push again" in capsys.readouterr().err
    assert set(hub.files("ada/tiny")) == {"notes.txt"}
    assert push(finished) == 0
    assert hub.files("ada/tiny")["notes.txt"] == b"of somebody else"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--push", "ada/tiny"], "ada/tiny is no name of a data set: write hub:OWNER/NAME"),
        (["--push", "hub:tiny"], "hub:tiny is no name of a data set: write hub:OWNER/NAME"),
        (["--push", "hub:ada/tiny@v1"], "a push makes the next commit of a data set"),
        (["--push", "hub:ada/ti..ny"], "hub:ada/ti..ny is no name of a data set"),
        (["--push", NAME, "--license", "free"], "no license free"),
        (["--public"], "give either the folder TARGET"),
        (["copy", "--public"], "--public: this is of --push"),
        (["--push", NAME, "--in-place"], "give either the folder TARGET"),
    ],
)
def test_wrong_requests_are_refused(
    hub: Hub,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert main([str(finished), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_without_the_client_it_is_said_what_to_install(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push(finished) == 2
    assert "run pip install 'collapse-study[hub]'" in capsys.readouterr().err


def test_the_command_finds_the_stand_in_by_its_variable(
    hub: Hub, finished: Path, tmp_path: Path
) -> None:
    """A process of its own, as users have it: nothing is patched there."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_TOKEN": TOKEN} | settings
    command = [sys.executable, "-m", "study.pack", str(finished), "--push", NAME, "--public"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-2][:7]) == (0, "pushed:"), done.stderr
    assert TOKEN not in done.stdout + done.stderr
    rows = pl.read_parquet(hub.files("ada/tiny")["rows.parquet"])
    assert_frame_equal(rows, Store(finished).read(), check_row_order=False)
