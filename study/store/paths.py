"""Every path of a run:

runs/NAME/study.yaml                     the resolved study
runs/NAME/planned.parquet                keys and settings of its cells
runs/NAME/cells/ab/KEY.parquet           rows of one cell: one per checkpoint (and layer)
runs/NAME/rows.parquet                   instead of these, all rows in one file, where `python -m study.pack` made the run
runs/NAME/failures/KEY.json              why a cell has no rows
runs/NAME/damaged/                       files that failed their checksum, set aside
runs/NAME/trainings/KEY/                 provenance, loss log, console log, resume states of one training
runs/NAME/checkpoints/KEY/epoch-00003/   kept weights
runs/NAME/data/SETTINGS.json             fingerprint and facts of the data that the run is measured on
runs/NAME/data/SETTINGS.parquet          their classes: name and samples of each
runs/NAME/classes/                       tables of single classes that `python -m study.measure --classes` writes
runs/NAME/leases/KEY.json                who works on a training, and how far it is
runs/NAME/launches/TIME.json             provenance of each launch
runs/NAME/search/journal.log             trials of a search (Optuna's journal), beside search.yaml, its file
runs/NAME/best.yaml                      settings that a search found
runs/NAME/report/                        what `python -m analysis` writes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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

    @property
    def packed(self) -> Path:
        """Rows of many cells in one file; a run has it if it was packed."""
        return self.root / "rows.parquet"

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
        return self.trainings / key

    def provenance(self, key: str) -> Path:
        """Settings, versions, hardware and times of a training."""
        return self.training(key) / "provenance.json"

    def stop(self, key: str) -> Path:
        """Exists once a training was asked to end and its launch was not: a search has given it up."""
        return self.training(key) / "stop"

    def checkpoints(self, key: str) -> Path:
        return self.root / "checkpoints" / key

    def checkpoint(self, key: str, epoch: int) -> Path:
        return self.checkpoints(key) / f"epoch-{epoch:05d}"

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

    @property
    def search(self) -> Path:
        return self.root / "search"

    @property
    def journal(self) -> Path:
        """The state of a search; a run that is no search has none."""
        return self.search / "journal.log"

    def best(self, trial: int | None = None) -> Path:
        """Settings that a search found; of several objectives, those of one trial on the front."""
        return self.root / ("best.yaml" if trial is None else f"best-trial-{trial:04d}.yaml")

    @property
    def cache(self) -> Path:
        """Tokens and other derived data, shared by all runs of the folder."""
        return self.root.parent / ".cache"

    @property
    def report(self) -> Path:
        return self.root / "report"
