"""What a report says of a search: its winner against the default, seed by seed."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
import scipy.stats
from overlaps import unreadable
from tiny_search import hunt, journal, tune

from analysis.__main__ import main
from analysis.findings.tuning import comparison_table, confirmed
from analysis.reading.load import load
from analysis.reading.search import describe
from analysis.reading.search_record import Confirmation, Objective, SearchRecord
from analysis.reading.table import AnalysisError, Choices, Metric, Roles
from analysis.report.page import build_report
from analysis.report.summary import summarise
from analysis.statistics.paired import mean_difference
from study.store import RunPaths, Store


def record(tuned: int, default: int, *, lower: bool = True) -> SearchRecord:
    """A search with some confirmed seeds a side: cells t0, t1, ... and d0, d1, ..."""
    arms = tuple(f"t{n}" for n in range(tuned)), tuple(f"d{n}" for n in range(default))
    return SearchRecord(
        paths=RunPaths(Path("none")),
        objectives=(Objective("nc1_ratio", lower),),
        constraints=("train_accuracy >= 0.9",),
        trials=pl.DataFrame(),
        best=(3,),
        confirmation=Confirmation(3, tuple(range(1, tuned + 1)), *arms),
    )


def rows(
    values: Mapping[str, float | None], accuracy: dict[str, float] | None = None
) -> pl.DataFrame:
    """Two checkpoints of each cell; the first must not count."""
    return pl.DataFrame(
        [
            {
                "cell": cell,
                "epoch": epoch,
                "nc1_ratio": value if epoch else 99.0,
                "train_accuracy": reached,
            }
            for cell, value in values.items()
            for epoch in (0, 2)
            for reached in [(accuracy or {}).get(cell, 1.0)]
        ],
        schema={
            "cell": pl.String,
            "epoch": pl.Int64,
            "nc1_ratio": pl.Float64,
            "train_accuracy": pl.Float64,
        },
    )


HEAVY = Metric("nc1_ratio", "NC1", "lower", heavy_tailed=True)
ROLES = Roles("val_loss", {"val_loss": "lower"}, {}, (), (), "training")
TRIALS = pl.DataFrame(
    {"trial": [3], "state": ["complete"], "nc1_ratio": [0.1], "holds": [True], "settings": ["lr 1"]}
)
VALUES = {
    f"{arm}{n}": base * (1 + 0.1 * n) for arm, base in (("t", 0.02), ("d", 0.1)) for n in range(6)
}


def test_the_comparison_is_of_logarithms_at_the_last_checkpoint() -> None:
    line = confirmed(record(6, 6), rows(VALUES), HEAVY)
    tuned, default = (np.log([VALUES[f"{arm}{n}"] for n in range(6)]) for arm in "td")
    reference = mean_difference(tuned - default)
    assert line is not None and line.scale == "log" and line.n == 6
    assert (line.p, line.difference, line.low, line.high, line.patterns) == (
        reference.p,
        reference.mean,
        reference.low,
        reference.high,
        64,
    )
    assert line.ratio == pytest.approx(0.2)
    assert line.tuned_mean == pytest.approx(scipy.stats.gmean(np.exp(tuned)))
    assert line.beats is True
    raw = confirmed(record(6, 6), rows(VALUES), None)
    assert raw is not None and raw.scale == "raw" and raw.ratio is None


def test_a_winner_that_is_no_better_is_seldom_confirmed() -> None:
    """200 searches whose arms differ by chance: at most 5% are said to beat the default."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(200):
        common = rng.normal(0, 3, 8)
        drawn = {
            f"{arm}{n}": float(np.exp(common[n] + rng.standard_t(2)))
            for arm in "td"
            for n in range(8)
        }
        line = confirmed(record(8, 8), rows(drawn), HEAVY)
        assert line is not None
        wrong += bool(line.beats)
    assert wrong <= scipy.stats.binom.ppf(0.999, 200, 0.025)


def test_what_all_seeds_share_is_not_in_the_way_of_a_small_gain() -> None:
    """Seeds differ by thousands, the arms by .1 in each of them: only pairs can tell."""
    values = {
        f"{arm}{n}": 1000.0 * n + (0.0 if arm == "t" else 0.1 + 0.001 * n)
        for arm in "td"
        for n in range(6)
    }
    line = confirmed(record(6, 6), rows(values), None)
    assert line is not None and line.beats is True and line.p == 2 / 64
    assert line.difference == pytest.approx(-0.1025)


def test_five_pairs_cannot_confirm() -> None:
    line = confirmed(record(5, 5), rows(VALUES), HEAVY)
    assert line is not None and line.p == 2 / 32 and line.beats is False
    assert line.low is line.high is line.ratio_low is None
    assert line.note == "cannot reject with n = 5"


def test_a_winner_that_later_trials_surpassed_is_not_called_confirmed() -> None:
    line = confirmed(replace(record(6, 6), best=(7,)), rows(VALUES), HEAVY)
    assert line is not None and line.beats is True and line.stands is False
    frames = {"trials": TRIALS, "confirmation": comparison_table(line)}
    (_, paragraph) = summarise(frames, ROLES)
    assert (
        paragraph.title == "Not confirmed" and "Later trials surpassed this one" in paragraph.text
    )
    frames["confirmation"] = comparison_table(replace(line, stands=True))
    assert summarise(frames, ROLES)[1].title == "Confirmed"


def test_a_worse_winner_does_not_beat_the_default() -> None:
    swapped = {cell.translate(str.maketrans("td", "dt")): value for cell, value in VALUES.items()}
    line = confirmed(record(6, 6), rows(swapped), HEAVY)
    assert line is not None and line.beats is False and line.p is not None and line.p < 0.05
    higher = confirmed(record(6, 6, lower=False), rows(swapped), HEAVY)
    assert higher is not None and higher.beats is True


