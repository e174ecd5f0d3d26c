"""All that runs on a GPU runs on a pretended one, which refuses to mix with the CPU's tensors.

`tests/test_devices.py` runs this file in its own process, because autograd counts devices once.

References: the same work on the CPU, whose numbers it gives but for the order of some sums.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tiny_search
import tiny_study
import torch
from pretend_device import pretend_device, waits
from torch.nn.functional import cross_entropy

from study.config import CellConfig, TrainConfig
from study.data import Dataset, load_data
from study.measuring import samples as samples_module
from study.measuring.collect import collect
from study.metrics import (
    ClassMoments,
    Gaussian,
    NearestCentre,
    OodScorer,
    OtherData,
    ScoredSamples,
    collapse_metrics,
    geodesic_deviation,
    held_out_collapse,
    imbalance_geometry,
    minority_collapse,
    ood_metrics,
    per_class,
    ray_share,
    reference_drift,
)
from study.metrics import decisions as decisions_module
from study.models import SimpleCNN
from study.models.base import FeatureModel
from study.models.foreign import HubModel
from study.precision import at_precision, parse_precision, quantization_record, quantize
from study.scheduling import work
from study.settings.optimizers import OptimizerName
from study.settings.penalty import PenaltyConfig
from study.store import Store
from study.training import train as training_module
from study.training.finetune import finetune
from study.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from study.training.train import train

CPU = torch.device("cpu")
PRECISIONS = (
    "bf16", "int8", "int4-g32", "int2-asym", "fp8", "mxfp6-e2m3", "nvfp4", "int8-dynamic",
)  # fmt: skip
CLASSES, DIM = 30, 6


@pytest.fixture
def device() -> Iterator[torch.device]:
    with pretend_device() as pretended:
        yield pretended


@pytest.fixture(scope="module")
def config() -> CellConfig:
    return CellConfig.model_validate(
        {
            "data": {"kind": "text", "context": 16, "train_tokens": 2500, "val_tokens": 400},
            "model": {"kind": "gpt_neo", "width": 32, "depth": 1, "heads": 2},
            "train": {"epochs": 1, "lr": 4e-3, "batch_size": 1, "clip": 1.0},
            "measure": {"min_count": 3, "layers": "all", "agreement_samples": 200},
            "precision_options": {"qat": {"epochs": 1, "lr": 1e-4}, "efqat": {"share": 0.25}},
        }
    )


@pytest.fixture(scope="module")
def data(config: CellConfig, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tokens")
    return load_data(config.data, base=folder, cache=folder)


@torch.no_grad()
def loss(model: FeatureModel, data: Dataset, device: torch.device) -> float:
    """Cross-entropy on validation samples."""
    inputs, targets = (part.to(device) for part in data.val.batch(np.arange(8)))
    return float(cross_entropy(model(inputs).flatten(0, 1), targets.flatten()))


def trained(config: CellConfig, data: Dataset, device: torch.device) -> FeatureModel:
    *_, last = train(config, data, device)
    return last.model


def test_tensors_of_two_devices_do_not_mix(device: torch.device) -> None:
    here, there = torch.ones(3, device=device), torch.ones(3)
    with pytest.raises(RuntimeError, match="all tensors on one device"):
        here + there
    with pytest.raises(RuntimeError, match="all tensors on one device"):
        here.add_(there)
    assert (here + there.to(device) + 1).tolist() == [3, 3, 3]
    assert dict(waits) == {"tolist": 1}


def test_training_waits_once_in_64_steps(
    config: CellConfig, data: Dataset, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "FLUSH_SECONDS", float("inf"))
    of_checkpoints = {}
    for checkpoint in train(config, data, device):
        of_checkpoints[checkpoint.step] = sum(waits.values())
        model = checkpoint.model
        waits.clear()
    assert list(of_checkpoints) == [0, 156]
    # at the end of an epoch: its last losses, the check for zero error, its totals
    assert of_checkpoints[156] <= 156 // 64 + 3
    expected = loss(trained(config, data, CPU), data, CPU)
    assert loss(model, data, device) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_a_step_of_an_optimizer_waits_for_nothing(device: torch.device, optimizer: str) -> None:
    """Of kernels, matrices and vectors, all with decay; also after its state was restored."""
    decay = {"body": 0.1, "head": 0.2, "bias": 0.3}
    settings = TrainConfig.model_validate(
        {"epochs": 1, "lr": 0.01, "optimizer": optimizer, "decay": decay}
    )

    def moved(at: torch.device) -> list[torch.Tensor]:
        network = SimpleCNN(width=4, depth=2).build(classes=3, input_shape=(1, 8, 8), seed=0)
        network.to(at)
        saved: dict[str, torch.Tensor] = {}
        for number in range(3):
            # a new optimizer each time, as of a training that was killed in between
            made = make_optimizer(network, settings)
            restore_optimizer(made, saved)
            for parameter in network.parameters():
                parameter.grad = torch.cos(parameter.detach() + number)
            waits.clear()
            made.step()
            assert not waits
            saved = {name: tensor.cpu() for name, tensor in optimizer_tensors(made).items()}
        return [parameter.detach().cpu() for parameter in network.parameters()]

    for here, there in zip(moved(device), moved(CPU), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)


def test_penalties_do_not_mix_devices_nor_wait_for_one(
    config: CellConfig, data: Dataset, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training with all of them waits as often as one without."""
    monkeypatch.setattr(training_module, "FLUSH_SECONDS", float("inf"))
    names = ("nc1", "nc2", "nc3", "uniformity", "feature_norm", "entropy")
    waited, models = [], []
    for coefficients in ({}, dict.fromkeys(names, 0.1)):
        tree = {"batch_size": 8, "penalty": PenaltyConfig(**coefficients)}
        own = config.model_copy(update={"train": config.train.model_copy(update=tree)})
        waits.clear()
        models.append(trained(own, data, device))
        waited.append(dict(waits))
    assert waited[0] == waited[1]
    expected = loss(trained(own, data, CPU), data, CPU)
    assert loss(models[1], data, device) == pytest.approx(expected, rel=1e-3)
    assert loss(models[0], data, device) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("precision", ["qat-int4-g32", "efqat-int4", "ft-fp32"])
