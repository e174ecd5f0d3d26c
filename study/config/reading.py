"""A study file, or the mapping of one, as a study: every fault at once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from study.config.declared import AnalysisConfig, Tuned
from study.config.execution import KEEP, Resources
from study.config.grid_file import SECTIONS, read_grid, read_rules, structure_faults
from study.config.paths import full_path
from study.config.points import grid_faults, intervention_faults, matched_faults
from study.config.study import StudyConfig
from study.settings.faults import StudyError
from study.settings.yaml_files import Inherited, read_extended

ASIDE = (".", "x-")
"""How top-level keys begin that hold nothing but anchors for aliases elsewhere in the file."""


def load_study(path: str | Path) -> StudyConfig:
    """The study of a YAML file.

    Raises StudyError with all faults of the file, each with its path and its fix.
    """
    path = Path(path)
    return study_from(read_extended(path), folder=path.resolve().parent, source=str(path))


def study_from(
    content: dict[str, Any], *, folder: Path, source: str, searched: Collection[str] = ()
) -> StudyConfig:
    """As `load_study`, from the mapping itself.

    Relative paths in it resolve against `folder`. Rules may match no point of the grid if they are
    `Inherited`, or ask for settings that are `searched`.
    """
    content = {name: value for name, value in content.items() if not name.startswith(ASIDE)}
    faults = list(structure_faults(content))
    grid = read_grid(content.get("grid", {}), faults)
    rules = read_rules(
        content.get("rules") or [], {full_path(axis) for axes in grid for axis in axes}, faults
    )
    resources = content.get("resources", {})
    unsound = bool(faults)
    sound_resources = isinstance(resources, dict) and not any(
        fault.path.startswith("resources") for fault in faults
    )
    study = StudyConfig(
        name=str(content.get("name")),
        settings={key: content[key] for key in SECTIONS if key in content},
        grid=grid,
        rules=rules,
        folder=folder,
        keep=content["keep"] if content.get("keep") in KEEP else "all",
        resources=Resources(**resources) if sound_resources else Resources(),
        analysis=AnalysisConfig(**content.get("analysis", {})) if not unsound else AnalysisConfig(),
        tuned=Tuned(**content["tuned"]) if "tuned" in content and not unsound else None,
    )
    inherited = isinstance(content.get("rules"), Inherited)
    faults += intervention_faults(study)
    faults += matched_faults(study)
    faults += grid_faults(study, searched, unsound=unsound, inherited=inherited)
    if faults:
        raise StudyError(faults, source=source)
    return study