def test_seeds_that_break_a_constraint_or_failed_are_left_out_and_said_so() -> None:
    values = {cell: value for cell, value in VALUES.items() if cell != "d5"} | {
        "t5": 1e-9,
        "t6": 0.02,
        "d6": 0.1,
    }
    line = confirmed(record(7, 7), rows(values, {"t5": 0.5}), HEAVY)
    assert line is not None
    assert (line.tuned_n, line.default_n, line.tuned_broke, line.default_failed) == (6, 6, 1, 1)
    assert line.tuned_mean is not None and line.tuned_mean > 0.01, (
        "a collapse of a model that does not fit is none"
    )
    assert line.beats is False, "the winner does not hold the constraint on all seeds"
    assert "1 of 7 seeds of tuned broke a constraint" in line.note
    few = confirmed(
        record(6, 6), rows(VALUES, dict.fromkeys(["d0", "d1", "d2", "d3", "d4"], 0.1)), HEAVY
    )
    assert few is not None and few.p is None and few.beats is None
    assert "no test" in few.note


def test_settings_read_in_a_line() -> None:
    schedule = {"kind": "multistep", "milestones": [0.25, 0.5], "gamma": 0.1}
    assert describe({"train.lr": 0.123456, "train.schedule": schedule, "model.width": 8}) == (
        "lr 0.123, multistep (milestones 0.25 0.5, gamma 0.1), model.width 8"
    )
    assert describe({"train.schedule": {"kind": "constant"}}) == "constant"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of twelve trials, confirmed on six seeds."""
    folder = tmp_path_factory.mktemp("report")
    assert tune(folder, hunt(trials=12, confirm=6, constraints=["train_accuracy >= 0.3"])) == 0
    return folder / "runs" / "hunt"


def test_the_page_shows_the_search(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    out = capsys.readouterr().out
    page = (run / "report" / "report.html").read_text()
    assert f"optuna-dashboard {RunPaths(run).journal}" in page
    for name in ("history", "importances", "schedules", "confirmation_seeds"):
        assert f'id="figure-{name}"' in page
        assert (run / "report" / "figures" / f"{name}.svg").exists()
    for name in ("confirmation", "trials", "importances"):
        assert f'id="table-{name}"' in page
    assert "Association" not in page, "trials are no sample"
    facts = dict(re.findall(r"<dt>(.+?)</dt><dd>(.+?)</dd>", page))
    plain = {name: re.sub("<.+?>", "", value) for name, value in facts.items()}
    assert plain["Objective"] == "within / between variance, lower is better"
    assert plain["Constraints"] == "training accuracy &gt;= 0.3"
    assert "Response" not in plain
    assert "Confirmed:" in out or "Not confirmed:" in out


def test_the_page_compares_what_the_store_holds(run: Path) -> None:
    report = build_report(load(run), Choices())
    (line,) = report.frames["confirmation"].to_dicts()
    arms = journal(run).user_attrs["confirmation"]
    last = Store(run).read().filter(pl.col("epoch") == 4)
    values, sound = (
        {
            name: [last.filter(cell=cell)[column].item() for cell in arms[name]]
            for name in ("tuned", "default")
        }
        for column in ("nc1_ratio", "train_accuracy")
    )
    places = [n for n in range(6) if min(sound["tuned"][n], sound["default"][n]) >= 0.3]
    assert line["n"] == len(places) >= 2
    reference = mean_difference(
        [math.log(values["tuned"][n]) - math.log(values["default"][n]) for n in places]
    )
    assert line["p"] == reference.p
    assert line["difference"] == pytest.approx(reference.mean, rel=1e-12)
    trials = report.frames["trials"].sort("trial")
    assert trials["nc1_ratio"].to_list() == [trial.value for trial in journal(run).trials]


def test_the_figures_of_a_search_can_be_read(run: Path) -> None:
    page = build_report(load(run), Choices())
    assert {"history", "importances", "schedules"} <= page.figures.keys()
    assert unreadable(page) == {}


def test_importances_are_optunas(run: Path) -> None:
    """optuna.importance on a study of only the trials that hold the constraint."""
    usable = [
        trial for trial in journal(run).trials if all(v <= 0 for v in trial.constraints.values())
    ]
    sound = optuna.create_study()
    sound.add_trials(usable)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=5 / len(usable))
    frame = build_report(load(run), Choices(), only=("tuning",)).frames["importances"]
    shared = ["train.lr", "train.schedule"]
    reference = optuna.importance.get_param_importances(sound, evaluator=evaluator, params=shared)
    known = frame.drop_nulls("importance")
    assert dict(zip(known["parameter"], known["importance"], strict=True)) == pytest.approx(
        reference
    )
    (few,) = frame.filter(pl.col("importance").is_null()).to_dicts()
    assert few["parameter"] == "train.schedule.cosine.warmup" and few["n"] < 10


@pytest.mark.parametrize("content", ["{}\nno journal\n", "[]\n", "{}\n", ""])
def test_a_damaged_journal_is_an_error_of_the_request(
    run: Path, tmp_path: Path, content: str
) -> None:
    copy = tmp_path / "hunt"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report"))
    RunPaths(copy).journal.write_text(content)
    with pytest.raises(AnalysisError, match="journal"):
        load(copy)


def test_a_report_is_that_of_what_was_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same table gives the same page elsewhere, and when the files are gone."""
    copy = tmp_path / "hunt"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report"))
    monkeypatch.chdir(tmp_path)
    table = load("hunt")
    before = build_report(table, Choices()).html()
    assert "The search" in before
    monkeypatch.chdir(tmp_path.parent)
    shutil.rmtree(copy)
    assert build_report(table, Choices()).html() == before
