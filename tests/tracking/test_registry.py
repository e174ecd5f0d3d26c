"""Names of trackers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from places import ROOT

from study.settings.faults import StudyError
from study.tracking import registry
from study.tracking.registry import TRACKERS, check_trackers


def test_a_slip_is_refused_with_what_was_meant() -> None:
    message = re.escape("'tensorbord' is no tracker. Did you mean `tensorboard`?")
    with pytest.raises(StudyError, match=message):
        check_trackers(["tensorbord"])


def test_a_library_that_is_missing_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    fix = re.escape("wandb is not installed. Run pip install 'collapse-study[wandb]'")
    with pytest.raises(StudyError, match=fix):
        check_trackers(["wandb"])


def test_a_folder_of_the_name_is_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study_tracker_that_is_none").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not registry._installed("study_tracker_that_is_none")
    assert registry._installed("json")


def test_every_tracker_has_an_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert TRACKERS.keys() <= extras.keys()
    assert extras["track"] == [f"collapse-study[{','.join(TRACKERS)}]"]
