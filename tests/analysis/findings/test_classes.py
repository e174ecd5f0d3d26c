"""Lists of classes beside all, and classes at other precisions, against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.findings.classes import ClassList, class_changes, class_lists, class_table, unmeasured
from analysis.findings.frames import lines_of
from analysis.reading.class_lists import ASKED, read_class_lists
from analysis.reading.table import CLASS_VALUES, AnalysisError
from analysis.report.sentences.classes import class_lists as said

NAMES = ["row", "Ġrow", "ring", "Anna", "Tim", "the", "cat", "dog", "▁bat", "a", "b", "c"]
LISTS = {"homonyms": ["row", "ring", "bat", "spring"], "names": ["Anna", "Tim"]}
INSIDE = {"homonyms": ["row", "Ġrow", "ring", "▁bat"], "names": ["Anna", "Tim"]}


def measured(**shift: float) -> pl.DataFrame:
    """Twelve classes at two precisions; `shift` is added to a column of those in lists."""
    rng = np.random.default_rng(0)
    frames = []
    for precision in ("fp32", "int4"):
        rows = pl.DataFrame(
            {"precision": [precision] * 12, "class": range(12), "name": NAMES, "count": [9] * 12}
        ).with_columns(pl.Series(name, rng.uniform(1, 2, 12)) for name in CLASS_VALUES)
        listed = pl.col("name").is_in([name for own in INSIDE.values() for name in own])
        frames.append(
            rows.with_columns(
                pl.when(listed).then(pl.col(name) + by).otherwise(pl.col(name)).alias(name)
                for name, by in shift.items()
            )
        )
    return pl.concat(frames)


def test_lists_are_means_beside_those_of_all_classes() -> None:
    rows = measured()
    lines = lines_of(ClassList, class_lists(rows, LISTS))
    assert [(line.list, line.precision) for line in lines] == [
        (name, precision) for name in LISTS for precision in ("fp32", "int4")
    ]
    for line in lines:
        every = rows.filter(precision=line.precision).to_dicts()
        own = [row for row in every if row["name"] in INSIDE[line.list]]
        assert line.classes == len(own)
        for column in ("scaled_norm", "cdnv", "interference"):
            average = sum(row[column] for row in every) / 12
            mean = sum(row[column] for row in own) / len(own)
            assert getattr(line, column) == pytest.approx(mean, rel=1e-12)
            assert getattr(line, f"{column}_all") == pytest.approx(average, rel=1e-12)
            below = sum(row[column] < average for row in own)
            assert getattr(line, f"{column}_below") == below
    assert unmeasured(rows, LISTS) == ["spring"]


def test_lists_stand_in_the_table_of_classes() -> None:
    lines = class_table(measured(), LISTS).filter(precision="int4").to_dicts()
    assert [line["why"] for line in lines] == [
        "average of all",
        "deviation of all",
        *["homonyms"] * 4,
        *["names"] * 2,
    ]
    for line in lines[2:]:
        times = line["scaled_norm"] / lines[0]["scaled_norm"]
        assert line["scaled_norm_times"] == pytest.approx(times, rel=1e-12)


def test_a_class_is_compared_with_itself_at_the_first_precision() -> None:
    rows = measured()
    changes = class_changes(rows, LISTS)
    first = {row["name"]: row for row in rows.filter(precision="fp32").to_dicts()}
    here = {row["name"]: row for row in rows.filter(precision="int4").to_dicts()}
    average, *single = changes.to_dicts()
    assert set(changes["precision"]) == {"int4"}
    assert set(changes["baseline"]) == {"fp32"}
    assert [line["name"] for line in single] == [*INSIDE["homonyms"], *INSIDE["names"]]
    for column in ("norm", "cdnv"):
        ratios = {name: here[name][column] / first[name][column] for name in NAMES}
        assert average[column] == pytest.approx(sum(ratios.values()) / 12, rel=1e-12)
        assert [line[column] for line in single] == [ratios[line["name"]] for line in single]
    for column in ("interference", "head_cosine", "agreement", "accuracy"):
        moved = {name: here[name][column] - first[name][column] for name in NAMES}
        assert average[column] == pytest.approx(sum(moved.values()) / 12, rel=1e-12)
        assert [line[column] for line in single] == [moved[line["name"]] for line in single]
    assert average["classes"] == 12


def test_a_missing_value_is_no_change() -> None:
    rows = measured().with_columns(
        accuracy=pl.when(pl.col("name") == "ring").then(None).otherwise(pl.col("accuracy")),
        norm=pl.when(pl.col("name") == "Tim").then(0.0).otherwise(pl.col("norm")),
    )
    lines = {line["name"]: line for line in class_changes(rows, LISTS).to_dicts()}
    assert lines["ring"]["accuracy"] is None
    assert lines["Tim"]["norm"] is None  # zero by zero
    assert lines["Anna"]["accuracy"] is not None


def test_what_is_said_follows_from_the_numbers() -> None:
    for shift, below in ((-3.0, "4 of 4"), (3.0, "0 of 4")):
        (part,) = said(lines_of(ClassList, class_lists(measured(scaled_norm=shift), LISTS)))
        line = class_lists(measured(scaled_norm=shift), LISTS).row(0, named=True)
        times = f"{line['scaled_norm'] / line['scaled_norm_all']:.3f}".replace("-", "−")
        start = f"Of homonyms (4 classes, fp32) the mean scaled norm is {times} times that of all"
        assert part.text.startswith(start)
        assert f"{start} classes, below that for {below}; the mean CDNV" in part.text
        assert part.text.endswith("They are of one training: nothing is tested.")


def test_names_that_no_class_has_are_refused() -> None:
    with pytest.raises(AnalysisError, match="no measured class is called 'spring', 'sprung'"):
        class_table(measured(), {ASKED: ["row", "spring", "sprung"]})
    with pytest.raises(AnalysisError, match="no measured class is called 'spring', 'sprung'"):
        class_lists(measured(), {"some": ["spring", "sprung"]})


def test_lists_are_read_from_names_lines_and_yaml(tmp_path: Path) -> None:
    assert read_class_lists("") == {}
    assert read_class_lists("Tom,Lily") == {ASKED: ("Tom", "Lily")}
    (tmp_path / "girls.txt").write_text("Anna\n Sue\n\n")
    assert read_class_lists(str(tmp_path / "girls.txt")) == {"girls": ("Anna", " Sue")}
    (tmp_path / "all.yaml").write_text("a: [row]\nb: [Anna, Tim]\n")
    assert read_class_lists(str(tmp_path / "all.yaml")) == {"a": ("row",), "b": ("Anna", "Tim")}


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        ("", "has no lists by name"),
        ("[a, b]", "has no lists by name"),
        ("a: [1]", "a has 1, which is no text"),
        ("a: []\nb: c", "a is no list of names; b is no list of names"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_are_no_lists_are_refused(tmp_path: Path, text: str, said_of_it: str) -> None:
    (tmp_path / "lists.yaml").write_text(text)
    with pytest.raises(AnalysisError) as error:
        read_class_lists(str(tmp_path / "lists.yaml"))
    assert said_of_it in str(error.value)
    with pytest.raises(AnalysisError, match="cannot be read"):
        read_class_lists(str(tmp_path / "absent.yaml"))
