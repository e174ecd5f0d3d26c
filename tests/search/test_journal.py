"""Reading journals: what a search left, and every way in which a file may be none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from tiny_search import answer, hunt, journal, search_of, trials_of, tune, write_search

from study.precision import REFERENCE
from study.precision.names import known_precisions
from study.search.config import reference_cell
from study.search.journal import (
    JournalError,
    best_trials,
    counted,
    definition,
    holds,
    read_journal,
)
from study.status import main as status
from study.store import RunPaths
from study.store.reference import CONTROL, TUNED, reference_precision
from study.store.reference import REFERENCE as REFERENCE_OF_ROWS
from study.tune import main


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of the journal of four trials."""
    run = tmp_path_factory.mktemp("journal")
    answer(trials_of(search_of(hunt(trials=4)), run))
    return RunPaths(run).journal.read_text(encoding="utf-8").splitlines()


RECORD = {"op_code": 0, "worker_id": "w", "study_name": "x", "directions": [1]}
MIDDLE = 8
MALFORMED = {
    "a list": (["[]"], 1),
    "a number": (["3"], 1),
    "null": (["null"], 1),
    "text": (['"op_code"'], 1),
    "an object without an operation": (["{}"], 1),
    "an unknown operation": (['{"op_code": 99, "worker_id": "w"}'], 1),
    "an operation of another kind": (['{"op_code": "x", "worker_id": "w"}'], 1),
    "a study without directions": ([json.dumps({**RECORD, "directions": None})], 1),
    "a direction that does not exist": ([json.dumps({**RECORD, "directions": [7]})], 1),
    "a trial with no values": (
        [json.dumps(RECORD), '{"op_code": 4, "worker_id": "w", "study_id": 0}'],
        2,
    ),
    "no JSON": (["no JSON"], 1),
    "bytes that are no text": (["\udcff\udcfe"], 1),
}


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    return path


@pytest.mark.parametrize(("content", "line"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_journal_is_an_error_with_place_and_fix(
    tmp_path: Path, content: list[str], line: int
) -> None:
    path = write(tmp_path / "journal.log", content)
    with pytest.raises(JournalError) as caught:
        read_journal(path)
    (fault,) = caught.value.faults
    assert (caught.value.source, fault.path) == (str(path), f"line {line}")
    assert fault.fix.startswith("Restore it, or delete the folder `search`")


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("text", ["[]", "7", "{", '{"op_code":', "\udcff"])
def test_a_damaged_line_is_named(tmp_path: Path, lines: list[str], place: str, text: str) -> None:
    number = {"first": 0, "middle": MIDDLE, "last": len(lines) - 1}[place]
    damaged = [*lines[:number], text, *lines[number + 1 :]]
    with pytest.raises(JournalError) as caught:
        read_journal(write(tmp_path / "journal.log", damaged))
    assert [fault.path for fault in caught.value.faults] == [f"line {number + 1}"]


def test_a_last_line_that_is_being_written_does_not_count_yet(
    tmp_path: Path, lines: list[str]
) -> None:
    path = write(tmp_path / "journal.log", lines[:-1])
    before = counted(read_journal(path))
    path.write_bytes(path.read_bytes() + lines[-1][:20].encode())
    study = read_journal(path)
    assert counted(study) == before
    write(path, lines)
    assert counted(study) == counted(read_journal(path)) == 4


@pytest.mark.parametrize(
    "content", [b"", b'{"op_code', b'{"op_code": 5, "worker_id": "w", "trial_id": 4}\n']
)
def test_a_journal_without_a_search_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.log"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="holds no search"):
        read_journal(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(folder)


@pytest.mark.parametrize(
    "content", [["[]"], ["3"], ["null"], ["{}"], ["no JSON"], ["\udcff"], [json.dumps(RECORD), "["]]
)
def test_commands_say_what_is_wrong_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: list[str]
) -> None:
    run = tmp_path / "runs" / "hunt"
    assert tune(tmp_path, hunt(trials=1)) == 0
    write(RunPaths(run).journal, content)
    capsys.readouterr()
    assert status([str(run)]) == 2
    assert f"line {len(content)}: " in capsys.readouterr().err
    for option in ("--dry-run", "--serial"):
        assert main([str(run), option]) == 2
        assert f"line {len(content)}: " in capsys.readouterr().err


def test_a_journal_says_what_its_search_looks_for(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path / "journal.log", lines)
    study = read_journal(path)
    assert definition(study, path)["search.objective"] == {"nc1_ratio": "minimize"}
    damaged: list[object] = [{}, [], {"search.objective": {}, "search.constraints": []}]
    for begun in damaged:
        study.set_user_attr("definition", begun)
        with pytest.raises(JournalError, match="what its search looks for"):
            definition(read_journal(path), path)


def test_trials_that_break_a_constraint_are_not_best(tmp_path: Path) -> None:
    search = search_of(hunt(trials=12, constraints=["train_accuracy >= 0.5"]))
    answer(trials_of(search, tmp_path))
    study = journal(tmp_path)
    sound = [trial for trial in study.trials if holds(trial)]
    assert 0 < len(sound) < 12
    assert all(1 / (1 + trial.params["train.lr"]) >= 0.5 for trial in sound)
    assert best_trials(study) == [min(sound, key=lambda trial: trial.value or 0.0)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["int8", "fp32"], "fp32"),
        (["qat-int4", "int8"], "int8"),
        (["qat-int4", "int4", "int8"], "int4"),
        (["efqat-int4", "qat-int4"], "efqat-int4"),
        (["qat-int4", "ft-fp32"], "ft-fp32"),
        (["ft-fp32", "bf16"], "bf16"),
    ],
)
def test_a_search_judges_by_the_precision_that_a_report_takes(
    names: list[str], expected: str
) -> None:
    assert reference_precision(names) == expected
    content = {**hunt(), "grid": {"precision": names, "seed": [0]}}
    assert reference_cell(search_of(content).default).config.precision == expected


def test_the_rule_knows_every_precision() -> None:
    assert REFERENCE == REFERENCE_OF_ROWS
    for name, precision in known_precisions().items():
        by_name = name == CONTROL or name.startswith(TUNED)
        assert by_name == (precision.tuning is not None), name


def test_the_journal_is_read_without_torch_and_ray(tmp_path: Path) -> None:
    write_search(tmp_path, hunt())
    code = (
        "import sys, study.search.journal; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'study.config')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
