"""What a message says of a wrong value: names near to it, no class, no list without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.config import study_from
from study.settings.faults import StudyError, some_of

GOOD: dict[str, Any] = {
    "name": "good",
    "data": {"kind": "text"},
    "model": {"kind": "gpt_neo", "heads": 4},
    "grid": {"width": [32], "depth": [1], "epochs": [1]},
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train": {"decay": 3}}, "train.decay: is 3, not settings by name. Write `decay: {"),
        ({"train": {"schedule": 3}}, "train.schedule: is 3, not settings by name"),
        ({"precision_options": {"qat": None}}, "precision_options.qat: is None, not settings by"),
        ({"analysis": {"margin": 3}}, "Write `margin: {name: value}`"),
        ({"analysis": {"primary": "x"}}, "is 'x', not a list. Write `primary: [...]`"),
        ({"train": {"optimizer": "adamx"}}, "Did you mean `adam`? It should be 'adamw', 'adam'"),
        ({"train": {"loss": "hinge"}}, "is 'hinge'. It should be 'cross_entropy'"),
        ({"measure": {"at": {}}}, "measure.at: is {}. It should be 'each'"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_file(change: dict[str, Any], text: str) -> None:
    with pytest.raises(StudyError) as caught:
        study_from({**GOOD, **change}, folder=Path(), source="x")
    message = str(caught.value)
    assert text in message
    for leak in ("instance of", "Options", "Config", "literal["):
        assert leak not in message


def test_of_many_names_the_nearest_are_listed() -> None:
    assert some_of(["b", "a"], "x") == "b, a"
    names = [f"column_{number}" for number in range(85)]
    text = some_of(names, "column_84")
    assert text.startswith("column_84, ")
    assert text.endswith(" and 75 more")
    assert text.count("column_") == 10
