"""What a launch that was killed leaves on its computer: the session folder of its Ray, which Ray itself never deletes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shutil import rmtree

from study.lease import process_start, this_machine
from study.store import write_json

KEY = "ray_session"


def note_session(record: Path, session: Path | None) -> None:
    """Add the session folder of a launch's own Ray, if it has one, to the launch's record."""
    if session is not None:
        pid = os.getpid()
        owner = {"machine": this_machine(), "pid": pid, "process_started": process_start(pid)}
        write_json(record, json.loads(record.read_text(encoding="utf-8")) | {KEY: {"folder": str(session), **owner}})


def forget_dead_launches(launches: Path) -> None:
    """Delete the session folders of launches of this computer that have ended, and requests that they end."""
    for path in launches.glob("[!.]*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            session = record[KEY]
            dead = session["machine"] == this_machine() and process_start(session["pid"]) != session["process_started"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # without a Ray of its own, or damaged: provenance is no reason not to launch
        if dead and Path(session["folder"]).name.startswith("session_"):
            rmtree(session["folder"], ignore_errors=True)
            path.with_suffix(".stop").unlink(missing_ok=True)
