"""Collapse of any classifier of PyTorch on any loader of batches.

Shapes: B samples of a batch, V classes of the head, d features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from study.metrics import (
    Agreement,
    ClassMoments,
    CollapseMetrics,
    NearestCentre,
    collapse_metrics,
    held_out_collapse,
)
from study.metrics.agreement import LinearHead, agreements
from study.metrics.scores import Scores

IGNORE = -100
"""The label of a position that is no sample, as PyTorch's losses have it."""


class LoaderError(ValueError):
    """A model or a batch that cannot be measured; it says what to give instead."""


def measure(
    model: nn.Module,
    train: Iterable[Any],
    validation: Iterable[Any] | None = None,
    *,
    head: str | nn.Linear | None = None,
    shift: bool = False,
    min_count: int = 10,
) -> CollapseMetrics:
    """Columns of collapse of a model at the input of its head.

    Features are what the head, a linear layer, reads in the model's own forward pass, so that the
    model needs no special form. Columns, formulas and sources are those of
    `study.metrics.METRICS`: nc0 to unc3 and the nearest-centre decisions, loss and accuracy on
    training samples; with `validation` also those on validation samples and the collapse of
    held-out features. An undefined column is None, with its reason in `.reasons`.

    The training batches are passed through twice (moments, then decisions), in evaluation mode and
    without gradients; the mode of the model is restored. In a process group of `torch.distributed`
    each process passes its own batches, and all get the columns of all: moments are merged, which
    is exact. Memory is that of the class means, O(V d).

    Args:
        model: its forward takes the inputs of a batch.
        train: batches, each time it is iterated; `(inputs, labels)`, or a mapping with `labels`
            whose other entries are arguments of the model, as transformers have them.
        validation: batches of other samples.
        head: the linear layer, or its name in the model; by default `model.head`, `model.fc`,
            `model.classifier` or the output embeddings of a model of transformers.
        shift: whether labels are the inputs and each is predicted one position before, as in
            language models of transformers.
        min_count: least samples of a measured class.

    Raises:
        LoaderError: there is no such head, its weight is sharded, or labels do not fit what it
            reads.
        MomentsError: a label is no class of the head.

    Example: two classes whose features are the inputs.

        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> model = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False))
        >>> _ = model[1].weight.data.copy_(torch.tensor([[1., 0.], [-1., 0.]]))
        >>> x = torch.tensor([[3., 1.], [3., -1.], [-3., 1.], [-3., -1.]])
        >>> loader = DataLoader(TensorDataset(x, torch.tensor([0, 0, 1, 1])), batch_size=2)
        >>> columns = measure(model, loader, head="1", min_count=2)
        >>> columns["nc1_ratio"], columns["nc4_agreement_train"], columns["train_accuracy"]
        (0.1111111111111111, 1.0, 1.0)
    """
    layer = find_head(model, head)
    device = layer.weight.device
    moments = ClassMoments(layer.out_features, layer.in_features, device)
    scores = Scores(device)
    with _measuring(model):
        for features, labels, logits in _samples(model, layer, train, shift):
            moments.update(features, labels)
            scores.update(logits, labels)
        for other in _elsewhere((moments, scores)):
            moments.merge(other[0])
            scores.merge(other[1])
        if not scores.samples:
            raise LoaderError("the training loader gives no samples: give one that does each time")
        columns = collapse_metrics(moments, layer.weight, min_count=min_count)
        columns.put("train_loss", scores.loss)
        columns.put("train_accuracy", scores.accuracy)
        centres = NearestCentre(moments, min_count)
        decisions, again, _ = _decided(model, layer, train, shift, centres)
        if not again.samples:
            raise LoaderError(
                "the training loader gives samples once only, and two passes are made: give a "
                "DataLoader or a list rather than a generator"
            )
        _put(columns, decisions, "_train")
        if validation is not None:
            decisions, scores, held_out = _decided(model, layer, validation, shift, centres)
            _put(columns, decisions, "")
            if not scores.samples:
                raise LoaderError("the validation loader gives no samples: leave it out")
            columns.put("val_loss", scores.loss)
            columns.put("val_accuracy", scores.accuracy)
            other_columns = held_out_collapse(moments, held_out, min_count=min_count)
            columns.update(other_columns)
            columns.reasons.update(other_columns.reasons)
    return columns


