"""Studies whose truth is known, and what the tables of a report say of them.

A study has rows of a training at three checkpoints, and at a second precision of the last. All
columns follow one function of the axes; what they have in common beyond it is one correlation:
that of `LINKED` and the response, zero unless `r` is given. Every number is read from the frames
of `analysis.report`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import binom

import analysis
from analysis.findings import controls
from analysis.findings.changes import Change
from analysis.findings.frames import frame_of
from analysis.findings.overview import Overview
from analysis.findings.verdicts import INADEQUATE
from analysis.reading.table import PRIMARY
from analysis.report import sections_precision
from analysis.statistics.design import design_control

Floats = NDArray[np.float64]

# The level of a test is the same for any number of permutations n, since p = (b + 1) / (n + 1) may
# be exactly .05; more of them, and those that go on where a verdict is open, cost time alone.
PERMUTATIONS, BOOTSTRAP = 999, 500
LEVEL = 0.05
MOST_REJECTED = 0.065
COVERED = (0.93, 0.97)
LOST_POWER = 0.05
NOISE = 0.2  # standard deviation beside that of the function of the axes, which is 1
ENOUGH = 1_000  # studies whose figures are judged as they are
LINKED = "nc1_ratio"
LACKING = PRIMARY[1:4]  # metrics with missing values, where a scenario has any
SHAPES = ("log epochs", "inverse", "interaction")
# Tables with the section that has them.
SECTIONS = {
    "within": "within",
    "given_design": "design",
    "given_train_loss": "progress",
    "fixed": "fixed",
    "damage": "precision",
    "checkpoints": "checkpoints",
    "lead": "checkpoints",
}
# And with the columns that tell their families apart.
TABLES: Mapping[str, tuple[str, ...]] = {
    "within": (),
    "given_design": (),
    "given_train_loss": ("response",),
    "fixed": ("configuration",),
    "damage": ("kind",),
    "checkpoints": (),
    "lead": ("order",),
}
NEEDS_AXES = ("given_design",)
NEEDS_REPLICATES = ("within", "fixed", "checkpoints", "lead")
WITH_POWER = ("within", "given_design", "fixed")  # tables whose best test is known


@dataclass(frozen=True)
class Scenario:
    """A `design`, the function of the axes behind all columns ("" for each in turn), and noise.

    `spread` grows tenfold along epochs; `noise` is "normal", "t2" or "ties"; `missing` is
    "random" or "level"; `r` the correlation of `LINKED` with the response beyond the axes;
    `progress` puts the noise of train_loss into metrics and response, so that they are
    associated, but not given train_loss.
    """

    design: str
    shape: str = ""
    noise: str = "normal"
    spread: bool = False
    missing: str = ""
    r: float = 0.0
    progress: bool = False

    @property
    def name(self) -> str:
        """What the scenario is called."""
        parts = [self.design, self.shape, "" if self.noise == "normal" else self.noise]
        parts += ["spread" if self.spread else "", self.missing and f"missing {self.missing}"]
        parts += [f"r {self.r:g}" if self.r else "", "progress" if self.progress else ""]
        return ", ".join(part for part in parts if part)

    @property
    def tables(self) -> tuple[str, ...]:
        """Those in which nothing but `LINKED` is associated, with the truth known."""
        if self.progress:
            return ("given_train_loss", "damage")
        tables = WITH_POWER if self.r else tuple(TABLES)
        absent = {"single": NEEDS_REPLICATES, "seeds": NEEDS_AXES}.get(self.design, ())
        return tuple(name for name in tables if name not in absent)

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections that have them."""
        return tuple(dict.fromkeys(SECTIONS[table] for table in self.tables))


def _scenarios() -> Iterator[Scenario]:
    for design in ("reference", "published"):
        yield from (Scenario(design, shape) for shape in SHAPES)
        yield Scenario(design, spread=True)
        yield Scenario(design, noise="t2")
        yield Scenario(design, noise="ties")
        yield Scenario(design, missing="random")
        yield Scenario(design, missing="level")
        yield Scenario(design, progress=True)
        yield Scenario(design, r=0.4)
        yield Scenario(design, r=0.4, spread=True)
    yield Scenario("reference")
    yield Scenario("single")
    yield Scenario("single", spread=True)
    yield Scenario("seeds")
    yield Scenario("seeds", noise="t2")
    yield Scenario("seeds", noise="ties")
    yield Scenario("seeds", missing="random")
    yield Scenario("seeds", progress=True)
    yield Scenario("seeds", r=0.4)


SCENARIOS = {scenario.name: scenario for scenario in _scenarios()}


