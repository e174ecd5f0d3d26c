"""Every path of a run, and of what the runs of a folder share.

Names inside an entry of the cache belong to the kind of data that writes it, those inside a
checkpoint to `study.models`.

runs/NAME/study.yaml                     the resolved study
runs/NAME/planned.parquet                keys and settings of its cells
runs/NAME/cells/ab/KEY.parquet           rows of one cell: one per checkpoint (and layer, attack)
runs/NAME/parts/TIME-RANDOM.parquet      rows of many cells, which lay in `cells/` before
runs/NAME/rows.parquet                   all rows in one file, where `collapse-study pack` made it
runs/NAME/failures/KEY.json              why a cell has no rows
runs/NAME/damaged/                       files that failed their checksum, set aside
runs/NAME/trainings/KEY/                 one training: see `TrainingPaths`
runs/NAME/checkpoints/KEY/epoch-00003/   kept weights, and checkpoint.json, the record of them
runs/NAME/data/SETTINGS.json             fingerprint and facts of the data that the run measures
runs/NAME/data/SETTINGS.parquet          their classes: name and samples of each
runs/NAME/classes/                       class tables of `collapse-study measure --classes`
runs/NAME/leases/KEY.json                who works on a training, and how far it is
runs/NAME/launches/TIME.json             provenance of each launch
runs/NAME/launches/TIME.stop             exists once the launch was asked to end
runs/NAME/search/journal.log             trials of a search (Optuna's journal)
runs/NAME/search/search.yaml             the search as it was launched last
runs/NAME/search/search.json             lease of the launch that works on the search
runs/NAME/best.yaml                      settings of a search's best trial
runs/NAME/best-trial-0007.yaml           the same for each trial on the front of several objectives
runs/NAME/report/                        what `collapse-study report` writes
runs/NAME/tracking/TRACKER/              curves for a tracker, and how far each training is logged
runs/.cache/                             shared by the runs of a folder: see `CachePaths`

A run may lie on object storage, with the same names. Its cache is then that of each computer, and
its report goes to `NAME-report` where the command is called.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from study.store.places import files_below, is_object, own_cache

CHECKPOINT_RECORD = "checkpoint.json"
KEY = re.compile(r"[0-9a-f]{32}")
"""The key of a cell."""


@dataclass(frozen=True)
class RunPaths:
    """Every path of a run."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def planned(self) -> Path:
        return self.root / "planned.parquet"

    @property
    def cells(self) -> Path:
        return self.root / "cells"

    def cell(self, key: str) -> Path:
        return self.cells / key[:2] / f"{key}.parquet"

    def cell_files(self) -> list[Path]:
        """Files of single cells."""
        return [path for path in self._in_cells() if self._is_cell(path)]

    def copied_cells(self) -> list[Path]:
        """Files beside those of cells that have no cell's name.

        Programs that synchronize folders leave such copies.
        """
        return sorted(path for path in self._in_cells() if not self._is_cell(path))

    def _in_cells(self) -> Iterator[Path]:
        if is_object(self.cells):
            yield from cast(Iterator[Path], self.cells.rglob("[!.]*.parquet"))
            return
        for folder in self.cells.glob("??"):
            # A fold removes folders that it has emptied, also while they are listed here.
            with contextlib.suppress(FileNotFoundError):
                yield from folder.glob("[!.]*.parquet")

    def _is_cell(self, path: Path) -> bool:
        return KEY.fullmatch(path.stem) is not None and path == self.cell(path.stem)

    @property
    def packed(self) -> Path:
        """Rows of many cells in one file; a run has it if it was packed."""
        return self.root / "rows.parquet"

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    def part(self, name: str) -> Path:
        """Rows of many cells, folded into one file."""
        return self.parts / f"{name}.parquet"

    def packed_files(self) -> list[Path]:
        """The file of a packed run, if it is one."""
        return list(self.root.glob(self.packed.name))

    def folded_files(self) -> list[Path]:
        """Files into which cells were folded, the oldest first."""
        return sorted(self.parts.glob("[!.]*.parquet"))

    @property
    def failures(self) -> Path:
        return self.root / "failures"

    def failure(self, key: str) -> Path:
        return self.failures / f"{key}.json"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def trainings(self) -> Path:
        return self.root / "trainings"

    def training(self, key: str) -> Path:
        """The folder of a training; `TrainingPaths` names what lies there."""
        return self.trainings / key

    def unfinished(self) -> set[str]:
        """Trainings that have states or rows so far; one look at all."""
        return {
            path.relative_to(self.trainings).parts[0]
            for path in files_below(self.trainings)
            if path.parent.name == "partial" or path.name.startswith("state-")
        }

    def provenance(self, key: str) -> Path:
        """Settings, versions, hardware and times of a training."""
        return TrainingPaths(self.training(key)).provenance

    def loss_log(self, key: str) -> Path:
        """Loss and learning rate of each optimizer step of a training."""
        return TrainingPaths(self.training(key)).loss_log

    def stop(self, key: str) -> Path:
        """Exists once this training alone was asked to end: its trial is pruned."""
        return TrainingPaths(self.training(key)).stop

    @property
    def all_checkpoints(self) -> Path:
        """Kept weights of all trainings."""
        return self.root / "checkpoints"

    def checkpoints(self, key: str) -> Path:
        return self.all_checkpoints / key

    def checkpoint(self, key: str, epoch: int) -> Path:
        return self.checkpoints(key) / epoch_name(epoch)

    def data(self, settings: str) -> Path:
        return self.root / "data" / f"{settings}.json"

    def data_classes(self, settings: str) -> Path:
        return self.data(settings).with_suffix(".parquet")

    @property
    def class_tables(self) -> Path:
        return self.root / "classes"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def launches(self) -> Path:
        return self.root / "launches"

    def launch(self, name: str) -> Path:
        """Provenance of a launch."""
        return self.launches / f"{name}.json"

    def stop_launch(self, name: str) -> Path:
        """Exists once a launch was asked to end: its workers save and return."""
        return self.launches / f"{name}.stop"

    @property
    def search(self) -> Path:
        return self.root / "search"

    @property
    def search_file(self) -> Path:
        """The search as it was launched last."""
        return self.search / "search.yaml"

    @property
    def search_lease(self) -> Path:
        """Who works on the search."""
        return LeasePaths(self.search).lease("search")

    @property
    def journal(self) -> Path:
        """The state of a search; a run that is no search has none."""
        return self.search / "journal.log"

    def best(self, trial: int | None = None) -> Path:
        """Settings of a search's best trial.

        With several objectives: of one trial on the front.
        """
        return self.root / ("best.yaml" if trial is None else f"best-trial-{trial:04d}.yaml")

    def all_best(self) -> list[Path]:
        """The files of best trials that lie in the run."""
        return sorted(self.root.glob("best.yaml")) + sorted(self.root.glob("best-trial-*.yaml"))

    @property
    def cache(self) -> Path:
        """Tokens and other derived data, shared by all runs of the folder."""
        return cache_of(self.root.parent)

    @property
    def report(self) -> Path:
        """Where a report goes: of a run on object storage to this computer, to be read."""
        return Path(f"{self.root.name}-report") if is_object(self.root) else self.root / "report"

    @property
    def tracking(self) -> Path:
        return self.root / "tracking"

    def tracker(self, name: str) -> Path:
        """What a tracker shows of the run."""
        return self.tracking / name


