"""What a study declares of its analysis, and what its design can find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from places import SEARCH_SPACES
from tiny_study import launch, tiny, write_study

from analysis.reading.load import load
from analysis.reading.table import AnalysisError
from analysis.statistics.design_power import design_power, detectable_difference
from study.config import load_study
from study.grid import expand
from study.launch import main
from study.launching.replicates import blocks, design_sizes, pairs_text, power_text
from study.settings.faults import StudyError

DECLARED: dict[str, Any] = {
    "primary": ["nc4_agreement", "nc1_ratio"],
    "margin": {"val_loss": 0.01},
    "level": {"nc1_ratio": 0.5},
    "intervention": ["train.epochs"],
}


def test_what_is_declared_is_part_of_no_key(tmp_path: Path) -> None:
    plain = expand(load_study(write_study(tmp_path, tiny())))
    declared = expand(load_study(write_study(tmp_path, tiny(analysis=DECLARED))))
    assert [cell.key for cell in declared] == [cell.key for cell in plain]
    assert [cell.training_key for cell in declared] == [cell.training_key for cell in plain]


def test_a_run_keeps_it_and_its_report_reads_it(tmp_path: Path) -> None:
    assert launch(tmp_path, tiny(analysis=DECLARED)) == 0
    run = tmp_path / "runs" / "tiny"
    roles = load(run).roles
    assert roles.primary == ("nc4_agreement", "nc1_ratio")
    assert roles.margin == {"val_loss": 0.01}
    assert roles.level == {"nc1_ratio": 0.5}
    (intervention,) = roles.interventions
    assert (intervention.axis, intervention.baseline) == ("epochs", min(tiny()["grid"]["epochs"]))
    said = load(run, primary=["nc1_ratio"], margin={"val_loss": 0.5}).roles
    assert (said.primary, said.margin) == (("nc1_ratio",), {"val_loss": 0.5})
    assert main([str(run), "--serial", "analysis.primary=[nc3_cosine_mean]"]) == 0
    assert load(run).roles.primary == ("nc3_cosine_mean",)
    text = (run / "study.yaml").read_text(encoding="utf-8")
    damages = {"nc3_cosine_mean": "nc3_cosine", "val_loss: 0.01": "val_loss: none"}
    messages = ("'nc3_cosine' is no metric of the table. Did you mean", "should be a valid number")
    for (old, new), message in zip(damages.items(), messages, strict=True):
        (run / "study.yaml").write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(AnalysisError, match=message):
            load(run)


@pytest.mark.parametrize(
    "analysis, message",
    [
        ({"primary": ["nc1_ratios"]}, "analysis.primary[0]: 'nc1_ratios' is no metric of collapse"),
        ({"primary": ["val_loss"]}, "'val_loss' is no metric of collapse"),
        (
            {"level": {"val_loss": 1}},
            "analysis.level.val_loss: 'val_loss' is no metric of collapse",
        ),
        ({"level": {"nc1_ratio": "low"}}, "analysis.level.nc1_ratio: is 'low'"),
        ({"margin": {"loss": 1}}, "analysis.margin.loss: unknown column"),
        ({"margin": {"val_loss": 0}}, "analysis.margin.val_loss: is 0"),
        ({"primary": ["nc1_ratio", "nc1_ratio"]}, "names a metric twice"),
        ({"primary": "nc1_ratio"}, "analysis.primary: is 'nc1_ratio'"),
        ({"primry": []}, "analysis.primry: unknown setting"),
        (
            {"intervention": "train.lr"},
            "analysis.intervention[0]: 'train.lr' is no setting that trainings differ in. Axes "
            "with two levels: train.epochs",
        ),
        ({"intervention": ["epochs", "seed"]}, "analysis.intervention[1]: 'seed' is no setting"),
        ({"intervention": ["epochs", "train.epochs"]}, "names train.epochs a second time"),
        ({"intervention": "measure.min_count"}, "'measure.min_count' is no setting that trainings"),
        ({"intervention": 3}, "analysis.intervention: is 3"),
        ("nc1_ratio", "analysis: is 'nc1_ratio', not settings by name"),
    ],
)
def test_faults_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], analysis: Any, message: str
) -> None:
    path = write_study(tmp_path, tiny(analysis=analysis))
    assert main([str(path), "--runs", str(tmp_path / "runs"), "--dry-run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_intervention_is_an_axis_of_the_grid(tmp_path: Path) -> None:
    for name in ("epochs", "train.epochs", ["train.epochs"]):
        study = load_study(write_study(tmp_path, tiny(analysis={"intervention": name})))
        assert [*study.analysis.intervention] == ([name] if isinstance(name, str) else name)
        assert study.as_yaml()["analysis"] == {"intervention": study.analysis.intervention}
    alone = tiny(grid={"epochs": [1], "seed": [0, 1]}, analysis={"intervention": "train.lr"})
    with pytest.raises(StudyError, match="none, so list two levels of one in the grid"):
        load_study(write_study(tmp_path, alone))
    groups = {"train.schedule": ["linear", "constant"], "seed": [0]}
    grouped = tiny(grid=groups, analysis={"intervention": "train.schedule.kind"})
    assert load_study(write_study(tmp_path, grouped)).analysis.intervention


def test_a_run_without_a_study_declares_nothing(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="unknown setting"):
        load_study(write_study(tmp_path, tiny(analyses={})))


def test_design_cells_differ_in_no_seed_and_no_precision(tmp_path: Path) -> None:
    grid = {
        "width": [4, 8],
        "precision": ["fp32", "int8"],
        "seed": [0, 1, 2],
        "train.shuffle_seed": [5, 6],
    }
    study = load_study(write_study(tmp_path, tiny(grid=grid)))
    assert design_sizes(expand(study)) == [6, 6, 6, 6]  # two widths, two lengths
    published = load_study(SEARCH_SPACES / "seeds_2x768.yaml")
    assert design_sizes(expand(published)) == [21]


def test_a_dry_run_says_what_the_design_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(SEARCH_SPACES / "seeds_2x768.yaml")
    for option, family in ((), 7), (("analysis.primary=[nc1_ratio, nc4_agreement]",), 2):
        assert (
            main([path, "--runs", str(tmp_path), "--dry-run", "--address", "cluster:1", *option])
            == 0
        )
        power = design_power([21], family=family)
        said = capsys.readouterr().out
        assert f"a correlation of {power.alone:.2f} four times in five for a metric alone" in said
        assert f"of {power.within_family:.2f} among {family} primary ones" in said
        assert f"{power.seeds[0.3]} for 0.3, {power.seeds[0.5]} for 0.5" in said


def test_designs_without_replicates_find_nothing() -> None:
    said = power_text(
        cells=1, trainings=3, r_w=0, alone=None, within_family=None, seeds={0.3: 9}, family=7
    )
    assert "These are too few to find a correlation; seeds in each cell" in said
    assert said.startswith("Design: 3 trainings; 1 design cell with replicates, ")


def test_a_dry_run_says_what_an_intervention_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"epochs": [1, 2, 4], "seed": [0, 1, 2, 3], "width": [4, 8]}
    path = write_study(tmp_path, tiny(grid=grid, analysis={"intervention": "epochs"}))
    assert blocks(expand(load_study(path)), "train.epochs") == 8
    assert blocks(expand(load_study(path)), "train.lr") == 0
    assert main([str(path), "--runs", str(tmp_path), "--dry-run"]) == 0
    said = "8 pairs of trainings that differ in it alone find a difference of "
    size = detectable_difference(8)
    assert f"Intervention epochs: {said}{size:.2f} of its own " in capsys.readouterr().out
    assert "3 pairs of trainings that differ in it alone are too few" in pairs_text(
        "epochs", 3, None, None
    )


@pytest.mark.parametrize(
    "grid, name, message",
    [
        ({"train.schedule": ["linear", "wsd"]}, "train.schedule", "train.schedule is several "),
        (
            {"train.penalty.nc1": [0, 0.0], "epochs": [1]},
            "train.penalty.nc1",
            "no two trainings differ in train.penalty.nc1 alone",
        ),
        (
            [
                {"width": [16], "depth": [1], "epochs": [1], "seed": [0, 1]},
                {"width": [16], "depth": [1], "epochs": [2], "seed": [2]},
            ],
            "epochs",
            "no two trainings differ in epochs alone",
        ),
    ],
)
def test_an_intervention_needs_trainings_that_differ_in_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], grid: Any, name: str, message: str
) -> None:
    study = tiny(analysis={"intervention": name})
    study["grid"] = study["grid"] | grid if isinstance(grid, dict) else grid
    for options in ((), ("--dry-run",)):
        assert launch(tmp_path, study, *options) == 2
        said = capsys.readouterr().err
        assert "1 fault" in said
        assert f"analysis.intervention[0]: {message}" in said


def test_settings_of_one_kind_are_part_of_what_a_kind_changes(tmp_path: Path) -> None:
    grid = {"epochs": [1], "seed": [0, 1], "train.schedule": ["linear", "wsd"]}
    study = load_study(write_study(tmp_path, tiny(grid=grid)))
    assert blocks(expand(study), "train.schedule.kind") == 2
