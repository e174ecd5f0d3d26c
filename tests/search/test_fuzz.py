"""Mutated journals: each gives a search and its record, or is refused in a sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mutated_files import in_little_memory, is_used, mutated_bytes, mutated_tree
from tiny_search import answer, hunt, search_of, trials_of

from analysis.reading.search import read_search
from analysis.reading.table import AnalysisError
from study.search.config import Search
from study.search.journal import JournalError, best_trials, counted, definition, read_journal
from study.search.status import SearchStatus
from study.store import RunPaths

NOTES = {
    "confirmation": {"trial": 0, "seeds": [7], "tuned": ["a"], "default": ["b"]},
    "other": 1,
}
SET_NOTE_OF_SEARCH = 2


@pytest.fixture(scope="module")
def search() -> Search:
    return search_of(hunt(trials=4, constraints=["train_accuracy >= 0.2"]))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, search: Search) -> list[str]:
    """The lines of the journal of four trials and a confirmation."""
    run = tmp_path_factory.mktemp("journal")
    answer(trials_of(search, run))
    lines = RunPaths(run).journal.read_text(encoding="utf-8").splitlines()
    note = {"op_code": SET_NOTE_OF_SEARCH, "worker_id": "w", "study_id": 0}
    return [*lines, *(json.dumps(note | {"user_attr": {k: v}}) for k, v in NOTES.items())]


def _read_mutated(lines: list[str], search: Search, folder: Path, count: int, first: int) -> int:
    """How many mutated journals give a search; the others are refused by every reader."""
    journal = RunPaths(folder).journal
    journal.parent.mkdir(parents=True, exist_ok=True)
    used = 0
    for seed in range(first, first + count):
        journal.write_bytes(_mutated(lines, random.Random(seed)))
        usable = is_used(lambda: _read(journal), JournalError, f"journal, seed {seed}")
        is_used(lambda: read_search(folder, {}), AnalysisError, f"report, seed {seed}")
        is_used(lambda: _status(search, folder), JournalError, f"status, seed {seed}")
        used += usable
    return used


def _read(journal: Path) -> None:
    study = read_journal(journal)
    definition(study, journal)
    counted(study)
    best_trials(study)


def _status(search: Search, run: Path) -> None:
    status = SearchStatus(search, run)
    status.as_json()
    status.tables()


def _mutated(lines: list[str], chance: random.Random) -> bytes:
    """A journal with a record changed, left out, doubled or moved, or with bytes changed."""
    changed = list(lines)
    place = chance.randrange(len(lines))
    match chance.randrange(8):
        case 0:
            return mutated_bytes("\n".join([*lines, ""]).encode(), chance)
        case 1:
            del changed[place]
        case 2:
            changed.insert(chance.randrange(len(lines)), lines[place])
        case 3:
            changed.insert(chance.randrange(len(lines)), changed.pop(place))
        case _:
            changed[place] = json.dumps(mutated_tree(json.loads(lines[place]), chance))
    return "\n".join([*changed, ""]).encode()


def test_a_sound_journal_is_read(lines: list[str], search: Search, tmp_path: Path) -> None:
    journal = RunPaths(tmp_path).journal
    journal.parent.mkdir(parents=True)
    journal.write_text("\n".join([*lines, ""]))
    _read(journal)
    _status(search, tmp_path)
    assert read_search(tmp_path, {}).trials.height == 4


def test_mutated_journals_are_read_or_refused(
    lines: list[str], search: Search, tmp_path: Path
) -> None:
    with in_little_memory():
        assert 5 < _read_mutated(lines, search, tmp_path, 200, first=0) < 195


@pytest.mark.long
def test_many_mutated_journals_are_read_or_refused(
    lines: list[str], search: Search, tmp_path: Path
) -> None:
    with in_little_memory():
        assert 15 < _read_mutated(lines, search, tmp_path, 560, first=200) < 545
