"""Collapse in the logs of transformers' Trainer."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from study.measuring.loaders import measure

COLUMNS = (
    "nc1_ratio",
    "nc1_cdnv_galanti",
    "nc2_equinorm",
    "nc2_etf_error",
    "nc3_cosine_mean",
    "nc4_agreement_train",
    "ncc_accuracy_train",
)
"""Columns that are logged unless others are asked for."""


class CollapseCallback(TrainerCallback):
    """Logs columns of collapse while a Trainer trains.

    They are measured on the batches of `loader` (the Trainer's own training batches by default)
    every so many steps, else whenever the Trainer evaluates, and at the end of training; the
    Trainer logs them, so that they are in `trainer.state.log_history` and in TensorBoard and others
    that it reports to. An undefined column is left out of that log. The state of random numbers is
    restored, so that the training is the one that it would be without.

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

    Raises ValueError where `every` is below 1 or a column does not exist.
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
        from study.columns import METRICS
        from study.settings.faults import nearest

        if every is not None and every < 1:
            raise ValueError(f"every: {every} is no number of steps: give 1 or more")
        for name in columns:
            if name not in METRICS:
                raise ValueError(f"columns: {name!r} is no column. {nearest(name, METRICS)}")
        self.trainer, self.loader, self.every = trainer, loader, every
        self.columns, self.min_count, self.head, self.prefix = columns, min_count, head, prefix
        self.last: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure every so many steps."""
        if self.every is not None and state.global_step % self.every == 0:
            self._log(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure when the Trainer evaluates, unless every so many steps."""
        if self.every is None:
            self._log(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the trained model."""
        self._log(state)

    def _log(self, state: TrainerState) -> None:
        """Measure the model as it is now, once a step."""
        if self.last == state.global_step:
            return
        self.last = state.global_step
        trainer = self.trainer
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        with _same_random_numbers():
            batches = trainer.get_train_dataloader() if self.loader is None else self.loader
            metrics = measure(
                model,
                batches,
                head=self.head,
                shift=model.can_generate() and not model.config.is_encoder_decoder,
                min_count=self.min_count,
            )
        values = {f"{self.prefix}{name}": metrics.get(name) for name in self.columns}
        trainer.log({name: value for name, value in values.items() if value is not None})


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Afterwards random numbers go on as if nothing had been drawn.

    Those of torch, NumPy and Python.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of others
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
