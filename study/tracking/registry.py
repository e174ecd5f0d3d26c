"""The trackers that there are, by name; none of their libraries is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from study.settings.faults import Fault, StudyError, nearest
from study.tracking.base import Tracker


@dataclass(frozen=True)
class Entry:
    """A tracker: its class, and what shows a `{folder}` of it."""

    module: str
    name: str
    show: str


TRACKERS = {
    "tensorboard": Entry(
        "study.tracking.tensorboard", "TensorBoard", "tensorboard --logdir {folder}"
    ),
    "mlflow": Entry(
        "study.tracking.mlflow",
        "MLflow",
        "mlflow server --backend-store-uri sqlite:///{folder}/mlflow.db",
    ),
    "wandb": Entry("study.tracking.wandb", "WandB", "wandb sync {folder}/wandb/offline-run-*"),
    "trackio": Entry("study.tracking.trackio", "Trackio", "TRACKIO_DIR={folder} trackio show"),
}
"""By the name of the library, which is that of its extra too."""


def check_trackers(names: Iterable[str]) -> None:
    """Raise StudyError for names of no tracker, and for libraries that are missing."""
    if faults := list(_faults(names)):
        raise StudyError(faults, source="command line")


def _faults(names: Iterable[str]) -> Iterator[Fault]:
    for name in names:
        if name not in TRACKERS:
            yield Fault("--track", f"{name!r} is no tracker", nearest(name, TRACKERS))
        elif not _installed(name):
            fix = f"Run pip install 'collapse-study[{name}]'"
            yield Fault("--track", f"{name} is not installed", fix)


def _installed(library: str) -> bool:
    """Whether a library is there.

    A mere folder of its name, as wandb makes one, is none.
    """
    spec = find_spec(library)
    return spec is not None and spec.origin is not None


def tracker_class(name: str) -> type[Tracker]:
    """The class of a tracker; imports its library."""
    entry = TRACKERS[name]
    kind: type[Tracker] = getattr(import_module(entry.module), entry.name)
    return kind