@dataclass(frozen=True)
class TrainingPaths:
    """Files of a training's folder.

    provenance.json           settings, versions, hardware, times
    loss_log.jsonl            loss and learning rate of each optimizer step
    console.log               what the training and its libraries print
    hang.log                  stacks of its threads, where a watchdog ended it
    state-STEP.safetensors    tensors of a resume state, with state-STEP.json, its record
    partial/epoch-00003.json  rows of a measured checkpoint, until the cells are complete
    stop                      exists once this training alone was asked to end
    """

    folder: Path

    @property
    def provenance(self) -> Path:
        return self.folder / "provenance.json"

    @property
    def loss_log(self) -> Path:
        return self.folder / "loss_log.jsonl"

    @property
    def console_log(self) -> Path:
        return self.folder / "console.log"

    @property
    def hang_log(self) -> Path:
        return self.folder / "hang.log"

    def state(self, step: int) -> Path:
        """Tensors of the resume state after a step."""
        return self.folder / f"state-{step:09d}.safetensors"

    def state_records(self) -> list[Path]:
        """Records of the resume states, newest first."""
        return sorted(self.folder.glob("state-*.json"), reverse=True)

    def state_tensors(self) -> list[Path]:
        """Tensors of the resume states."""
        return list(self.folder.glob("state-*.safetensors"))

    def states(self) -> Iterator[Path]:
        """All files of resume states, tensors and records."""
        return self.folder.glob("state-*")

    @property
    def partial(self) -> Path:
        return self.folder / "partial"

    def partial_rows(self, epoch: int) -> Path:
        return self.partial / f"{epoch_name(epoch)}.json"

    def partial_epochs(self) -> list[int]:
        """Epochs whose rows lie in `partial`."""
        return sorted(
            int(path.stem.removeprefix("epoch-")) for path in self.partial.glob("epoch-*.json")
        )

    def resumed(self) -> list[Path]:
        """Logs and states, from which a training goes on; one look."""
        logs = {self.loss_log.name, self.console_log.name}
        there = self.folder.iterdir()
        return [path for path in there if path.name in logs or path.name.startswith("state-")]

    def unfinished(self) -> Iterator[Path]:
        """What a training needs until its rows are stored: resume states, rows so far."""
        yield from self.states()
        if self.partial.exists():
            yield self.partial

    @property
    def stop(self) -> Path:
        return self.folder / "stop"


