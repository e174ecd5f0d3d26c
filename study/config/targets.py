"""Whether loss, head and penalties fit what a study predicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from study.config.training import TrainConfig
from study.data.config import DataSettings
from study.models.config import ModelSettings
from study.models.kinds import kind_names

LINK = "cumulative_link"
"""A loss, and the head that it trains."""
OF_FEATURES_ALONE = ("feature_norm",)
"""Penalties that know neither classes nor rows of the head."""


def with_head(tree: Any) -> Any:
    """Settings in which the loss of a cumulative link brings its head.

    A head that is given stays.
    """
    train, model = (
        tree.get(name) if isinstance(tree, dict) else None for name in ("train", "model")
    )
    if not (isinstance(train, dict) and isinstance(model, dict)):
        return tree
    if train.get("loss") != LINK or "head" in model or not _can_have_link(model.get("kind")):
        return tree
    return {**tree, "model": {**model, "head": LINK}}


def _can_have_link(kind: Any) -> bool:
    settings = kind_names().get(kind) if isinstance(kind, str) else None
    head = None if settings is None else settings.model_fields.get("head")
    return head is not None and LINK in get_args(head.annotation)


def without_rows(data: DataSettings, loss: str) -> str | None:
    """Why a head has no row for each class; None where it has."""
    if data.predicts == "vectors":
        return f"data.kind {data.kind} has vectors as targets"
    return f"loss {LINK} has one row for all" if loss == LINK else None


def target_problems(data: DataSettings, model: ModelSettings, train: TrainConfig) -> Iterator[str]:
    """What of a training does not fit the targets of its data."""
    head = getattr(model, "head", "learned")
    penalties = [name for name in train.penalty.active if name not in OF_FEATURES_ALONE]
    named = ", ".join(f"penalty.{name}" for name in penalties)
    if train.adversary is not None and (where := without_rows(data, train.loss)):
        yield f"adversary needs a row of the head for each class, and {where}: leave it out"
    if data.predicts == "vectors":
        where = f"data.kind {data.kind} has vectors as targets"
        if train.loss != "mse":
            yield f"loss is {train.loss}, and {where}: set train.loss to mse"
        if head != "learned":
            yield f"model.head {head} is one of classes, and {where}: set it to learned"
        if penalties:
            yield f"{named} are about classes, and {where}: leave them out"
    elif train.loss == LINK:
        if not data.has_ordered_classes:
            yield (
                f"loss {LINK} needs classes in an order, and those of data.kind {data.kind} have "
                "none: use kind regression with bins, images or free, or another loss"
            )
        if not _can_have_link(model.kind):
            yield f"loss {LINK} trains a head that model.kind {model.kind} does not have: use mlp"
        elif head != LINK:
            yield f"loss {LINK} trains model.head {LINK}, not {head}: leave model.head out"
        if penalties:
            yield (
                f"{named} are about a row of the head for each class, and loss {LINK} has one for "
                "all: leave them out"
            )
    elif head == LINK:
        yield f"model.head {LINK} is trained by loss {LINK}, not {train.loss}: set train.loss to it"
