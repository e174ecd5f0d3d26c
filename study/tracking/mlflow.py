"""MLflow: a run a training, in an experiment of the name of the study.

It lies in a database in the folder, unless MLFLOW_TRACKING_URI names a server or another one. A
training that goes on has the same run. Its values are logged once, except where a process was
killed before it had noted them: these are there twice, with two times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, RunStatus
from mlflow.tracking import MlflowClient

from study.tracking.base import Point, Run, Status, Subject, Tracker

METRICS, PARAMETERS, TEXT = 1000, 100, 5000
"""Values and parameters in a request, and characters of a tag, at most."""
ENDINGS = {"done": "FINISHED", "failed": "FAILED", "diverged": "FAILED", "stopped": "KILLED"}


class MLflow(Tracker):
    """`mlflow server --backend-store-uri sqlite:///FOLDER/mlflow.db` shows it."""

    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        address = os.environ.get("MLFLOW_TRACKING_URI")
        artifacts = None if address else (folder.resolve() / "artifacts").as_uri()
        self.place = address or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.place)
        experiment = self.client.get_experiment_by_name(study)
        self.experiment = (
            self.client.create_experiment(study, artifact_location=artifacts)
            if experiment is None
            else experiment.experiment_id
        )

    def start(self, subject: Subject, run: str | None) -> Run:
        """Create a run with its parameters, or open the one that there is."""
        client = self.client
        if run is not None:
            client.update_run(run, status=RunStatus.to_string(RunStatus.RUNNING))
            return _Run(client, run)
        tags = {"training": subject.key}
        created = client.create_run(self.experiment, run_name=subject.name, tags=tags)
        parameters = [Param(name, str(value)) for name, value in subject.settings.items()]
        for start in range(0, len(parameters), PARAMETERS):
            some = parameters[start : start + PARAMETERS]
            client.log_batch(created.info.run_id, params=some)
        return _Run(client, created.info.run_id)


class _Run(Run):
    def __init__(self, client: MlflowClient, run: str) -> None:
        self.client, self.id = client, run

    def log(self, points: Sequence[Point]) -> None:
        clock = int(1000 * time.time())
        metrics = [
            Metric(name, value, clock, step)
            for step, values in points
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), METRICS):
            self.client.log_batch(self.id, metrics=metrics[start : start + METRICS])

    def finish(self, status: Status, cause: str) -> None:
        self.client.set_tag(self.id, "status", status)
        self.client.set_tag(self.id, "cause", cause[:TEXT])
        self.client.set_terminated(self.id, ENDINGS[status])
