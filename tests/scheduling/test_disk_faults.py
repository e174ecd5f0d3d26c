"""A disk that fails at any call: nothing is lost, and 0 means that all cells are stored."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from base_study import CELLS, write_base
from faulty_disk import (
    KINDS,
    Fault,
    FaultyDisk,
    Launches,
    Result,
    compiled,
    launches,
    started_cluster,
)
from polars.testing import assert_frame_equal
from ray_home import ray_home
from tiny_study import rows

from study.store import Store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study and its runs lie."""
    folder = tmp_path_factory.mktemp("faulty")
    write_base(folder)
    return folder


@pytest.fixture(scope="module")
def disk(place: Path) -> FaultyDisk:
    """A disk that fails below `runs`."""
    library = compiled(place)
    if library is None:
        pytest.skip("no C compiler")
    return FaultyDisk(place, place / "runs", library)


@pytest.fixture(scope="module")
def serial(disk: FaultyDisk, place: Path) -> Iterator[Launches]:
    """Serial launches on that disk."""
    with launches(disk, place) as server:
        yield server


@dataclass(frozen=True)
class Sound:
    """A launch on a disk that does not fail: its rows, and its calls by kind."""

    rows: pl.DataFrame
    calls: dict[str, int]


@pytest.fixture(scope="module")
def sound(serial: Launches, place: Path) -> Sound:
    """What a disk that does not fail gives."""
    result = launch(serial, place, Fault())
    assert result.code == 0, result.output
    assert all(result.calls[kind] > 3 for kind in KINDS[1:]), result.calls
    return Sound(rows(place / "runs" / "base"), result.calls)


def launch(serial: Launches, place: Path, fault: Fault, *options: str) -> Result:
    arguments = [str(place / "base.yaml"), "--runs", str(place / "runs"), "--serial", *options]
    return serial.run(arguments, fault)


def check(
    serial: Launches, place: Path, sound: Sound, fault: Fault, on_ray: Launches | None = None
) -> Result:
    """A launch with a fault, and the next one without; what the first one gave."""
    shutil.rmtree(place / "runs", ignore_errors=True)
    first = launch(serial, place, fault) if on_ray is None else launch_on_ray(on_ray, place, fault)
    store = Store(place / "runs" / "base")
    stored = store.keys()
    assert "Traceback" not in first.output, (fault, first.output)
    assert first.code in (0, 1, 2), (fault, first)
    assert first.output.strip(), fault
    if first.code == 0:
        assert len(stored) == CELLS, (fault, first.output)
    again = launch(serial, place, Fault(), "--retry-failed")
    assert again.code == 0, (fault, first.output, again.output)
    assert stored <= store.keys() and len(store.keys()) == CELLS, (fault, again.output)
    assert_frame_equal(rows(place / "runs" / "base"), sound.rows)
    return first


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_call_that_fails_loses_nothing(
    serial: Launches, place: Path, sound: Sound, kind: str
) -> None:
    """A call of each kind; the long test takes all."""
    at = random.Random(kind).randint(1, sound.calls[kind])
    check(serial, place, sound, Fault(kind, at, number=errno.EIO))


def test_a_disk_that_gets_full_ends_in_an_error_and_loses_nothing(
    serial: Launches, place: Path, sound: Sound
) -> None:
    for share in (0.4, 0.8):
        at = int(share * sound.calls["write"])
        assert check(serial, place, sound, Fault("write", at, forever=True)).code in (1, 2)


@pytest.mark.long
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_any_call_that_fails_loses_nothing(
    serial: Launches, place: Path, sound: Sound, kind: str, forever: bool
) -> None:
    for at in range(1, sound.calls[kind] + 1):
        check(serial, place, sound, Fault(kind, at, forever, number=errno.EIO))


@pytest.fixture(scope="module")
def on_ray(disk: FaultyDisk, place: Path) -> Iterator[Launches]:
    """Launches on a Ray cluster whose workers have that disk, too."""
    with ray_home() as home:
        cluster = started_cluster(home, **disk.environment)
        with launches(disk, place, cluster) as server:
            yield server


@pytest.fixture(scope="module")
def sound_on_ray(on_ray: Launches, place: Path, sound: Sound) -> Sound:
    """The same rows, and the calls of a launch, of Ray's workers and of trainings together."""
    shutil.rmtree(place / "runs")
    result = launch_on_ray(on_ray, place, Fault())
    assert result.code == 0, result.output
    assert_frame_equal(rows(place / "runs" / "base"), sound.rows)
    return Sound(sound.rows, result.calls)


def launch_on_ray(on_ray: Launches, place: Path, fault: Fault) -> Result:
    """One training at a time, so that calls come in nearly the same order each time."""
    options = ["--runs", str(place / "runs"), "resources.parallel=1"]
    return on_ray.run([str(place / "base.yaml"), *options], fault)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_any_call_that_fails_on_ray_loses_nothing(
    serial: Launches, on_ray: Launches, place: Path, sound_on_ray: Sound, kind: str, forever: bool
) -> None:
    """FAULTS_ON_RAY calls of each kind, evenly spread; `all`: every one."""
    calls = sound_on_ray.calls[kind]
    count = os.environ.get("FAULTS_ON_RAY", "15")
    step = 1.0 if count == "all" else max(1.0, calls / int(count))
    for number in range(int(calls / step)):
        fault = Fault(kind, 1 + int(number * step), forever, number=errno.EIO)
        first = check(serial, place, sound_on_ray, fault, on_ray)
        print(fault, first.code, flush=True)
