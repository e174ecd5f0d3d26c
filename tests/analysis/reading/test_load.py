"""Tables, maps of foreign columns, roles, row selection and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from analysis.reading.load import load
from analysis.reading.selection import final_rows, precisions, replicates
from analysis.reading.table import AnalysisError, Metric, expected_sign
from study.columns import METRICS

MAP: dict[str, Any] = {
    "extract": {
        "column": "name",
        "pattern": r"^(?P<run>d(?P<deep>\d)w(?P<wide>\d+)(?:s(?P<seed_text>\d))?)@(?P<at>\d)$",
    },
    "columns": {
        "depth": "CAST(deep AS INTEGER)",
        "width": "CAST(wide AS INTEGER)",
        "seed": "CAST(seed_text AS INTEGER)",
        "epoch": "CAST(at AS INTEGER) + 1",
        "val_loss": "loss / 2",
        "scheme": "CASE wide WHEN '8' THEN 0.1 ELSE 0.5 END",
    },
    "where": "loss < 90",
    "axes": ["width", "depth"],
    "architecture": ["width", "depth"],
    "unit": "run",
    "order": "epoch",
    "seed": "seed",
    "response": "val_loss",
    "responses": {"val_loss": "lower", "acc": "higher"},
    "metrics": {
        "nc1_cdnv": {"sql": "cdnv", "family": "NC1", "direction": "lower", "heavy_tailed": True},
        "nc4_agreement": {
            "sql": "CAST(hits AS DOUBLE) / (hits + misses)",
            "family": "NC4",
            "direction": "higher",
        },
    },
}


def foreign(names: list[str]) -> pl.DataFrame:
    count = len(names)
    return pl.DataFrame(
        {
            "name": names,
            "loss": [4.0 + row for row in range(count)],
            "acc": [0.5] * count,
            "cdnv": [2.0**-row for row in range(count)],
            "hits": list(range(1, count + 1)),
            "misses": [3] * count,
        }
    )


GRID = ["d1w8@0", "d1w8@1", "d1w16@0", "d2w8@0", "d2w16@0", "d2w16s1@0", "d2w16s2@0"]


def write(folder: Path, frame: pl.DataFrame, **change: Any) -> tuple[Path, Path]:
    data, mapping = folder / "table.csv", folder / "map.yaml"
    frame.write_csv(data)
    mapping.write_text(yaml.safe_dump({**MAP, **change}), encoding="utf-8")
    return data, mapping


def test_a_map_evaluates_extracts_and_names(tmp_path: Path) -> None:
    data, mapping = write(
        tmp_path,
        foreign([*GRID, "d9w9@0"]).with_columns(loss=pl.Series([*map(float, range(4, 11)), 99.0])),
    )
    table = load(data, columns=mapping)
    assert table.frame["val_loss"].to_list() == [value / 2 for value in range(4, 11)]
    assert table.frame["nc4_agreement"].to_list() == [hits / (hits + 3) for hits in range(1, 8)]
    assert table.frame["depth"].to_list() == [1, 1, 1, 2, 2, 2, 2]
    assert table.frame["width"].to_list() == [8, 8, 16, 8, 16, 16, 16]
    assert table.frame["seed"].to_list() == [None] * 5 + [1, 2]
    assert table.frame["run"].to_list()[-1] == "d2w16s2"
    assert "hits" not in table.frame.columns
    assert table.roles.metrics["nc1_cdnv"] == Metric("nc1_cdnv", "NC1", "lower", heavy_tailed=True)
    assert table.missing == ()


def test_constants_of_sql_are_columns_of_floats(tmp_path: Path) -> None:
    columns = {**MAP["columns"], "decay": "0.05"}
    data, mapping = write(
        tmp_path, foreign(GRID), columns=columns, axes=["width", "depth", "decay", "scheme"]
    )
    frame = load(data, columns=mapping, allow_missing=True).frame
    assert frame["decay"].to_list() == [0.05] * 7
    assert frame["scheme"].to_list() == [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.5]
    assert frame["scheme"].dtype == pl.Float64


def test_one_row_per_training_is_its_last_checkpoint(tmp_path: Path) -> None:
    data, mapping = write(tmp_path, foreign(GRID))
    table = load(data, columns=mapping)
    rows = final_rows(table)
    assert rows["run"].to_list() == ["d1w16", "d1w8", "d2w16", "d2w16s1", "d2w16s2", "d2w8"]
    assert rows.filter(pl.col("run") == "d1w8")["val_loss"].to_list() == [2.5]
    groups = replicates(table, rows, 2)
    assert [(settings, len(part)) for settings, part in groups] == [({"width": 16, "depth": 2}, 3)]


def test_replicates_keep_to_one_source_of_chance_where_there_are_enough(tmp_path: Path) -> None:
    """Of new starts, and orders of the data from one start, the latter alone."""
    point: dict[str, list[Any]] = {"width": [8], "precision": ["fp32"]}
    anew = [
        own_rows({**point, "seed": [seed], "init_seed": [seed], "shuffle_seed": [seed]})
        for seed in (0, 1)
    ]
    orders = own_rows({**point, "seed": [2, 3, 4], "init_seed": [0]})
    rows = [*itertools.chain(*anew), *({**row, "shuffle_seed": row["seed"]} for row in orders)]
    for number, row in enumerate(rows):
        row["cell"] = f"{number // 2:032x}"
    table = load(write_run(tmp_path, rows))
    last = final_rows(table)
    assert [(settings, len(part)) for settings, part in replicates(table, last, 4)] == [
        ({"init_seed": 0}, 4)
    ]
    assert [(settings, len(part)) for settings, part in replicates(table, last, 5)] == [({}, 5)]


def test_an_incomplete_grid_is_refused_and_listed(tmp_path: Path) -> None:
    data, mapping = write(tmp_path, foreign([name for name in GRID if not name.startswith("d2w8")]))
    with pytest.raises(
        AnalysisError,
        match=r"incomplete: 1 points have no rows: \(width 8, depth 2\); pass --allow-missing",
    ):
        load(data, columns=mapping)
    table = load(data, columns=mapping, allow_missing=True)
    assert [part.points.to_dicts() for part in table.missing] == [[{"width": 8, "depth": 2}]]
    declared = [{"where": "width = 8 AND depth = 2", "reason": "too small"}]
    data, mapping = write(
        tmp_path, foreign([n for n in GRID if not n.startswith("d2w8")]), known_missing=declared
    )
    assert [part.reason for part in load(data, columns=mapping).missing] == ["too small"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"respons": "x"}, "respons: unknown key. Did you mean `response`"),
        (
            {"columns": {**MAP["columns"], "depth": "CAST(deeep AS INTEGER)"}},
            "columns.depth.*'deeep'.*Did you mean `deep`",
        ),
        ({"columns": {**MAP["columns"], "depth": "1 +"}}, "columns.depth: cannot evaluate"),
        ({"where": "loss < 0"}, "no row satisfies"),
        ({"axes": ["width", "heigth"]}, "`axes` names 'heigth'"),
        ({"architecture": ["epoch"]}, "which `axes` does not"),
        ({"unit": "training"}, "`unit` names 'training'"),
        (
            {"extract": {"column": "nam", "pattern": "(?P<x>a)"}},
            "no column of it. Did you mean `name`",
        ),
        (
            {"extract": {"column": "name", "pattern": "^(?P<run>x.*)$"}},
            "do not match `extract.pattern`.*'d1w8@0'",
        ),
        ({"extract": {"column": "name", "pattern": "(unnamed)"}}, "no named group"),
        ({"extract": {"column": "name", "pattern": "(?P<run>"}}, "no regular expression"),
        ({"extract": {"column": "name", "pattern": "(?P<loss>.*)"}}, "named like columns"),
        ({"metrics": {}}, "metrics: .*at least 1"),
        ({"responses": {"val_loss": "down"}}, "responses.val_loss.*'down'"),
        ({"order": None}, "rows share their run"),
        ({"metrics": {"nc1_cdnv": {"sql": "name"}}}, "must hold numbers"),
        (
            {"known_missing": [{"where": "nope = 1", "reason": "x"}]},
            "known_missing: cannot evaluate",
        ),
    ],
)
def test_faults_of_a_map_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data, mapping = write(tmp_path, foreign(GRID), **change)
    with pytest.raises(AnalysisError, match=message):
        load(data, columns=mapping)


def test_a_key_twice_in_a_map_is_a_fault(tmp_path: Path) -> None:
    data, mapping = write(tmp_path, foreign(GRID))
    mapping.write_text(mapping.read_text() + "unit: name\n", encoding="utf-8")
    with pytest.raises(AnalysisError, match="'unit' stands twice"):
        load(data, columns=mapping)


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    data, mapping = write(tmp_path, foreign([*GRID, "d1w8@0"]))
    with pytest.raises(
        AnalysisError, match=r"2 rows share their run and epoch, the first: run 'd1w8', epoch 1"
    ):
        load(data, columns=mapping)


def test_unreadable_sources(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no such file or run directory"):
        load(tmp_path / "absent.csv")
    (tmp_path / "table.doc").write_text("x", encoding="utf-8")
    with pytest.raises(AnalysisError, match="neither a run directory nor"):
        load(tmp_path / "table.doc")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(AnalysisError, match="cannot be read"):
        load(tmp_path / "broken.parquet")
    pl.DataFrame({"a": [1]}).write_csv(tmp_path / "foreign.csv")
    with pytest.raises(AnalysisError, match=r"--columns MAP\.yaml"):
        load(tmp_path / "foreign.csv")
    with pytest.raises(AnalysisError, match="no run directory"):
        (tmp_path / "run").mkdir()
        load(tmp_path / "run")


def own_rows(grid: dict[str, list[Any]], **fixed: Any) -> list[dict[str, Any]]:
    """Rows of a run with the project's own columns."""
    rows = []
    for number, point in enumerate(itertools.product(*grid.values())):
        settings = {**fixed, **dict(zip(grid, point, strict=True))}
        training = "-".join(str(value) for name, value in settings.items() if name != "precision")
        for epoch in (0, 1):
            rows.append(
                {
                    "cell": f"{number:032x}",
                    "training": training,
                    **settings,
                    "epoch": epoch,
                    "layer": None,
                    "val_loss": 3.0 - epoch + 0.01 * number,
                    "nc1_cdnv": 1.0 + number,
                    "nc2_equinorm": float("inf") if number == 0 else 0.5,
                }
            )
    return rows


