"""`python -m study.tune SEARCH.yaml`: look for the settings that reach an objective, then put them to the test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from study.launch import launch_options
from study.search.config import Search, load_search, search_from
from study.search.launcher import FILE, SearchLaunch
from study.settings.faults import Fault, StudyError
from study.settings.yaml_files import read_yaml
from study.store import RunPaths, StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the search and its confirmation are complete, 1 they are not, 2 the request is wrong."""
    options = _parser().parse_args(arguments)
    console = Console(file=sys.stdout)
    try:
        search, run_dir = open_search(options.study, Path(options.runs))
        launch = SearchLaunch(search, run_dir, options, console)
        return launch.show() if options.dry_run else launch.run()
    except (StudyError, StoreError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.tune",
        description="Search for settings with Optuna; every trial is a training whose rows are stored.",
    )
    parser.add_argument(
        "study", metavar="search", help="a search's YAML file, or the folder of a run to go on with"
    )
    launch_options(parser)
    return parser


def open_search(target: str, runs: Path) -> tuple[Search, Path]:
    """The search of a YAML file and its run directory, or those of a run directory. Raises StudyError."""
    path = Path(target)
    if not path.is_dir():
        search = load_search(path)
        return search, runs / search.study.name
    file = RunPaths(path).search / FILE
    if not file.exists():
        fault = Fault(
            "",
            f"this folder holds no search (no {file.relative_to(path)})",
            "Give a search's YAML file",
        )
        raise StudyError([fault], source=target)
    content = read_yaml(file)
    folder, source = path / str(content.pop("folder", ".")), str(content.pop("source", file))
    return search_from(content, folder=folder.resolve(), source=source), path


if __name__ == "__main__":
    sys.exit(main())
