"""A request for a launch as a study and the folder of its run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.config import StudyConfig, study_from
from study.hub.names import refuse_hub
from study.launching.declared import declared_faults
from study.launching.overrides import overridden
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import is_folder, read_extended, read_yaml, with_inherited_rules
from study.store import RunPaths
from study.store.places import is_object, place


def open_study(
    target: str | Path | StudyConfig, runs: str | Path, overrides: Iterable[str] = ()
) -> tuple[StudyConfig, Path]:
    """The study that is asked for, and its run directory.

    Args:
        target: a study, a YAML file, or the folder of a run.
        runs: where runs lie, a folder or `s3://BUCKET/PREFIX`.
        overrides: settings in place of those of the target, such as `train.lr=1e-3`.

    Raises:
        StudyError: the target is no study, or it or an override cannot be used.
        HubError: the target, or where runs lie, is on the Hub.
        StoreError: a place is none where runs can lie.
    """
    run: Path | None = None
    refuse_hub(target, "nothing is launched")
    refuse_hub(runs, "nothing is launched")
    home = place(runs)
    if isinstance(target, StudyConfig):
        content, folder, source = target.as_yaml(), target.folder, f"study {target.name}"
    elif is_folder(path := place(target)):
        run = path
        content, folder, source = _content_of_run(path)
    else:
        content, folder, source = read_extended(path), path.resolve().parent, str(path)
    study = study_from(overridden(content, overrides), folder=folder, source=source)
    if faults := list(declared_faults(study)):
        raise StudyError(faults, source=source)
    return study, run or home / study.name


def _content_of_run(run: Path) -> tuple[dict[str, Any], Path, str]:
    """What a run keeps of its study.

    The content, where its relative paths start, and the name of its file.
    """
    paths = RunPaths(run)
    if not paths.study.is_file():
        fix = "Give a YAML file, or a folder below runs/"
        if paths.journal.is_file():
            fix = (
                f"It holds a search: collapse-study tune {run} goes on with it, "
                f"collapse-study report {run} reports it"
            )
        fault = Fault("", f"this folder holds no run (no {paths.study.name})", fix)
        raise StudyError([fault], source=str(run))
    content = with_inherited_rules(read_yaml(paths.study))
    return content, launched_in(run, content), str(paths.study)


def launched_in(run: Path, content: dict[str, Any]) -> Path:
    """The folder that a run's relative paths start from, taken out of its content.

    That of a run on object storage is of the computer from which it was launched.
    """
    folder = str(content.pop("folder", "."))
    return (Path(folder) if is_object(run) else run / folder).resolve()
