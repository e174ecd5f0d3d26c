"""Learning-rate schedules against torch, transformers and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.optim import lr_scheduler
from transformers import (
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from study.settings.schedule import ScheduleConfig, learning_rate

STEPS = 40
ADAPTER: TypeAdapter[ScheduleConfig] = TypeAdapter(ScheduleConfig)


def factors(config: object) -> list[float]:
    schedule = ADAPTER.validate_python(config)
    return [learning_rate(schedule, step / STEPS) for step in range(STEPS)]


def reference(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ("constant", lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("linear", lambda o: get_linear_schedule_with_warmup(o, 0, STEPS)),
        (
            {"kind": "linear", "warmup": 0.25},
            lambda o: get_linear_schedule_with_warmup(o, 10, STEPS),
        ),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
        (
            {"kind": "cosine", "floor": 0.1},
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1),
        ),
        ({"kind": "cosine", "warmup": 0.1}, lambda o: get_cosine_schedule_with_warmup(o, 4, STEPS)),
        (
            {"kind": "exponential", "final": 0.05},
            lambda o: lr_scheduler.ExponentialLR(o, gamma=0.05 ** (1 / STEPS)),
        ),
        (
            {"kind": "multistep", "milestones": [0.25, 0.75], "gamma": 0.3},
            lambda o: lr_scheduler.MultiStepLR(o, milestones=[10, 30], gamma=0.3),
        ),
        (
            {
                "kind": "wsd",
                "warmup": 0.2,
                "decay": 0.25,
            },  # 8 warm-up steps, 24 stable ones, 8 of decay
            lambda o: get_wsd_schedule(o, 8, 8, num_stable_steps=24, decay_type="linear"),
        ),
    ],
)
def test_equals_the_scheduler_of_torch_or_transformers(config, make) -> None:
    assert factors(config) == pytest.approx(reference(make), abs=1e-12)


def test_linear_without_warmup_ends_one_step_above_zero() -> None:
    assert factors("linear")[0] == 1.0
    assert factors("linear")[-1] == pytest.approx(1 / STEPS)


def test_ends_of_the_range() -> None:
    assert learning_rate(
        ADAPTER.validate_python({"kind": "exponential", "final": 0.02}), 1.0
    ) == pytest.approx(0.02)
    assert learning_rate(
        ADAPTER.validate_python({"kind": "wsd", "decay": 1.0}), 0.5
    ) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"progress 1\.5"):
        learning_rate(ADAPTER.validate_python("linear"), 1.5)


@pytest.mark.parametrize(
    "kind", ["constant", "linear", "cosine", "exponential", "multistep", "wsd"]
)
def test_factor_stays_between_zero_and_one(kind: str) -> None:
    for warmup in (0.0, 0.3):
        schedule = ADAPTER.validate_python({"kind": kind, "warmup": warmup})
        values = [learning_rate(schedule, step / 997) for step in range(998)]
        assert all(0 <= value <= 1 and math.isfinite(value) for value in values)
        assert max(values) == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("sinus", "cosine"),
        ({"kind": "linear", "warmup": 1.0}, "less than 1"),
        ({"kind": "multistep", "milestones": [0.7, 0.3]}, "must rise"),
        ({"kind": "cosine", "gamma": 0.1}, "gamma"),
        ({"kind": "exponential", "final": 0}, "greater than 0"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(config, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(config)
