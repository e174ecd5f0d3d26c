"""Collapse in the logs of transformers' Trainer."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from study.integrations.log import COLUMNS, CollapseLog
from study.integrations.sharing import like


class CollapseCallback(TrainerCallback):  # type: ignore[misc]
    """Logs columns of collapse while a Trainer trains.

    They are measured on the batches of `loader` (the Trainer's own training batches by default)
    every so many steps, else whenever the Trainer evaluates, and at the end of training, unless the
    Trainer has loaded the best model of an earlier step by then. The Trainer logs them, so that
    they are in `trainer.state.log_history` and in TensorBoard and others that it reports to. An
    undefined column is left out of that log. The state of random numbers is restored, so that the
    training is the one that it would be without.

    Several processes share the samples out, each of which is measured once, and all log the columns
    of all; `study.integrations.sharing.shared_out` says which loaders are shared out.

        trainer = Trainer(model, arguments, train_dataset=dataset)
        trainer.add_callback(CollapseCallback(trainer, every=100))

    Args:
        trainer: whose model is measured and whose log is written.
        loader: batches as the model takes them, with `labels`, each time it is iterated.
        every: steps between two measurements.
        columns: names as in `study.metrics.METRICS`.
        min_count: least samples of a measured class.
        head: the linear layer or its name; see `study.measuring.loaders.measure`.
        prefix: of the names in the log.

    Raises ValueError where `every` or `min_count` is below 1, or a column does not exist,
    and TypeError where `trainer` is no Trainer.
    """

    def __init__(
        self,
        trainer: Trainer,
        loader: Iterable[Any] | None = None,
        *,
        every: int | None = None,
        columns: Collection[str] = COLUMNS,
        min_count: int = 10,
        head: str | nn.Linear | None = None,
        prefix: str = "collapse/",
    ) -> None:
        self.trainer, self.loader = trainer, loader
        self.collapse = CollapseLog(
            every=every, columns=columns, min_count=min_count, head=head, prefix=prefix
        )
        if not isinstance(trainer, Trainer):
            raise TypeError(
                f"trainer: a {type(trainer).__name__} is no Trainer of transformers: give the "
                "Trainer first, as CollapseCallback(trainer, loader)"
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin a log of its own for each training."""
        self.collapse.begin()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure every so many steps."""
        if self.collapse.due(state.global_step):
            self._log(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure when the Trainer evaluates, unless every so many steps."""
        if self.collapse.every is None:
            self._log(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the trained model."""
        if not args.load_best_model_at_end:
            self._log(state)

    def _log(self, state: TrainerState) -> None:
        """Measure the model as it is now, once a step."""
        trainer = self.trainer
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        shift = model.can_generate() and not model.config.is_encoder_decoder
        loader = _training_loader(trainer) if self.loader is None else self.loader
        entries = self.collapse.entries(model, loader, state.global_step, shift=shift)
        if entries:
            trainer.log(entries)


def _training_loader(trainer: Trainer) -> Iterable[Any]:
    """The training batches of all processes, before accelerate gives each its own."""
    loader: DataLoader[Any] = trainer.get_train_dataloader()
    batches: Any = loader.batch_sampler
    if not isinstance(loader, DataLoaderShard) or batches is None:
        return loader
    if isinstance(batches, BatchSamplerShard) and batches.num_processes > 1:
        batches = batches.batch_sampler
    return like(loader, batch_sampler=batches)