def design_points(design: str) -> pl.DataFrame:
    """Settings of each training.

    Those of search_spaces/reference.yaml, of the models of Wu & Papyan 2024 with the 21 seeds of
    one of them or with a "single" seed each, or of those "seeds" alone.
    """
    points: Iterable[tuple[int, int, int, float]]
    if design == "reference":
        points = itertools.product((32, 64, 128, 256), (1, 2, 4), (1, 3, 10), (0.1,))
        sizes = {(128, 2, 3, 0.1): 23}
        several = 3
    elif design in ("published", "single"):
        widths, depths = (64, 128, 256, 512, 768, 1024), (1, 2, 4, 8, 12)
        plans = ((1, 0.0005), (3, 0.0005), (10, 0.0005), (1, 0.1), (10, 0.1))
        points = ((w, d, *plan) for w, d, plan in itertools.product(widths, depths, plans))
        sizes = {(768, 2, 1, 0.0005): 21} if design == "published" else {}
        several = 1
    else:
        points, sizes, several = [(768, 2, 1, 0.0005)], {}, 21
    rows = [(*point, seed) for point in points for seed in range(sizes.get(point, several))]
    return pl.DataFrame(rows, ["width", "depth", "epochs", "weight_decay", "seed"], orient="row")


def _shape(kind: str, points: pl.DataFrame) -> Floats:
    """One function of the axes (n,) of mean 0 and standard deviation 1; 0 in a single cell."""
    width, epochs = points["width"].to_numpy().astype(float), points["epochs"].to_numpy()
    log_width, log_epochs = np.log(width), np.log(epochs)
    shape = {
        "log epochs": -log_epochs,
        "inverse": 1.0 / (width * epochs),
        "interaction": -(log_width - log_width.mean()) * (log_epochs - log_epochs.mean()),
    }[kind]
    return np.asarray((shape - shape.mean()) / shape.std()) if np.ptp(shape) else 0.0 * shape


def simulate(scenario: Scenario, number: int) -> pl.DataFrame:
    """The rows of study `number` of a scenario."""
    rng = np.random.default_rng([list(SCENARIOS).index(scenario.name), number])
    points = design_points(scenario.design)
    shape = _shape(scenario.shape or SHAPES[number % len(SHAPES)], points)
    log_epochs = np.log(points["epochs"].to_numpy())
    spread = np.ones(len(points))
    if scenario.spread:
        spread = 10.0 ** ((log_epochs - log_epochs.min()) / np.ptp(log_epochs) - 0.5)
    drawn = _Noise(rng, scenario.noise, len(points))
    own = {name: drawn.column() for name in ("common", "response", "train_loss", *PRIMARY)}
    signs = {name: 1.0 if name == LINKED else rng.choice([-1.0, 1.0]) for name in PRIMARY}
    last = {}

    def around(values: Floats, sign: float = 1.0) -> Floats:
        column = sign * shape + NOISE * spread * values
        return np.asarray(np.round(column / NOISE) * NOISE if scenario.noise == "ties" else column)

    parts = []
    for share in (1 / 3, 2 / 3, 1.0):
        noise = {name: 0.8 * values + 0.6 * drawn.column() for name, values in own.items()}
        metrics = {name: 0.7 * noise[name] + 0.7 * noise["common"] for name in PRIMARY}
        response, train_loss = noise["response"], noise["train_loss"]
        if scenario.r:  # of the noise alone, whose variance both have in common
            size = np.sqrt(0.98)
            link = scenario.r * metrics[LINKED] / size
            response = link + np.sqrt(1.0 - scenario.r**2) * response
        if scenario.progress:
            response = response + train_loss
            metrics = {name: values + train_loss for name, values in metrics.items()}
        loss, train = around(response), around(train_loss)
        last = {"val_loss": loss, "train_loss": train, "generalization_gap": loss - train}
        last |= {name: around(values, signs[name]) for name, values in metrics.items()}
        epoch = pl.col("epochs") * share
        parts.append(points.with_columns(**_series(last), epoch=epoch, precision=pl.lit("fp32")))
    damaged = {
        name: values + 0.5 * shape + 0.5 * NOISE * spread * drawn.column()
        for name, values in last.items()
    }
    damaged["weight_error"] = np.abs(0.1 + 0.01 * drawn.column())
    parts.append(
        points.with_columns(
            **_series(damaged), epoch=pl.col("epochs") * 1.0, precision=pl.lit("int4")
        )
    )
    training = [f"t{row:03}" for row in range(len(points))]
    rows = pl.concat(
        [part.with_columns(training=pl.Series(training)) for part in parts], how="diagonal"
    )
    return _without(rows, scenario, rng)


def _series(columns: Mapping[str, Floats]) -> dict[str, pl.Series]:
    return {name: pl.Series(values) for name, values in columns.items()}


