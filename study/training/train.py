"""Training: a generator of checkpoints.

It can be killed at any step and goes on as if it had not been.

Nothing random is kept between steps: the order of an epoch is a function of (shuffle seed,
epoch), dropout of (shuffle seed, step). A resumed training therefore repeats an unbroken one
bit for bit on the same CPU type, versions and number of threads (which the caller sets).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.config import CellConfig, measured_epochs
from study.data.base import Dataset, Ints, sample_count
from study.data.config import DataSettings
from study.models import ModelError, build_model
from study.models.base import FeatureModel
from study.precision import parse_precision
from study.precision.names import TRAINED
from study.settings.schedule import learning_rate
from study.settings.schema import plain
from study.training.adversary import Adversary
from study.training.loss_log import LossLog, LossRow
from study.training.losses import Loss, LossSums, samples_of
from study.training.optimizer import (
    feature_decay,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from study.training.penalties import Penalties
from study.training.phases import EpochRows
from study.training.rounding import Rounding
from study.training.states import State, load_state, save_state
from study.training.target_losses import loss_sums

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
ADVERSARY = 1
"""What sets the seeds of an adversary apart from those of dropout."""
FLUSH_STEPS = 1024
FLUSH_SECONDS = 1.0
STATE_SECONDS = 10.0
"""Least seconds between the states of two epochs: what a killed training does again at most."""


class Diverged(RuntimeError):
    """The loss of a step is no finite number."""


class TrainingError(ValueError):
    """A training that cannot be run as asked; the message says what to change."""


@dataclass(frozen=True)
class Checkpoint:
    """A finished epoch.

    `model` is the live model in evaluation mode: the consumer may use, but not change it. Its
    weights are those that are trained; with `train.quantize` the network that was trained is the
    model at the precision that `TRAINED` names.

    `tokens` counts targets trained on so far (ignored positions included). `train_loss_running` and
    `train_accuracy_running` are means over the samples of the epoch while it was trained; both are
    None for epoch 0, the untrained model, and so is the accuracy of a regression, which has neither
    right nor wrong samples. `zero_error_epoch` is the first epoch after which the
    model, in evaluation mode, had no error on the whole training split: the start of the terminal
    phase (Papyan et al. 2020); None as long as there is none.
    """

    epoch: int
    step: int
    tokens: int
    model: FeatureModel
    train_loss_running: float | None
    train_accuracy_running: float | None
    zero_error_epoch: int | None
    last: bool


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    `loss` is that of the last step, `tokens_per_second` over the time since the last report.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    tokens_per_second: float


class _Step(NamedTuple):
    """A step whose sums, of losses and penalties, are still on the device."""

    row: LossRow
    samples: int
    loss: Tensor
    penalty: Tensor | None


@dataclass
class _Position:
    """Where a training stands.

    Epochs completed, optimizer steps done in all and in the current epoch, targets seen, and the
    first epoch without an error.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    tokens: int = 0
    zero_error_epoch: int | None = None


