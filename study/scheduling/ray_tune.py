"""Ray Tune as scheduler: one Tune trial per attempt at a training.

The only module that imports Ray. Tune decides where and when a training runs. What comes next and
what is tried again is the backlog's to say, and what is done is read from the store alone: Tune's
own state is thrown away.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.tune.search import Searcher

from study.scheduling.backlog import Backlog
from study.scheduling.failure import chain
from study.scheduling.joining import ClusterError
from study.scheduling.processes import Nursery
from study.scheduling.work import Ended, Work
from study.store.errors import StorageError
from study.store.paths import ScratchPaths

TRIALS = 500
"""Trials in one run of Tune: its driver's memory grows with them."""
LOW_ON_MEMORY = "due to the node running low on memory"
"""In the text of Ray's memory monitor; Tune keeps the type of this error to itself."""


class SweepError(RuntimeError):
    """Ray ended the sweep before its trials were through.

    The store has what they finished.
    """

    @property
    def killed(self) -> set[int]:
        """Process numbers of the workers that Ray's memory monitor killed, if that is why."""
        return {
            int(number) for number in re.findall(r"Selected to kill: .*?\bpid=(\d+)", str(self))
        }


NURSERY = Nursery()
"""Of this process, if it is a worker: Tune uses a worker for one trial after another."""


def _trainable(config: dict[str, Any]) -> dict[str, Any]:
    node = ray.get_runtime_context().get_node_id()
    ended = NURSERY.run(replace(Work.from_json(config["task"]), node=node, waiting=os.getpid()))
    return {**asdict(ended), "node": node, "done": True}


@contextmanager
def connected(address: str, scratch: Path) -> Iterator[None]:
    """Within the Ray cluster at an address.

    For `local` it is a Ray of our own on this computer, which puts all that it writes into
    `scratch`. The environment must have been prepared before this module was imported.

    Raises ClusterError where the cluster cannot be joined.
    """
    own = address == "local"
    environment = ({} if own else _code()) | _apart_from_namesake(scratch, own=own)
    options: dict[str, Any] = {}
    if own:
        options = {"include_dashboard": False, "_temp_dir": str(scratch)}
    if environment:
        options["runtime_env"] = environment
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except Exception as error:  # Ray raises plain ones too, where its start takes too long
        what = "Ray does not start" if own else f"cannot join the Ray cluster at {address}"
        raise ClusterError(f"{what}: {str(error).strip().partition(chr(10))[0]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _code() -> dict[str, Any]:
    """The runtime environment that takes this code to the nodes of a cluster."""
    return {"py_modules": [str(Path(__file__).parent.parent)]}


def _apart_from_namesake(scratch: Path, *, own: bool) -> dict[str, Any]:
    """The runtime environment of workers where another `study` lies in the folder.

    Ray puts the folder of the call before all others in which its workers look for modules, unless
    they have a folder of their own.
    """
    code = Path(__file__).parents[2]
    if not Path("study").exists() or Path.cwd().samefile(code):
        return {}
    apart = scratch / "apart"
    apart.mkdir(exist_ok=True)
    (apart / "README").write_text("Where workers of Ray are, apart from the folder of the call.\n")
    paths = [str(code), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {"working_dir": str(apart)} | ({"env_vars": variables} if own else {})


def nodes() -> dict[str, dict[str, float]]:
    """Nodes of the cluster that are alive, and how many `cpus` and `gpus` each has."""
    return {
        node["NodeID"]: {
            "cpus": node["Resources"].get("CPU", 0.0),
            "gpus": node["Resources"].get("GPU", 0.0),
        }
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }


def free() -> dict[str, float]:
    """How many `cpus` and `gpus` of all nodes together nobody uses now."""
    available = ray.available_resources()  # type: ignore[no-untyped-call]
    return {"cpus": available.get("CPU", 0.0), "gpus": available.get("GPU", 0.0)}


def run(backlog: Backlog, scratch: Path) -> None:
    """Run what the backlog hands out, until it is finished or `TRIALS` have run.

    Tune writes into `scratch`. Raises SweepError if Ray gave up.
    """
    _take_killed_for_lost()
    with tempfile.TemporaryDirectory(
        prefix=ScratchPaths.TUNE_PREFIX, dir=scratch, ignore_cleanup_errors=True
    ) as storage:
        tuner = tune.Tuner(
            tune.with_resources(_trainable, _placement),
            param_space={"task": None, "avoid": None},
            tune_config=tune.TuneConfig(
                search_alg=_Tasks(backlog), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[_Listener(backlog)],
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, OSError, RayError, tune.TuneError) as error:
            for link in chain(error):
                if isinstance(link, StorageError):  # of the backlog, which knows nothing of Ray
                    raise link from None
            raise SweepError(str(error) or type(error).__name__) from error


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial needs, and where it must not go."""
    resources = Work.from_json(config["task"]).training.first.resources
    bundle = {"CPU": float(resources.cpus)}
    if resources.gpus:
        bundle["GPU"] = resources.gpus
    if resources.memory_gib:
        bundle["memory"] = resources.memory_gib * 2**30
    if not config["avoid"]:
        return tune.PlacementGroupFactory([bundle])
    elsewhere = {"ray.io/node-id": f"!in({config['avoid']})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


class _Tasks(Searcher):
    """Tune's source of trials: the backlog."""

    def __init__(self, backlog: Backlog) -> None:
        super().__init__()
        self.backlog, self.handed_out = backlog, 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Any, **spec: Any
    ) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        full = self.handed_out >= TRIALS
        if self.backlog.settle() or (full and not self.backlog.out):
            return Searcher.FINISHED
        task = None if full else self.backlog.next()
        if task is None:
            return None
        self.handed_out += 1
        return {"task": task.to_json(), "avoid": ",".join(self.backlog.avoided)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The listener tells the backlog, with more to say."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: the store is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Listener(tune.Callback):
    """Tells the backlog how each trial ended."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        ended = Ended(result["outcome"], result["cause"], result["message"])
        self.backlog.ended(_key(trial), ended, result["node"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker itself is gone."""
        text = (
            Path(trial.error_file)
            .read_text(encoding="utf-8", errors="replace")
            .partition("\n")[2]
            .strip()
        )
        self.backlog.lost(_key(trial), text, out_of_memory=LOW_ON_MEMORY in text)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _key(trial: Any) -> str:
    return str(json.loads(trial.config["task"])["key"])


def _take_killed_for_lost() -> None:
    """Let Tune take a worker that Ray's memory monitor killed for a lost one.

    Tune (2.60) knows only RayActorError as the end of a worker and aborts all trials on
    OutOfMemoryError, which is none. Where a later Tune has other modules this does nothing: the
    launch then starts another run after such an abort.
    """
    with suppress(ImportError, KeyError):
        from ray.air.execution._internal import actor_manager
        from ray.tune.execution import tune_controller

        for module in (actor_manager, tune_controller):
            names = vars(module)
            if names["RayActorError"] is RayActorError:
                names["RayActorError"] = (RayActorError, OutOfMemoryError)
