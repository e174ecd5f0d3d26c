"""What the page has of single trainings is what the rows say of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import polars as pl

import analysis
from analysis.reading.table import Metric, Roles, Table
from analysis.report.points import names, trainings

ROLES = Roles(
    response="val_loss",
    responses={"val_loss": "lower"},
    metrics={"nc1_ratio": Metric("nc1_ratio", "NC1", "lower")},
    axes=("width", "lr"),
    architecture=("width",),
    unit="training",
    order="epoch",
    seed="seed",
    precision="precision",
)


def rows() -> pl.DataFrame:
    """Two trainings, two checkpoints and two precisions, in no order."""
    lines = []
    for training, width, lr in (("b", 8, 0.1), ("a", 16, None)):
        for epoch in (2, 0):
            for precision in ("int8", "fp32"):
                loss = 1.23456789 + epoch + width + (100 if precision == "int8" else 0)
                lines.append(
                    {
                        "training": training,
                        "width": width,
                        "lr": lr,
                        "seed": 3,
                        "epoch": epoch,
                        "precision": precision,
                        "val_loss": loss,
                        "nc1_ratio": math.nan if epoch == 0 else 1e-7 * width,
                    }
                )
    return pl.DataFrame(lines)


def test_settings_and_curves_are_those_of_the_rows() -> None:
    table = Table(rows(), ROLES, "made")
    assert names(table) == {"a": 0, "b": 1}
    told = trainings(table)
    assert told["names"] == ["a", "b"]
    settings = [
        {axis["name"]: axis["levels"][axis["of"][training]] for axis in told["axes"]}
        for training in (0, 1)
    ]
    assert settings == [
        {"width": "16", "learning rate": "not given", "seed": "3"},
        {"width": "8", "learning rate": "0.1", "seed": "3"},
    ]
    assert told["order"] == "epoch"
    assert told["columns"] == ["validation loss", "within / between variance"]
    # at the reference precision, in the order of epochs, four digits, null for what is no number
    assert told["curves"] == [
        {"along": [0, 2], "values": [[17.23, 19.23], [None, 1.6e-6]]},
        {"along": [0, 2], "values": [[9.235, 11.23], [None, 8e-7]]},
    ]


def test_the_page_has_them_as_json_that_no_name_can_leave(tmp_path: Path) -> None:
    frame = rows().with_columns(training=pl.lit("</script><script>alert(1)//") + pl.col("training"))
    frame = frame.with_columns(pl.col("nc1_ratio").fill_nan(0.5))
    frame = pl.concat(
        frame.with_columns(
            pl.col("training") + str(seed),
            pl.lit(seed).alias("seed"),
            pl.col("val_loss", "nc1_ratio") * (1 + 0.1 * seed * seed),
        )
        for seed in range(3)
    )
    path = tmp_path / "rows.csv"
    frame.write_csv(path)
    report = analysis.report(
        path,
        unit=["training"],
        response="val_loss",
        metrics=["nc1_ratio"],
        axes=["width"],
        order="epoch",
        seed_column="seed",
        precision_column="precision",
        only=["association"],
        permutations=20,
        bootstrap=20,
    )
    page = report.html()
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)
    *marks, told = [json.loads(text) for text in found]
    assert told["names"][0] == "</script><script>alert(1)//a0"
    assert len(told["names"]) == 6
    assert [each["trainings"] for each in marks] == [[0, 1, 2, 3, 4, 5]]
    assert page.count("<script") == 3
