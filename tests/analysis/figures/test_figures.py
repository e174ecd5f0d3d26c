"""What figures draw, read back from their artists, against medians taken here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import drawing
from analysis.figures.association import scatter
from analysis.figures.colours import SIZES
from analysis.figures.curves import collapse_curves
from analysis.figures.drawing import RASTER_ABOVE
from analysis.figures.forest import forest
from analysis.figures.layers import depth_profile
from analysis.figures.looks import Looks, looks_of_names
from analysis.figures.precision import against_bits, change_against_bits, change_scatter
from analysis.figures.sweeps import against_axis
from analysis.figures.ticks import apart, log_ticks, plain
from analysis.findings.association import associations
from analysis.findings.bits import at_all_precisions
from analysis.findings.layers import layer_rows, layer_table
from analysis.findings.sweeps import facet_of, levels_of, missing_points, swept
from analysis.reading.groups import told_apart
from analysis.reading.selection import at_reference, final_rows
from analysis.reading.table import Choices, Metric, Missing, Roles, Table
from analysis.report.pictures import FigureExhibit
from study.columns import in_words

METRICS = {
    "nc1_ratio": Metric("nc1_ratio", "NC1", "lower"),
    "nc3_dual_error": Metric("nc3_dual_error", "NC3", "lower"),
}
ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics=METRICS,
    axes=("width", "epochs", "weight_decay"),
    architecture=("width",),
    unit="training",
    order="epoch",
    seed="seed",
    precision="precision",
)
BITS = {"fp32": 32.0, "fp8": 8.25, "int8": 8.25, "int4": 4.25, "ft-fp32": 32.0, "qat-int4": 4.25}
PLAIN = ("fp32", "fp8", "int8", "int4")
LAYERS = ("block 1", "block 2", "block 10")


def made() -> Table:
    """2 widths x 2 planned epochs x 2 weight decays x 3 seeds.

    Two checkpoints, six precisions, three inner layers.
    """
    rng = np.random.default_rng(8)
    rows, layers = [], []
    for width in (32, 128):
        for epochs in (2, 4):
            for decay in (0.0, 0.1):
                for seed in range(3):
                    for epoch in (0, epochs):
                        for precision, bits in BITS.items():
                            values = {
                                name: float(value)
                                for name, value in zip(
                                    ("val_loss", *METRICS), rng.random(3), strict=True
                                )
                            }
                            row = {
                                "training": f"{width}-{epochs}-{decay}-{seed}",
                                "width": width,
                                "epochs": epochs,
                                "weight_decay": decay,
                                "seed": seed,
                                "epoch": epoch,
                                "precision": precision,
                                "bits_per_weight": bits,
                                "zero_error_epoch": 1 if epochs == 4 and epoch else None,
                                **values,
                            }
                            rows.append(row)
                            if precision == "fp32":
                                layers += [
                                    {**row, "layer": name, "nc1_ratio": float(rng.random())}
                                    for name in LAYERS
                                ]
    return Table(pl.DataFrame(rows), ROLES, "made", layers=pl.DataFrame(layers))


@pytest.fixture(scope="module")
def table() -> Table:
    return made()


def last(table: Table, precision: str = "fp32") -> list[dict[str, Any]]:
    return [
        row
        for row in table.frame.to_dicts()
        if row["precision"] == precision and row["epoch"] == row["epochs"]
    ]


def lines(axis: Axes) -> list[list[tuple[float, float]]]:
    """The lines of a panel, each as its points, in a fixed order."""
    segments = [
        segment
        for part in axis.collections
        if isinstance(part, LineCollection)
        for segment in part.get_segments()
    ]
    return sorted([(float(x), float(y)) for x, y in segment] for segment in segments)


def dots(axis: Axes) -> list[Line2D]:
    """The points of a panel, an artist for each colour."""
    return [part for part in axis.lines if part.get_linestyle() == "None"]


def points(parts: list[Line2D]) -> list[tuple[float, float]]:
    """Where the points of some artists are, sorted."""
    return sorted((float(x), float(y)) for part in parts for x, y in np.asarray(part.get_xydata()))


def medians(
    rows: list[dict[str, Any]], settings: tuple[str, ...], along: str, name: str
) -> list[list[tuple[float, float]]]:
    """The lines of a panel: medians over what is neither a setting nor `along`."""
    points: dict[tuple[Any, ...], dict[float, list[float]]] = {}
    for row in rows:
        points.setdefault(tuple(row[key] for key in settings), {}).setdefault(
            row[along], []
        ).append(row[name])
    return sorted(
        [(float(x), float(np.median(ys))) for x, ys in sorted(line.items())]
        for line in points.values()
    )


def panel(figure: Any, title: str) -> Axes:
    axes = [axis for axis in figure.axes if axis.get_title(loc="left") == title]
    assert len(axes) == 1, [axis.get_title(loc="left") for axis in figure.axes]
    axis: Axes = axes[0]
    return axis


def along_width(
    table: Table, rows: pl.DataFrame, columns: tuple[str, ...], facet: str | None
) -> Figure:
    missing = missing_points(table, facet, levels_of(rows, facet))
    return against_axis(rows, ROLES, "width", columns, facet=facet, missing=missing)


def looks_of(axis: Axes) -> dict[tuple[tuple[float, float], ...], tuple[str, str]]:
    """Colour and dash of each line of a panel, by its points."""
    return {
        tuple((float(x), float(y)) for x, y in segment): (to_hex(colour), str(dash))
        for part in axis.collections
        if isinstance(part, LineCollection)
        for segment, colour, dash in zip(
            part.get_segments(), np.asarray(part.get_colors()), part.get_linestyle(), strict=True
        )
    }


def test_a_colour_tells_one_axis_and_a_dash_the_next(table: Table) -> None:
    rows = final_rows(table)
    assert swept(table, rows) == ["width", "epochs", "weight_decay"]
    assert facet_of(table, rows, "width") is None
    figure = along_width(table, rows, ("val_loss", "nc1_ratio"), None)
    for name, title in (
        ("val_loss", "validation loss (nats)"),
        ("nc1_ratio", "within / between variance"),
    ):
        axis = panel(figure, title)
        assert lines(axis) == medians(last(table), ("epochs", "weight_decay"), "width", name)
        drawn = looks_of(axis)
        of_point = {
            (epochs, decay): drawn[tuple(line[0])]
            for epochs in (2, 4)
            for decay in (0.0, 0.1)
            for line in [
                medians(
                    [
                        row
                        for row in last(table)
                        if (row["epochs"], row["weight_decay"]) == (epochs, decay)
                    ],
                    (),
                    "width",
                    name,
                )
            ]
        }
        assert len({colour for colour, _ in of_point.values()}) == 2
        assert of_point[2, 0.0][0] == of_point[2, 0.1][0] != of_point[4, 0.0][0]
        assert of_point[2, 0.0][1] == of_point[4, 0.0][1] != of_point[2, 0.1][1]
        assert axis.get_xlabel() == "width"
        assert axis.get_xscale() == "log"
        assert [text.get_text() for text in axis.get_xticklabels()] == ["32", "128"]
    key = [text.get_text() for text in figure.texts]
    assert key == ["training epochs", "2", "4", "weight decay", "0", "0.1"]


def test_of_three_axes_the_one_with_the_fewest_levels_has_panels(table: Table) -> None:
    rows = final_rows(table).with_columns(depth=pl.col("seed") + 1)
    roles = replace(ROLES, axes=("width", "depth", "epochs", "weight_decay"))
    wider = Table(rows, roles, "made")
    assert facet_of(wider, rows, "width") == "weight_decay"
    assert facet_of(wider, rows, "weight_decay") == "epochs"
    figure = along_width(table, rows, ("val_loss",), "weight_decay")
    for decay in (0.0, 0.1):
        axis = panel(figure, f"validation loss (nats)\nweight decay {decay:g}")
        part = [row for row in last(table) if row["weight_decay"] == decay]
        assert lines(axis) == medians(part, ("epochs",), "width", "val_loss")


def test_a_panel_of_an_incomplete_grid_says_so(table: Table) -> None:
    absent = pl.DataFrame({"width": [128, 32], "epochs": [4, 4], "weight_decay": [0.1, 0.1]})
    lacking = Table(table.frame, ROLES, "made", missing=(Missing(absent),))
    figure = along_width(lacking, final_rows(table), ("nc1_ratio",), "weight_decay")
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    name = "within / between variance"
    assert titles == [f"{name}\nweight decay 0", f"{name}\nweight decay 0.1\n2 points missing"]


def test_curves_join_medians_and_mark_zero_error(table: Table) -> None:
    figure = collapse_curves(
        at_reference(table),
        ROLES,
        ("val_loss", "nc3_dual_error"),
        axes=told_apart(table),
        floor=None,
    )
    rows = [row for row in table.frame.to_dicts() if row["precision"] == "fp32"]
    for name, title in (
        ("val_loss", "validation loss (nats)"),
        ("nc3_dual_error", "distance of logits to ETF"),
    ):
        axis = panel(figure, title)
        assert lines(axis) == medians(rows, ("width", "epochs", "weight_decay"), "epoch", name)
        stars = points([part for part in dots(axis) if part.get_marker() == "*"])
        late = [row for row in rows if row["epochs"] == row["epoch"] == 4]
        expected = medians(late, ("width", "weight_decay"), "epoch", name)
        assert stars == [point for line in expected for point in line]


def test_layers_stand_in_the_order_of_their_numbers_and_the_head_last(table: Table) -> None:
    rows = layer_rows(table)
    assert len(rows) == 24 * 4
    medians_of_layers = layer_table(rows, ("nc1_ratio",))
    assert medians_of_layers["layer"].to_list() == [*LAYERS, "head input"]
    assert medians_of_layers["place"].to_list() == [1, 2, 3, 4]
    assert medians_of_layers["trainings"].to_list() == [24] * 4
    assert table.layers is not None
    inner = [row for row in table.layers.to_dicts() if row["epoch"] == row["epochs"]]
    for layer, median in zip(LAYERS, medians_of_layers["nc1_ratio"], strict=False):
        assert median == np.median([row["nc1_ratio"] for row in inner if row["layer"] == layer])
    figure = depth_profile(rows, ROLES, ("nc1_ratio",), axes=told_apart(table))
    every = [{**row, "place": LAYERS.index(row["layer"]) + 1} for row in inner]
    every += [{**row, "place": 4} for row in last(table)]
    axis = panel(figure, "within / between variance")
    assert lines(axis) == medians(every, ("width", "epochs", "weight_decay"), "place", "nc1_ratio")
    assert axis.get_xlabel() == "layer (last: input of the head)"


def by_precision(
    table: Table, precisions: tuple[str, ...], settings: tuple[str, ...], name: str
) -> list[list[tuple[float, float]]]:
    """The lines of a panel against bits: a median for each precision.

    Also where two precisions take as many bits.
    """
    values: dict[tuple[Any, ...], dict[tuple[float, str], list[float]]] = {}
    for precision in precisions:
        for row in last(table, precision):
            line = values.setdefault(tuple(row[key] for key in settings), {})
            line.setdefault((row["bits_per_weight"], precision), []).append(row[name])
    return sorted(
        [(bits, float(np.median(ys))) for (bits, _), ys in sorted(line.items())]
        for line in values.values()
    )


def test_bits_leave_fine_tuned_precisions_out_of_the_lines(table: Table) -> None:
    figure = against_bits(at_all_precisions(table), ROLES, ("val_loss",), axes=told_apart(table))
    axis = panel(figure, "validation loss (nats)")
    tuned = [row for name in ("ft-fp32", "qat-int4") for row in last(table, name)]
    settings = ("width", "epochs", "weight_decay")
    assert lines(axis) == by_precision(table, PLAIN, settings, "val_loss")
    drawn = points([part for part in dots(axis) if part.get_markerfacecolor() == "none"])
    expected = [
        point for line in medians(tuned, settings, "bits_per_weight", "val_loss") for point in line
    ]
    assert drawn == sorted(expected)
    assert axis.get_xlabel() == "bits per weight"


def test_change_against_bits_has_a_line_per_training_by_its_collapse(table: Table) -> None:
    figure = change_against_bits(at_all_precisions(table), final_rows(table), ROLES, "nc1_ratio")
    axis = figure.axes[0]
    before = {row["training"]: row for row in last(table)}
    expected: dict[str, list[tuple[float, float]]] = {}
    for bits, precision in sorted((BITS[name], name) for name in PLAIN):
        for row in last(table, precision):
            change = row["val_loss"] - before[row["training"]]["val_loss"]
            expected.setdefault(row["training"], []).append((bits, change))
    drawn = looks_of(axis)
    assert {tuple(line) for line in expected.values()} == set(drawn)
    low = min(before.values(), key=lambda row: row["nc1_ratio"])
    high = max(before.values(), key=lambda row: row["nc1_ratio"])
    shades = [drawn[tuple(expected[row["training"]])][0] for row in (low, high)]
    dark, light = (sum(int(shade[at : at + 2], 16) for at in (1, 3, 5)) for shade in shades)
    assert dark < light  # dark is the least value
    (bar,) = [each for each in figure.axes if each.get_label() == "key"]
    assert [text.get_text() for text in figure.texts] == ["within / between variance before"]
    assert np.allclose(bar.get_xlim(), (low["nc1_ratio"], high["nc1_ratio"]))


def many(count: int) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "training": [f"{n}" for n in range(count)],
            "val_loss": rng.random(count),
            "nc1_ratio": rng.random(count),
        }
    )


def scatter_of(rows: pl.DataFrame) -> Any:
    roles = Roles(
        "val_loss", {"val_loss": "lower"}, {"nc1_ratio": METRICS["nc1_ratio"]}, (), (), "training"
    )
    table = associations(rows, roles, Choices(permutations=10, bootstrap=10))
    return scatter(rows, roles, table, ["nc1_ratio"], axes=())


def test_a_metric_with_heavy_tails_is_drawn_on_a_logarithmic_axis() -> None:
    """r against numpy's in the title of the one panel."""
    rng = np.random.default_rng(3)
    values, loss = 10 ** rng.normal(size=40), rng.random(40)
    rows = pl.DataFrame(
        {"training": [str(row) for row in range(40)], "val_loss": loss, "nc1_cdnv": values}
    )
    metrics = {"nc1_cdnv": Metric("nc1_cdnv", "NC1", "lower", heavy_tailed=True)}
    roles = Roles("val_loss", {"val_loss": "lower"}, metrics, (), (), "training")
    table = associations(rows, roles, Choices(permutations=10, bootstrap=10))
    (axis,) = scatter(rows, roles, table, ["nc1_cdnv"], axes=()).axes
    assert axis.get_xscale() == "log"
    r = np.corrcoef(values, loss)[0, 1]
    assert axis.get_title(loc="left").replace("−", "-") == f"R² {r**2:.3f}, r {r:+.2f}, n 40"


