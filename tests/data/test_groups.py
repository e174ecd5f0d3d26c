"""Groups of samples: lists of tokens and columns of tables, and what is refused of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study.data import DataError, load_data
from study.data.base import Dataset
from study.data.config import BalancedData, ImagesData, StoriesData, TextData
from study.data.groups import token_groups

NAMES = "first: [anna, lily]\nsecond: [tom, ben]\n"
SMALL: dict[str, Any] = {"words_per_list": 4, "train_tokens": 6400, "val_tokens": 3200}


def stories(folder: Path, text: str = NAMES, **settings: Any) -> Dataset:
    (folder / "names.yaml").write_text(text)
    config = StoriesData(**{**SMALL, "group": "names.yaml", **settings})
    return load_data(config, base=folder, cache=folder)


def test_the_words_of_a_list_are_a_group(tmp_path: Path) -> None:
    data = stories(tmp_path, predict="determined")
    assert data.groups is not None
    assert data.groups.names == ("first", "second")
    rows = np.arange(len(data.val))
    _, targets = data.val.batch(rows)
    labels = targets.numpy().ravel()
    labels = labels[labels >= 0]
    numbers = data.groups.of("val", np.zeros(len(labels), dtype=np.int64), labels)
    lists = {"anna": 0, "lily": 0, "tom": 1, "ben": 1}
    expected = [lists.get(data.class_names[label], -1) for label in labels]
    assert numbers.tolist() == expected
    assert set(expected) == {-1, 0, 1}


def test_a_fingerprint_knows_the_groups(tmp_path: Path) -> None:
    plain = load_data(StoriesData(**SMALL), base=tmp_path, cache=tmp_path)
    grouped, other = stories(tmp_path), stories(tmp_path, "a: [tom]\nb: [ben, anna]\n")
    assert plain.groups is None
    assert len({each.fingerprint for each in (plain, grouped, other)}) == 3
    assert grouped.train.batch(np.arange(3))[0].equal(plain.train.batch(np.arange(3))[0])


def test_marks_of_a_leading_space_are_no_part_of_a_word(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text("she: [her, ' she']\nhe: [he]\n")
    names = ["Ġher", "her", " she", "▁he", "he", "the"]
    counts = np.ones(6, dtype=np.int64)
    groups = token_groups("words.yaml", tmp_path, names, {"train": counts, "val": counts})
    assert groups.of_class is not None
    assert groups.of_class.tolist() == [0, 0, 0, 1, 1, -1]


@pytest.mark.parametrize("kind", [TextData, BalancedData])
def test_characters_of_a_text_are_grouped(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "text.txt").write_text("abcd, " * 600)
    (tmp_path / "vowels.yaml").write_text("vowel: [a]\nconsonant: [b, c, d]\n")
    values = {"source": "text.txt", "context": 8, "group": "vowels.yaml"}
    data = load_data(kind(**values), base=tmp_path, cache=tmp_path)
    assert data.groups is not None
    assert data.groups.of_class is not None
    members = dict(zip(data.class_names, data.groups.of_class.tolist(), strict=True))
    assert members == {",": -1, " ": -1, "a": 0, "b": 1, "c": 1, "d": 1} | {
        name: -1 for name in members if len(name) > 1
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first: [anna]\n", "1 groups, but 2 to 16 can be compared"),
        ("first: [anna]\nsecond: []\n", "group second is [], no list of tokens"),
        ("first: [anna, tom]\nsecond: [tom]\n", "listed twice: tom; a token is of one group"),
        ("first: [anna, 7]\nsecond: [tom]\n", "group first has 7, no text: put it in quotes"),
        ("first: [anna]\nno: [tom]\n", "line 2 the key False is not text"),
        ("first: [annna]\nsecond: [tom, bob]\n", "no class is called 'annna'"),
        ("first: [anna]\nsecond: [once]\n", "no training sample has the class 'once'"),
        ("- anna\n", "holds a list, not settings by name"),
        ("first: [anna\n", "not valid YAML"),
    ],
)
def test_lists_that_are_no_groups_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        stories(tmp_path, text, predict="determined")
    assert str(error.value).startswith("data.group: names.yaml: ")
    assert said in str(error.value)


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        stories(tmp_path, "a: [anna, anna]\nb: [3]\nc: tom\n")
    for said in ("group b has 3", "group c is 'tom'", "listed twice: anna"):
        assert said in str(error.value)


def test_a_group_without_a_validation_sample_is_refused(tmp_path: Path) -> None:
    text = "first: [anna]\nsecond: [ben]\n"
    with pytest.raises(DataError, match="no sample of the val split is in group 'second'"):
        stories(tmp_path, text, zipf_exponent=4.0, train_tokens=64_000, val_tokens=64)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    config = StoriesData(**SMALL, group="absent.yaml")
    with pytest.raises(DataError, match=r"data\.group: absent\.yaml: .*no such file"):
        load_data(config, base=tmp_path, cache=tmp_path)


def write_table(folder: Path, groups: dict[str, list[Any]], feature: Any = None) -> None:
    """Parquet files of pictures with a label and a column `who`."""
    folder.mkdir()
    for split, values in groups.items():
        pictures = np.random.default_rng(len(values)).integers(0, 256, (len(values), 5, 5))
        rows = {"image": [], "label": [n % 2 for n in range(len(values))], "who": values}
        for picture in pictures.astype(np.uint8):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, format="PNG")
            rows["image"].append({"bytes": file.getvalue(), "path": None})
        features: dict[str, Any] = {"image": datasets.Image(), "label": datasets.ClassLabel(2)}
        features["who"] = feature or datasets.Value("string")
        table = pa.table(rows, schema=datasets.Features(features).arrow_schema)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def images(folder: Path, **settings: Any) -> Dataset:
    config = ImagesData(source="./set", **{"group": "who", **settings})
    return load_data(config, base=folder, cache=folder / "cache")


def test_a_column_of_a_table_is_groups(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {"train": ["m", "f", None, "f"] * 3, "test": ["f", "m", "m"]}
    write_table(tmp_path / "set", values)
    for _ in range(2):  # read, then from the cache
        data = images(tmp_path)
        assert data.groups is not None
        assert data.groups.names == ("f", "m")
        number = {"f": 0, "m": 1, None: -1}
        for split, name in (("train", "train"), ("val", "test")):
            rows = np.arange(len(values[name]))
            of = data.groups.of(split, rows, rows * 0)  # type: ignore[arg-type]
            assert of.tolist() == [number[value] for value in values[name]]
    assert images(tmp_path, group=None).groups is None


def test_groups_follow_the_images_that_are_chosen(tmp_path: Path) -> None:
    write_table(tmp_path / "set", {"train": ["m", "f"] * 20})
    data = images(tmp_path, quota=10, seed=3)
    assert data.groups is not None
    rows = np.arange(len(data.train))
    _, labels = data.train.batch(rows)
    # labels and groups alternate alike in the table, so that they stay together
    assert data.groups.of("train", rows, rows).tolist() == [1 - c for c in labels.tolist()]
    assert len(rows) == 20


def test_names_of_numbers_are_those_of_the_table(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["young", "old"])
    write_table(tmp_path / "set", {"train": [1, 0, -1, 0], "test": [0, 1]}, feature)
    data = images(tmp_path)
    assert data.groups is not None
    assert data.groups.names == ("young", "old")
    assert data.groups.of("train", np.arange(4), np.zeros(4, int)).tolist() == [1, 0, -1, 0]


@pytest.mark.parametrize(
    ("values", "settings", "said"),
    [
        ({"train": ["a"] * 4, "test": ["a"]}, {}, "has 1 values, but 2 to 16 groups"),
        (
            {"train": ["a", "b"] * 2, "test": ["a"]},
            {},
            "the val split is in group 'b'",
        ),
        ({"train": list("abcdefghijklmnopq"), "test": ["a"]}, {}, "has 17 values"),
        ({"train": ["a", "b"], "test": ["a"]}, {"group": "sex"}, "has no column sex; its columns"),
    ],
)
def test_columns_that_are_no_groups_are_refused(
    tmp_path: Path, values: dict[str, list[Any]], settings: dict[str, str], said: str
) -> None:
    write_table(tmp_path / "set", values)
    with pytest.raises(DataError) as error:
        images(tmp_path, **settings)
    assert str(error.value).startswith("data.group: ")
    assert said in str(error.value)


def test_numbers_with_fractions_are_no_groups(tmp_path: Path) -> None:
    write_table(tmp_path / "set", {"train": [0.0, 1.5], "test": [0.0]}, datasets.Value("float64"))
    with pytest.raises(DataError, match=r"column 'who' holds 0\.0: groups are texts"):
        images(tmp_path)


def test_images_without_columns_have_no_groups(tmp_path: Path) -> None:
    pictures, labels = np.zeros((4, 5, 5), dtype=np.uint8), np.arange(4)
    np.savez(tmp_path / "set.npz", train_images=pictures, train_labels=labels)
    config = ImagesData(source="./set.npz", group="sex")
    with pytest.raises(DataError, match=r"data.group: ./set.npz has no columns beside its labels"):
        load_data(config, base=tmp_path, cache=tmp_path)
