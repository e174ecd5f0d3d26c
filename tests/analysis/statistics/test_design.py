"""Models of the design against plain refits, and the published figures for LC's table."""

from __future__ import annotations

import csv
import itertools
import re

import numpy as np
import pytest
import statsmodels.api as sm
from places import SHARED
from scipy import stats

from analysis.statistics.design import (
    cell_codes,
    choose_design,
    design_candidates,
    design_control,
    lack_of_fit,
    leave_groups_out_q2,
)
from analysis.statistics.partial import partial_correlation

PUBLISHED = SHARED / "lc-2024_10_24.csv"


def grid(repeats: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    points = (
        list(itertools.product([32, 64, 128, 256], [1, 2, 4], [1, 3, 10], ["a", "b"])) * repeats
    )
    width, depth, epochs, loss = (np.array(column) for column in zip(*points, strict=True))
    return {"width": width, "depth": depth, "epochs": epochs}, {"loss": loss}


def q2_by_refits(y: np.ndarray, columns: np.ndarray, groups: np.ndarray) -> float:
    design, error = np.column_stack([np.ones(len(y)), columns]), 0.0
    for group in np.unique(groups):
        rest = groups != group
        slopes = np.linalg.lstsq(design[rest], y[rest], rcond=None)[0]
        error += float(np.square(y[~rest] - design[~rest] @ slopes).sum())
    return 1 - error / float(np.square(y - y.mean()).sum())


def test_leaving_groups_out_by_refits() -> None:
    rng = np.random.default_rng(0)
    columns, y = rng.standard_normal((50, 4)), rng.standard_normal(50)
    y = y + columns @ [1.0, 0.5, 0.0, -1.0]
    groups = rng.integers(0, 9, 50)
    expected = q2_by_refits(y, columns, groups)
    assert leave_groups_out_q2(y, columns, groups) == pytest.approx(expected, abs=1e-10)


def test_a_group_that_no_other_predicts_has_their_mean() -> None:
    rng = np.random.default_rng(1)
    group, y = np.repeat(np.arange(4), 5), rng.standard_normal(20)
    indicators = np.eye(4)[group][:, 1:]
    error = sum(float(np.square(y[group == g] - y[group != g].mean()).sum()) for g in range(4))
    expected = 1 - error / np.square(y - y.mean()).sum()
    assert leave_groups_out_q2(y, indicators, group) == pytest.approx(expected)


def test_candidates_by_their_rank_and_fit() -> None:
    numeric, categorical = grid(2)
    rng = np.random.default_rng(2)
    y = np.log(numeric["width"]) ** 2 + rng.standard_normal(144)
    by_name = {model.name: model for model in design_candidates(y, numeric, categorical)}
    assert [*by_name] == ["factors", "pairwise factors", "quadratic in logs"]
    # Levels 4, 3, 3, 2: main effects 3 + 2 + 2 + 1, products 6 + 6 + 3 + 4 + 2 + 2.
    assert [model.rank for model in by_name.values()] == [9, 32, 11]
    for model in by_name.values():
        assert model.dof == 144 - model.rank
        fit = sm.OLS(y, sm.add_constant(model.columns)).fit()
        assert model.r2 == pytest.approx(fit.rsquared)
        cells = cell_codes({**numeric, **categorical})
        assert model.q2 == pytest.approx(q2_by_refits(y, model.columns, cells))
    assert by_name["quadratic in logs"].terms.startswith("log width + log depth + log epochs")


def test_the_choice_is_of_prediction_and_leaves_ten_degrees_of_freedom() -> None:
    numeric, categorical = grid(1)
    rng = np.random.default_rng(3)
    logs = {name: np.log(values) for name, values in numeric.items()}
    bent = logs["width"] ** 2 + logs["width"] * logs["epochs"]
    step = (categorical["loss"] == "b") * (numeric["depth"] == 2) * 4.0
    noise = 0.3 * rng.standard_normal(72)
    smooth = design_candidates(bent + noise, numeric, categorical)
    assert choose_design(smooth).name == "quadratic in logs"
    stepped = design_candidates(step + noise, numeric, categorical)
    assert choose_design(stepped).name == "pairwise factors"
    assert choose_design(stepped, least_dof=41).name != "pairwise factors"
    with pytest.raises(ValueError, match="leaves 80 degrees"):
        choose_design(stepped, least_dof=80)


def test_an_axis_without_logarithm_is_a_factor() -> None:
    numeric = {"width": np.tile([1.0, 2.0, 4.0], 8), "decay": np.repeat([0.0, 0.1], 12)}
    models = design_candidates(np.random.default_rng(4).standard_normal(24), numeric, {})
    assert models[-1].terms == "log width + (log width)^2 + decay"


def test_lack_of_fit_by_nested_models() -> None:
    rng = np.random.default_rng(5)
    cells = np.repeat(np.arange(8), 3)
    x = cells.astype(float)
    y = x + 0.2 * x**2 + rng.standard_normal(24)
    line = sm.OLS(y, sm.add_constant(x)).fit()
    means = sm.OLS(y, np.eye(8)[cells]).fit()
    f, p, df = means.compare_f_test(line)
    test = lack_of_fit(y, x, cells)
    assert test is not None
    assert (test.f, test.p, test.df_fit, test.df_error) == pytest.approx((f, p, df, 16))
    assert lack_of_fit(y[::3], x[::3], cells[::3]) is None


def test_a_model_that_holds_the_design_is_adequate_and_one_that_does_not_is_not() -> None:
    numeric, categorical = grid(2)
    rng = np.random.default_rng(6)
    y = np.log(numeric["width"]) + 0.3 * rng.standard_normal(144)
    control = design_control(y, numeric, categorical, permutations=999, most=999)
    assert control.adequate
    assert control.reason == ""
    assert control.model in control.candidates
    # Three axes act together: no candidate has a term for that.
    product = 40.0 / (numeric["width"] * numeric["depth"] * numeric["epochs"])
    wrong = design_control(
        y + 3 * product,
        numeric,
        categorical,
        placebos={"1 / all": 1 / (product)},
        permutations=999,
        most=999,
    )
    assert not wrong.adequate
    assert "lack of fit" in wrong.reason


def test_placebos_outside_the_span_are_tested_and_those_inside_are_not() -> None:
    numeric, categorical = grid(1)
    rng = np.random.default_rng(7)
    inverse = 1.0 / numeric["width"]
    logs = {name: np.log(values) for name, values in numeric.items()}
    y = logs["epochs"] * logs["depth"] * logs["width"] / 4 + 0.05 * rng.standard_normal(72)
    control = design_control(
        y,
        numeric,
        categorical,
        placebos={"again": 3 - 2 * inverse, "sum": logs["width"] + 5, "three": y.round(1)},
        permutations=999,
        most=999,
    )
    names = [one.name for one in control.placebos]
    # A quadratic passes through the three values of depth and epochs, not the four of width.
    assert control.model.name == "quadratic in logs"
    products = [f"1 / ({pair})" for pair in ("width x depth", "width x epochs", "depth x epochs")]
    assert names == ["1 / width", *products, "three"]
    assert not control.adequate
    assert "three" in control.reason
    three = control.placebos[-1]
    assert three.p <= three.p_holm <= three.p * len(names) + 1e-12


@pytest.mark.parametrize("studies", [15, pytest.param(60, marks=pytest.mark.long)])
def test_level_of_placebos_where_the_model_holds(studies: int) -> None:
    numeric, categorical = grid(1)
    adequate = 0
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        spread = numeric["epochs"] ** 0.5
        y = np.log(numeric["width"]) * np.log(numeric["epochs"])
        y = y + spread * rng.standard_normal(72)
        control = design_control(y, numeric, categorical, permutations=199, most=199, seed=seed)
        adequate += control.adequate
    assert adequate >= stats.binom.ppf(0.001, studies, 0.93)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"no published measurements at {PUBLISHED}")
