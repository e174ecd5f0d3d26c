"""Settings of attacks and adversaries: keys that stay, and requests that cannot be met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.config import CellConfig, study_from
from study.settings.attack import AttackConfig
from study.settings.faults import StudyError
from study.settings.schema import plain

IMAGES = {"data": {"kind": "images"}, "model": {"kind": "mlp", "width": 8, "depth": 1}}
TOKENS = {
    "data": {"kind": "text"},
    "model": {"kind": "gpt_neo", "width": 8, "depth": 1, "heads": 2},
}
FREE = {"data": {"kind": "free"}, "model": {"kind": "ufm", "width": 16}}
ATTACK = {"kind": "pgd", "eps": 0.1}


def cell(base: dict[str, Any], **changes: Any) -> CellConfig:
    train = {"epochs": 1, **changes.pop("train", {})}
    return CellConfig.model_validate({**base, "train": train, **changes})


def test_nothing_is_attacked_unless_it_is_asked_for_and_keys_stay() -> None:
    config = cell(IMAGES)
    assert config.measure.attack is None
    assert config.train.adversary is None and "adversary" not in plain(config)["train"]
    assert "attack" not in plain(config)["measure"]
    asked = cell(IMAGES, measure={"attack": ATTACK}, train={"adversary": {"eps": 0.1}})
    assert plain(asked)["train"]["adversary"] == {"eps": 0.1}
    assert plain(asked)["measure"]["attack"] == {"kind": "pgd", "eps": 0.1}


def test_rows_call_an_attack_by_its_kind_norm_and_radius() -> None:
    assert AttackConfig(kind="pgd", eps=0.1).name == "pgd-linf-0.1"
    assert AttackConfig(kind="fgsm", norm="l2", eps=8 / 255).name == "fgsm-l2-0.0313725"
    assert AttackConfig(kind="pgd", eps=0.1, steps=5).length(0.1) == pytest.approx(0.05)
    assert AttackConfig(kind="pgd", eps=0.1, step_size=0.3).length(0.1) == 0.3


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (TOKENS, {"measure": {"attack": {**ATTACK, "on": "inputs"}}}, "would attack token ids"),
        (IMAGES, {"measure": {"attack": {**ATTACK, "on": "embeddings"}}}, "images have none"),
        (FREE, {"measure": {"attack": ATTACK}}, "samples without any"),
        (IMAGES, {"measure": {"attack": {**ATTACK, "eps": 8}}}, "write 8 of 255 as 0.0314"),
        (IMAGES, {"measure": {"attack": {"eps": 0.1}}}, "measure.attack.kind: is missing"),
        (IMAGES, {"measure": {"attack": {"kind": "fgsm"}}}, "measure.attack.eps: is missing"),
        (FREE, {"train": {"adversary": {"eps": 0.1}}}, "samples without any"),
        (IMAGES, {"train": {"adversary": {"eps": 8}}}, "write 8 of 255 as 0.0314"),
        (IMAGES, {"train": {"adversary": {"kind": "trades"}}}, "train.adversary.eps: is missing"),
        (
            IMAGES,
            {"train": {"adversary": {"kind": "trades", "eps": 0.1}, "loss": "mse"}},
            "none: take adversary.kind pgd",
        ),
        (IMAGES, {"train": {"adversary": {"eps": 0.1}, "compile": True}}, "compile takes passes"),
        (IMAGES, {"measure": {"attack": {**ATTACK, "eps": 0}}}, "greater than 0"),
        (IMAGES, {"measure": {"attack": {**ATTACK, "norm": "l1"}}}, "'linf' or 'l2'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(
    base: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    content = {"name": "s", **base, "train": {"epochs": 1}, **changes, "grid": {"epochs": [1]}}
    with pytest.raises(StudyError) as error:
        study_from(content, folder=Path(), source="test")
    assert len(error.value.faults) == 1
    assert message in str(error.value)


def test_what_can_be_attacked_is_taken() -> None:
    for base, on in ((IMAGES, "inputs"), (TOKENS, "embeddings")):
        attack = cell(base, measure={"attack": {**ATTACK, "on": on}}).measure.attack
        assert attack is not None and attack.name == "pgd-linf-0.1"
    cell(TOKENS, measure={"attack": {**ATTACK, "eps": 8}})  # units of embeddings
    cell(IMAGES, train={"adversary": {"eps": 0.1}, "loss": "mse"})
    cell(FREE, train={"adversary": {"eps": 0}, "compile": True})


def test_axes_of_attacks_are_settings_like_others() -> None:
    content = {"name": "s", **IMAGES, "train": {"epochs": 1}}
    grid = {"measure.attack.eps": ["1e-1", 0.2]}
    study = study_from(
        {**content, "measure": {"attack": {"kind": "fgsm"}}, "grid": grid},
        folder=Path(),
        source="test",
    )
    configs = [point.config for point in study.points()]
    names = [each.measure.attack and each.measure.attack.name for each in configs]
    assert names == ["fgsm-linf-0.1", "fgsm-linf-0.2"]
