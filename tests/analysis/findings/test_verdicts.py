"""The rules by which a line of a table says what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from analysis.findings.verdicts import (
    EXPLORATORY,
    FUNCTION_OF_AXES,
    INTERVAL_HOLDS_ZERO,
    NO_FAMILY,
    PRIMARY,
    VERDICTS,
    Verdict,
    axis_functions,
    compared,
    inadequate,
    verdicts,
)
from analysis.findings.verdicts import Tested as Line
from analysis.reading.table import Choices, Metric, Roles
from analysis.statistics.linear import Codes, Floats
from analysis.statistics.permutation import Prepared, permutation_test, prepare

CHOICES = Choices(permutations=2_000, seed=3)
RNG = np.random.default_rng(11)
N = 60
Y = RNG.standard_normal(N)
CELLS = np.repeat(np.arange(15), 4)
VALUES: dict[str, Floats] = {
    "a": 0.8 * Y + RNG.standard_normal(N),
    "b": RNG.standard_normal(N),
    "c": RNG.standard_normal(N),
    "d": 0.8 * Y + RNG.standard_normal(N),
    "e": RNG.standard_normal(N),
}


def roles(*primary: str) -> Roles:
    metrics = {name: Metric(name) for name in VALUES}
    return Roles("y", {"y": "lower"}, metrics, ("axis",), (), "training", primary=primary)


def judge(
    values: Mapping[str, Floats], *primary: str, choices: Choices = CHOICES
) -> dict[str, Verdict]:
    def test(x: Floats, rows: Codes) -> Prepared:
        return prepare(x, Y[rows], studentized=True)

    return verdicts(values, test, roles(*primary), choices, cells=CELLS)


def test_families_are_adjusted_apart_each_by_its_own_rule() -> None:
    lines = judge(VALUES, "a", "b")
    joint = permutation_test(
        np.column_stack([VALUES["a"], VALUES["b"]]), Y, permutations=2_000, studentized=True, seed=3
    )
    assert [lines[name].p_maxt for name in "ab"] == pytest.approx(joint.p_maxt)
    others = np.array([lines[name].p for name in "cde"], dtype=float)
    assert [lines[name].q for name in "cde"] == pytest.approx(false_discovery_control(others))
    assert [lines[name].family for name in "abcde"] == [PRIMARY] * 2 + [EXPLORATORY] * 3
    assert all(lines[name].q is None for name in "ab")
    assert all(lines[name].p_maxt is None for name in "cde")
    expected = ["associated", "not found", "not found", "associated", "not found"]
    assert [lines[name].verdict for name in "abcde"] == expected


def test_a_metric_with_missing_rows_stays_and_is_adjusted_by_holm() -> None:
    """Both parts of the family have their share of the level: two thirds, and one."""
    lacking = VALUES["b"].copy()
    lacking[[2, 17]] = np.nan
    lines = judge(VALUES | {"b": lacking}, "a", "b", "c")
    joint = permutation_test(
        np.column_stack([VALUES["a"], VALUES["c"]]), Y, permutations=2_000, studentized=True, seed=3
    )
    shared = np.minimum(joint.p_maxt * 3 / 2, 1.0)
    assert [lines[name].p_maxt for name in "ac"] == pytest.approx(list(shared))
    assert lines["b"].p_maxt == pytest.approx(min(3 * (lines["b"].p or 0.0), 1.0))
    assert len(lines["b"].rows) == N - 2
    assert lines["b"].note.startswith("2 of 60 rows have no value, which does not go with")


def test_missing_values_that_go_with_the_response_are_said_to() -> None:
    lacking = VALUES["b"].copy()
    lacking[np.argsort(Y)[:12]] = np.nan  # those of the lowest response
    note = judge(VALUES | {"b": lacking}, "a")["b"].note
    assert note.startswith("12 of 60 rows have no value, which goes with the response (p 0.0005)")


def test_a_function_of_the_axes_belongs_to_no_family() -> None:
    floor = np.sqrt(CELLS.astype(float))
    assert axis_functions({"floor": floor, "b": VALUES["b"]}, CELLS) == {"floor"}
    line = judge({"floor": floor, "a": VALUES["a"]}, "floor", "a")["floor"]
    assert (line.family, line.verdict, line.p, line.note) == (
        NO_FAMILY,
        None,
        None,
        FUNCTION_OF_AXES,
    )
    constant = judge({"a": np.ones(N)}, "a")["a"]
    assert (constant.family, constant.verdict, constant.note) == (NO_FAMILY, None, "a is constant")


def test_too_few_rows_cannot_reject_and_say_their_number() -> None:
    few = np.full(N, np.nan)
    few[:4] = [1.0, 2.0, 4.0, 3.0]
    line = judge({"a": few}, "a")["a"]
    assert line.verdict == "cannot reject"
    assert "cannot reject with n = 4: 5 are needed" in line.note

    def pairs(x: Floats, rows: Codes) -> Prepared:
        return prepare(x, Y[rows], within=rows // 2, studentized=True)

    y = {"a": VALUES["a"][:8]}
    line = verdicts(y, pairs, roles("a"), CHOICES)["a"]
    assert line.verdict == "cannot reject"  # of 16 swaps of four pairs the least p is 2/16
    assert "cannot reject with n = 8: no p below 0.12 is possible" in line.note


@pytest.mark.parametrize("primary", [("a",), ()])
def test_no_verdict_depends_on_the_seed(primary: tuple[str, ...]) -> None:
    noise = np.random.default_rng(5).standard_normal(N)
    close = next(
        x
        for x in (share * Y + noise for share in np.linspace(0.0, 1.0, 101))
        if permutation_test(x, Y, permutations=20_000, studentized=True).p < 0.035
    )
    lines = [
        judge({"a": close}, *primary, choices=Choices(permutations=200, seed=seed))["a"]
        for seed in range(8)
    ]
    assert {line.verdict for line in lines} == {"associated"}
    assert {line.permutations for line in lines} <= {200, 2_000, 20_000}
    assert max(line.permutations or 0 for line in lines) > 200  # 200 leave p between .01 and .08


def test_lines_under_a_control_that_does_not_hold_are_no_verdicts() -> None:
    lines = [Line("a", 9, verdict="associated", note="x"), Line("b", 9)]
    first, second = inadequate(lines, "placebo")
    assert (first.verdict, first.note) == ("control inadequate", "x; placebo")
    assert second.verdict is None
    assert set(VERDICTS) == {
        "associated",
        "not found",
        "undecided",
        "control inadequate",
        "cannot reject",
    }


def test_an_interval_that_holds_zero_beside_an_association_is_remarked_upon() -> None:
    line = Line("a", 9, 0.2, -0.1, 0.5, verdict="associated", note="x")
    assert compared(line).note == f"x; {INTERVAL_HOLDS_ZERO}"
    for other in (replace(line, low=0.1), replace(line, verdict="not found"), Line("a", 9)):
        assert compared(other) == other