METADATA = {
    "nc1_cdnv": {
        "family": "NC1",
        "direction": "lower",
        "heavy_tailed": True,
        "citation": "W",
        "description": "d",
    },
    "nc2_equinorm": {
        "family": "NC2",
        "direction": "lower",
        "heavy_tailed": False,
        "citation": "P",
        "description": "d",
    },
    "val_loss": {
        "family": "loss",
        "direction": None,
        "heavy_tailed": False,
        "citation": "",
        "description": "",
    },
}


def settings_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a launch records of the cells of some rows."""
    results = ("epoch", "layer", *METADATA)
    return list(
        {row["cell"]: {k: v for k, v in row.items() if k not in results} for row in rows}.values()
    )


def write_run(
    folder: Path, rows: list[dict[str, Any]], planned: list[dict[str, Any]] | None = None
) -> Path:
    from study.store import Store

    store = Store(folder)
    for key in dict.fromkeys(row["cell"] for row in rows):
        types = {"layer": str, "nc2_equinorm": float}
        store.write(key, [row for row in rows if row["cell"] == key], types=types, metrics=METADATA)
    store.write_planned(settings_of(rows) if planned is None else planned)
    return folder


GRID_OF_RUN: dict[str, list[Any]] = {
    "width": [8, 16],
    "precision": ["fp32", "int8"],
    "seed": [0, 1],
}


def test_a_run_directory_has_roles_from_its_study_and_metadata(tmp_path: Path) -> None:
    run = write_run(tmp_path, own_rows(GRID_OF_RUN, lr=1e-3))
    table = load(run)
    assert table.roles.axes == ("width",)
    assert table.roles.architecture == ("width",)
    assert list(table.roles.metrics) == ["nc1_cdnv", "nc2_equinorm"]
    assert table.roles.metrics["nc1_cdnv"].heavy_tailed
    assert precisions(table) == ["fp32", "int8"]
    assert len(final_rows(table)) == 4
    assert final_rows(table)["epoch"].unique().to_list() == [1]
    assert table.frame["nc2_equinorm"].null_count() == 2  # infinite values are no values
    with pytest.raises(AnalysisError, match="leave --columns out"):
        load(run, columns="map.yaml")


def with_attacks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, each of the last checkpoint followed by that of attacked samples."""
    both = []
    for row in rows:
        both.append(row)
        if row["epoch"] == 1:
            both.append(
                {
                    **row,
                    "attack": "pgd-linf-0.1",
                    "nc1_cdnv": None,
                    "nc2_equinorm": None,
                    "val_loss": 10 * row["val_loss"],
                    "val_accuracy": 0.25,
                    "leap_share": row["nc1_cdnv"] / 100,
                }
            )
    return both