def test_fine_tuning(
    config: CellConfig, data: Dataset, device: torch.device, precision: str
) -> None:
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"batch_size": 32, "clip": None})}
    )
    model = trained(config, data, CPU)
    here, there = (
        finetune(deepcopy(model).to(at), parse_precision(precision), config, data, at)
        for at in (device, CPU)
    )
    assert next(here.parameters()).device.type == device.type
    assert loss(here, data, device) == pytest.approx(loss(there, data, CPU), rel=1e-2)


@pytest.mark.parametrize("few", [decisions_module.FEW, 0])
def test_metrics(device: torch.device, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions_module, "FEW", few)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, DIM, generator=generator)
    labels = torch.randint(0, CLASSES, (400,), generator=generator)
    weight, bias = torch.randn(CLASSES, DIM, generator=generator), torch.arange(CLASSES) / 10

    def columns(at: torch.device) -> dict[str, Any]:
        x, w = features.to(at), weight.to(at)
        moments, other = ClassMoments(CLASSES, DIM, at, scatter=True), ClassMoments(1, DIM, at)
        moments.update(x, labels.to(at))
        other.update(x, torch.zeros_like(labels))
        half, double = (ClassMoments(CLASSES, DIM, at, scatter=True) for _ in range(2))
        half.update(x[:200], labels[:200])
        double.update(2 * x, labels)
        ends = (Gaussian.of(each) for each in (moments, half, double))
        path = [end for end in ends if isinstance(end, Gaussian)]
        centres = NearestCentre(moments, 2)
        decided = centres.agreement(x, labels, w, bias.to(at))
        scorer = OodScorer(moments, 2)
        scored = ScoredSamples(scorer.reasons)
        scored.update(scorer.score(x, x @ w.T + bias.to(at)))
        return {
            **collapse_metrics(moments, w, min_count=2),
            **minority_collapse(moments, w, torch.arange(CLASSES) * 10, min_count=2),
            **reference_drift(moments, moments, w, min_count=2),
            **ood_metrics(moments, scored, {"other": OtherData(other, scored)}, min_count=2),
            **held_out_collapse(moments, half, min_count=2),
            **imbalance_geometry(moments, w, torch.arange(1, CLASSES + 1), min_count=2),
            **geodesic_deviation(*path),
            **ray_share(x, labels.to(at), min_count=2),
            **per_class(moments, w, min_count=2).columns(),
            "nearest": centres.nearest(x).tolist(),
            "agreement": [decided.nc4_agreement, decided.ncc_accuracy, decided.unmeasured_share],
        }

    assert columns(device) == columns(CPU)


