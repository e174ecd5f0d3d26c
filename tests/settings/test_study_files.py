"""Study files: every fault at once, with its path, its value and a remedy."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated_files import mutated
from places import SEARCH_SPACES

from study.config import MeasureConfig, StudyConfig, load_study, measured_epochs, study_from
from study.grid import expand
from study.launch import main as launch
from study.launching.runs import open_study
from study.search.runs import open_search
from study.settings.faults import StudyError

GOOD = """
name: good
data: {kind: text, source: python-docs}
model: {kind: gpt_neo, heads: 4}
train: {lr: 1e-3}
grid: {width: [32], depth: [1], epochs: [1]}
"""


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return [str(fault) for fault in caught.value.faults]


def changed(**changes: Any) -> str:
    content = yaml.safe_load(GOOD)
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return yaml.safe_dump(content)


def test_good_file_loads_and_reads_floats_without_a_dot(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD)
    study = load_study(path)
    assert study.name == "good"
    assert (
        study.settings["train"]["lr"] == "1e-3"
    )  # PyYAML's reading; the settings class makes it a number
    assert len(list(study.points())) == 1


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ({"extra": 1}, "extra", "unknown setting"),
        ({"model__width_": 4}, "model.width_", "Did you mean `width`"),
        ({"model__heads": True}, "model.heads", "True"),
        ({"train__lr": False}, "train.lr", "False"),
        ({"train__lr": "fast"}, "train.lr", "'fast'"),
        ({"train__lr": float("nan")}, "train.lr", "nan"),
        ({"train__lr": -1}, "train.lr", "-1"),
        ({"train__schedule": "linnear"}, "train.schedule.kind", "Did you mean `linear`"),
        ({"measure__min_count": 0}, "measure.min_count", "0"),
        ({"measure__at": "sometimes"}, "measure.at", "sometimes"),
        ({"model__kind": "gpt_noe"}, "model.kind", "Did you mean `gpt_neo`"),
        ({"data__kind": "txt"}, "data.kind", "Did you mean `text`"),
        ({"data__source": "nowhere"}, "data.source", "nowhere"),
        ({"name": "../escape"}, "name", "../escape"),
        ({"name": 3}, "name", "3"),
        ({"keep": "some"}, "keep", "some"),
        ({"resources__cpu": 1}, "resources.cpu", "Did you mean `cpus`"),
        ({"grid__width": []}, "grid.width", "empty"),
        ({"grid__width": 32}, "grid.width", "Write `width: [32]`"),
        ({"grid__width": [32, 30]}, "model", "heads"),
        ({"grid__widht": [32]}, "grid.widht", "Did you mean `width`"),
        ({"grid__precision": ["int9"]}, "grid.precision[0]", "int9"),
        ({"grid__model.width": [3]}, "grid", "sets the same"),
        ({"grid": "all"}, "grid", "axes by name"),
        (
            {"rules": [{"when": {"depth": 1}, "set": {"width": 2}}]},
            "rules[0].set.width",
            "axis of the grid",
        ),
        (
            {"rules": [{"when": {"precision": "int8"}, "set": {"train.lr": 2}}]},
            "rules[0].set.train.lr",
            "precision",
        ),
        ({"rules": [{"wenn": {}}]}, "rules[0]", "wenn"),
        (
            {"rules": [{"when": {"depth": 1}, "set": {"train.lr": "x"}}]},
            "rules[0].set.train.lr",
            "'x'",
        ),
        ({"extends": "missing.yaml"}, "", "no such file"),
        ({"extends": 3}, "extends", "3"),
    ],
)
def test_each_fault_names_its_place_and_what_to_do(
    tmp_path: Path, change: dict[str, Any], place: str, said: str
) -> None:
    file_faults = faults(tmp_path, changed(**change))
    assert any(fault.startswith(place) and said in fault for fault in file_faults), file_faults


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = changed(
        extra=1, train__lr="fast", grid__width=[], grid__precision=["fp32", "int9"], model__heads=0
    )
    places = {fault.split(":")[0] for fault in faults(tmp_path, text)}
    assert places == {"extra", "train.lr", "grid.width", "grid.precision[1]", "model.heads"}


def test_missing_settings_are_named_with_where_to_give_them(tmp_path: Path) -> None:
    content = yaml.safe_load(GOOD)
    content["grid"] = {"depth": [1]}
    file_faults = faults(tmp_path, yaml.safe_dump(content))
    assert any("model.width: is missing" in fault and "grid" in fault for fault in file_faults)
    assert any("train.epochs: is missing" in fault for fault in file_faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- 1\n- 2\n", "list"),
        ("name: a\nname: b\n", "line 2: the key `name` stands here and in line 1"),
        ("name: a\nmodel: {width: 1, width: 2}\n", "`width`"),
        ("name: [a\n", "not valid YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("on: 1\nname: a\n", "the key True is not text"),
        ("a: &a [*a]\n", "a"),
        ("a: &a {b: [*a]}\n", "line 1: an alias stands inside what it stands for"),
        ("seed: !!bool zz\n", "line 1: not valid YAML: `zz` is no bool"),
        ("seed: !!timestamp x\n", "is no timestamp"),
        ("seed: !!int x\n", "is no int"),
        ("seed: !!set {a}\n", "the tag"),
        ("name: a\nseed: 010\n", "line 2: `010` is read as 8. Write 8"),
        ("resources: {hang_minutes: 1:30}\n", "`1:30` is read as 90"),
        ("seed: 9223372036854775808\n", "larger number than 64 bits hold"),
        (f"seed: 0x{'f' * 9000}\n", "larger number than 64 bits hold"),
        (f"seed: {'9' * 9000}\n", "is no int"),
        ('name: "\\ud800"\n', "surrogate"),
        ("a: {<<: 3}\n", "merges something else than mappings"),
        ("a: {<<: [3]}\n", "merges something else than mappings"),
        ("[" * 5000, "too deep"),
        ("a: 1\n" + "# much\n" * 40_000, "more than 200,000 bytes"),
        (
            "a0: &a0 [1, 1]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)),
            "at most 200,000 can be read",
        ),
        (b"\xff\xfe\x00\x01", "UTF-8"),
        (b"name: \x00", "not valid YAML"),
    ],
)
def test_what_is_no_study_at_all(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert any(said in fault for fault in faults(tmp_path, text))


def test_the_command_answers_with_exit_code_2_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(changed(extra=1, grid__depth=[]))
    assert launch([str(path), "--runs", str(tmp_path)]) == 2
    assert launch([str(tmp_path / "none.yaml"), "--runs", str(tmp_path)]) == 2
    assert launch([str(tmp_path), "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "extra: unknown setting" in error
    assert "grid.depth: is an empty list" in error
    assert "no such file" in error
    assert "Traceback" not in error


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 99),
    st.floats(),
    st.sampled_from(["fp32", "x", "1e-3", "text", ""]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["kind", "width", "lr", "when", "set", "precision", "?"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "name",
                "data",
                "model",
                "train",
                "measure",
                "grid",
                "rules",
                "resources",
                "keep",
                "seed",
                "?",
            ]
        ),
        _values,
    )
)
def test_any_mapping_is_a_study_or_a_study_error(content: dict[str, Any]) -> None:
    base = yaml.safe_load(GOOD)
    try:
        study_from({**base, **content}, folder=Path(), source="fuzz")
    except StudyError as error:
        assert error.faults
        assert all(str(fault) for fault in error.faults)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_study_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError):
        load_study(path)


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD + "measure: {min_count: 3}\n")
    (tmp_path / "child.yaml").write_text(
        "extends: base.yaml\nname: child\nmeasure: {at: last}\ngrid: {width: [64, 128]}\n"
    )
    study = load_study(tmp_path / "child.yaml")
    assert study.name == "child"
    assert study.settings["measure"] == {"min_count": 3, "at": "last"}
    assert study.grid == [{"width": [64, 128], "depth": [1], "epochs": [1]}]
    (tmp_path / "base.yaml").write_text("extends: child.yaml\n")
    with pytest.raises(StudyError, match="extend each other"):
        load_study(tmp_path / "child.yaml")


@pytest.mark.parametrize(
    ("at", "epochs", "expected"),
    [
        ("each", 3, (0, 1, 2, 3)),
        ("last", 5, (0, 5)),
        ("log", 10, (0, 1, 2, 4, 8, 10)),
        ("log", 8, (0, 1, 2, 4, 8)),
        ([3, 6, 20], 10, (0, 3, 6, 10)),
    ],
)
def test_measured_epochs_hold_the_first_and_the_last(
    at: Any, epochs: int, expected: tuple[int, ...]
) -> None:
    assert measured_epochs(MeasureConfig(at=at), epochs) == expected
    never = measured_epochs(MeasureConfig(at=at, initial="never"), epochs)
    assert never == expected[1:]


def test_rules_compare_what_settings_become(tmp_path: Path) -> None:
    """PyYAML reads 1e-3 as text; a schedule may be a name; a default may stand nowhere."""
    whens: list[dict[str, Any]] = [
        {"train.lr": 0.001},
        {"train.lr": "1e-3"},
        {"train.lr": [0.5, "10e-4"]},
        {"train.schedule": "linear", "train.lr": 1e-3},
        {"train.schedule.kind": "linear", "train.lr": 1e-3},
        {"train.schedule": {"kind": "linear", "floor": 0}, "train.lr": 1e-3},
        {"train.init_seed": 0, "train.lr": 1e-3},
        {"resources.cpus": 1, "keep": "all", "train.lr": 1e-3},
        {"precision": "fp32", "train.lr": 1e-3},
        {"measure.at": "each", "data.context": 128, "train.lr": 1e-3},
    ]
    for when in whens:
        target = "precision_options.qat.epochs" if "precision" in when else "train.batch_size"
        content = yaml.safe_load(GOOD)
        content["grid"]["train.lr"] = ["1e-3", "1e-2"]
        content["rules"] = [{"when": when, "set": {target: 5}}]
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content))
        values = [
            (cell.config.train.lr, cell.settings()["batch_size"])
            for cell in expand(load_study(path))
        ]
        changed_cells = [
            point.settings["train"]["lr"] for point in load_study(path).points() if point.rules
        ]
        assert changed_cells == ["1e-3"], when
        if target == "train.batch_size":
            assert values == [(0.001, 5), (0.01, 16)], when


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"depth": 8}, "depth is 1, never 8"),
        ({"train.lr": "fast"}, "train.lr is 0.001, never 'fast'"),
        ({"seed": False}, "seed is 0, never False"),
        ({"train.schedule": "cosine"}, "never 'cosine'"),
        ({"keep": "none"}, "keep is 'all', never 'none'"),
        ({"train.batch_size": 16, "depth": [2, 3]}, "depth is 1, never [2, 3]"),
        ({"data.quota": 3}, "data.quota is None, never 3"),
    ],
)
def test_a_rule_that_matches_no_point_is_a_fault(
    tmp_path: Path, when: dict[str, Any], said: str
) -> None:
    rules = [
        {"when": {"depth": 1}, "set": {"train.batch_size": 16}},
        {"when": when, "set": {"train.beta1": 0.5}},
    ]
    (fault,) = faults(tmp_path, changed(rules=rules))
    assert fault.startswith("rules[1].when: matches no point")
    assert said in fault


def test_a_rule_that_never_matches_as_a_whole_is_a_fault(tmp_path: Path) -> None:
    content = yaml.safe_load(GOOD)
    content["grid"] = [{"width": [32], "depth": [1]}, {"width": [64], "depth": [2]}]
    content["train"]["epochs"] = 1
    content["rules"] = [{"when": {"width": 32, "depth": 2}, "set": {"train.beta1": 0.5}}]
    (fault,) = faults(tmp_path, yaml.safe_dump(content))
    assert "never comes together" in fault


def test_rules_of_an_extended_file_need_not_match(tmp_path: Path) -> None:
    rules = [{"when": {"depth": 1}, "set": {"train.batch_size": 5}}]
    (tmp_path / "base.yaml").write_text(changed(rules=rules))
    (tmp_path / "child.yaml").write_text("extends: base.yaml\ngrid: {depth: [2]}\n")
    study = load_study(tmp_path / "child.yaml")
    assert [cell.config.train.batch_size for cell in expand(study)] == [16]
    text = yaml.safe_dump(study.as_yaml())
    assert yaml.safe_load(text)["rules"] == rules


def test_points_that_are_the_same_once_resolved_are_one_cell(tmp_path: Path) -> None:
    content = yaml.safe_load(GOOD)
    content["grid"]["train.lr"] = ["1e-3", 0.001, "0.001"]
    content["grid"]["train.schedule"] = ["linear", {"kind": "linear", "warmup": 0}]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    assert len(expand(load_study(path))) == 1


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_study(path).name == "good"


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    """Keys aside hold what aliases stand for; what stands beside `<<` wins over what it merges."""
    text = """