def test_rows_of_attacks_stand_beside_the_clean_ones_and_not_among_them(tmp_path: Path) -> None:
    rows = own_rows({"width": [8, 16], "precision": ["fp32", "int8"], "seed": [0, 1]}, lr=1e-3)
    layers = [{**row, "layer": "block1"} for row in rows if row["epoch"] == 1]
    for row in rows + layers:
        row["val_accuracy"] = 0.75
    plain = load(write_run(tmp_path / "plain", rows + layers))
    table = load(write_run(tmp_path / "attacked", [*with_attacks(rows), *layers]))
    assert table.frame.select(plain.frame.columns).equals(plain.frame)
    assert table.roles.axes == plain.roles.axes and table.roles.metrics == plain.roles.metrics
    assert plain.layers is not None and table.layers is not None
    assert table.layers.select(plain.layers.columns).equals(plain.layers)
    assert table.layers["robust_loss"].null_count() == len(table.layers)
    last = final_rows(table, "int8")
    assert last["robust_loss"].to_list() == [10 * loss for loss in last["val_loss"]]
    assert last["robust_accuracy"].to_list() == [0.25] * 4
    assert last["leap_share"].to_list() == [cdnv / 100 for cdnv in last["nc1_cdnv"]]
    assert last["attack_gap"].to_list() == [0.5] * 4
    assert set(last["attack"]) == {"pgd-linf-0.1"}
    first = table.frame.filter(pl.col("epoch") == 0)
    assert first["robust_loss"].null_count() == len(first)
    assert table.roles.responses["robust_accuracy"] == "higher"
    assert load(tmp_path / "attacked", response="robust_loss").roles.response == "robust_loss"
    assert "robust_accuracy" not in plain.roles.responses


