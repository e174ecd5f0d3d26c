"""Points of curves from the files of a training."""

from __future__ import annotations

import json
from pathlib import Path

from study.tracking.curves import Tail, loss_points, row_points


def lines(*steps: int) -> bytes:
    return b"".join(json.dumps({"step": s, "loss": s / 8}).encode() + b"\n" for s in steps)


def test_a_tail_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(lines(1, 2) + lines(3)[:5])
    assert [row["step"] for row in tail.read()] == [1, 2]
    assert tail.read() == []
    path.write_bytes(lines(1, 2, 3))
    assert [row["step"] for row in tail.read()] == [3]


def test_a_log_that_is_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(lines(1, 2, 3))
    tail = Tail(path)
    tail.read()
    (tmp_path / "new").write_bytes(lines(1))
    (tmp_path / "new").replace(path)
    assert [row["step"] for row in tail.read()] == [1]


def test_damaged_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b'{"step": 1, "loss"\n[2]\n{"loss": 1.0}\n{"step": 2, "loss": "x"}\n' + lines(4)
    )
    assert [row["step"] for row in Tail(path).read()] == [4]


def test_losses_behind_a_step_alone_are_points() -> None:
    losses = [{"step": s, "epoch": 0.5, "lr": 0.1, "loss": 2.0, "penalty": 3.0} for s in (1, 2)]
    point = {"train/epoch": 0.5, "train/lr": 0.1, "train/loss": 2.0, "train/penalty": 3.0}
    assert loss_points(losses, 1) == [(2, point)]


def test_a_null_column_is_left_out_and_never_zero() -> None:
    row = {"epoch": 1, "step": 7, "layer": None, "attack": None, "study": "x", "width": 16}
    row |= {"nc1_ratio": None, "val_loss": 2.0, "classes_measured": 10}
    values = {"int4/val_loss": 2.0, "int4/classes_measured": 10.0}
    assert row_points("int4", [row], 0, at_end=False) == [(7, values)]
    assert row_points("int4", [row], 1, at_end=False) == []


def test_layers_and_attacks_have_names_of_their_own() -> None:
    rows = [
        {"epoch": 1, "step": 7, "layer": "blocks.0", "attack": None, "nc1_ratio": 2.0},
        {"epoch": 1, "step": 7, "layer": None, "attack": "pgd(8)", "val_loss": 3.0},
    ]
    points = row_points("int4 measure_at 3", rows, 0, at_end=False)
    assert points[0] == (7, {"int4 measure_at 3/blocks.0/nc1_ratio": 2.0})
    assert points[1] == (7, {"int4 measure_at 3/pgd_8_/val_loss": 3.0})


def test_what_rows_gain_when_they_are_stored_is_logged_then() -> None:
    row = {"epoch": 1, "step": 7, "val_loss": 2.0, "forgetting": 0.25}
    assert row_points("fp32", [row], 1, at_end=True) == [(7, {"fp32/forgetting": 0.25})]