def train(
    config: CellConfig,
    data: Dataset,
    device: torch.device,
    *,
    folder: Path | None = None,
    saved: Callable[[], None] = lambda: None,
    base: Path = Path(),
    checkpoint_minutes: float = 10.0,
    beat: Callable[[Progress], None] | None = None,
    model: FeatureModel | None = None,
    rounding: Rounding | None = None,
) -> Iterator[Checkpoint]:
    """Train the model of `config` on `data.train`.

    Yield the untrained model, then every epoch that `config.measure.at` names.

    One optimizer step takes `batch_size * accumulation` rows, in `accumulation` passes; its loss is
    the mean over their samples. The last step of an epoch takes what is left. Penalties of
    `config.train.penalty` and the decay of features are added to it, each pass weighing by its
    samples, and so is the divergence of TRADES; no loss that is logged or returned holds them.
    With an adversary of kind pgd losses and accuracies of steps are those of perturbed samples.

    Args:
        config: the settings; precision and its options play no part.
        data: its training split is addressed by row.
        device: where model and batches live.
        folder: keeps the loss log and the states to resume from, written after each epoch (of
            short ones: every `STATE_SECONDS`), every `checkpoint_minutes` and at the end. A
            training whose folder holds a state goes on from it, and first yields that state's
            epoch again if it had just ended.
        saved: called after each state that is written there.
        base: the folder that relative paths of `config.model` start from.
        checkpoint_minutes: least time between two states within an epoch.
        beat: called at least once a second or once a step, whichever is rarer, and before each
            checkpoint. An exception that it raises ends the training after a state is written.
        model: trained in place of a new one from `config.model`.
        rounding: of its weights, in place of that of `config.train.quantize`.

    Raises:
        Diverged: a step's loss is not finite.
        PrecisionError: a layer cannot take the format of `config.train.quantize`.
        TrainingError: fp16 on a CPU, or a step without a single sample.
        ResumeError: the folder's states belong to other settings or other data.
    """
    training = _Training(
        config, data, device, folder, saved, base, checkpoint_minutes, beat, model, rounding
    )
    measured = set(measured_epochs(config.measure, config.train.epochs))
    while True:
        position = training.position
        if position.step_in_epoch == 0 and position.epoch in measured:
            yield training.checkpoint()
        if position.epoch == config.train.epochs:
            return
        training.run_epoch()