def test_a_report_uses_the_rows_that_its_study_asks_for_now(tmp_path: Path) -> None:
    rows = own_rows(GRID_OF_RUN, lr=1e-3)
    others = [
        {**row, "cell": "f" + row["cell"][1:], "training": row["training"] + "'", "lr": 1e-2}
        for row in rows
    ]
    planned = [cell for cell in settings_of(rows) if cell["seed"] == 1]
    table = load(write_run(tmp_path, rows + others, planned))
    assert table.frame["seed"].unique().to_list() == [1]
    assert table.frame["lr"].unique().to_list() == [
        1e-3
    ]  # a setting that is no axis and was changed since
    assert table.roles.axes == ("width",)


def test_missing_cells_of_a_run_are_listed(tmp_path: Path) -> None:
    more = own_rows({**GRID_OF_RUN, "width": [8, 16, 32]})
    run = write_run(tmp_path, [row for row in more if row["width"] < 32], settings_of(more))
    with pytest.raises(
        AnalysisError, match=r"4 points have no rows: .*width 32, precision fp32, seed 0"
    ):
        load(run)
    assert len(load(run, allow_missing=True).missing[0].points) == 4


def test_a_folder_without_a_study_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no run directory"):
        load(tmp_path)


def test_rows_of_layers_stand_apart(tmp_path: Path) -> None:
    rows = own_rows(GRID_OF_RUN)
    layers = [{**row, "layer": "block0", "nc1_cdnv": 99.0} for row in rows]
    table = load(write_run(tmp_path, rows + layers))
    assert len(table.frame) == len(rows)
    assert table.layers is not None
    assert table.layers["layer"].to_list() == ["block0"] * len(rows)
    assert load(write_run(tmp_path / "whole", rows)).layers is None


