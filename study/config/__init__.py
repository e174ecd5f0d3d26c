"""A study file as settings, checked with every fault at once.

`load_study(path)` gives a StudyConfig; `StudyConfig.points()` the raw settings of every point
of the grid, each of which is a CellConfig. No torch is imported here: plans and errors are
instant.
"""

from study.config.cell import COLUMN_KINDS, COLUMNS, CellConfig
from study.config.declared import AnalysisConfig, Tuned
from study.config.execution import Resources
from study.config.grid_file import SECTIONS
from study.config.measuring import Compute, MeasureConfig, computes_itself, measured_epochs
from study.config.paths import SHORT_NAMES, full_path, known_paths, put
from study.config.points import MOST_POINTS
from study.config.reading import ASIDE, load_study, study_from
from study.config.study import StudyConfig
from study.config.training import TrainConfig
from study.settings.faults import StudyError

__all__ = [
    "ASIDE",
    "COLUMNS",
    "COLUMN_KINDS",
    "MOST_POINTS",
    "SECTIONS",
    "SHORT_NAMES",
    "AnalysisConfig",
    "CellConfig",
    "Compute",
    "MeasureConfig",
    "Resources",
    "StudyConfig",
    "StudyError",
    "TrainConfig",
    "Tuned",
    "computes_itself",
    "full_path",
    "known_paths",
    "load_study",
    "measured_epochs",
    "put",
    "study_from",
]
