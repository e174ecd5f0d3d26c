"""What a launch refuses before it runs anything, and which options it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray_home import finish, ray_home
from tiny_study import tiny, write_study

from study.config import Resources
from study.launch import main
from study.launching import launch
from study.launching.checks import Lack, lacking
from study.launching.options import LaunchOptions
from study.settings.faults import StudyError

NODES = [{"cpus": 4.0, "gpus": 0.0}, {"cpus": 2.0, "gpus": 1.0}]


def test_a_training_must_fit_the_largest_node() -> None:
    assert lacking([Resources(cpus=4), Resources(gpus=1)], NODES) == ()
    assert lacking([Resources(cpus=2), Resources(cpus=5), Resources(gpus=2)], NODES) == (
        Lack("cpus", 5, 4.0),
        Lack("gpus", 2, 1.0),
    )
    assert lacking([Resources(cpus=1)], []) == (Lack("cpus", 1, 0.0),)


@pytest.mark.long
def test_trainings_that_fit_no_node_of_this_computer_are_refused(tmp_path: Path) -> None:
    with ray_home() as home:
        code, output = finish(home.launch(tmp_path, tiny(resources={"cpus": 4096})))
    assert code == 2
    assert "resources.cpus: is 4096, but this computer has" in output


@pytest.mark.parametrize("option", ["--serial", "--dry-run"])
def test_a_cause_that_does_not_exist_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    path = write_study(tmp_path, tiny())
    command = [str(path), "--runs", str(tmp_path), option, "--retry-failed", "divergd"]
    assert main(command) == 2
    assert "Did you mean `diverged`?" in capsys.readouterr().err
    with pytest.raises(StudyError, match="no cause of failures"):
        launch(path, runs=tmp_path, serial=True, retry_failed="train.lr=1")


def test_a_command_that_goes_on_runs_in_the_same_way() -> None:
    assert LaunchOptions(serial=True).arguments() == ["--serial"]
    assert LaunchOptions(address="a:1", retry_failed="all").arguments() == ["--address", "a:1"]
