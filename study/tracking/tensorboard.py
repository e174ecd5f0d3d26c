"""TensorBoard: a folder of event files a training, written by its own library.

A training that goes on gets a further file in the same folder, and TensorBoard joins the files.
They are read first, so that what a killed process wrote without a note of it is not written again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from study.tracking.base import Point, Run, Status, Subject, Tracker


class TensorBoard(Tracker):
    """`tensorboard --logdir FOLDER` shows it."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.place = folder, str(folder.resolve())

    def start(self, subject: Subject, run: str | None) -> Run:
        """Open a new file of events in the folder of the training."""
        name = run or re.sub(r"[^\w.-]+", "-", subject.name)
        events = _Events(name, self.folder / name)
        if run is None:
            started = time.time()
            events.add(hparams_pb(dict(subject.settings), subject.key, started), 0)
            lines = [f"|{name}|{value}|" for name, value in subject.settings.items()]
            table = "\n".join(["|setting|value|", "|---|---|", *lines])
            events.add(text_pb("settings", table), 0)
            events.writer.flush()
        return events


class _Events(Run):
    def __init__(self, name: str, folder: Path) -> None:
        self.id, self.last = name, _last_steps(folder)
        self.writer = EventFileWriter(str(folder))

    def add(self, summary: Summary, step: int) -> None:
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def log(self, points: Sequence[Point]) -> None:
        """Write values as float32: TensorBoard's fast loader leaves out all others."""
        metadata = create_summary_metadata(display_name="", description="")
        for step, values in points:
            new = {name: values[name] for name in values if step > self.last.get(name, -1)}
            summary = Summary(
                value=[
                    Summary.Value(
                        tag=name, tensor=make_tensor_proto(np.float32(value)), metadata=metadata
                    )
                    for name, value in new.items()
                ]
            )
            self.add(summary, step)
            self.last.update(dict.fromkeys(new, step))
        self.writer.flush()

    def finish(self, status: Status, cause: str) -> None:
        ending = SessionEndInfo(
            status=STATUS_SUCCESS if status == "done" else STATUS_FAILURE,
            end_time_secs=time.time(),
        )
        value = Summary.Value(
            tag=hparams.SESSION_END_INFO_TAG,
            metadata=hparams.create_summary_metadata(HParamsPluginData(session_end_info=ending)),
            tensor=hparams.NULL_TENSOR,
        )
        step = max(self.last.values(), default=0)
        self.add(Summary(value=[value]), step)
        self.add(text_pb("status", f"{status}: {cause}" if cause else status), step)
        self.writer.close()


def _last_steps(folder: Path) -> dict[str, int]:
    """The last step of each curve in a folder, by its name; steps of a curve ascend."""
    last: dict[str, int] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                last[value.tag] = max(event.step, last.get(value.tag, -1))
    return last