@dataclass(frozen=True)
class LeasePaths:
    """Files of a folder of leases: of the trainings of a run, or of its search.

    KEY.json            who works on it, and how far it is
    .KEY.OWNER.heir     who came after an owner who was gone, until that lease ends
    """

    folder: Path

    def lease(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def leases(self) -> list[Path]:
        """The files of all leases, in the order of their keys."""
        return sorted(self.folder.glob("[!.]*.json"))

    def heir(self, key: str, owner: str) -> Path:
        """The lease of whoever came after an owner who was gone."""
        return self.folder / f".{key}.{owner}.heir"

    def heirs(self, key: str) -> list[Path]:
        """All those of a key."""
        return list(self.folder.glob(f".{key}.*.heir"))


@dataclass(frozen=True)
class CachePaths:
    """Files beside the cached data that belong to no data set."""

    folder: Path

    @property
    def speeds(self) -> Path:
        """FLOP/s of trainings, as `--calibrate` measured them."""
        return self.folder / "speeds.json"

    @property
    def measured(self) -> Path:
        """Columns of weights that were measured, of all runs of the folder."""
        return self.folder / "measured"


@dataclass(frozen=True)
class ScratchPaths:
    """The folder of temporary files that a launch has beside Ray's sessions.

    study-RANDOM/owner.json   the process of the launch, and its stop file
    study-RANDOM/tune-RANDOM/ what Ray Tune writes
    """

    folder: Path

    PREFIX = "study-"
    TUNE_PREFIX = "tune-"
    CONTENT = (".owner.json.*", "session_*", f"{TUNE_PREFIX}*", "ray*", "prom_metrics_*.json")
    """Names of all that lies there beside the record of the owner."""

    @property
    def owner(self) -> Path:
        return self.folder / "owner.json"


def is_stop_file(path: Path) -> bool:
    """Whether a path, followed through no link, is that of `RunPaths.stop_launch`."""
    shape = path.suffix == ".stop" and path.parent.name == "launches"
    return shape and path.parent.resolve() == path.parent


def cache_of(runs: Path) -> Path:
    """The cache that the runs of a folder share.

    It lies on this computer also where they do not: what is there is made anew where it lacks.
    """
    return own_cache() if is_object(runs) else runs / ".cache"


def epoch_name(epoch: int) -> str:
    """`epoch-00003`: the name of a checkpoint."""
    return f"epoch-{epoch:05d}"