.train: &train {epochs: 3, lr: 1e-2, batch_size: 8}
x-model: &model {kind: gpt_neo, width: 32}
x-deep: &deep {<<: *model, depth: 1}
name: merged
data: {kind: text}
train: {<<: *train, lr: 5e-3}
model: {<<: [*deep, {width: 64, heads: 4}], heads: 2}
grid: &grid {seed: &seeds [0, 1]}
"""
    path = tmp_path / "study.yaml"
    path.write_text(text)
    study = load_study(path)
    first, second = expand(study)
    assert (first.config.train.epochs, first.config.train.lr) == (3, 0.005)
    assert first.config.train.batch_size == second.config.train.batch_size == 8
    assert first.settings()["width"] == 32  # the first of several that are merged
    assert first.settings()["heads"] == 2
    assert set(study.as_yaml()) == {"name", "data", "train", "model", "resources", "keep", "grid"}


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "x" * 5000, "a\\0b", "..", "pipe"])
def test_what_is_extended_must_be_a_file(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "study.yaml"
    path.write_text(f'name: a\nextends: "{target}"\n')
    with pytest.raises(StudyError) as caught:
        load_study(path)
    (fault,) = caught.value.faults
    assert fault.fix
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid__seed": list(range(1000)), "grid__train.lr": [0.1] * 1000}, "1,000,000 points"),
        ({"grid": [{a: list(range(10)) for a in ("seed", "width")} for _ in range(1001)]}, ""),
        ({f"grid__train.{n}": [1] * 10**4 for n in ("lr", "beta1", "beta2", "eps")}, "points"),
        ({"grid__epochs": [1_000_000_000], "measure__at": "each"}, "`measure.at: log`"),
        ({"grid__epochs": [10_001]}, "10,001 checkpoints"),
        ({"seed": 2**63}, "64 bits"),
        ({"grid__seed": [2**63 - 1, 2**63]}, "64 bits"),
        ({"data__tokenizer": "bpe:" + "9" * 5000}, "bpe"),
        ({"name": "n" * 5000}, "no name for a folder"),
        ({"data__source": "./" + "n" * 5000, "model__kind": "x" * 5000}, "gpt_neo"),
        ({"?" * 5000: "?" * 5000}, "unknown setting"),
        ({"grid__seed": ["x" * 300 + str(n) for n in range(19_000)]}, "is 'xxx"),
    ],
)
def test_absurd_sizes_are_refused_in_seconds(change: dict[str, Any], said: str) -> None:
    content = yaml.safe_load(GOOD)
    for path, value in change.items():
        section, _, leaf = path.partition("__")
        if leaf:
            content.setdefault(section, {})[leaf] = value
        else:
            content[section] = value
    start = time.monotonic()
    with pytest.raises(StudyError) as caught:
        study_from(content, folder=Path(), source="test")
    assert time.monotonic() - start < 10
    assert said in str(caught.value)
    assert max(len(str(fault)) for fault in caught.value.faults) <= 500
    assert len(str(caught.value)) < 50_000


def test_long_trainings_are_measured_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    for at in ("log", "last", [1, 5]):
        path.write_text(changed(grid__epochs=[1_000_000_000], measure__at=at))
        (cell,) = expand(load_study(path))
        assert len(measured_epochs(cell.config.measure, cell.config.train.epochs)) < 40


def _open_mutated(folder: Path, count: int, first: int) -> int:
    """How many mutated files can be used; any other error than a StudyError goes on up."""
    texts = [path.read_text() for path in sorted(SEARCH_SPACES.glob("*.yaml"))]
    path, usable = folder / "study.yaml", 0
    for seed in range(first, first + count):
        text = mutated(texts[seed % len(texts)], seed)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        start = time.monotonic()
        try:
            opened, _ = (open_search if "search:" in text else open_study)(path, folder)
            expand(opened if isinstance(opened, StudyConfig) else opened.study)
            usable += 1
        except StudyError as error:
            assert max(len(str(fault)) for fault in error.faults) <= 500, seed
            assert all(str(fault).isprintable() for fault in error.faults), seed
        assert time.monotonic() - start < 10, seed
    return usable


def test_mutated_files_are_used_or_refused(tmp_path: Path) -> None:
    assert _open_mutated(tmp_path, 100, first=0) > 2


@pytest.mark.long
def test_many_mutated_files_are_used_or_refused(tmp_path: Path) -> None:
    assert _open_mutated(tmp_path, 1600, first=100) > 50
