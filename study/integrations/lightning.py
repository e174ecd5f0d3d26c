"""Collapse in the logs of Lightning's Trainer."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from study.integrations.log import COLUMNS, CollapseLog
from study.measuring.loaders import LoaderError

# The two packages hold the same classes twice, and neither takes the callbacks of the other.
if TYPE_CHECKING or ("pytorch_lightning" not in sys.modules and find_spec("lightning") is not None):
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer


class CollapseCallback(Callback):
    """Logs columns of collapse while Lightning trains.

    They are measured on the batches of `loader` (those of the training loader by default) every so
    many optimizer steps, else at the end of each validation and of each epoch, and at the end of
    training. They go to the loggers of the Trainer and into `trainer.callback_metrics`, where
    checkpoints and early stopping find what they monitor. An undefined column is left out. Modes of
    modules and the state of random numbers are restored, so that the training is the one that it
    would be without. The model is measured at the precision at which it trains.

    Several processes share the samples out, each of which is measured once, and all get the columns
    of all; `study.integrations.sharing.shared_out` says which loaders are shared out.

        trainer = Trainer(callbacks=[CollapseCallback(every=100, head="model.fc")])

    Args:
        loader: batches as the module's `forward` takes them: `(inputs, labels)`, or mappings with
            `labels`, each time it is iterated. Give one without augmentation where the training
            loader augments.
        every: optimizer steps between two measurements.
        columns: names as in `study.metrics.METRICS`.
        min_count: least samples of a measured class.
        head: the linear layer or its name in the module; see `study.measuring.loaders.measure`.
        shift: whether labels are the inputs, as in language models of transformers.
        prefix: of the names in the log.

    Raises ValueError where `every` or `min_count` is below 1, or a column does not exist.
    """

    def __init__(
        self,
        loader: Iterable[Any] | None = None,
        *,
        every: int | None = None,
        columns: Collection[str] = COLUMNS,
        min_count: int = 10,
        head: str | nn.Linear | None = None,
        shift: bool = False,
        prefix: str = "collapse/",
    ) -> None:
        self.loader, self.shift = loader, shift
        self.collapse = CollapseLog(
            every=every, columns=columns, min_count=min_count, head=head, prefix=prefix
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a log of its own for each training."""
        self.collapse.begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Measure every so many steps."""
        if self.collapse.due(trainer.global_step):
            self._log(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at a validation of the training, unless every so many steps."""
        if self.collapse.every is None and _validates_training(trainer):
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the end of an epoch, unless every so many steps."""
        if self.collapse.every is None:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the trained model."""
        self._log(trainer, pl_module)

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the module as it is now, once a step."""
        precision = trainer.precision_plugin
        loader = _training_loader(trainer) if self.loader is None else self.loader
        with precision.forward_context():
            entries = self.collapse.entries(
                pl_module,
                loader,
                trainer.global_step,
                shift=self.shift,
                converted=precision.convert_input,
            )
        if entries:
            trainer.callback_metrics.update(
                {name: torch.tensor(value, dtype=torch.float64) for name, value in entries.items()}
            )
            for logger in trainer.loggers:
                logger.log_metrics(
                    {"epoch": trainer.current_epoch, **entries}, step=trainer.global_step
                )


def _validates_training(trainer: Trainer) -> bool:
    """Whether a validation belongs to a training, and is no check before it."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _training_loader(trainer: Trainer) -> DataLoader[Any]:
    """The training loader. Raises LoaderError where the module has none or several."""
    loader = trainer.train_dataloader
    if isinstance(loader, DataLoader):
        return loader
    raise LoaderError(
        f"the training batches come from a {type(loader).__name__}, not from one DataLoader: give "
        "CollapseCallback(loader=...) with batches of (inputs, labels)"
    )