@dataclass(frozen=True)
class _Noise:
    """Columns of noise, each of n numbers."""

    rng: np.random.Generator
    kind: str
    n: int

    def column(self) -> Floats:
        if self.kind == "t2":
            return np.asarray(self.rng.standard_t(2, self.n))
        return np.asarray(self.rng.standard_normal(self.n))


def _without(rows: pl.DataFrame, scenario: Scenario, rng: np.random.Generator) -> pl.DataFrame:
    """The rows with 5% of the values of some metrics missing: anywhere, or where epochs are most.

    A training lacks its value at every checkpoint and precision.
    """
    if not scenario.missing:
        return rows
    names = rows["training"].unique(maintain_order=True)
    longest = rows.group_by("training", maintain_order=True).agg(pl.col("epochs").first())
    most = longest["epochs"].to_numpy() == longest["epochs"].max()
    may = np.flatnonzero(most) if scenario.missing == "level" else np.arange(len(names))
    for name in LACKING:
        absent = names.gather(rng.choice(may, round(0.05 * len(names)), replace=False))
        rows = rows.with_columns(
            pl.when(pl.col("training").is_in(absent.to_list()))
            .then(None)
            .otherwise(name)
            .alias(name)
        )
    return rows


@contextlib.contextmanager
def no_further_permutations() -> Iterator[None]:
    """Permutations stop at the number that was asked for, whatever they leave open."""
    rooms = ("verdicts", "damage", "changes")
    with contextlib.ExitStack() as stack:
        for room in rooms:
            stack.enter_context(mock.patch(f"analysis.findings.{room}.MOST", PERMUTATIONS))
        once = functools.partial(design_control, most=PERMUTATIONS)
        stack.enter_context(mock.patch.object(controls, "design_control", once))
        # No line of these two is judged here, and they cost as much as half of all others.
        for name, line in (("changes", Change), ("overview", Overview)):
            empty = frame_of(line, [])
            stack.enter_context(mock.patch.object(sections_precision, name, return_value=empty))
        yield