class _Training:
    def __init__(
        self,
        config: CellConfig,
        data: Dataset,
        device: torch.device,
        folder: Path | None,
        saved: Callable[[], None],
        base: Path,
        checkpoint_minutes: float,
        beat: Callable[[Progress], None] | None,
        model: FeatureModel | None,
        rounding: Rounding | None,
    ) -> None:
        self.config, self.data, self.device, self.folder, self.beat = (
            config.train,
            data,
            device,
            folder,
            beat,
        )
        if self.config.precision == "fp16" and device.type == "cpu":
            raise TrainingError(
                "train.precision fp16 on a CPU: PyTorch has no fast float16 kernels there (16 to "
                "22 times slower than bf16); use bf16 or fp32, or a GPU"
            )
        self.state_saved = saved
        self.seconds_between_states = 60 * checkpoint_minutes
        self.identity = _identity(config, data)
        self.shuffle_seed = _seed(config.train.shuffle_seed, config.seed)
        self.loss = Loss(self.config.loss, self.config.label_smoothing, self.config.focal_gamma)
        self.classifies = data.predicts == "classes"
        self.position = _Position()
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        # Of the current epoch: loss, correct predictions, samples.
        self.total_loss, self.total_correct, self.total_samples = self.totals.unbind()
        if model is None:
            seed = _seed(config.train.init_seed, config.seed)
            shape = data.input_shape
            model = build_model(
                config.model, classes=data.classes, input_shape=shape, seed=seed, base=base
            )
            check_head(model, config.data, data.classes)
        self.model = model.to(device)
        self.features = (
            torch.compile(self.model.features) if self.config.compile else self.model.features
        )
        self.rounding = rounding
        if self.config.quantize is not None and rounding is None:
            own = parse_precision(TRAINED[self.config.quantize])
            self.rounding = Rounding(self.model, own)
        own_parameters = [] if self.rounding is None else self.rounding.parameters
        self.parameters = [*self.model.parameters(), *own_parameters]
        penalty, decay = self.config.penalty, feature_decay(self.model, self.config)
        self.penalties = (
            Penalties(penalty, self.model, decay=decay) if penalty.active or decay != 0 else None
        )
        adversary = self.config.adversary
        self.adversary = (
            None
            if adversary is None or adversary.eps == 0
            else Adversary(adversary, self.model, self.loss, data.input_range)
        )
        self.optimizer = make_optimizer(self.model, self.config)
        if own_parameters:
            self.optimizer.add_param_group({"params": own_parameters, "weight_decay": 0.0})
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.config.precision == "fp16")
        # Whether a step may draw random numbers; a model does so in each step or in none.
        self.draws = True
        self.rows = EpochRows.of(self.config.phases, data.train, self.config.epochs)
        self.rows_per_step = self.config.batch_size * self.config.accumulation
        self.steps = self.rows.steps(self.rows_per_step)
        self.pending: list[_Step] = []
        # Where the batch begins that had an error when errors were looked for last.
        self.erring = 0
        if folder is not None:
            self._restore(folder)
            self.log = LossLog(folder, keep=self.position.step)
        self.flushed = self.saved = time.monotonic()
        self.tokens_flushed = self.position.tokens

    def checkpoint(self) -> Checkpoint:
        """The model as it stands at the end of an epoch; never one that has diverged."""
        self._flush()
        self.model.eval()
        loss, correct, samples = self.totals.tolist()
        position = self.position
        return Checkpoint(
            epoch=position.epoch,
            step=position.step,
            tokens=position.tokens,
            model=self.model,
            train_loss_running=loss / samples if samples else None,
            train_accuracy_running=correct / samples if samples and self.classifies else None,
            zero_error_epoch=position.zero_error_epoch,
            last=position.epoch == self.config.epochs,
        )

    def run_epoch(self) -> None:
        """Train to the end of the current epoch; write its state where one is due."""
        if not self.model.training:
            self.model.train()
        position = self.position
        if position.step_in_epoch == 0:
            self.totals.zero_()
        rows, chosen = self.rows_per_step, self.rows.at(position.epoch)
        order = np.random.default_rng([self.shuffle_seed, position.epoch]).permutation(chosen)
        steps = math.ceil(len(chosen) / rows)
        while position.step_in_epoch < steps:
            start = position.step_in_epoch * rows
            self._step(order[start : start + rows], steps)
            if len(self.pending) == FLUSH_STEPS or time.monotonic() - self.flushed >= FLUSH_SECONDS:
                self._flush()
            if (
                time.monotonic() - self.saved >= self.seconds_between_states
                and position.step_in_epoch < steps
            ):
                self._save()
        position.epoch, position.step_in_epoch = position.epoch + 1, 0
        if position.zero_error_epoch is None and self.classifies and self._without_error():
            position.zero_error_epoch = position.epoch
        due = min(STATE_SECONDS, self.seconds_between_states)
        if position.epoch == self.config.epochs or time.monotonic() - self.saved >= due:
            self._save()

    @torch.no_grad()
    def _without_error(self) -> bool:
        """Whether the model has no error on the training split.

        Begins with the batch that had one the last time, which mostly has it still: an epoch that
        cannot be the first without any costs one batch.
        """
        self.model.eval()
        rows = np.arange(len(self.data.train))
        starts = range(0, len(rows), self.config.batch_size)
        for start in sorted(starts, key=lambda start: start != self.erring):
            inputs, targets = self.data.train.batch(rows[start : start + self.config.batch_size])
            correct = self._loss(self.model.features, inputs.to(self.device), targets).correct
            if int(correct) < sample_count(targets):
                self.erring = start
                return False
        return True

    def _loss(
        self, features: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor
    ) -> LossSums:
        """The loss of one pass, with rounded weights where the training has them."""
        if self.rounding is not None:
            return self.rounding.call(self._head_loss, features, inputs, targets)
        return self._head_loss(features, inputs, targets)

    def _head_loss(
        self, features: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor
    ) -> LossSums:
        """The loss of one pass; where it is trained on, with adversary and penalties."""
        model, penalties, divergence = self.model, None, None
        if torch.is_grad_enabled() and self.adversary is not None:
            h, divergence = self.adversary.features(features, inputs, targets)
        else:
            h = features(inputs)
        if torch.is_grad_enabled():
            penalties = self.penalties
        if penalties is not None and self.classifies:
            h, targets = samples_of(h, targets)
        sums = loss_sums(model, h, targets, self.loss)
        if penalties is not None and len(targets):
            sums = replace(sums, penalty=len(targets) * penalties(h, targets))
        if divergence is not None:
            added = divergence if sums.penalty is None else sums.penalty + divergence
            sums = replace(sums, penalty=added)
        return sums

    def _step(self, rows: Ints, steps: int) -> None:
        """One optimizer step of an epoch on `rows`, without waiting for the device."""
        position, config = self.position, self.config
        batches = [
            self.data.train.batch(rows[start : start + config.batch_size])
            for start in range(0, len(rows), config.batch_size)
        ]
        samples = sum(sample_count(targets) for _, targets in batches)
        if samples == 0:
            raise TrainingError(
                f"step {position.step + 1}: none of its {len(rows)} rows has a sample to predict"
            )
        rate = config.lr * learning_rate(config.schedule, position.step / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, penalties = [], []
        if self.adversary is not None:
            self.adversary.reseed(_mix(self.shuffle_seed, position.step, ADVERSARY))
        with self._own_draws(position.step) if self.draws else nullcontext():
            for inputs, targets in batches:
                loss, penalty = self._accumulate(inputs, targets, samples)
                losses.append(loss)
                if penalty is not None:
                    penalties.append(penalty)
        if self.rounding is not None:
            self.rounding.before_update()
        if config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.rounding is not None:
            self.rounding.after_update()
        for parameter in self.parameters:
            parameter.grad = None  # as `zero_grad`, whose hooks take longer than a small step
        self.total_samples += samples
        position.step += 1
        position.step_in_epoch += 1
        position.tokens += sum(
            targets.numel() if self.classifies else len(targets) for _, targets in batches
        )
        epoch = round(position.epoch + position.step_in_epoch / steps, 6)
        row = LossRow(step=position.step, epoch=epoch, lr=rate, loss=math.nan)
        loss = sum(losses[1:], start=losses[0])
        penalty = sum(penalties[1:], start=penalties[0]) if penalties else None
        self.pending.append(_Step(row, samples, loss, penalty))

    @contextmanager
    def _own_draws(self, step: int) -> Iterator[None]:
        """Let dropout draw from a seed of the step, and leave the generators as they were.

        Where no other device takes part, the generator of the CPU alone: `fork_rng` and
        `torch.manual_seed` ask for each device that might be there, which takes longer than a small
        step. If a step has drawn nothing from it, no later one will.
        """
        seed = _mix(self.shuffle_seed, step)
        if self.device.type == "cpu":
            generator = torch.default_generator
            before = generator.get_state()
            seeded = generator.manual_seed(seed).get_state()
            try:
                yield
            finally:
                self.draws = not torch.equal(generator.get_state(), seeded)
                generator.set_state(before)
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _accumulate(
        self, inputs: Tensor, targets: Tensor, samples: int
    ) -> tuple[Tensor, Tensor | None]:
        """Add the gradients of one pass to the mean over samples; return its sums."""
        if self.device.type == "cuda":
            inputs = inputs.pin_memory()
        inputs = inputs.to(self.device, non_blocking=True)
        dtype = AUTOCAST.get(self.config.precision)
        with nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype):
            sums = self._loss(self.features, inputs, targets)
        total = sums.loss if sums.penalty is None else sums.loss + sums.penalty
        # The gradient of total / samples, without a node of the graph for it.
        total.backward(self.scaler.scale(total.new_full((), 1 / samples)))  # type: ignore[no-untyped-call]
        loss = sums.loss.detach()
        self.total_loss += loss
        self.total_correct += sums.correct
        return loss, None if sums.penalty is None else sums.penalty.detach()

    def _flush(self) -> None:
        """Bring the losses since the last flush to the host: check, log and report them."""
        rows = [step.row for step in self.pending]
        if rows:
            losses = [step.loss for step in self.pending]
            penalties = [step.penalty for step in self.pending if step.penalty is not None]
            sums = torch.stack(losses + penalties).cpu().view(-1, len(rows))
            means = sums / torch.tensor([step.samples for step in self.pending])
            for row, values in zip(rows, means.T.tolist(), strict=True):
                row["loss"] = values[0]
                if penalties:
                    row["penalty"] = values[1]
        self.pending.clear()
        finite = list(itertools.takewhile(_is_finite, rows))
        if self.folder is not None:
            self.log.append(finite)
        if len(finite) < len(rows):
            raise Diverged(_divergence(rows[len(finite)], self.config.epochs))
        now = time.monotonic()
        if rows and self.beat is not None:
            speed = (self.position.tokens - self.tokens_flushed) / max(now - self.flushed, 1e-9)
            position = self.position
            try:
                self.beat(
                    Progress(
                        position.epoch,
                        self.config.epochs,
                        position.step,
                        self.steps,
                        rows[-1]["loss"],
                        speed,
                    )
                )
            except Exception:
                self._write_state()  # whoever ends a training here can go on from this step
                raise
        self.flushed, self.tokens_flushed = now, self.position.tokens

    def _save(self) -> None:
        """Flush, then write a state; never one of a diverged model."""
        self._flush()
        self._write_state()
        self.saved = time.monotonic()

    def _write_state(self) -> None:
        if self.folder is not None:
            self.log.sync()
            tensors = {f"model.{name}": tensor for name, tensor in self._model_tensors().items()}
            tensors |= {
                f"optimizer.{name}": tensor
                for name, tensor in optimizer_tensors(self.optimizer).items()
            }
            tensors["totals"] = self.totals
            if self.penalties is not None:
                remembered = self.penalties.tensors()
                tensors |= {f"penalties.{name}": tensor for name, tensor in remembered.items()}
            cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            facts = {"position": asdict(self.position), "scaler": self.scaler.state_dict()}
            save_state(self.folder, State(self.position.step, facts, cpu), identity=self.identity)
            self.state_saved()

    def _restore(self, folder: Path) -> None:
        """Go on from the newest whole state, if there is one."""
        state = load_state(folder, identity=self.identity)
        if state is None:
            return
        with torch.no_grad():
            for name, tensor in self._model_tensors().items():
                tensor.copy_(state.tensors[f"model.{name}"])
        slots = {
            name: tensor for name, tensor in state.tensors.items() if name.startswith("optimizer.")
        }
        restore_optimizer(
            self.optimizer, {name.removeprefix("optimizer."): slot for name, slot in slots.items()}
        )
        self.scaler.load_state_dict(state.facts["scaler"])
        self.totals.copy_(state.tensors["totals"])
        if self.penalties is not None:
            for name, tensor in self.penalties.tensors().items():
                tensor.copy_(state.tensors[f"penalties.{name}"])
        self.position = _Position(**state.facts["position"])

    def _model_tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, shared ones once."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}