def test_a_parquet_file_of_rows_keeps_its_metadata(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", own_rows({"width": [8]}))
    cell = next(run.glob("cells/*/*.parquet"))
    table = load(cell)
    assert table.roles.metrics["nc1_cdnv"].direction == "lower"


def test_of_metrics_of_today_is_told_what_they_are_today(tmp_path: Path) -> None:
    """Of others what the file says; family and direction are always those of the file."""
    stored = {
        "nc1_ratio": {"family": "NC1", "direction": "lower", "citation": "old", "description": "o"},
        "nc1_theirs": {"family": "NC1", "direction": "lower", "citation": "theirs"},
    }
    frame = pl.DataFrame(
        {"training": ["a", "b"], "val_loss": [1.0, 2.0], "nc1_ratio": [3.0, 4.0]}
    ).with_columns(nc1_theirs=pl.col("nc1_ratio"))
    frame.write_parquet(tmp_path / "rows.parquet", metadata={"metrics": json.dumps(stored)})
    metrics = load(tmp_path / "rows.parquet").roles.metrics
    assert metrics["nc1_ratio"].citation == METRICS["nc1_ratio"].citation
    assert metrics["nc1_ratio"].description == METRICS["nc1_ratio"].description
    assert (metrics["nc1_theirs"].citation, metrics["nc1_theirs"].description) == ("theirs", "")


def test_expected_sign_of_a_metric() -> None:
    more_is_collapse = Metric("nc4_agreement", direction="higher")
    assert expected_sign(more_is_collapse, "lower") == -1
    assert expected_sign(more_is_collapse, "higher") == 1
    assert expected_sign(Metric("nc1_cdnv", direction="lower"), "lower") == 1
    assert expected_sign(Metric("nc2_etf_floor"), "lower") is None
    assert expected_sign(more_is_collapse, None) is None


def test_precisions_stand_in_the_order_of_the_study(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {"width": [8], "precision": ["int4", "fp32", "bf16", "int8"]}
    rows = own_rows(grid)
    for row in rows:
        row["cell"] = (
            # The store sorts by key.
            f"{['int8', 'bf16', 'int4', 'fp32'].index(row['precision']):032x}"
        )
    assert precisions(load(write_run(tmp_path, rows))) == ["fp32", "int4", "bf16", "int8"]


def test_a_metric_that_is_the_response_is_not_held_against_itself(tmp_path: Path) -> None:
    names = ("nc1_ratio", "nc3_cosine_mean", "nc4_agreement")
    columns = {name: [0.1 * row + place for row in range(4)] for place, name in enumerate(names)}
    rows = pl.DataFrame(
        {"training": list("abcd"), "epoch": [1] * 4, "val_loss": [1.0, 2.0, 4.0, 3.0], **columns}
    )
    rows.write_csv(tmp_path / "rows.csv")
    roles = load(tmp_path / "rows.csv", response="nc3_cosine_mean").roles
    assert {*roles.metrics} == {*roles.primary} == {"nc1_ratio", "nc4_agreement"}
    with pytest.raises(AnalysisError, match="'nc3_cosine_mean' is no metric of the table"):
        load(tmp_path / "rows.csv", response="nc3_cosine_mean", primary=["nc3_cosine_mean"])
    assert {*load(tmp_path / "rows.csv").roles.metrics} == {*names}


def test_null_is_a_level_where_nothing_else_tells_it(tmp_path: Path) -> None:
    """Such as `train.clip: [null, 0.1]`, whose trainings are no replicates of each other."""
    clips: dict[str, list[Any]] = {"clip": [None, 0.1, 1.0]}
    grid = {**clips, "precision": ["fp32", "int8"], "seed": [0, 1]}
    run = write_run(tmp_path, own_rows(grid))
    table = load(run)
    assert table.roles.axes == ("clip",)
    assert set(table.frame["clip"]) == {"none", "0.1", "1.0"}
    (read,) = load(run, intervention=["train.clip"]).roles.interventions
    assert (read.baseline, set(read.levels), read.numeric) == ("none", {"0.1", "1.0"}, False)


def test_a_setting_of_one_kind_is_an_axis_where_the_kind_has_several(tmp_path: Path) -> None:
    one = own_rows({"model_kind": ["a"], "width": [None], "precision": ["fp32"], "seed": [0, 1]})
    for widths in ([8], [8, 16]):
        kinds: dict[str, list[Any]] = {"model_kind": ["b"], "width": widths}
        grid = {**kinds, "precision": ["fp32"], "seed": [0, 1]}
        other = [{**row, "cell": "f" + row["cell"][1:]} for row in own_rows(grid)]
        run = write_run(tmp_path / str(len(widths)), one + other)
        table = load(run)
        assert table.roles.axes == (("model_kind", "width") if len(widths) > 1 else ("model_kind",))
    assert set(table.frame["width"]) == {"none", "8", "16"}


def test_nulls_of_missing_cells_are_no_levels(tmp_path: Path) -> None:
    clips: dict[str, list[Any]] = {"clip": [None, 0.1]}
    more = own_rows({**clips, "width": [8, 16], "precision": ["fp32"], "seed": [0, 1]})
    run = write_run(tmp_path, [row for row in more if row["width"] < 16], settings_of(more))
    frame = load(run, allow_missing=True).frame
    assert set(frame["clip"]) == {"none", "0.1"}
    assert frame["width"].unique().to_list() == [8]
