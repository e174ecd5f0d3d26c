"""The reference of settings and the schema for editors say what the code takes."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from places import ROOT, SEARCH_SPACES
from pydantic import BaseModel, TypeAdapter, ValidationError
from yaml12 import Yaml12

from study.config import AnalysisConfig, CellConfig, Resources, StudyConfig, Tuned, known_paths
from study.data.kinds import DATA_KINDS
from study.init import templates
from study.models.kinds import MODEL_KINDS
from study.reference.__main__ import files
from study.reference.meanings import meanings
from study.reference.schema import LIMITS, leaf, study_schema
from study.search.config import SearchConfig
from study.settings.schema import models_in

FILES = files()
SCHEMA = study_schema()
SHIPPED = [
    *sorted(SEARCH_SPACES.glob("*.yaml")),
    *(path for kind, path in templates().items() if kind != "csv"),
]


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Yaml12)


def classes() -> Iterator[type[BaseModel]]:
    """Every class of settings that a file may hold."""
    left: list[type[BaseModel]] = [CellConfig, Resources, AnalysisConfig, SearchConfig, Tuned]
    seen = set()
    while left:
        if (model := left.pop()) not in seen:
            seen.add(model)
            yield model
            left += [
                group
                for hint in typing.get_type_hints(model, include_extras=True).values()
                for group in models_in(hint)
            ]


def settings() -> Iterator[tuple[type[BaseModel], str, Any]]:
    """Every plain setting: class, name, annotation."""
    for model in classes():
        hints = typing.get_type_hints(model, include_extras=True)
        for name in model.model_fields:
            if name != "kind" and not models_in(hints[name]):
                yield model, name, hints[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_are_current(path: Path) -> None:
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert written == FILES[path], "run `python -m study.reference` and commit what it writes"


def test_every_setting_has_a_meaning() -> None:
    lacking = [f"{m.__module__}.{m.__name__}.{name}" for m, name, _ in settings()]
    for model, name, _ in settings():
        if name in meanings(model):
            lacking.remove(f"{model.__module__}.{model.__name__}.{name}")
    assert lacking == [], "write a docstring below each, then run `python -m study.reference`"
    assert {"name", "rules", "keep"} <= meanings(StudyConfig).keys()


def test_every_kind_and_setting_is_on_the_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for kind in (*DATA_KINDS, *MODEL_KINDS):
        section = page.partition(f", `kind: {kind.model_fields['kind'].default}`")[2]
        section = section.partition("\n## ")[0]
        names = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.M))
        assert names == kind.model_fields.keys() - {"kind"}


def test_the_schema_is_one_and_has_every_axis() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$defs"].keys() == known_paths(execution=True).keys()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_names_the_schema_and_fits_it(path: Path) -> None:
    first, _, _ = path.read_text(encoding="utf-8").partition("\n")
    place = first.removeprefix("# yaml-language-server: $schema=")
    assert place != first
    if path.parent == SEARCH_SPACES:
        assert json.loads((path.parent / place).read_text(encoding="utf-8")) == SCHEMA
    faults = Draft202012Validator(SCHEMA).iter_errors(read(path))
    assert [fault.message[:200] for fault in faults] == []


@pytest.mark.parametrize(
    "change",
    [
        {"naem": "x"},
        {"train": {"lrr": 0.1}},
        {"train": {"lr": -1}},
        {"train": {"lr": "fast"}},
        {"train": {"optimizer": "adamx"}},
        {"train": {"schedule": "cosin"}},
        {"train": {"schedule": {"kind": "cosine", "final": 0.1}}},
        {"data": {"kind": "texts"}},
        {"data": {"kind": "images", "context": 8}},
        {"model": {"kind": "mlp", "heads": 2}},
        {"measure": {"at": "never"}},
        {"grid": {"widht": [1]}},
        {"grid": {"width": 1}},
        {"grid": {"width": []}},
        {"grid": {"train.beta1": [1.0]}},
        {"grid": {"train.decay.body": [-1]}},
        {"rules": [{"when": {"depth": 1}}]},
        {"rules": [{"when": {"depht": 1}, "set": {}}]},
        {"resources": {"gpus": -1}},
        {"keep": "some"},
        {"search": {"sampler": "grid"}},
        {"analysis": {"margin": {"val_loss": 0}}},
    ],
    ids=str,
)
def test_a_wrong_file_does_not_fit(change: dict[str, Any]) -> None:
    content = read(SEARCH_SPACES / "quickstart.yaml")
    assert Draft202012Validator(SCHEMA).is_valid(content)
    assert not Draft202012Validator(SCHEMA).is_valid({**content, **change})


@pytest.mark.parametrize(("axes", "fits"), [("lr", True), (["lr"], True), (1, False), ([1], False)])
def test_a_setting_may_be_written_as_one_name_or_a_list(axes: Any, fits: bool) -> None:
    content = {"extends": "a.yaml", "analysis": {"intervention": axes}}
    assert Draft202012Validator(SCHEMA).is_valid(content) is fits


def test_without_a_name_a_file_must_extend_another() -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({"seed": 1})
    assert Draft202012Validator(SCHEMA).is_valid({"seed": 1, "extends": "a.yaml", ".anchors": [1]})


def test_limits_are_those_of_the_settings() -> None:
    """Beyond each limit pydantic refuses the value, at an included one it does not."""
    seen = 0
    for model, name, annotation in settings():
        for part in leaf(annotation).get("anyOf", [leaf(annotation)]):
            for key in LIMITS.values():
                if key not in part:
                    continue
                seen += 1
                limit = part[key]
                step = 1 if "aximum" in key else -1
                beyond = limit if key.startswith("exclusive") else limit + step
                adapter = TypeAdapter(annotation)
                with pytest.raises(ValidationError):
                    adapter.validate_python(beyond, strict=True)
                if not key.startswith("exclusive"):
                    adapter.validate_python(limit, strict=True)
                assert name in model.model_fields
    assert seen > 50
