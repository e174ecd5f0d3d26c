"""Where the points of a figure lie, against axes' limits and against what is painted."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.figures.association import scatter
from analysis.figures.drawing import panels
from analysis.figures.marks import FULL, MISSING, Marks, places
from analysis.findings.association import associations
from analysis.reading.table import Choices, Metric, Roles

METRICS = {
    "nc1_ratio": Metric("nc1_ratio", "NC1", "lower", heavy_tailed=True),
    "nc3_dual_error": Metric("nc3_dual_error", "NC3", "lower"),
}
ROLES = Roles("val_loss", {"val_loss": "lower"}, METRICS, ("width",), (), "training")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    return pl.DataFrame(
        {
            "training": [f"t{number}" for number in range(12)],
            "width": [32, 64] * 6,
            "nc1_ratio": 10.0 ** np.linspace(-6, 4, 12),
            "nc3_dual_error": [None, *rng.normal(size=11)],
            "val_loss": rng.normal(size=12),
        }
    )


def decoded(panel: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Positions as the page reads them."""
    return np.frombuffer(base64.b64decode(panel["at"]), dtype="<u2").reshape(-1, 2)


def test_places_are_those_of_the_limits_of_the_axes(rows: pl.DataFrame) -> None:
    lines = associations(rows, ROLES, Choices(permutations=10, bootstrap=10))
    figure: Any = scatter(rows, ROLES, lines, list(METRICS), axes=("width",))
    numbers = {name: 100 + place for place, name in enumerate(rows["training"])}
    marks = figure.marks.placed(numbers)
    assert marks["trainings"] == list(range(100, 112))
    assert len(set(marks["colours"])) == 2
    for axis, panel, name in zip(figure.axes, marks["panels"], METRICS, strict=True):
        place = axis.get_position()
        box = [place.x0, 1 - place.y1, place.x1, 1 - place.y0]
        assert panel["box"] == pytest.approx(box, abs=1e-5)
        scale = np.log10 if name == "nc1_ratio" else np.asarray
        assert (axis.get_xscale() == "log") == (name == "nc1_ratio")
        (left, right), (bottom, top) = scale(axis.get_xlim()), axis.get_ylim()
        for row, (x, y) in zip(rows.to_dicts(), decoded(panel), strict=True):
            if row[name] is None:
                assert (x, y) == (MISSING, MISSING)
                continue
            across = place.x0 + place.width * (scale(row[name]) - left) / (right - left)
            up = place.y0 + place.height * (row["val_loss"] - bottom) / (top - bottom)
            assert x / FULL == pytest.approx(across, abs=1 / FULL)
            assert y / FULL == pytest.approx(1 - up, abs=1 / FULL)


def test_a_point_is_painted_where_it_is_said_to_lie() -> None:
    figure, (axis,) = panels(1)
    axis.plot([0.3], [0.8], "s", markersize=6, color="#ff0000")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    painted = np.argwhere((pixels[..., :3] == (255, 0, 0)).all(axis=2)).mean(axis=0) + 0.5
    ((x, y),) = places(axis, np.array([[0.3, 0.8]])) / FULL
    assert (y, x) == pytest.approx(tuple(painted / pixels.shape[:2]), abs=0.003)


def test_points_beyond_the_axes_and_unknown_ones_have_no_place() -> None:
    (axis,) = panels(1)[1]
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    points = np.array([[0.0, 1.0], [1.1, 0.5], [0.5, -0.1], [np.nan, 0.5], [np.inf, 0.5]])
    marks = Marks(list("abcde"), ["#000000"] * 5, [(axis, points)])
    (panel,) = marks.placed(dict.fromkeys("abcde", 0))["panels"]
    assert (decoded(panel) == MISSING).all(axis=1).tolist() == [False, True, True, True, True]
