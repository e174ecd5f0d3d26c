"""Mutated checkpoints: each is loaded, or refused in a sentence, quickly and in little memory."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from mutated_files import VALUES, in_little_memory, is_used, mutated_bytes, mutated_tree
from tiny_architectures import CLASSES, tiny_model

from study.models import (
    GPTNeoModel,
    ModelError,
    SimpleCNN,
    build_model,
    load_pretrained,
    save_checkpoint,
)

FOREIGN = ("llama", "gpt_neo", "mixtral", "mamba", "gpt2")
PICTURE = (1, 16, 16)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of foreign checkpoints, and of two of ours."""
    root = tmp_path_factory.mktemp("sound")
    torch.manual_seed(0)
    for kind in FOREIGN:
        tiny_model(kind).save_pretrained(root / kind)
    own = build_model(GPTNeoModel(width=32, depth=2, heads=4), classes=CLASSES, context=33, seed=0)
    save_checkpoint(own, root / "own")
    images = build_model(SimpleCNN(width=4, depth=2), classes=10, input_shape=PICTURE, seed=0)
    save_checkpoint(images, root / "cnn")
    return root


def _load_mutated(sound: Path, folder: Path, count: int, first: int) -> int:
    """How many mutated checkpoints are loaded; the others are refused."""
    used = 0
    for seed in range(first, first + count):
        chance = random.Random(seed)
        kind = chance.choice((*FOREIGN, "own", "cnn"))
        copy = shutil.copytree(sound / kind, folder / "copy")
        _mutate(copy, chance)
        images = kind == "cnn"
        classes, shape = (10, PICTURE) if images else (CLASSES, (20,))
        load = partial(load_pretrained, str(copy), classes=classes, input_shape=shape)
        used += is_used(load, ModelError, f"{kind}, seed {seed}")
        shutil.rmtree(copy)
    return used


def _mutate(checkpoint: Path, chance: random.Random) -> None:
    if chance.random() < 0.65:
        path = checkpoint / "config.json"
        content = mutated_tree(json.loads(path.read_text()), chance, VALUES)
        path.write_text(json.dumps(content))
    else:
        path = checkpoint / chance.choice(("config.json", "model.safetensors", "model.safetensors"))
        path.write_bytes(mutated_bytes(path.read_bytes(), chance))


def test_mutated_checkpoints_are_loaded_or_refused(sound: Path, tmp_path: Path) -> None:
    with in_little_memory():
        assert 5 < _load_mutated(sound, tmp_path, 200, first=0) < 195


@pytest.mark.long
def test_many_mutated_checkpoints_are_loaded_or_refused(sound: Path, tmp_path: Path) -> None:
    with in_little_memory():
        assert 15 < _load_mutated(sound, tmp_path, 560, first=200) < 545
