"""A request for a search as the search and the folder of its run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from study.hub.names import is_hub, parse_name, refuse_hub
from study.launching.overrides import overridden
from study.launching.runs import launched_in, open_study
from study.launching.status import StudyStatus
from study.search.config import Search, search_from
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import is_folder, read_extended, read_yaml, with_inherited_rules
from study.store import RunPaths, StoreError
from study.store.places import is_object, place

if TYPE_CHECKING:
    from study.search.status import SearchStatus


def open_search(
    target: str | Path, runs: str | Path, overrides: Iterable[str] = ()
) -> tuple[Search, Path]:
    """The search that is asked for, and its run directory.

    Args:
        target: a YAML file, or the folder of a run.
        runs: where runs lie, a folder of this computer or of one that all share.
        overrides: settings in place of those of the target, such as `search.trials=60`.

    Raises:
        StudyError: the target is no search, or it or an override cannot be used.
        HubError: the target, or where runs lie, is on the Hub.
        StoreError: one of them is on object storage, which cannot hold a search.
    """
    refuse_hub(target, "nothing is searched")
    refuse_hub(runs, "nothing is searched")
    path, home = place(target), place(runs)
    if is_object(path) or is_object(home):
        raise StoreError(
            f"{path if is_object(path) else home}: a search cannot lie on object storage, as "
            "Optuna appends to its journal there: give a folder that all computers share with "
            "--runs. A study can lie there"
        )
    if not is_folder(path):
        content = overridden(read_extended(path), overrides)
        search = search_from(content, folder=path.resolve().parent, source=str(path))
        return search, home / search.study.name
    file = RunPaths(path).search_file
    if not file.exists():
        message = f"this folder holds no search (no {file.relative_to(path)})"
        fault = Fault("", message, "Give a search's YAML file")
        raise StudyError([fault], source=str(target))
    content = with_inherited_rules(read_yaml(file))
    folder, source = launched_in(path, content), str(content.pop("source", file))
    content = overridden(content, overrides)
    return search_from(content, folder=folder, source=source), path


def status_of(run: str) -> StudyStatus | SearchStatus:
    """What looks at a run, one of the Hub too: a search has a journal.

    Raises StudyError for what is no folder of a run, HubError where the Hub does not give it,
    StoreError for a place where none can lie.
    """
    if is_hub(run):
        from study.hub.fetching import fetch

        run = str(fetch(parse_name(run)).path)
    path = place(run)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        fix = "Give the folder of a run: the study `NAME` lies in runs/NAME once it is launched"
        raise StudyError([Fault("", what, fix)], source=run)
    if RunPaths(path).journal.is_file():
        from study.search.status import SearchStatus  # with optuna, which a study does not need

        return SearchStatus(*open_search(run, path.parent))
    return StudyStatus(*open_study(run, path.parent))
