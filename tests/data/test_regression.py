"""Target vectors, of a teacher and of tables, and the bins that make classes of one target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.linear_model import LinearRegression

from study.data import DataError, Dataset, check_data, load_data
from study.data.regression_config import FreeRegressionData, RegressionData


def loaded(folder: Path = Path(), **settings: Any) -> Dataset:
    return load_data(RegressionData(**settings), base=folder, cache=folder)


def whole(split: Any) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = split.batch(np.arange(len(split)))
    return inputs.double().numpy(), targets.numpy()


def test_both_columns_are_standardised_by_the_training_part() -> None:
    data = loaded(source="diabetes", seed=3)
    table, target = load_diabetes(scaled=False, return_X_y=True)
    order = np.random.default_rng([3, 0]).permutation(len(table))
    train, val = np.sort(order[:354]), np.sort(order[354:])
    for split, rows in ((data.train, train), (data.val, val)):
        inputs, targets = whole(split)
        expected = (table[rows] - table[train].mean(0)) / table[train].std(0)
        np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)
        expected = (target[rows] - target[train].mean()) / target[train].std()
        np.testing.assert_allclose(targets[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert data.facts["targets"] == "progression" and data.facts["inputs"] == 10


def test_the_teacher_is_seeded_and_can_be_learned() -> None:
    settings: dict[str, Any] = {"samples": 3000, "target_dim": 3, "input_dim": 4, "noise": 0.0}
    data, again, other = (loaded(**settings, seed=seed) for seed in (0, 0, 1))
    assert data.fingerprint == again.fingerprint != other.fingerprint
    x, y = whole(data.train)
    x_val, y_val = whole(data.val)
    assert LinearRegression().fit(x, y).score(x_val, y_val) > 0.5  # tanh is nearly linear
    assert not np.array_equal(whole(other.train)[1], y)
    covariance = np.cov(y.T, bias=True)
    least = data.facts["target_eigenvalue_min"]
    assert least == pytest.approx(np.linalg.eigvalsh(covariance)[0], rel=1e-6)
    noisy = loaded(**{**settings, "noise": 2.0})
    assert LinearRegression().fit(*whole(noisy.train)).score(*whole(noisy.val)) < 0.25


def test_bins_hold_equal_shares_in_the_order_of_the_target() -> None:
    data, plain = loaded(source="diabetes", bins=5), loaded(source="diabetes")
    classes, values = whole(data.train)[1], whole(plain.train)[1][:, 0]
    assert classes.dtype == np.int64 and data.classes == 5
    assert data.class_counts.max() - data.class_counts.min() <= 4
    for c in range(4):
        assert values[classes == c].max() <= values[classes == c + 1].min()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_is_read_by_its_columns(tmp_path: Path, ending: str) -> None:
    generator = np.random.default_rng(0)
    table = pl.DataFrame(generator.normal(size=(40, 4)), schema=["a", "b", "c", "d"])
    table = table.with_columns(pl.lit("x").alias("name"), pl.lit(2.0).alias("constant"))
    path = tmp_path / f"table.{ending}"
    getattr(table, f"write_{ending}")(path)
    data = loaded(tmp_path, source=path.name, targets=["d", "a"])
    assert data.input_shape == (3,) and data.classes == 2
    inputs, targets = whole(data.train)
    assert not inputs[:, 2].any()  # a constant input is 0
    chosen = loaded(tmp_path, source=path.name, targets=["d"], inputs=["c"])
    assert chosen.input_shape == (1,)
    np.testing.assert_allclose(whole(chosen.train)[1][:, 0], targets[:, 0], rtol=1e-6)


def test_free_samples_are_numbers_with_targets() -> None:
    config = FreeRegressionData(source="linnerud", targets=["Weight", "Pulse"])
    data = load_data(config, base=Path(), cache=Path())
    numbers, targets = whole(data.val)
    assert numbers.tolist() == list(range(20)) and data.input_shape == (20,)
    expected = load_linnerud().target[:, [0, 2]]
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(targets, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "photos"}, "no known source of targets"),
        ({"source": "a.csv"}, "targets is missing"),
        ({"source": "diabetes", "noise": 0.2, "samples": 9}, "samples, noise belong to source"),
        ({"targets": ["y"]}, "targets belong to a table"),
        ({"source": "a.csv", "targets": ["y"], "inputs": ["y", "x"]}, "both list y"),
        ({"source": "a.csv", "targets": []}, "targets lists no column"),
        ({"bins": 5}, "bins cuts one target into classes, and there are 2"),
        ({"source": "linnerud", "bins": 3}, "there are 3: set targets"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RegressionData(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "no.csv", "targets": ["y"]}, "there is no file"),
        ({"source": "t.csv", "targets": ["yy"]}, r"table; did you mean 'y'\? Its columns"),
        ({"source": "t.csv", "targets": ["qqq"]}, r"'qqq' is no column of the table\. Its"),
        ({"source": "empty.csv", "targets": ["y"]}, "empty.csv has no rows"),
        ({"source": "t.csv", "targets": ["y"], "inputs": ["z"]}, "data.inputs: 'z' is no column"),
        ({"source": "t.csv", "targets": ["text"]}, "'text' holds String, not numbers"),
        ({"source": "t.csv", "targets": ["gap"]}, "'gap' has no number in row 3"),
        ({"source": "t.csv", "targets": ["one"], "inputs": ["x"]}, "one is constant in training"),
        (
            {"source": "t.csv", "targets": ["x"], "inputs": ["one"]},
            "data.inputs: every input is constant in training",
        ),
        (
            {"source": "t.csv", "targets": ["few"], "inputs": ["x"], "bins": 4},
            "has few distinct values",
        ),
        ({"source": "t.parquet", "targets": ["y"]}, "cannot be read as parquet"),
        ({"samples": 4, "target_dim": 3}, "3 targets need at least 5 and 2"),
        ({"samples": 8, "val_fraction": 0.1}, "and 1 to validate"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    table = pl.DataFrame(
        {
            "x": np.arange(20.0),
            "y": np.arange(20.0) ** 2,
            "text": ["a"] * 20,
            "gap": [0.5, 1, 2, None, *range(16)],
            "one": [1e9 / 3] * 20,
            "few": [0, 1] * 10,
        }
    )
    table.write_csv(tmp_path / "t.csv")
    (tmp_path / "t.parquet").write_text("no parquet")
    (tmp_path / "empty.csv").write_text("x,y\n")
    with pytest.raises(DataError, match=message):
        check_data(RegressionData(**settings), base=tmp_path)