def frames_of(rows: pl.DataFrame, folder: Path, sections: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The tables of the report on the rows of a study, from a file in `folder`."""
    path = folder / "study.parquet"
    rows.write_parquet(path)
    report = analysis.report(
        path,
        only=sections,
        permutations=PERMUTATIONS,
        bootstrap=BOOTSTRAP,
        seed=1,
        allow_missing=True,
    )
    return report.frames


@dataclass
class Counts:
    """What a family of lines of one table said in a number of `studies`.

    Of `lines` with a p, those `rejected` at .05, and of them those whose control was `inadequate`;
    `family` studies in which p max-T of a primary metric was at most .05; of `intervals` those
    that `covered` the truth. Of the line of `LINKED`: `linked` times p, `linked_maxt` times p
    max-T was at most .05, and `best` times that of Student's t test given what the truth is.
    """

    studies: int = 0
    lines: int = 0
    inadequate: int = 0
    rejected: int = 0
    family: int = 0
    intervals: int = 0
    covered: int = 0
    linked: int = 0
    linked_maxt: int = 0
    best: int = 0

    def __add__(self, other: Counts) -> Counts:
        names = [each.name for each in fields(self)]
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def shares(self) -> dict[str, float | int | None]:
        """The figures that are judged, and those that explain them."""

        def of(count: int, total: int) -> float | None:
            return round(count / total, 4) if total else None

        return {
            "studies": self.studies,
            "rejected": of(self.rejected, self.lines),
            "rejected where adequate": of(self.rejected, self.lines - self.inadequate),
            "inadequate": of(self.inadequate, self.lines),
            "family-wise": of(self.family, self.studies),
            "covered": of(self.covered, self.intervals),
            "power": of(self.linked, self.studies),
            "power in the family": of(self.linked_maxt, self.studies),
            "best power": of(self.best, self.studies),
        }


Tally = dict[str, Counts]


def tally(scenario: Scenario, numbers: Iterable[int]) -> Tally:
    """What the tables say of the studies of those numbers, by table and family."""
    counts: Tally = {}
    with tempfile.TemporaryDirectory() as folder, no_further_permutations():
        for number in numbers:
            rows = simulate(scenario, number)
            best = best_p(scenario, number, rows) if scenario.r else {}
            frames = frames_of(rows, Path(folder), scenario.sections)
            for name, one in _of_study(frames, scenario, best).items():
                counts[name] = counts.get(name, Counts()) + one
    return counts


def _of_study(
    frames: Mapping[str, pl.DataFrame], scenario: Scenario, best: Mapping[str, float]
) -> Tally:
    counts: Tally = {}
    for table, apart in TABLES.items():
        if table not in frames or table not in scenario.tables:
            continue
        for key, lines in frames[table].group_by(apart or ["family"], maintain_order=True):
            name = ", ".join([table, *(str(part) for part in key)]) if apart else table
            counts[name] = _of_lines(lines, scenario, best.get(table, 1.0))
            if table == "fixed":
                for beside in ("spearman_p", "given_train_loss_p"):
                    p = lines[beside].drop_nulls()
                    counts[f"{name}, {beside}"] = Counts(
                        studies=1, lines=len(p), rejected=int((p <= LEVEL).sum())
                    )
    return counts


def _of_lines(lines: pl.DataFrame, scenario: Scenario, best: float) -> Counts:
    tested = [line for line in lines.to_dicts() if line["p"] is not None]
    adequate = [line for line in tested if line["verdict"] != INADEQUATE]
    linked = [line for line in adequate if line["metric"] == LINKED]
    bounded = [line for line in adequate if line["low"] is not None]
    if scenario.r:  # what metrics have in common with the linked one ties them to the response
        bounded = [line for line in bounded if line["metric"] == LINKED]
    return Counts(
        studies=1,
        lines=len(tested),
        inadequate=len(tested) - len(adequate),
        rejected=_at_most(adequate, "p"),
        family=int(_at_most(adequate, "p_maxt") > 0),
        intervals=len(bounded),
        covered=sum(
            line["low"] <= (scenario.r if line["metric"] == LINKED else 0.0) <= line["high"]
            for line in bounded
        ),
        linked=_at_most(linked, "p"),
        linked_maxt=_at_most(linked, "p_maxt"),
        best=int(best <= LEVEL),
    )


def _at_most(lines: list[dict[str, Any]], column: str) -> int:
    """How many lines have a p of that column at or below the level."""
    return sum(line[column] is not None and line[column] <= LEVEL for line in lines)


def best_p(scenario: Scenario, number: int, rows: pl.DataFrame) -> dict[str, float]:
    """p of Student's t test of `LINKED` by table, given what only who made the study knows."""
    last = rows.filter((pl.col("precision") == "fp32") & (pl.col("epoch") == pl.col("epochs")))
    cells = last.select(pl.struct("width", "depth", "epochs", "weight_decay").rank("dense"))
    cell = cells.to_series().to_numpy().astype(int) - 1
    shape = _shape(scenario.shape or SHAPES[number % len(SHAPES)], last)
    x, y = last[LINKED].to_numpy(), last["val_loss"].to_numpy()
    sizes = np.bincount(cell)
    largest = cell == np.argmax(sizes)
    several = sizes[cell] > 1
    indicators = np.eye(len(sizes))[cell]
    return {
        "within": _t_test(x[several], y[several], indicators[several]),
        "given_design": _t_test(x, y, np.column_stack([np.ones_like(shape), shape])),
        "fixed": _t_test(x[largest], y[largest], np.ones((int(largest.sum()), 1))),
    }


def _t_test(x: Floats, y: Floats, given: Floats) -> float:
    left = [values - given @ np.linalg.lstsq(given, values)[0] for values in (x, y)]
    r = float(left[0] @ left[1] / np.linalg.norm(left[0]) / np.linalg.norm(left[1]))
    dof = len(x) - int(np.linalg.matrix_rank(given)) - 1
    return 2.0 * float(stdtr(dof, -abs(r) * np.sqrt(dof / (1.0 - r * r)))) if dof > 0 else 1.0


def faults(scenario: Scenario, counts: Tally) -> list[str]:
    """The figures that are not what statistics promise; none if all are.

    Of fewer than a thousand studies a figure is wrong where chance explains it once in a thousand
    times.
    """
    wrong = []
    for name, one in counts.items():
        shares, studies = one.shares(), one.studies
        most, least, greatest = MOST_REJECTED, *COVERED
        if studies < ENOUGH:
            most = max(most, float(binom.ppf(0.999, studies, LEVEL)) / studies)
            least, greatest = min(least, float(binom.ppf(0.001, studies, 0.95)) / studies), 1.0
        judged = [("covered", least, greatest)] if one.intervals else []
        if not scenario.r:
            judged += [("rejected", 0.0, most), ("family-wise", 0.0, most)]
        elif not scenario.spread and name.split(",")[0] in WITH_POWER and one.lines:
            spare = LOST_POWER if studies >= ENOUGH else 3 * LOST_POWER
            judged += [("power", float(shares["best power"] or 0.0) - spare, 1.0)]
        for figure, low, high in judged:
            value = shares[figure]
            if value is not None and not low <= value <= high:
                wrong.append(f"{scenario.name}: {name}: {figure} {value:.4f} of {studies} studies")
    return wrong
