"""States from which a killed training goes on.

Two are kept, each checked by its hash; the older is used when the newer is damaged.

A state is `state-STEP.safetensors` (tensors) and `state-STEP.json` (numbers, and the hash of
both). The JSON file is written last: a state without it does not exist. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from study.store.atomic import replacing, write_atomically
from study.store.paths import TrainingPaths

KEPT = 2

log = logging.getLogger(__name__)


class ResumeError(RuntimeError):
    """The states of a folder belong to another training."""


@dataclass(frozen=True)
class State:
    """What a training needs to go on.

    `facts` are plain numbers and texts, `tensors` lie on the CPU.
    """

    step: int
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def save_state(folder: Path, state: State, *, identity: str) -> None:
    """Write `state` and delete all but the newest two.

    `identity` names the training that may read it back.
    """
    path = TrainingPaths(folder).state(state.step)
    with replacing(path) as temporary:
        save_file(state.tensors, temporary)
    facts = {"identity": identity, "step": state.step, "facts": state.facts}
    record = {"sha256": _digest(path, facts), **facts}
    write_atomically(path.with_suffix(".json"), json.dumps(record, indent=1).encode())
    for record_path in TrainingPaths(folder).state_records()[KEPT:]:
        record_path.unlink()
    names = {path.stem for path in TrainingPaths(folder).state_records()}
    for tensors_path in TrainingPaths(folder).state_tensors():
        if tensors_path.stem not in names:
            tensors_path.unlink()


def load_state(folder: Path, *, identity: str) -> State | None:
    """The newest whole state of `folder`, None where there is none.

    A damaged one is reported in the log and passed over.

    Raises ResumeError when a whole state belongs to another identity.
    """
    for path in TrainingPaths(folder).state_records():
        try:
            record = json.loads(path.read_bytes())
            tensors_path = path.with_suffix(".safetensors")
            facts = {key: record[key] for key in ("identity", "step", "facts")}
            if record["sha256"] != _digest(tensors_path, facts):
                raise ValueError("its content does not match its hash")
            tensors = load_file(tensors_path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            log.warning(
                "The state %s is damaged (%s); an older one is used, or the training starts again.",
                path,
                error,
            )
            continue
        if facts["identity"] != identity:
            raise ResumeError(
                f"{path} was written by a training with other settings or other data "
                f"({facts['identity'][:12]}, not {identity[:12]}): delete the folder {folder} to "
                "start again, or restore the data"
            )
        return State(facts["step"], facts["facts"], tensors)
    return None


def _digest(tensors: Path, facts: dict[str, Any]) -> str:
    with tensors.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()
