"""A request for a search as the search and the folder of its run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from study.launching.overrides import overridden
from study.search.config import Search, search_from
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import is_folder, read_extended, read_yaml, with_inherited_rules
from study.store import RunPaths


def open_search(
    target: str | Path, runs: Path, overrides: Iterable[str] = ()
) -> tuple[Search, Path]:
    """The search that is asked for, and its run directory.

    Args:
        target: a YAML file, or the folder of a run.
        runs: where runs lie.
        overrides: settings in place of those of the target, such as `search.trials=60`.

    Raises:
        StudyError: the target is no search, or it or an override cannot be used.
    """
    path = Path(target)
    if not is_folder(path):
        content = overridden(read_extended(path), overrides)
        search = search_from(content, folder=path.resolve().parent, source=str(path))
        return search, runs / search.study.name
    file = RunPaths(path).search_file
    if not file.exists():
        message = f"this folder holds no search (no {file.relative_to(path)})"
        fault = Fault("", message, "Give a search's YAML file")
        raise StudyError([fault], source=str(target))
    content = with_inherited_rules(read_yaml(file))
    folder, source = path / str(content.pop("folder", ".")), str(content.pop("source", file))
    content = overridden(content, overrides)
    return search_from(content, folder=folder.resolve(), source=source), path
