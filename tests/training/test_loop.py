"""What training does, against plain loops over torch and Hugging Face."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from token_rows import TokenRows, cell, dataset
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, get_linear_schedule_with_warmup

import study.training.train as train_module
from study.models import build_model, load_checkpoint, save_checkpoint
from study.training.loss_log import read_losses
from study.training.optimizer import make_optimizer
from study.training.train import Diverged, Progress, TrainingError, train

CPU = torch.device("cpu")


def losses_of(config, data, folder: Path) -> list[float]:
    for _ in train(config, data, CPU, folder=folder):
        pass
    return [row["loss"] for row in read_losses(folder / "loss_log.jsonl")]


def order_of(config, epoch: int, rows: int) -> np.ndarray:
    return np.random.default_rng([config.train.shuffle_seed, epoch]).permutation(rows)


def plain_step_losses(model, config, data, *, decayed, vectors) -> list[float]:
    """A plain loop over a Hugging Face model.

    AdamW of torch, the scheduler of transformers, clipping, labels.
    """
    settings = config.train
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
    )
    steps = -(-len(data.train) // settings.batch_size) * settings.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    losses = []
    for epoch in range(settings.epochs):
        order = order_of(config, epoch, len(data.train))
        for start in range(0, len(order), settings.batch_size):
            rows = data.train.tokens[torch.from_numpy(order[start : start + settings.batch_size])]
            loss = model(rows[:, :-1]).logits.flatten(0, 1)
            loss = F.cross_entropy(loss, rows[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def test_follows_a_plain_hugging_face_loop_for_twenty_steps(tmp_path: Path) -> None:
    model = {"kind": "gpt_neo", "width": 32, "depth": 2, "heads": 4, "window": 16, "positions": 64}
    config = cell(
        model=model,
        epochs=4,
        batch_size=4,
        lr=3e-3,
        weight_decay=0.1,
        beta2=0.95,
        clip=1.0,
        measure={"at": "last"},
    )
    data = dataset(rows=20, context=50, classes=60)
    save_checkpoint(
        build_model(config.model, classes=60, context=50, seed=config.train.init_seed),
        tmp_path / "start",
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "start").train()
    decayed = [p for p in theirs.parameters() if p.ndim == 2]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    ours = losses_of(config, data, tmp_path / "ours")
    reference = plain_step_losses(theirs, config, data, decayed=decayed, vectors=vectors)
    assert len(ours) == len(reference) == 20
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-3)
    assert reference[0] - reference[-1] > 0.1  # it did learn something


def test_checkpoints_come_at_the_measured_epochs_with_their_counts(tmp_path: Path) -> None:
    config = cell(epochs=4, measure={"at": [2]})
    values = []
    for checkpoint in train(config, dataset(rows=11, context=17), CPU):
        assert not checkpoint.model.training
        values.append((checkpoint.epoch, checkpoint.step, checkpoint.tokens, checkpoint.last))
    assert values == [(0, 0, 0, False), (2, 6, 2 * 11 * 16, False), (4, 12, 4 * 11 * 16, True)]


def test_epoch_zero_is_the_model_as_initialised() -> None:
    config = cell(measure={"at": "last"})
    first = next(train(config, dataset(), CPU))
    expected = build_model(config.model, classes=23, context=17, seed=5)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.model.parameters(), expected.parameters(), strict=True)
    )
    assert first.train_loss_running is None


def test_running_loss_is_the_mean_over_the_samples_of_the_epoch(tmp_path: Path) -> None:
    """11 rows in batches of 4: the last step has 3 rows and weighs 3, not 4."""
    config = cell(epochs=1)
    *_, last = train(config, dataset(rows=11), CPU, folder=tmp_path)
    steps = [row["loss"] for row in read_losses(tmp_path / "loss_log.jsonl")]
    assert last.train_loss_running == pytest.approx(np.average(steps, weights=[4, 4, 3]), rel=1e-6)


def test_running_accuracy_counts_the_samples_decided_rightly_before_each_step() -> None:
    """At a learning rate of almost zero nothing moves.

    So it is the accuracy of the initial model.
    """
    config = cell(epochs=1, lr=1e-12)
    data = dataset()
    *_, last = train(config, data, CPU)
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    with torch.no_grad():
        expected = (last.model(inputs).argmax(-1) == targets).float().mean().item()
    assert last.train_accuracy_running == pytest.approx(expected, abs=1e-6)


def test_the_consumer_does_not_disturb_training(tmp_path: Path) -> None:
    """Evaluating the live model between checkpoints changes no bit.

    Nor does drawing random numbers.
    """
    config = cell(epochs=2)
    quiet = losses_of(config, dataset(), tmp_path / "quiet")
    for checkpoint in train(config, dataset(), CPU, folder=tmp_path / "busy"):
        torch.manual_seed(checkpoint.epoch)
        torch.rand(10)
        with torch.no_grad():
            checkpoint.model(torch.zeros(1, 5, dtype=torch.int64))
    assert [row["loss"] for row in read_losses(tmp_path / "busy/loss_log.jsonl")] == quiet


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for _ in train(cell(epochs=1), dataset(), CPU):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_each_step_draws_from_its_own_seed_where_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that draws nothing is seeded for its first step alone."""
    seeds = []
    mix = train_module._mix

    def noted(*numbers: int) -> int:
        seeds.append(numbers)
        return mix(*numbers)

    monkeypatch.setattr(train_module, "_mix", noted)
    config, data, drawn = cell(epochs=2), dataset(), []
    steps = 2 * -(-len(data.train) // config.train.batch_size)
    for _ in train(config, data, CPU):
        pass
    assert seeds == [(config.train.shuffle_seed, 0)]

    model = build_model(config.model, classes=data.classes, input_shape=data.input_shape, seed=0)
    features = model.features

    def drawing(x: torch.Tensor) -> torch.Tensor:
        if model.training:
            drawn.append(torch.rand(()).item())
        return features(x)

    monkeypatch.setattr(model, "features", drawing)
    for _ in train(config, data, CPU, model=model):
        pass
    expected = []
    for step in range(steps):
        sequence = np.random.SeedSequence((config.train.shuffle_seed, step))
        (seed,) = sequence.generate_state(1, np.uint64)
        expected.append(torch.rand((), generator=torch.Generator().manual_seed(int(seed))).item())
    assert drawn == expected


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """The loss is the mean over all samples.

    Also where a pass is smaller than the others and positions are ignored.
    """
    data = dataset(rows=10)
    assert isinstance(data.train, TokenRows)
    data.train.tokens[:, 3] = 7
    large = losses_of(cell(batch_size=6), data, tmp_path / "large")
    for size in (3, 2, 1):
        parts = losses_of(
            cell(batch_size=size, accumulation=6 // size), data, tmp_path / f"parts{size}"
        )
        np.testing.assert_allclose(parts, large, rtol=2e-5)


def test_ignored_positions_do_not_train(tmp_path: Path) -> None:
    """With the loss at the last position only, the loss is that of this position.

    The logged loss is the plain cross-entropy there.
    """
    config = cell(epochs=1, batch_size=11, lr=1e-12)
    data = dataset(last_only=True)
    assert isinstance(data.train, TokenRows)
    (loss,) = losses_of(config, data, tmp_path)
    model = build_model(config.model, classes=23, context=17, seed=5)
    with torch.no_grad():
        expected = F.cross_entropy(
            model(data.train.tokens[:, :-1])[:, -1], data.train.tokens[:, -1]
        )
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_without_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (len(rows), 16)
        return torch.zeros(shape, dtype=torch.int64), torch.full(shape, -100)

    data = dataset(last_only=True)
    monkeypatch.setattr(data.train, "batch", batch)
    with pytest.raises(TrainingError, match="step 1: none of its 4 rows"):
        list(train(cell(), data, CPU))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_acts_on_matrices_only(optimizer: str) -> None:
    config = cell(optimizer=optimizer, weight_decay=0.3)
    model = build_model(config.model, classes=23, context=17, seed=0)
    made = make_optimizer(model, config.train)
    decays = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim == 2 else 0.0), name


def test_sgd_with_momentum_follows_its_formula(tmp_path: Path) -> None:
    """Momentum written out by hand, with constant learning rate.

    v = 0.8 v + g, w = w - lr v (Sutskever et al. 2013, in torch's form). 2013, in torch's form).
    """
    config = cell(
        epochs=2, optimizer="sgd", momentum=0.8, lr=0.5, batch_size=11, schedule="constant"
    )
    data = dataset()
    ours = losses_of(config, data, tmp_path)
    model = build_model(config.model, classes=23, context=17, seed=5)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    values = []
    for _ in range(2):
        inputs, targets = data.train.batch(np.arange(11))
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, v, gradient in zip(model.parameters(), velocity, grads, strict=True):
                v.mul_(0.8).add_(gradient)
                parameter.sub_(0.5 * v)
        values.append(loss.item())
    np.testing.assert_allclose(ours, values, rtol=1e-5)


@pytest.mark.parametrize("loss", ["label_smoothing", "focal", "mse"])
def test_other_losses_train(loss: str, tmp_path: Path) -> None:
    losses = losses_of(cell(epochs=15, loss=loss), dataset(), tmp_path)
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_bf16_follows_fp32_and_keeps_fp32_weights(tmp_path: Path) -> None:
    exact = losses_of(cell(epochs=6), dataset(), tmp_path / "fp32")
    *_, last = train(cell(epochs=6, precision="bf16"), dataset(), CPU, folder=tmp_path / "bf16")
    mixed = [row["loss"] for row in read_losses(tmp_path / "bf16/loss_log.jsonl")]
    assert mixed != exact
    np.testing.assert_allclose(mixed, exact, rtol=0.02)
    assert {parameter.dtype for parameter in last.model.parameters()} == {torch.float32}


def test_fp16_on_a_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(TrainingError, match=r"fp16 on a CPU.*no fast float16.*use bf16"):
        next(train(cell(precision="fp16"), dataset(), CPU))


def test_divergence_names_the_step_and_the_way_out(tmp_path: Path) -> None:
    config = cell(epochs=50, lr=1e18, optimizer="sgd", schedule="constant")
    with pytest.raises(Diverged, match=r"loss of step \d+ .*(nan|inf).*lower train.lr"):
        for _ in train(config, dataset(), CPU, folder=tmp_path):
            pass
    logged = (tmp_path / "loss_log.jsonl").read_text()
    assert all(np.isfinite(json.loads(line)["loss"]) for line in logged.splitlines())


def test_beat_reports_progress_to_the_end() -> None:
    beats: list[Progress] = []
    for _ in train(cell(epochs=2), dataset(), CPU, beat=beats.append):
        pass
    assert (beats[-1].epoch, beats[-1].epochs, beats[-1].step, beats[-1].steps) == (2, 2, 6, 6)
    assert all(beat.tokens_per_second > 0 and np.isfinite(beat.loss) for beat in beats)


def test_the_loss_log_has_every_step_once(tmp_path: Path) -> None:
    losses_of(cell(epochs=3, schedule={"kind": "cosine", "warmup": 0.2}), dataset(), tmp_path)
    rows = read_losses(tmp_path / "loss_log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert rows[-1]["epoch"] == 3
    assert rows[0]["lr"] == 0  # a warm-up starts at zero
    assert max(row["lr"] for row in rows) <= 1e-2


def test_shuffling_depends_on_its_seed_alone(tmp_path: Path) -> None:
    """Equal init_seed and another shuffle_seed.

    The same first model, another order, another loss.
    """
    one, other = cell(shuffle_seed=1), cell(shuffle_seed=2)
    first, second = (next(train(config, dataset(), CPU)).model for config in (one, other))
    assert torch.equal(first.head.weight, second.head.weight)
    assert losses_of(one, dataset(), tmp_path / "one") != losses_of(
        other, dataset(), tmp_path / "other"
    )


def test_every_row_is_trained_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[int] = []
    data = dataset(rows=11)
    plain_batch = data.train.batch

    def batch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        if torch.is_grad_enabled():  # the search for errors reads the data, too
            handed.extend(rows.tolist())
        return plain_batch(rows)

    monkeypatch.setattr(data.train, "batch", batch)
    for _ in train(cell(epochs=2), data, CPU):
        pass
    assert sorted(handed[:11]) == sorted(handed[11:]) == list(range(11))
    assert handed[:11] != handed[11:]


def test_a_pretrained_model_is_fine_tuned_from_its_weights(tmp_path: Path) -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = {"kind": "gpt_neo", "width": 16, "depth": 1, "heads": 2, "positions": 32}
    *_, trained = train(cell(model=model, epochs=2), dataset(), CPU)
    save_checkpoint(trained.model, tmp_path / "kept")
    config = cell(model={"kind": "pretrained", "path": "kept"}, epochs=1)
    first, last = train(config, dataset(), CPU, base=tmp_path)
    assert first.epoch == 0
    loaded = load_checkpoint(tmp_path / "kept")
    assert last.train_loss_running < trained.train_loss_running
    assert not torch.equal(last.model.head.weight, loaded.head.weight)


@pytest.mark.long
def test_compiled_training_follows_the_plain_one(tmp_path: Path) -> None:
    plain = losses_of(cell(epochs=2), dataset(), tmp_path / "plain")
    compiled = losses_of(cell(epochs=2, compile=True), dataset(), tmp_path / "compiled")
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)
