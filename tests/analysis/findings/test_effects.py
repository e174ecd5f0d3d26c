"""What each axis does to each metric, against statsmodels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from matplotlib.colors import to_hex

from analysis.figures.effects import effect_figure
from analysis.findings.effects import effects
from analysis.reading.table import Choices, Metric, Roles
from analysis.statistics.levels import ALPHA
from analysis.statistics.permutation import permutation_test

METRICS = {
    "nc1_ratio": Metric("nc1_ratio", "NC1", "lower", heavy_tailed=True),
    "nc2_etf_error": Metric("nc2_etf_error", "NC2", "lower"),
    "nc3_dual_error": Metric("nc3_dual_error", "NC3", "lower"),
    "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
}
ROLES = Roles(
    "val_loss",
    {"val_loss": "lower"},
    METRICS,
    ("width", "zipf", "kind"),
    ("width",),
    "training",
    seed="seed",
)
CHOICES = Choices(permutations=400, bootstrap=50, seed=3)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """2 x 3 x 2 settings, four seeds.

    The width doubles nc1_ratio, zipf moves nc2_etf_error, kind nothing.
    """
    rng = np.random.default_rng(4)
    records = []
    for width in (16, 64):
        for zipf in (0.0, 0.5, 1.0):
            for kind in ("constant", "linear"):
                for seed in range(4):
                    noise = rng.standard_normal(4)
                    records.append(
                        {
                            "training": f"{width} {zipf} {kind} {seed}",
                            "width": width,
                            "zipf": zipf,
                            "kind": kind,
                            "seed": seed,
                            "val_loss": 3 - 0.5 * zipf + 0.2 * noise[0],
                            "nc1_ratio": width / 16 * 10 ** (0.1 * noise[1]),
                            "nc2_etf_error": 2 * zipf + 0.3 * noise[2],
                            "nc3_dual_error": None if kind == "linear" and seed == 0 else noise[3],
                            "nc4_agreement": 0.5,
                        }
                    )
    return pl.DataFrame(records)


@pytest.fixture(scope="module")
def lines(rows: pl.DataFrame) -> pl.DataFrame:
    return effects(rows, ROLES, ("val_loss", *METRICS), CHOICES)


@pytest.mark.parametrize("column", ["val_loss", "nc1_ratio", "nc2_etf_error", "nc3_dual_error"])
def test_effects_are_those_of_one_regression_on_all_axes(
    rows: pl.DataFrame, lines: pl.DataFrame, column: str
) -> None:
    complete = rows.drop_nulls(column)
    design = np.column_stack(
        [
            np.log(complete["width"]),
            complete["zipf"],
            (complete["kind"] == "linear").cast(pl.Float64),
        ]
    )
    y = (
        np.log10(complete[column].to_numpy())
        if column == "nc1_ratio"
        else complete[column].to_numpy()
    )
    fit = sm.OLS(y, sm.add_constant(design)).fit().get_robustcov_results("HC3", use_t=True)
    low, high = fit.conf_int().T
    for place, axis in enumerate(("log width", "zipf", "kind = linear"), start=1):
        unit = (design[:, place - 1].max() - design[:, place - 1].min()) / y.std(ddof=1)
        line = lines.filter((pl.col("metric") == column) & (pl.col("axis") == axis)).row(
            0, named=True
        )
        assert line["n"] == len(complete)
        assert line["effect"] == pytest.approx(fit.params[place] * unit, rel=1e-9)
        assert [line["low"], line["high"]] == pytest.approx(
            [low[place] * unit, high[place] * unit], rel=1e-9
        )
        others = np.delete(design, place - 1, axis=1)
        without = sm.OLS(y, sm.add_constant(others)).fit()
        assert line["partial_r2"] == pytest.approx(
            1 - sm.OLS(y, sm.add_constant(design)).fit().ssr / without.ssr, rel=1e-8
        )
        test = permutation_test(
            y, design[:, place - 1], covariates=others, permutations=400, seed=3
        )
        assert line["p"] == test.p
        assert line["scale"] == ("log10" if column == "nc1_ratio" else "raw")


def test_adjusted_p_are_over_columns_without_missing_values(
    rows: pl.DataFrame, lines: pl.DataFrame
) -> None:
    design = np.column_stack([np.log(rows["width"]), (rows["kind"] == "linear").cast(pl.Float64)])
    family = np.column_stack([rows["val_loss"], np.log10(rows["nc1_ratio"]), rows["nc2_etf_error"]])
    together = permutation_test(family, rows["zipf"], covariates=design, permutations=400, seed=3)
    by_metric = {line["metric"]: line for line in lines.filter(pl.col("axis") == "zipf").to_dicts()}
    assert [
        by_metric[name]["p_maxt"] for name in ("val_loss", "nc1_ratio", "nc2_etf_error")
    ] == together.p_maxt.tolist()
    assert by_metric["nc3_dual_error"]["p_maxt"] is None
    assert by_metric["nc4_agreement"]["effect"] is None
    assert by_metric["nc4_agreement"]["note"] == "nc4_agreement is constant"


def test_what_was_put_in_is_found(lines: pl.DataFrame) -> None:
    sure = lines.filter(pl.col("p_maxt") <= ALPHA).select("axis", "metric").rows()
    assert sure == [("zipf", "val_loss"), ("log width", "nc1_ratio"), ("zipf", "nc2_etf_error")]


def test_an_axis_that_another_one_determines_has_no_effect_of_its_own(rows: pl.DataFrame) -> None:
    twin = rows.with_columns(width=pl.when(pl.col("kind") == "linear").then(64).otherwise(16))
    frame = effects(twin, ROLES, ("val_loss",), CHOICES)
    by_axis = {line["axis"]: line for line in frame.to_dicts()}
    for name in ("log width", "kind = linear"):
        assert by_axis[name]["effect"] is None
        assert by_axis[name]["note"] == f"{name} is a linear function of what is taken out"
    assert by_axis["zipf"]["p"] is not None


def test_the_figure_fills_what_is_sure(lines: pl.DataFrame) -> None:
    figure = effect_figure(lines.drop_nulls("effect"))
    names = ["val_loss", "nc1_ratio", "nc2_etf_error", "nc3_dual_error"]
    drawn = {}
    for axis in figure.axes:
        for dot in (line for line in axis.lines if line.get_marker() == "o"):
            name = names[int(np.asarray(dot.get_ydata())[0])]
            drawn[axis.get_title(loc="left"), name] = (
                np.asarray(dot.get_xdata())[0],
                to_hex(dot.get_markerfacecolor(), keep_alpha=True) != "#00000000",
            )
    assert drawn == {
        (line["axis"], line["metric"]): (
            line["effect"],
            line["p_maxt"] is not None and line["p_maxt"] <= ALPHA,
        )
        for line in lines.drop_nulls("effect").to_dicts()
    }
