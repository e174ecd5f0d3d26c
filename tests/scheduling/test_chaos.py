"""Chaos: workers, launchers, nodes are killed, files damaged; rows stay the same."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import polars as pl
import pytest
from ray_home import Nodes, RayHome, finish, ray_home, wait_for
from tiny_study import launch, rows, starts, tiny

from study.store import Store
from study.store.sealed import intact

LARGE = tiny(
    data={"train_tokens": 8_000},
    measure={"at": "log"},
    grid={"epochs": [6], "seed": [0, 1, 2, 3]},
    resources={"checkpoint_minutes": 0.005, "retries": 5},
)
SMALL = LARGE | {"grid": LARGE["grid"] | {"seed": [0, 1]}}
KINDS = ("worker", "launcher", "node", "file")


@pytest.fixture(scope="module")
def home() -> Iterator[RayHome]:
    """A Ray home for all rounds."""
    with ray_home() as home:
        yield home


@pytest.fixture(scope="module")
def nodes(home: RayHome, tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    """The cluster of all rounds."""
    return Nodes(home, tmp_path_factory.mktemp("nodes"))


def undisturbed(folder: Path, study: dict[str, Any]) -> pl.DataFrame:
    """Rows of a run that nothing disturbed."""
    assert launch(folder, study) == 0
    return rows(folder / "runs" / "tiny")


def finished(run: Path) -> set[str]:
    """Trainings of which every cell is stored whole."""
    store = Store(run)
    whole = [key for key in sorted(store.keys()) if intact(store.paths.cell(key).read_bytes())]
    counts = Counter(str(store.rows(key)[0]["training"]) for key in whole)
    return {
        training for training, count in counts.items() if count == len(LARGE["grid"]["precision"])
    }


def damage(run: Path, chance: random.Random, *, leases: bool) -> Path:
    """Cut a file of the run short, or flip one of its bits."""
    files = [
        p
        for p in sorted(run.rglob("*"))
        if p.is_file() and p.stat().st_size and (leases or p.parent.name != "leases")
    ]
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    if chance.random() < 0.5:
        del content[chance.randrange(len(content)) :]
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return path


def disturb(
    kind: str,
    chance: random.Random,
    home: RayHome,
    nodes: Nodes,
    process: Popen[str],
    run: Path,
    *,
    leases: bool,
) -> None:
    """One disturbance of a launch under way, at a random moment of a training."""
    wait_for(lambda: process.poll() is not None or list((run / "trainings").glob("*/state-*.json")))
    time.sleep(chance.uniform(0.0, 3.0))
    if kind == "worker":
        for worker in chance.sample(workers := home.workers(), min(1, len(workers))):
            worker.kill()
    elif kind == "node":
        nodes.do("kill")
        time.sleep(chance.uniform(0.0, 2.0))
        nodes.do("add")
    else:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if kind == "file":
            print("damaged", damage(run, chance, leases=leases))


def one_round(
    kinds: list[str],
    chance: random.Random,
    home: RayHome,
    nodes: Nodes,
    folder: Path,
    study: dict[str, Any],
    *,
    leases: bool,
) -> pl.DataFrame:
    """Launch and disturb, once for each kind; then launch to the end. The rows."""
    run = folder / "runs" / "tiny"
    for kind in [*kinds, None]:
        before, begun = finished(run), starts(run)
        process = home.launch(folder, study, "--address", nodes.address)
        if kind is not None:
            disturb(kind, chance, home, nodes, process, run, leases=leases)
        if kind in ("launcher", "file"):
            continue
        code, output = finish(process)
        assert code == 0, f"{kind}\n{output}"
        again = {key for key in before if starts(run)[key] != begun[key]}
        assert not again, f"after {kind}, finished trainings ran again: {again}"
    assert [path.name for path in home.folder.iterdir()] == ["ray"], (
        "launches leave nothing but their cluster"
    )
    return rows(run)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Rows of the small study."""
    return undisturbed(tmp_path_factory.mktemp("small"), SMALL)


@pytest.mark.long
@pytest.mark.parametrize(
    "kind",
    [
        "node",
        "worker",
        "file",
    ],
)
def test_a_disturbed_sweep_ends_with_the_rows_of_an_undisturbed_one(
    home: RayHome, nodes: Nodes, small: pl.DataFrame, tmp_path: Path, kind: str
) -> None:
    """A node or a worker is killed, or the launcher, and a file damaged."""
    chance = random.Random(KINDS.index(kind))
    rows = one_round([kind], chance, home, nodes, tmp_path, SMALL, leases=False)
    assert rows.equals(small)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Rows of the large study."""
    return undisturbed(tmp_path_factory.mktemp("large"), LARGE)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_twenty_rounds(
    home: RayHome, nodes: Nodes, large: pl.DataFrame, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    kinds = chance.choices(KINDS, k=chance.choice([1, 2, 3]))
    assert one_round(kinds, chance, home, nodes, tmp_path, LARGE, leases=True).equals(large)
