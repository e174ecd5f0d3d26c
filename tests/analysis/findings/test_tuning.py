"""The exact test of two groups and its interval; what a report says of a search."""

from __future__ import annotations

import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
import scipy.stats
from tiny_search import hunt, journal, tune

from analysis.__main__ import main
from analysis.findings.tuning import comparison_table, confirmed
from analysis.reading.load import load
from analysis.reading.search import describe
from analysis.reading.search_record import Confirmation, Objective, SearchRecord
from analysis.reading.table import AnalysisError, Choices, Metric
from analysis.report.page import build_report
from analysis.report.summary import summarise
from analysis.statistics.two_groups import compare_groups
from study.store import RunPaths, Store

RNG = np.random.default_rng(5)
PAIRS = [
    (RNG.normal(0, 1, 8), RNG.normal(1, 1, 8)),
    (RNG.normal(0, 1, 5), RNG.normal(0.2, 2, 7)),
    (RNG.normal(3, 1, 7), RNG.normal(0, 1, 4)),
    (np.array([1.0, 2.0, 2.0, 3.0, 3.0]), np.array([2.0, 2.0, 3.0, 5.0])),
    (RNG.normal(1e6, 1e-3, 6), RNG.normal(1e6, 1e-3, 6)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_p_is_that_of_scipy(first: np.ndarray, second: np.ndarray) -> None:
    """scipy.stats.permutation_test, all partitions, |difference of means|."""
    reference = scipy.stats.permutation_test(
        (first, second),
        lambda x, y: abs(np.mean(x) - np.mean(y)),
        permutation_type="independent",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=False,
    )
    found = compare_groups(first, second)
    assert found.p == pytest.approx(reference.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(first.mean() - second.mean(), rel=1e-6, abs=1e-12)
    assert found.partitions == math.comb(len(first) + len(second), len(first))


def brute_p(first: np.ndarray, second: np.ndarray) -> float:
    """Reference: the definition, one partition at a time."""
    pooled = [*first, *second]
    observed = abs(np.mean(first) - np.mean(second))
    count = total = 0
    for chosen in itertools.combinations(range(len(pooled)), len(first)):
        one = [pooled[i] for i in chosen]
        two = [value for i, value in enumerate(pooled) if i not in chosen]
        count += abs(np.mean(one) - np.mean(two)) >= observed - 1e-9
        total += 1
    return count / total


@pytest.mark.parametrize(("first", "second"), PAIRS[1:4])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(
    first: np.ndarray, second: np.ndarray, level: float
) -> None:
    found = compare_groups(first, second, level=level)
    step = 1e-6
    for end, inward in ((found.low, step), (found.high, -step)):
        assert brute_p(first - end - inward, second) > level
        assert brute_p(first - end + inward, second) <= level
    assert found.low <= found.difference <= found.high


def test_separate_groups_of_eight_have_the_least_p_there_is() -> None:
    """Only the observed partition and its mirror, of C(16, 8), are as far apart."""
    found = compare_groups(np.arange(8), np.arange(8) + 100)
    assert found.partitions == 12_870
    assert found.p == 2 / 12_870
    assert found.high < -90 < 0


def test_tiny_groups_have_no_finite_interval() -> None:
    found = compare_groups([1.0, 2.0, 3.0], [7.0, 8.0, 9.0])
    assert found.p == pytest.approx(0.1)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_equal_values_differ_in_nothing() -> None:
    found = compare_groups([2.0] * 4, [2.0] * 4)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.low <= 0 <= found.high


def test_the_interval_covers_the_true_shift() -> None:
    """An exact 95% interval misses a true shift in at most 5% of samples.

    By construction; 200 samples.
    """
    rng = np.random.default_rng(1)
    found = [compare_groups(rng.exponential(1, 5) + 2, rng.exponential(1, 5)) for _ in range(200)]
    missed = sum(not each.low <= 2 <= each.high for each in found)
    assert missed <= scipy.stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize(
    ("first", "said"),
    [([], "n > 0"), ([1.0, math.nan], "not finite"), (np.arange(12), "at most 200,000")],
)
def test_what_cannot_be_compared_is_refused(first: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compare_groups(first, np.arange(12))


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


def rows(values: dict[str, float | None], accuracy: dict[str, float] | None = None) -> pl.DataFrame:
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
TRIALS = pl.DataFrame(
    {"trial": [3], "state": ["complete"], "nc1_ratio": [0.1], "holds": [True], "settings": ["lr 1"]}
)
VALUES = {
    f"{arm}{n}": base * (1 + 0.1 * n) for arm, base in (("t", 0.02), ("d", 0.1)) for n in range(5)
}


def test_the_comparison_is_of_logarithms_at_the_last_checkpoint() -> None:
    told = confirmed(record(5, 5), rows(VALUES), HEAVY)
    tuned, default = (np.log([VALUES[f"{arm}{n}"] for n in range(5)]) for arm in "td")
    reference = compare_groups(tuned, default)
    assert told is not None and told.scale == "log"
    assert (told.p, told.difference, told.low, told.high) == (
        reference.p,
        reference.difference,
        reference.low,
        reference.high,
    )
    assert told.ratio == pytest.approx(0.2)
    assert told.tuned_mean == pytest.approx(scipy.stats.gmean(np.exp(tuned)))
    assert told.beats is True
    raw = confirmed(record(5, 5), rows(VALUES), None)
    assert raw is not None and raw.scale == "raw" and raw.ratio is None


def test_a_winner_that_later_trials_surpassed_is_not_called_confirmed() -> None:
    told = confirmed(replace(record(5, 5), best=(7,)), rows(VALUES), HEAVY)
    assert told is not None and told.beats is True and told.stands is False
    frames = {"trials": TRIALS, "confirmation": comparison_table(told)}
    (_, paragraph) = summarise(frames, "val_loss", [])
    assert (
        paragraph.title == "Not confirmed" and "Later trials surpassed this one" in paragraph.text
    )
    frames["confirmation"] = comparison_table(replace(told, stands=True))
    assert summarise(frames, "val_loss", [])[1].title == "Confirmed"


def test_a_worse_winner_does_not_beat_the_default() -> None:
    swapped = {cell.translate(str.maketrans("td", "dt")): value for cell, value in VALUES.items()}
    told = confirmed(record(5, 5), rows(swapped), HEAVY)
    assert told is not None and told.beats is False and told.p is not None and told.p < 0.05
    higher = confirmed(record(5, 5, lower=False), rows(swapped), HEAVY)
    assert higher is not None and higher.beats is True


def test_seeds_that_break_a_constraint_or_failed_are_left_out_and_said_so() -> None:
    values = {cell: value for cell, value in VALUES.items() if cell != "d4"} | {"t4": 1e-9}
    told = confirmed(record(5, 5), rows(values, {"t4": 0.5}), HEAVY)
    assert told is not None
    assert (told.tuned_n, told.default_n, told.tuned_broke, told.default_failed) == (4, 4, 1, 1)
    assert told.tuned_mean is not None and told.tuned_mean > 0.01, (
        "a collapse of a model that does not fit is none"
    )
    assert told.beats is False, "the winner does not hold the constraint on all seeds"
    assert "1 of 5 seeds of tuned broke a constraint" in told.note
    few = confirmed(record(5, 5), rows(VALUES, dict.fromkeys(["d0", "d1", "d2", "d3"], 0.1)), HEAVY)
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
    """A search of twelve trials, confirmed on four seeds."""
    folder = tmp_path_factory.mktemp("report")
    assert tune(folder, hunt(trials=12, confirm=4, constraints=["train_accuracy >= 0.3"])) == 0
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
    assert "Confirmed:" in out or "Not confirmed:" in out


def test_the_page_compares_what_the_store_holds(run: Path) -> None:
    report = build_report(load(run), Choices())
    (told,) = report.frames["confirmation"].to_dicts()
    arms = journal(run).user_attrs["confirmation"]
    last = Store(run).read().filter(pl.col("epoch") == 4)
    values = {
        name: last.filter(pl.col("cell").is_in(arms[name]))["nc1_ratio"].to_numpy()
        for name in ("tuned", "default")
    }
    held = {
        name: last.filter(pl.col("cell").is_in(arms[name]))["train_accuracy"].to_numpy()
        for name in values
    }
    reference = compare_groups(
        *(np.log(values[name][held[name] >= 0.3]) for name in ("tuned", "default"))
    )
    assert told["p"] == reference.p
    assert told["difference"] == pytest.approx(reference.difference, rel=1e-12)
    trials = report.frames["trials"].sort("trial")
    assert trials["nc1_ratio"].to_list() == [trial.value for trial in journal(run).trials]


def test_importances_are_optunas(run: Path) -> None:
    """optuna.importance on a study of only the trials that hold the constraint."""
    usable = [
        trial for trial in journal(run).trials if all(v <= 0 for v in trial.constraints.values())
    ]
    sound = optuna.create_study()
    sound.add_trials(usable)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=5 / len(usable))
    found = build_report(load(run), Choices(), only=("tuning",)).frames["importances"]
    shared = ["train.lr", "train.schedule"]
    reference = optuna.importance.get_param_importances(sound, evaluator=evaluator, params=shared)
    told = found.drop_nulls("importance")
    assert dict(zip(told["parameter"], told["importance"], strict=True)) == pytest.approx(reference)
    (few,) = found.filter(pl.col("importance").is_null()).to_dicts()
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
