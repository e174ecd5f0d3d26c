"""`measure(model, loader)`: the definitions on the features that a head reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import metrics_brute_force as brute
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

from study.measuring import measure
from study.measuring.loaders import LoaderError
from study.metrics import MomentsError

CLASSES, DIM = 4, 6


class Net(nn.Module):
    """A body with dropout, and a head that is found by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, DIM), nn.Tanh(), nn.Dropout(0.5))
        self.fc = nn.Linear(DIM, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.body(x))
        return logits


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    return torch.randn(count, 5, generator=generator) + labels[:, None], labels


def loader(count: int = 64, seed: int = 0, size: int = 7) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(count, seed)), batch_size=size)


def features_of(model: Net, x: Tensor) -> np.ndarray:
    """The features by hand, in float64, from the weights alone."""
    linear: Any = model.body[0]
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    return np.tanh(x.double().numpy() @ weight.numpy().T + bias.numpy())


def test_columns_are_the_definitions_on_features_computed_by_hand() -> None:
    model = net().double()
    x, y = samples(64, 0)
    batches = [(part.double(), labels) for part, labels in zip(x.split(9), y.split(9), strict=True)]
    columns = measure(model, batches, min_count=2)
    weight = model.fc.weight.detach().numpy()
    expected = brute.metrics(features_of(model, x), y.numpy(), weight, 2)
    compared = 0
    for name, value in expected.items():
        if columns.get(name) is not None:
            compared += 1
            assert columns[name] == pytest.approx(value, rel=1e-6, abs=1e-12), name
    assert compared > 20


def test_decisions_and_losses_are_those_of_a_loop_over_samples() -> None:
    model = net()
    columns = measure(model, loader(), loader(40, 1), min_count=2)
    means = features_of(model, samples(64, 0)[0])
    centres = np.stack([means[samples(64, 0)[1] == c].mean(axis=0) for c in range(CLASSES)])
    weight, bias = (p.detach().double().numpy() for p in model.fc.parameters())
    for end, split, count, seed in (("_train", "train", 64, 0), ("", "val", 40, 1)):
        x, y = samples(count, seed)
        agree = own = hits = 0
        loss = 0.0
        for h, label in zip(features_of(model, x), y.tolist(), strict=True):
            scores = weight @ h + bias
            nearest = int(((centres - h) ** 2).sum(axis=1).argmin())
            agree += nearest == scores.argmax()
            own += nearest == label
            hits += scores.argmax() == label
            loss += math.log(np.exp(scores).sum()) - scores[label]
        assert columns[f"nc4_agreement{end}"] == agree / count
        assert columns[f"ncc_accuracy{end}"] == own / count
        assert columns[f"{split}_accuracy"] == hits / count
        assert columns[f"{split}_loss"] == pytest.approx(loss / count, rel=1e-5)
    assert columns["nc1_ratio_val"] is not None


def test_the_batches_do_not_matter_and_the_mode_is_restored() -> None:
    model = net().double()
    x, y = samples(64, 0)
    model.body.eval()
    model.fc.train()
    whole, parts = (
        measure(model, [(a.double(), b) for a, b in zip(x.split(size), y.split(size), strict=True)])
        for size in (64, 5)
    )
    assert [m.training for m in model.children()] == [False, True]
    assert not model.fc._forward_hooks
    for name, value in whole.items():
        assert parts[name] == (value if value is None else pytest.approx(value, rel=1e-9)), name


def gpt() -> GPT2LMHeadModel:
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2))


def test_a_language_model_predicts_the_next_label_and_ignores_some() -> None:
    model = gpt()
    tokens = torch.randint(11, (12, 8), generator=torch.Generator().manual_seed(2))
    labels = tokens.clone()
    labels[:, 3] = -100
    parts = zip(tokens.split(5), labels.split(5), strict=True)
    batches = [{"input_ids": a, "labels": b} for a, b in parts]
    columns = measure(model, batches, shift=True, min_count=1)
    model.eval()
    with torch.no_grad():
        loss = model(input_ids=tokens, labels=labels).loss
        hidden = model.transformer(tokens).last_hidden_state[:, :-1].double()
    kept = labels[:, 1:] != -100
    assert columns["samples_measured"] == int(kept.sum()) == 12 * 6
    assert columns["train_loss"] == pytest.approx(float(loss), rel=1e-5)
    counts, means, _, _ = brute.class_moments(hidden[kept].numpy(), labels[:, 1:][kept].numpy(), 11)
    within = sum(
        ((h - means[c]) ** 2).sum()
        for h, c in zip(hidden[kept].numpy(), labels[:, 1:][kept].tolist(), strict=True)
    )
    present = counts > 0
    centred = means[present] - means[present].mean(axis=0)
    ratio = within / counts.sum() / ((centred**2).sum() / present.sum())
    assert columns["nc1_ratio"] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize(
    ("batches", "options", "text"),
    [
        ([(torch.ones(2, 5), torch.zeros(2, dtype=torch.int64))], {"head": "neck"}, "head=NAME"),
        ([torch.ones(2, 5)], {}, "give (inputs, labels)"),
        ([(torch.ones(2, 5),)], {}, "a tuple of 1: give (inputs, labels)"),
        ([(torch.ones(2, 5), [0, 1])], {}, "the labels of a batch are a list: give a tensor"),
        ([(np.ones((2, 5)), torch.zeros(2))], {}, "the inputs of a batch are a ndarray"),
        ([{"x": torch.ones(2, 5), "labels": [0, 1]}], {}, "the labels of a batch are a list"),
        ([{"x": torch.ones(2, 5)}], {}, "a batch has no `labels`, only x: rename the entry"),
        (loader(8), {"shift": True}, "these are (7,): leave it out"),
        (iter(loader(8)), {}, "rather than a generator"),
        ([], {}, "gives no samples"),
        ([(torch.ones(2, 5), torch.zeros(3, dtype=torch.int64))], {}, "a class number for each"),
    ],
)
def test_what_cannot_be_measured_says_what_to_give(
    batches: Iterable[Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(LoaderError) as caught:
        measure(net(), batches, **options)
    assert text in str(caught.value)


def test_a_label_that_is_no_class_is_named() -> None:
    with pytest.raises(MomentsError, match=r"label 4 is outside \[0, 4\)"):
        measure(net(), [(torch.ones(2, 5), torch.tensor([0, 4]))])


def test_a_model_without_a_known_head_lists_its_layers() -> None:
    with pytest.raises(LoaderError, match="the last linear layers are 0, 2"):
        measure(nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)), loader())


def test_a_model_without_a_linear_layer_is_told_of_the_moments() -> None:
    with pytest.raises(LoaderError, match=r"Flatten has no nn\.Linear.*ClassMoments"):
        measure(nn.Flatten(), loader())


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    x, y = samples(64, 0)
    share = slice(0, 24) if rank == 0 else slice(24, 64)
    columns = measure(net(), [(x[share], y[share])], [(x[share], y[share])], min_count=2)
    torch.save(dict(columns), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.long
def test_processes_of_a_group_get_the_columns_of_all(tmp_path: Path) -> None:
    spawn(_rank, args=(str(tmp_path),), nprocs=2)
    alone = measure(net(), loader(), loader(), min_count=2)
    for rank in range(2):
        columns = torch.load(tmp_path / f"{rank}.pt")
        for name, value in alone.items():
            together = columns[name]
            assert together == (value if value is None else pytest.approx(value, rel=1e-6)), name
