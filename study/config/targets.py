"""Whether loss, head and penalties fit what a study predicts."""

from __future__ import annotations

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


def target_problem(data: DataSettings, model: ModelSettings, train: TrainConfig) -> str | None:
    """All of a training that does not fit the targets of its data, or None.

    It says once why, and then every change that is needed.
    """
    head, loss = getattr(model, "head", "learned"), train.loss
    penalties = [
        f"penalty.{name}" for name in train.penalty.active if name not in OF_FEATURES_ALONE
    ]
    apart = [*penalties, *(["adversary"] if train.adversary is not None else [])]
    fixes = [f"leave {', '.join(apart)} out"] if apart else []
    if data.predicts == "vectors":
        fixes += [f"set train.loss to mse, not {loss}"] if loss != "mse" else []
        fixes += [f"set model.head to learned, not {head}"] if head != "learned" else []
        why = f"data.kind {data.kind} has vectors as targets"
    elif loss == LINK:
        if not data.has_ordered_classes:
            fixes.append("use data.kind regression with bins, images or free")
        if not _can_have_link(model.kind):
            fixes.append(f"use model.kind mlp, not {model.kind}")
        elif head != LINK:
            fixes.append(f"leave model.head {head} out")
        why = f"loss {LINK} trains one row of the head for classes in an order"
    elif head == LINK:
        return f"model.head {LINK} is trained by loss {LINK}, not {loss}: set train.loss to it"
    else:
        return None
    return f"{why}: {'; '.join(fixes)}" if fixes else None
