"""The plan of memory: one line of a dry run, near what a study takes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import launch, tiny

from study.config import study_from
from study.data import Estimate
from study.grid import expand, trainings
from study.launching.memory import kept_outputs, memory_of_training
from study.measuring.plan import PROCESS
from study.models import MLP, GPTNeoModel, ModelSettings, SimpleCNN


def test_a_dry_run_says_what_memory_the_largest_training_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for widths in ([16], [16, 512], [512]):
        assert launch(tmp_path, tiny(grid={"width": widths}), "--dry-run") == 0
        line = re.search(r"memory: device (.+) GiB, host (.+) GiB", capsys.readouterr().out)
        assert line is not None
        said.append(tuple(map(float, line.groups())))
    assert said[1] == said[2] > said[0]
    assert said[0][0] == 0


def test_a_model_that_cannot_be_built_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame of 10 vectors needs 9 dimensions."""
    study = {
        "name": "frame",
        "data": {"kind": "free", "classes": 10, "quota": 2},
        "model": {"kind": "ufm", "width": 4, "head": "fixed_etf"},
        "grid": {"epochs": [1], "seed": [0]},
    }
    assert launch(tmp_path, study, "--dry-run") == 2
    assert "needs at least 9 features" in capsys.readouterr().err


def test_kept_outputs_are_those_that_gradients_need() -> None:
    """Of a perceptron of 8 x 8 pixels: the pixels, and what each block gives."""
    model = MLP(width=16, depth=2).skeleton(classes=3, input_shape=(1, 8, 8))
    assert kept_outputs(model, "images", (1, 8, 8)) == (64 + 2 * 16, 64)


@pytest.mark.parametrize(
    ("settings", "gives", "shape"),
    [
        (GPTNeoModel(width=32, depth=3, heads=2), "tokens", (64,)),
        (GPTNeoModel(width=48, depth=4, heads=2, window=16), "tokens", (64,)),
        (SimpleCNN(width=16, depth=2), "images", (3, 16, 16)),
        (MLP(width=16, depth=2), "images", (1, 8, 8)),
    ],
    ids=["gpt_neo", "gpt_neo with windows", "simple_cnn", "mlp"],
)
def test_a_model_without_values_keeps_as_much_as_a_real_one(
    settings: ModelSettings, gives: str, shape: tuple[int, ...]
) -> None:
    """To a tenth: kernels keep logarithms of attention's sums, and the masks of windows."""
    empty = settings.skeleton(classes=50, input_shape=shape)
    real = settings.build(classes=50, input_shape=shape, seed=0)
    assert kept_outputs(empty, gives, shape) == pytest.approx(
        kept_outputs(real, gives, shape), rel=0.1
    )


def test_the_optimizer_is_paid_for() -> None:
    size = Estimate(50, 5000, 5000, 100, (5000,))

    def host(**train: object) -> int:
        content = {
            "name": "free",
            "data": {"kind": "free", "classes": 100, "quota": 50},
            "model": {"kind": "ufm", "width": 512},
            "train": {"epochs": 1, **train},
            "grid": {"seed": [0]},
        }
        study = study_from(content, folder=Path(), source="test")
        return memory_of_training(trainings(expand(study))[0], size).host - PROCESS

    parameters = (5000 + 100) * 512 + 100
    assert host(optimizer="adamw") - host(optimizer="sgd") == 4 * parameters


def test_attacks_and_a_second_pass_are_paid_for() -> None:
    """Gradients keep the outputs of layers for 2^12 tokens at once, and for TRADES twice."""
    size = Estimate(4096, 4096 * 64, 4096, 50, (64,))

    def host(measure: dict[str, object] | None = None, **train: object) -> int:
        content = {
            "name": "text",
            "data": {"kind": "text", "context": 65},
            "model": {"kind": "nanogpt", "width": 64, "depth": 24, "heads": 2},
            "train": {"epochs": 1, "batch_size": 8, **train},
            "measure": measure or {},
            "grid": {"seed": [0]},
        }
        study = study_from(content, folder=Path(), source="test")
        return memory_of_training(trainings(expand(study))[0], size).host

    attacked = host({"attack": {"kind": "fgsm", "eps": 0.1}})
    many = host(batch_size=4096 // 64)  # as many rows of 64 tokens as are attacked at once
    assert many > attacked > host()
    assert attacked > 0.8 * many  # which has logits and gradients, too
    trades = host(batch_size=64, adversary={"kind": "trades", "eps": 0.1})
    assert trades - many > 0.8 * (many - host())


def test_derivatives_and_features_of_a_probe_are_paid_for() -> None:
    """Of 2^16 pixels at once, and 20 bytes a feature."""
    size = Estimate(60_000, 60_000, 10_000, 8, (1, 28, 28))

    def host(size: Estimate, **measure: object) -> int:
        content = {
            "name": "images",
            "data": {"kind": "images", "held_out_classes": [8, 9]},
            "model": {"kind": "simple_cnn", "width": 64, "depth": 4},
            "train": {"epochs": 1, "batch_size": 1},
            "measure": measure,
        }
        study = study_from(content, folder=Path(), source="test")
        return memory_of_training(trainings(expand(study))[0], size).host

    plain, derived = host(size), host(size, complexity_samples=5)
    kept = 4 * 64 * 28 * 28  # at least what the first block gives, for 83 images
    assert derived - PROCESS > 2**16 // 784 * kept
    probed = host(replace(size, probe_samples=10**7), probe={"data": "held_out"})
    assert probed - plain == 20 * 10**7 * 64
