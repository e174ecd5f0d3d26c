"""A launch of a study: its plan, its progress, its end.

`launch` does all of it in one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.config import StudyConfig
    from study.store import RunPaths


@dataclass(frozen=True)
class Launched:
    """How a launch ended: `code` as of the command, and the `paths` of its run."""

    code: int
    paths: RunPaths


def launch(
    study: StudyConfig | str | Path,
    *,
    runs: str | Path = "runs",
    serial: bool = False,
    address: str | None = None,
    retry_failed: str | None = None,
    track: Iterable[str] = (),
    overrides: Iterable[str] = (),
) -> Launched:
    """Train and measure what a study's store lacks.

    `collapse-study launch` as a Python call, for notebooks and tests. It belongs in the main
    thread: Ctrl-C (Interrupt in a notebook) stops it as it stops the command.

        from study.launching import launch
        from study.store import Store

        launched = launch("search_spaces/quickstart.yaml", overrides=["grid.seed=[0, 1]"])
        rows = Store(launched.paths.root).read()

    Args:
        study: a study, a YAML file, or the folder of a run to relaunch.
        runs: where runs lie, a folder or `s3://BUCKET/PREFIX`.
        serial: in this process, one training after another, without Ray.
        address: address of a Ray cluster; by default RAY_ADDRESS, else this computer alone.
        retry_failed: run failed cells again: `all`, or those of one cause.
        track: trackers that show the curves of trainings, such as `tensorboard`.
        overrides: settings in place of those of the study, `path=value` with a value as in YAML.

    Returns:
        `code` 0 where all cells are in the store, 1 where some failed or it was stopped; `paths`.

    Raises:
        StudyError: the study, an override or a tracker cannot be used, or the cluster cannot be
            joined.
        StoreError: the run directory holds other rows of a cell, is none, or cannot be written.
        OSError: the disk failed, or object storage no longer answers (`StorageError`); what was
            stored before is kept, and another call goes on from there.
    """
    import sys

    from study.launching.options import LaunchOptions
    from study.launching.runs import open_study
    from study.launching.study_launch import StudyLaunch
    from study.launching.view import Output
    from study.store import RunPaths

    config, run_dir = open_study(study, runs, overrides)
    options = LaunchOptions(
        serial=serial, address=address, retry_failed=retry_failed, track=tuple(track)
    )
    console = Output(file=sys.stdout)  # this one, also while a training prints elsewhere
    source = str(study) if isinstance(study, str | Path) else f"study {study.name}"
    code = StudyLaunch(config, run_dir, options, console, source=source).run()
    return Launched(code, RunPaths(run_dir))