def changes_of(rows: pl.DataFrame) -> Any:
    pairs = rows.with_columns(
        pl.col(name).reverse().alias(f"{name}_q") for name in ("val_loss", "nc1_ratio")
    )
    parts = [("int8", pairs)]
    return change_scatter(parts, ["nc1_ratio"], "val_loss", unit="training", precisions=["int8"])


@pytest.mark.parametrize("draw", [scatter_of, changes_of])
@pytest.mark.parametrize("more", [0, 1])
def test_more_than_two_thousand_points_become_a_picture(
    draw: Callable[[pl.DataFrame], Any], more: int
) -> None:
    assert RASTER_ABOVE == 2_000
    svg = FigureExhibit("f", "t", "c", lambda: draw(many(RASTER_ABOVE + more))).svg
    assert svg.count("<image") == more
    assert (svg.count("<use") > RASTER_ABOVE) == (not more)
    assert "validation loss" in svg  # labels stay text


@pytest.mark.parametrize("more", [0, 1])
def test_many_panels_of_fewer_points_become_pictures_as_well(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.figures.drawing.MOST_ELEMENTS", 3 * 50 + 3 * 20)

    def draw() -> Figure:
        figure, axes = drawing.panels(3, "loss")
        for number, axis in enumerate(axes):
            points = np.random.default_rng(number).normal(size=(50 + more, 2))
            drawing.dots(axis, points, ["#000000"] * 25 + ["#ff0000"] * (25 + more))
            axis.scatter(range(20), range(20))
            axis.plot([0, 1], [0, 1])
            axis.axhline(0)
        return figure

    svg = FigureExhibit("f", "t", "c", draw).svg
    assert svg.count("<image") == 6 * more  # lines lie above what is scattered
    points = sum(line.count("<use ") for line in svg.splitlines())
    assert points > 3 * 70 if not more else points < 3 * 70
    assert "loss" in svg


def test_a_precision_looks_the_same_whatever_is_beside_it() -> None:
    pairs = many(4).with_columns(
        pl.col(name).reverse().alias(f"{name}_q") for name in ("val_loss", "nc1_ratio")
    )
    names = [f"int{number}" for number in range(64)]
    looks = looks_of_names(names)
    assert len(set(looks.values())) == len(names)
    for shown in (["int9"], ["int1", "int9", "int63"]):
        parts = [(name, pairs) for name in shown]
        figure = change_scatter(parts, ["nc1_ratio"], "val_loss", unit="training", precisions=names)
        drawn = [to_hex(np.asarray(each.get_facecolor())[0]) for each in figure.axes[0].collections]
        assert drawn == [to_hex(looks[name][0]) for name in shown]


def test_the_colour_of_a_number_is_its_own_in_all_figures(table: Table) -> None:
    rows = final_rows(table)
    first, second = Looks(rows, ("width", "epochs")), Looks(rows, ("epochs", "width"))
    assert first.of({"width": 128, "epochs": 2}).colour == SIZES(1.0)
    assert second.of({"width": 128, "epochs": 2}).colour == SIZES(0.0)
    assert first.of({"width": 128, "epochs": 2}).dash == "-"
    assert first.of({"width": 128, "epochs": 4}).dash == "--"


def test_tick_labels_have_room() -> None:
    assert apart([64, 128, 256, 512, 768, 1024], log=True) == [64, 128, 256, 512, 1024]
    assert apart([1, 3, 10], log=False) == [1, 3, 10]
    assert apart([1, 2, 100], log=False) == [1, 100]
    assert apart([5], log=False) == [5]


def test_ticks_of_logarithmic_axes_are_few_and_round() -> None:
    assert log_ticks(0.007, 0.4, 5) == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert log_ticks(0.02, 4, 5) == [0.03, 0.1, 0.3, 1, 3]
    assert log_ticks(2, 9, 5) == [2, 5]
    assert log_ticks(1e-5, 12, 5) == [1e-5, 1e-3, 1e-1, 10]
    assert log_ticks(1, 1e9, 4) == [1, 1e3, 1e6, 1e9]
    assert [plain(value) for value in (1e-5, 0.03, 1e9, -0.5)] == ["10⁻⁵", "0.03", "10⁹", "−0.5"]


def test_the_longest_name_of_a_row_has_its_room() -> None:
    long = "width 768, depth 2, epochs 1, weight_decay 0.0005"
    for name in ("pooled", long, f"{long}, learning_rate 0.0003, batch_size 16"):
        lines = pl.DataFrame(
            {
                "panel": ["nc1_ratio"],
                "label": [name],
                "estimate": [0.2],
                "low": [0.1],
                "high": [0.3],
                "solid": [True],
                "summary": [False],
            }
        )
        figure = forest(lines, xlabel="r")
        FigureCanvasAgg(figure).draw()
        (label,) = figure.axes[0].get_yticklabels()
        assert label.get_text().replace("\n", " ") == in_words(name)
        assert label.get_window_extent().x0 >= 0


def test_levels_have_the_same_limits_in_all_panels(table: Table) -> None:
    """A panel that has one level of an axis alone stands beside those that have all."""
    rows = final_rows(table).filter((pl.col("weight_decay") == 0) | (pl.col("width") == 32))
    figure = along_width(table, rows, ("val_loss",), "weight_decay")
    whole, part = figure.axes[:2]
    assert whole.get_xlim() == part.get_xlim()
    low, high = part.get_xlim()
    assert low < 32
    assert high > 128
