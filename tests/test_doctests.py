"""The examples in docstrings of metrics, store and statistics, run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import iter_modules, resolve_name

import pytest
from places import ROOT

PACKAGES = ("study.metrics", "study.store", "analysis.statistics")
MODULES = [
    f"{package}.{module.name}"
    for package in PACKAGES
    for module in iter_modules(import_module(package).__path__)
]
FACES = (
    "study.metrics:ClassMoments",
    "study.metrics:collapse_metrics",
    "study.metrics:NearestCentre",
    "analysis.permutation:permutation_test",
    "analysis.regression:regress",
)


LOOSE = ("study.measuring.loaders", "study.integrations.torchmetrics")


@pytest.mark.parametrize("name", [*PACKAGES, *MODULES, *LOOSE])
def test_examples_give_what_they_say(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_examples_of_the_library_page_give_what_they_say() -> None:
    page = ROOT / "docs" / "library.md"
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert failed == 0
    assert attempted > 30


@pytest.mark.parametrize("name", FACES)
def test_what_is_promised_has_an_example(name: str) -> None:
    promised = resolve_name(name)
    assert any(test.examples for test in doctest.DocTestFinder().find(promised))