def test_published_table_of_linguistic_collapse() -> None:
    """Figures of an independent script: Q^2 .900 and .968, partial r of nc1_cdnv +.36 and -.41."""
    last: dict[str, tuple[int, dict[str, str]]] = {}
    with PUBLISHED.open() as file:
        for row in csv.DictReader(file):
            training, at = row["model"].split("@")
            if training not in last or last[training][0] < int(at):
                last[training] = (int(at), row)
    assert len(last) == 170
    names = [re.match(r"(\d{2})x(\d{4})_(\d{2})(.)", name) for name in last]
    depth, width, epochs = (np.array([float(n[i]) for n in names if n]) for i in (1, 2, 3))
    decay = np.array([n[4] == "L" for n in names if n], dtype=float)
    rows = [row for _, row in last.values()]
    loss = np.array([float(row["val_loss"]) for row in rows])
    cdnv = np.array([float(row["cdnv"]) for row in rows])
    linear = np.column_stack([np.log(width), np.log(depth), epochs, decay])
    linear = (linear - linear.mean(axis=0)) / linear.std(axis=0)
    pairs = itertools.combinations_with_replacement(range(4), 2)
    quadratic = np.column_stack([linear, *(linear[:, i] * linear[:, j] for i, j in pairs)])
    architecture = cell_codes({"width": width, "depth": depth})
    assert leave_groups_out_q2(loss, linear, architecture) == pytest.approx(0.900, abs=5e-4)
    assert leave_groups_out_q2(loss, quadratic, architecture) == pytest.approx(0.968, abs=5e-4)
    given_linear = partial_correlation(cdnv, loss, covariates=linear)
    given_quadratic = partial_correlation(cdnv, loss, covariates=quadratic)
    assert given_linear.r == pytest.approx(0.36, abs=5e-3)
    assert given_quadratic.r == pytest.approx(-0.41, abs=5e-3)