def find_head(model: nn.Module, head: str | nn.Linear | None) -> nn.Linear:
    """The linear layer that decides. Raises LoaderError where there is none."""
    layers = dict(model.named_modules())
    embeddings: Any = getattr(model, "get_output_embeddings", None)
    if isinstance(head, str):
        chosen: Any = layers.get(head)
    elif head is not None:
        chosen = head if any(layer is head for layer in layers.values()) else None
    else:
        named = (layers.get(name) for name in ("head", "fc", "classifier"))
        chosen = next((layer for layer in named if isinstance(layer, nn.Linear)), None)
        if chosen is None and embeddings is not None:
            chosen = embeddings()
    if isinstance(chosen, nn.Linear):
        whole = (chosen.out_features, chosen.in_features)
        if tuple(chosen.weight.shape) == whole and not hasattr(chosen.weight, "full_tensor"):
            return chosen
        raise LoaderError(
            f"{type(model).__name__}: the weight of its head lies in parts on several devices: "
            "measure a whole copy of the model, such as a checkpoint"
        )
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)][-5:]
    if not linear:
        raise LoaderError(
            f"{type(model).__name__} has no nn.Linear: the head must be one; take the "
            "features yourself and give them to study.metrics.ClassMoments"
        )
    what = "no head is known by its name" if head is None else f"{head!r} is no linear layer of it"
    known = f"the last linear layers are {', '.join(linear)}"
    raise LoaderError(f"{type(model).__name__}: {what}; give head=NAME: {known}")


@contextmanager
def _measuring(model: nn.Module) -> Iterator[None]:
    """Within, no gradients and no dropout; afterwards each module is in its mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _samples(
    model: nn.Module, layer: nn.Linear, loader: Iterable[Any], shift: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Features (B, d), labels (B,) and logits (B, V) of the samples of each batch."""
    caught: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: caught.append((inputs[0], output)))
    try:
        for batch in loader:
            caught.clear()
            labels = _forward(model, batch, layer.weight.device)
            if len(caught) != 1:
                raise LoaderError(
                    f"the model called its head {len(caught)} times for a batch: it must be once; "
                    "give another head, or the model as it was before torch.compile"
                )
            yield _aligned(*caught[0], labels, shift=shift)
    finally:
        hook.remove()


def _forward(model: nn.Module, batch: Any, device: torch.device) -> Tensor:
    """Pass a batch through the model; its labels."""
    if isinstance(batch, Mapping):
        if "labels" not in batch:
            raise LoaderError(
                f"a batch has no `labels`, only {', '.join(map(str, batch))}: rename the entry "
                "with the classes to `labels`; the others are arguments of the model"
            )
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        labels: Tensor = _tensor("labels", moved.pop("labels"))
        model(**moved)
        return labels
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        entries = f" of {len(batch)}" if isinstance(batch, list | tuple) else ""
        raise LoaderError(
            f"a batch is a {type(batch).__name__}{entries}: give (inputs, labels) or a mapping "
            "with labels"
        )
    inputs, labels = _tensor("inputs", batch[0]), _tensor("labels", batch[1])
    model(inputs.to(device))
    return labels.to(device)


def _tensor(what: str, value: Any) -> Any:
    """A value that can be moved to a device. Raises LoaderError for any other."""
    if not hasattr(value, "to"):
        raise LoaderError(f"the {what} of a batch are a {type(value).__name__}: give a tensor")
    return value


def _aligned(
    features: Tensor, logits: Tensor, labels: Tensor, *, shift: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The samples alone, one a row."""
    if shift and (labels.ndim < 2 or features.ndim < 3):
        raise LoaderError(
            f"shift=True is for labels of (batch, length), as a language model has them, and these "
            f"are {tuple(labels.shape)}: leave it out"
        )
    if shift:
        features, logits, labels = features[:, :-1], logits[:, :-1], labels[:, 1:]
    if features.shape[:-1] != labels.shape:
        raise LoaderError(
            f"the head reads {tuple(features.shape)}, which does not fit labels of "
            f"{tuple(labels.shape)}: give a class number for each feature vector"
        )
    samples = labels.flatten() != IGNORE
    rows = features.flatten(0, -2)[samples], logits.flatten(0, -2)[samples]
    return rows[0], labels.flatten()[samples], rows[1]


def _decided(
    model: nn.Module,
    layer: nn.Linear,
    loader: Iterable[Any],
    shift: bool,
    centres: NearestCentre,
) -> tuple[Agreement, Scores, ClassMoments]:
    """Decisions, scores and moments of the samples of a loader, of all processes."""
    device = layer.weight.device
    total = Agreement.empty(layer.out_features, device, centres.reason)
    scores, moments = Scores(device), ClassMoments(layer.out_features, layer.in_features, device)
    head = LinearHead(layer.weight, layer.bias)
    for features, labels, logits in _samples(model, layer, loader, shift):
        moments.update(features, labels)
        scores.update(logits, labels)
        total += agreements(labels, {"": (centres, features)}, (head, features))[""]
    for agreement, other_scores, other_moments in _elsewhere((total, scores, moments)):
        total += agreement
        scores.merge(other_scores)
        moments.merge(other_moments)
    return total, scores, moments


def _put(columns: CollapseMetrics, decisions: Agreement, end: str) -> None:
    for name in ("nc4_agreement", "ncc_accuracy"):
        value = getattr(decisions, name)
        if value is None:
            columns.undefine(decisions.undefined or "", f"{name}{end}")
        else:
            columns.put(f"{name}{end}", value)


def _elsewhere(own: Any) -> list[Any]:
    """What the other processes of the group have; nothing outside of one."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return []
    everywhere: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everywhere, own)
    return [each for rank, each in enumerate(everywhere) if rank != distributed.get_rank()]
