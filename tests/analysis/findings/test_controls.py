"""Tables under a control, against explicit linear algebra, and on studies without association."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from null_study import KINDS, ROLES, lost_study, null_study

from analysis.findings.checkpoints import checkpoints
from analysis.findings.controls import (
    GIVEN_DESIGN,
    WITHIN,
    Control,
    axis_covariates,
    control_for,
    within_control,
)
from analysis.findings.damage import damage
from analysis.findings.design import design_tables
from analysis.findings.forecast import forecast
from analysis.findings.progress import (
    APPEARS,
    REMAINS,
    TURNS,
    UNSEEN,
    VANISHES,
    given_train_loss,
)
from analysis.findings.within import by_cell, within
from analysis.reading.table import PRIMARY, Choices, Table

CHOICES = Choices(permutations=1_000, bootstrap=300)
METRIC = "nc1_ratio"
STUDIES = 6  # of each kind; tests/calibration.py has a thousand


def partial_r(fit: sm.regression.linear_model.RegressionResultsWrapper, name: str) -> float:
    t = float(fit.tvalues[name])
    return t / math.sqrt(t * t + fit.df_resid)


def test_axes_become_covariates_by_their_kind() -> None:
    rows = null_study("inverse", 0).with_columns(
        optimizer=pl.Series(["adamw", "sgd"]).gather(np.arange(128) % 2)
    )
    roles = ROLES.__class__(**{**ROLES.__dict__, "axes": (*ROLES.axes, "optimizer")})
    names, columns = axis_covariates(rows, roles)
    assert names == ["log width", "log depth", "epochs", "optimizer = sgd"]
    assert columns.shape == (128, 4)
    assert set(columns[:, 3]) == {0.0, 1.0}
    assert axis_covariates(rows.head(1), roles)[1].shape == (1, 0)


def test_within_is_the_correlation_of_values_centred_in_their_cell() -> None:
    rows = null_study("log epochs", 1)
    frame = within(rows, ROLES, CHOICES)
    centred = rows.with_columns(
        (pl.col(name) - pl.col(name).mean().over(ROLES.axes)) for name in (METRIC, "val_loss")
    )
    line = frame.filter(pl.col("metric") == METRIC).row(0, named=True)
    r = np.corrcoef(centred[METRIC], centred["val_loss"])[0, 1]
    assert line["estimate"] == pytest.approx(r, abs=1e-12)
    assert line["low"] < line["estimate"] < line["high"]
    assert (line["n"], line["cells"], line["r_w"]) == (128, 32, 96)
    cells = by_cell(rows, ROLES, (METRIC,))
    assert cells["n"].to_list() == [4] * 32
    first = rows.filter((pl.col("width") == 32) & (pl.col("depth") == 1) & (pl.col("epochs") == 1))
    named = cells.filter(pl.col("cell") == "width 32, depth 1, epochs 1")
    assert named["r"].item() == pytest.approx(np.corrcoef(first[METRIC], first["val_loss"])[0, 1])


def test_given_the_design_is_the_partial_r_of_least_squares() -> None:
    rows = null_study("log epochs", 2).with_columns(
        # an effect of each width that no curve holds
        val_loss=pl.col("val_loss") + 3.0 * (pl.col("width").rank("dense") % 2)
    )
    tables = design_tables(rows, ROLES, CHOICES)
    assert tables is not None
    chosen = tables.design.filter("chosen").row(0, named=True)
    assert chosen["model"] == "factors"
    fit = smf.ols(f"val_loss ~ C(width) + C(depth) + C(epochs) + {METRIC}", rows.to_pandas()).fit()
    line = tables.given_design.filter(pl.col("metric") == METRIC).row(0, named=True)
    assert line["estimate"] == pytest.approx(partial_r(fit, METRIC), abs=1e-10)
    assert line["dof"] == fit.df_resid
    plain = smf.ols("val_loss ~ C(width) + C(depth) + C(epochs)", rows.to_pandas()).fit()
    full = smf.ols("val_loss ~ C(width) * C(depth) * C(epochs)", rows.to_pandas()).fit()
    f, p, _ = full.compare_f_test(plain)
    assert chosen["lack_f"] == pytest.approx(f)
    assert chosen["lack_p"] == pytest.approx(p)


def test_a_model_that_does_not_fit_makes_every_line_inadequate() -> None:
    rows = null_study("log epochs", 3)
    # A ridge across three axes that no candidate holds, far above the noise.
    odd = (rows["width"].rank("dense") + rows["depth"] + rows["epochs"].rank("dense")) % 2
    rows = rows.with_columns(val_loss=pl.col("val_loss") + 3.0 * odd)
    tables = design_tables(rows, ROLES, CHOICES)
    assert tables is not None
    assert set(tables.given_design["verdict"]) == {"control inadequate"}
    assert "lack of fit" in tables.given_design["note"][0]
    assert tables.design.filter("chosen")["adequate"].to_list() == [False]


def test_without_degrees_of_freedom_no_line_given_the_design_is_a_verdict() -> None:
    rows = null_study("log epochs", 4, seeds=1).head(14)
    tables = design_tables(rows, ROLES, CHOICES)
    assert tables is not None
    assert set(tables.given_design["verdict"]) == {"control inadequate"}
    assert "leaves 10 degrees of freedom" in tables.given_design["note"][0]
    assert tables.given_design["n"].to_list() == [14] * 7


def test_replicates_are_the_control_where_they_suffice() -> None:
    many, one = null_study("inverse", 5), null_study("inverse", 5, seeds=1)
    assert control_for(many, many["val_loss"].to_numpy(), ROLES, CHOICES).name == WITHIN
    assert control_for(one, one["val_loss"].to_numpy(), ROLES, CHOICES).name == GIVEN_DESIGN
    assert within(one, ROLES, CHOICES).is_empty()
    control = within_control(many, ROLES)
    assert control.dof == 128 - 32 - 1
    assert control.given(many.select("train_loss").to_numpy()).dof == 128 - 32 - 2


@pytest.mark.parametrize("covariate", [False, True])
@pytest.mark.parametrize("growth", [1.0, 10.0])
@pytest.mark.parametrize(("cells", "rows"), [(16, 4), (12, 3)])
def test_the_interval_within_cells_covers(
    cells: int, rows: int, growth: float, *, covariate: bool
) -> None:
    """r of .4, the spread of all columns growing from cell to cell."""
    cell = np.repeat(np.arange(cells), rows)
    spread = growth ** (cell / (cells - 1))
    choices = Choices(permutations=400, bootstrap=100)
    covered = 0
    for seed in range(200):
        a, b, z = spread * np.random.default_rng(seed).standard_normal((3, len(cell)))
        given = z[:, None] if covariate else np.zeros((len(cell), 0))
        control = Control(WITHIN, np.arange(len(cell)), cell, cell, given)
        x, y = a + given.sum(axis=1), 0.4 * a + np.sqrt(1 - 0.4**2) * b - given.sum(axis=1)
        low, high = control.interval(x[:, None], y, choices)
        covered += bool(low[0] <= 0.4 <= high[0])
    assert 0.90 <= covered / 200 <= 0.995  # 200 draws have a standard deviation of 1.5 points


def test_p_and_interval_within_cells_say_the_same_of_zero() -> None:
    seen = set()
    for seed in range(6):
        frame = given_train_loss(null_study("inverse", seed, seeds=2), ROLES, CHOICES)
        # Where permutations went on, p is of more of them than the interval.
        for line in frame.filter(permutations=CHOICES.permutations).to_dicts():
            holds = line["low"] <= 0.0 <= line["high"]
            assert holds == (line["p"] > 0.05)
            seen.add(holds)
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["within", "given a model", "one cell"])
def test_p_and_interval_say_the_same_of_zero_under_every_control(name: str) -> None:
    """Also of columns with far rows, where the test leaves ends of its interval open."""
    choices, seen, open_ends = Choices(permutations=199, bootstrap=200), set(), 0
    cell = np.zeros(24, dtype=np.intp) if name == "one cell" else np.repeat(np.arange(8), 3)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, z = rng.standard_t(1, (24, 2)), rng.standard_normal((24, 4))
        y = 0.4 * x[:, 0] + z.sum(axis=1) + rng.standard_t(2, 24)
        blocks = None if name == "given a model" else cell
        control = Control(name, np.arange(24), cell, blocks, z)
        test = control.prepare(x, y)
        open_ends += int(np.isnan(test.interval(199, choices.seed)).sum())
        p = test.result(test.drawn(199, choices.seed), exact=False)
        low, high = control.interval(x, y, choices)
        for least, r, most, one in zip(low, p.r, high, p.p, strict=True):
            assert least <= r <= most
            assert (least <= 0.0 <= most) == (one > 0.05)
            seen.add(bool(one <= 0.05))
    assert seen == {True, False}
    assert open_ends > 0


def test_given_train_loss_tells_progress_from_generalization() -> None:
    rng = np.random.default_rng(8)
    own = {name: rng.standard_normal(128) for name in ("progress", "beyond")}
    rows = null_study("inverse", 6).with_columns(
        val_loss=pl.Series(own["progress"] + own["beyond"]),
        train_loss=pl.Series(own["progress"]),
        nc1_ratio=pl.Series(own["progress"] + 0.3 * rng.standard_normal(128)),
        nc4_agreement=pl.Series(own["beyond"] + 0.3 * rng.standard_normal(128)),
        unc3_cosine_std=pl.Series(own["beyond"] - 3.0 * own["progress"]),
        nc3_cosine_mean=pl.Series(own["beyond"] - own["progress"] + 0.1 * rng.standard_normal(128)),
    )
    rows = rows.with_columns(generalization_gap=pl.col("val_loss") - pl.col("train_loss"))
    frame = given_train_loss(rows, ROLES, CHOICES)
    given = {row["metric"]: row for row in frame.filter(pl.col("given") != "").to_dicts()}
    gap = {row["metric"]: row for row in frame.filter(pl.col("given") == "").to_dicts()}
    assert given["nc1_ratio"]["reading"] == VANISHES
    assert given["nc4_agreement"]["reading"] == REMAINS
    assert given["nc3_cosine_mean"]["reading"] == APPEARS
    assert given["unc3_cosine_std"]["reading"] == TURNS
    assert given["nc2_log_norm_std"]["reading"] == ""
    assert gap["nc4_agreement"]["verdict"] == "associated"
    assert gap["nc1_ratio"]["verdict"] == "not found"
    table = rows.to_pandas()
    fit = smf.ols("val_loss ~ C(width) * C(depth) * C(epochs) + train_loss + nc4_agreement", table)
    expected = partial_r(fit.fit(), "nc4_agreement")
    assert given["nc4_agreement"]["estimate"] == pytest.approx(expected, abs=1e-10)
    assert given["nc4_agreement"]["before"] == pytest.approx(
        partial_r(
            smf.ols("val_loss ~ C(width) * C(depth) * C(epochs) + nc4_agreement", table).fit(),
            "nc4_agreement",
        ),
        abs=1e-10,
    )
    assert given_train_loss(rows.drop("train_loss"), ROLES, CHOICES).is_empty()


@pytest.mark.parametrize("kind", KINDS)
def test_controls_keep_their_level_on_studies_without_association(kind: str) -> None:
    few = Choices(permutations=199, bootstrap=50)
    rejected = dict.fromkeys(("within", "design", "progress"), 0)
    lines = dict.fromkeys(rejected, 0)
    for number in range(STUDIES):
        rows = null_study(kind, number)
        tables = design_tables(rows, ROLES, few)
        assert tables is not None
        frames = {
            "within": within(rows, ROLES, few),
            "design": tables.given_design.filter(pl.col("verdict") != "control inadequate"),
            "progress": given_train_loss(rows, ROLES, few),
        }
        for name, frame in frames.items():
            rejected[name] += int((frame["p"] <= 0.05).sum())
            lines[name] += len(frame)
    for name in rejected:  # 42 lines and more, of which 5% are 2: a control that fails rejects all
        assert rejected[name] / lines[name] <= 0.2, (name, rejected[name], lines[name])
    assert lines["design"] >= 0.5 * 7 * STUDIES


def test_metrics_keep_their_family_where_no_control_can_be_had() -> None:
    """Six trainings of six cells: neither replicates nor a model leave a test."""
    rows = null_study("inverse", 3, seeds=1).gather_every(5).head(6)
    plain = rows.with_columns(precision=pl.lit("fp32"))
    tables = design_tables(rows, ROLES, CHOICES)
    assert tables is not None
    frames = [
        tables.given_design,
        given_train_loss(rows, ROLES, CHOICES),
        forecast(rows, ROLES, CHOICES),
    ]
    twice = [rows.with_columns(pl.col("epoch") - back, precision=pl.lit("fp32")) for back in (0, 1)]
    frames.append(
        checkpoints(Table(pl.concat(twice), replace(ROLES, order="epoch"), "made"), CHOICES)
    )
    worse = rows.with_columns(pl.col("val_loss") + pl.Series(range(6)), precision=pl.lit("int4"))
    both = Table(pl.concat([plain, worse]), replace(ROLES, precision="precision"), "made up")
    frames.append(damage(both, CHOICES))
    for frame in frames:
        lines = frame.filter(pl.col("metric").is_in(PRIMARY))
        assert len(lines) and set(lines["family"]) == {"primary"}
        assert set(lines["verdict"]) <= {"control inadequate", "cannot reject"}


def test_replicates_of_a_single_cell_are_their_own_control() -> None:
    """Nine trainings that agree in all axes: the design leaves nothing to take out."""
    rows = null_study("inverse", 3, seeds=9).head(9)
    lines = given_train_loss(rows, ROLES, CHOICES)
    assert set(lines["control"]) == {"within design cells"}
    assert set(lines["verdict"]) <= {"not found", "associated", "undecided"}
    (line,) = lines.filter(metric="nc1_ratio", response="val_loss").to_dicts()
    assert line["before"] == pytest.approx(np.corrcoef(rows["nc1_ratio"], rows["val_loss"])[0, 1])


def test_an_association_vanishes_only_where_its_interval_leaves_out_what_it_was() -> None:
    frame = given_train_loss(lost_study(), ROLES, CHOICES).filter(pl.col("given") != "")
    lines = {row["metric"]: row for row in frame.to_dicts()}
    gone, unseen = lines["nc4_agreement"], lines["nc1_ratio"]
    for line in (gone, unseen):
        assert (line["verdict_before"], line["verdict"]) == ("associated", "not found")
    assert gone["high"] < gone["before"]
    assert gone["reading"] == VANISHES
    assert unseen["low"] < unseen["before"] < unseen["high"]
    assert unseen["reading"] == UNSEEN


def test_a_constant_response_is_named_and_tested_nowhere() -> None:
    rows = null_study("inverse", 3).with_columns(val_loss=pl.lit(1.0))
    tables = design_tables(rows, ROLES, CHOICES)
    assert tables is not None and tables.design.is_empty()
    assert set(tables.given_design["note"]) == {"the response is constant"}
    for frame in (within(rows, ROLES, CHOICES), given_train_loss(rows, ROLES, CHOICES)):
        lines = frame.filter(pl.col("verdict") == "cannot reject")
        assert set(lines["note"]) == {"the response is constant"}
        assert {*PRIMARY} <= {*lines["metric"]}
    assert forecast(rows, ROLES, CHOICES)["note"].str.contains("the response is constant").all()


def test_notes_name_the_metric_or_the_response_and_no_argument() -> None:
    plain = null_study("inverse", 3)
    metric = plain.with_columns(nc1_ratio=pl.col("train_loss"), nc4_agreement=pl.lit(0.5))
    notes = dict(given_train_loss(metric, ROLES, CHOICES).select("metric", "note").head(7).rows())
    assert notes["nc1_ratio"] == "nc1_ratio is a linear function of what is taken out"
    notes = dict(forecast(metric, ROLES, CHOICES).select("metric", "note").rows())
    assert notes["nc4_agreement"] == "nc4_agreement is constant"
    response = plain.with_columns(val_loss=pl.col("epochs").cast(pl.Float64))
    reason = "the response is a linear function of what is taken out"
    assert set(within(response, ROLES, CHOICES)["note"]) == {reason}
    assert forecast(response, ROLES, CHOICES)["note"].str.ends_with(reason).all()
    both = Table(
        pl.concat([plain.with_columns(precision=pl.lit(name)) for name in ("fp32", "int4")]),
        replace(ROLES, precision="precision"),
        "made up",
    )
    lines = damage(both, CHOICES).filter(kind="baseline")
    assert set(lines["note"]) == {
        "cannot reject with n = 128: the response changes alike everywhere"
    }


def test_a_metric_without_any_value_has_no_cell() -> None:
    rows = null_study("inverse", 3).with_columns(nc1_ratio=pl.lit(None, dtype=pl.Float64))
    cells = by_cell(rows, ROLES, ("nc1_ratio", "nc4_agreement"))
    assert set(cells["metric"]) == {"nc4_agreement"}