def test_collecting(config: CellConfig, data: Dataset, device: torch.device) -> None:
    """Every precision, all layers: the columns, the record of rounding."""

    start = trained(config, data, CPU).eval()

    def rows(at: torch.device) -> dict[str, list[Any]]:
        model = deepcopy(start).to(at)
        models = {"fp32": model}
        models |= {name: quantize(model, name).eval() for name in PRECISIONS}
        measured = collect(models, data, config.measure, seed=0, device=at, reference="fp32")
        values = {}
        for name, measurement in measured.items():
            record = quantization_record(model, models[name], parse_precision(name))
            values[name] = [record, *(each.values for _, each in measurement.by_layer())]
        return values

    here, there = rows(device), rows(CPU)
    for name, columns in here.items():
        for found, expected in zip(columns, there[name], strict=True):
            assert found.keys() == expected.keys()
            # a CPU multiplies 16 bits in float32, other devices do not
            for column, value in found.items() if name != "bf16" else ():
                wanted = expected[column]
                if isinstance(value, float) and wanted is not None:
                    wanted = pytest.approx(wanted, rel=1e-2, abs=1e-2)
                assert value == wanted, (name, column)


def test_measuring_waits_once_a_batch(
    config: CellConfig, data: Dataset, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what is done once a model, whose count is that of measuring a single batch."""
    model = deepcopy(trained(config, data, CPU)).eval().to(device)
    measure = config.measure.model_copy(update={"layers": "last"})

    def waited(samples: int) -> int:
        monkeypatch.setattr(samples_module, "BATCH_SAMPLES", samples)
        waits.clear()
        collect({"a": model}, data, measure, seed=0, device=device)
        return sum(waits.values())

    once = waited(10_000)
    batches = sum(-(-len(split) // 4) for split in (data.train, data.val))
    agreement = -(-len(data.train) // 4)  # its features are decided on batch by batch, too
    assert waited(64) - once <= batches + agreement


def test_a_study_and_a_search(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of a launch, with states, kept weights and what a search writes."""
    study = tiny_study.tiny(grid={"precision": ["fp32", "int4", "qat-int8"], "epochs": [1]})
    search = tiny_search.hunt(trials=2)

    def losses(folder: Path) -> list[float]:
        folder.mkdir()
        assert tiny_study.launch(folder, study) == 0
        assert tiny_search.tune(folder, search) == 0
        tables = [Store(folder / "runs" / name).read() for name in ("tiny", "hunt")]
        return [loss for table in tables for loss in table.sort("cell", "epoch")["train_loss"]]

    expected = losses(tmp_path / "cpu")
    monkeypatch.setattr(work, "choose_device", lambda setting: device)
    assert losses(tmp_path / "pretended") == pytest.approx(expected, rel=1e-2)
    assert len(expected) > 8


@pytest.mark.parametrize(
    "there", [("layers.2", "layers.3", "norm"), ("embed_tokens", "layers.0"), ("lm_head",)]
)
@torch.no_grad()
def test_layers_on_two_devices(device: torch.device, there: tuple[str, ...]) -> None:
    """As `study.measure --device-map auto` lays them, of which all are in memory here."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64}
    theirs = LlamaForCausalLM(LlamaConfig(num_hidden_layers=4, num_attention_heads=2, **sizes))
    plain, tokens = HubModel(deepcopy(theirs)), torch.arange(20)[None]
    blocks = [f"layers.{number}" for number in range(4)]
    for name in ("embed_tokens", "rotary_emb", *blocks, "norm", "lm_head"):
        place = device if name in there else CPU
        module = theirs.get_submodule(name if name == "lm_head" else f"model.{name}").to(place)
        hook = AlignDevicesHook(execution_device=place)
        hook.init_hook = lambda module: module  # the weights are there already
        add_hook_to_module(module, hook)
    add_hook_to_module(theirs, AlignDevicesHook(io_same_device=True))
    model = HubModel(theirs)
    assert model.head.weight.device.type == (device if "lm_head" in there else CPU).type
    inputs = tokens.to(model.head.weight.device)
    for precision in ("fp32", "int4", "fp32"):
        with at_precision(model, parse_precision(precision)):
            logits = model(inputs).cpu()
        assert torch.allclose(logits, quantize(plain, precision)(tokens), atol=1e-6)


def test_importing_torch_and_the_study_begins_no_context() -> None:
    """What is imported before trainings are forked leaves a GPU alone."""
    code = (
        "import torch, study.training.train, study.measuring.checkpoint, study.models.hub\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert not torch.cuda._is_in_bad_fork()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