def _is_finite(row: LossRow) -> bool:
    return math.isfinite(row["loss"]) and math.isfinite(row.get("penalty", 0.0))


def _divergence(row: LossRow, epochs: int) -> str:
    name, remedy = "loss", ""
    if math.isfinite(row["loss"]):
        name, remedy = (
            "penalty",
            ", or take smaller coefficients of train.penalty and train.decay.features",
        )
    value = row[name]  # type: ignore[literal-required]
    return (
        f"the {name} of step {row['step']} (epoch {row['epoch']:.3f} of {epochs}) is {value} at "
        f"learning rate {row['lr']:.3g}: lower train.lr, add train.schedule warmup, or set "
        f"train.clip{remedy}"
    )


def check_head(model: FeatureModel, data: DataSettings, classes: int) -> None:
    """Raise ModelError where the head has rows that are neither classes nor padding."""
    rows = model.outputs
    if rows != classes and not (rows > classes and data.numbers_are_tokens):
        raise ModelError(
            f"the head of the checkpoint has {rows} classes, the data have {classes}: use the "
            "tokenizer of the checkpoint and data.vocabulary full"
        )


def _identity(config: CellConfig, data: Dataset) -> str:
    """Hash of all that a training's numbers depend on."""
    settings = config.model_dump(mode="json", include={"data", "model", "seed"})
    settings["train"] = plain(config.train)  # so that states outlast settings that are added
    return hashlib.sha256(
        json.dumps([settings, data.fingerprint], sort_keys=True).encode()
    ).hexdigest()


def _seed(own: int | None, general: int) -> int:
    return general if own is None else own


def _mix(*numbers: int) -> int:
    """A 64-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
