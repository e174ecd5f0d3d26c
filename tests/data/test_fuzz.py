"""Mutated images and tokenizers: each is read, or refused in a sentence."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutated_files import in_little_memory, is_used, mutated_bytes, mutated_tree
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from study.data import DataError, load_data
from study.data.config import ImagesData, TextData

TEXT = "".join(f"{number} green bottles, hanging on the wall;\n" for number in range(100))
COUNT = 4
LABELS = [0, 1, 0, 1]


def _idx(folder: Path, pixels: Any) -> str:
    folder.mkdir()
    for split in ("train", "t10k"):
        for what, data in (("images", pixels[:, 0]), ("labels", np.array(LABELS, np.uint8))):
            sizes = np.array(data.shape, ">i4").tobytes()
            head = bytes([0, 0, 8, data.ndim]) + sizes
            (folder / f"{split}-{what}-idx{data.ndim}-ubyte").write_bytes(head + data.tobytes())
    return folder.name


def _npz(folder: Path, pixels: Any) -> str:
    folder.mkdir()
    first, labels = pixels[:, 0], np.array(LABELS)
    np.savez(
        folder / "set.npz",
        train_images=first,
        train_labels=labels,
        val_images=first,
        val_labels=labels,
    )
    return f"{folder.name}/set.npz"


def _pictures(folder: Path, pixels: Any) -> str:
    for split in ("train", "test"):
        for number, label in enumerate(LABELS):
            path = folder / split / f"class{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number, 0]).save(path)
    return folder.name


def _binary(folder: Path, pixels: Any) -> str:
    folder.mkdir()
    for name in ("data_batch_1", "test_batch"):
        records = (bytes([label]) + pixels[n].tobytes() for n, label in enumerate(LABELS))
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    return folder.name


def _python(folder: Path, pixels: Any) -> str:
    folder.mkdir()
    for name in ("data_batch_1", "test_batch"):
        batch = {b"data": pixels.reshape(COUNT, -1), b"labels": LABELS}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}))
    return folder.name


LAYOUTS = (_idx, _npz, _pictures, _binary, _python)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source of each layout, in a folder of its own."""
    root = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32), np.uint8)
    return {write.__name__: root / write(root / write.__name__, pixels) for write in LAYOUTS}


def _read_images(images: dict[str, Path], folder: Path, count: int, first: int) -> int:
    """How many mutated sets of images are read; the others are refused."""
    used = 0
    for seed in range(first, first + count):
        chance = random.Random(seed)
        source = images[chance.choice(sorted(images))]
        place = folder / "set"
        if source.is_dir():
            shutil.copytree(source, place)
            target = place
        else:
            place.mkdir()
            target = Path(shutil.copy(source, place))
        path = chance.choice(sorted(file for file in place.rglob("*") if file.is_file()))
        path.write_bytes(mutated_bytes(path.read_bytes(), chance))
        if chance.random() < 0.1:
            path.unlink()
        config = ImagesData(source=str(target))
        read = partial(load_data, config, base=folder, cache=folder / "cache")
        used += is_used(read, DataError, f"{source.name}, seed {seed}")
        shutil.rmtree(place)
    return used


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte pairs of a tiny text, as `tokenizers` writes them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet
    )
    made.train_from_iterator([TEXT], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


def _read_tokenizers(sound: Path, folder: Path, count: int, first: int) -> int:
    """How many mutated tokenizers encode a text; the others are refused."""
    (folder / "text.txt").write_text(TEXT)
    path, used = folder / "tokenizer.json", 0
    content = json.loads(sound.read_text())
    for seed in range(first, first + count):
        chance = random.Random(seed)
        if chance.random() < 0.6:
            path.write_text(json.dumps(_changed(content, chance)))
        else:
            path.write_bytes(mutated_bytes(sound.read_bytes(), chance))
        config = TextData(source="text.txt", tokenizer="tokenizer.json", context=8)
        read = partial(load_data, config, base=folder, cache=folder / "cache")
        used += is_used(read, DataError, f"tokenizer, seed {seed}")
    return used


def _changed(content: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Another tokenizer: a part of its settings or of its model is not what it was."""
    model = content["model"]
    large = {name: model[name] for name in ("vocab", "merges")}
    match chance.randrange(4):
        case 0:
            token = chance.choice(sorted(large["vocab"]))
            number = chance.choice((0, 1, 300, 10**6, 2**31, 2**32 - 1, 2**32, -1))
            return {**content, "model": model | {"vocab": large["vocab"] | {token: number}}}
        case 1:
            name = chance.choice(sorted(large))
            return {**content, "model": model | {name: mutated_tree(large[name], chance)}}
        case 2:
            rest = {name: part for name, part in model.items() if name not in large}
            return {**content, "model": {**large, **mutated_tree(rest, chance)}}
        case _:
            rest = {name: part for name, part in content.items() if name != "model"}
            return {"model": model, **mutated_tree(rest, chance)}


def test_mutated_images_are_read_or_refused(images: dict[str, Path], tmp_path: Path) -> None:
    with in_little_memory():
        assert 5 < _read_images(images, tmp_path, 200, first=0) < 195


def test_mutated_tokenizers_encode_or_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with in_little_memory():
        assert 5 < _read_tokenizers(tokenizer, tmp_path, 200, first=0) < 195


@pytest.mark.long
def test_many_mutated_images_are_read_or_refused(images: dict[str, Path], tmp_path: Path) -> None:
    with in_little_memory():
        assert 15 < _read_images(images, tmp_path, 560, first=200) < 545


@pytest.mark.long
def test_many_mutated_tokenizers_encode_or_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with in_little_memory():
        assert 15 < _read_tokenizers(tokenizer, tmp_path, 560, first=200) < 545
