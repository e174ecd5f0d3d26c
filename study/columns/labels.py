"""How tables, figures and sentences call a column."""

from __future__ import annotations

import re

from study.columns.metric import Quantity
from study.columns.sets import metric_of
from study.columns.settings import SETTINGS

IDENTIFIER = re.compile(r"(?<!\.)\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
"""A name with an underscore; not the end of a dotted path, which stays whole."""


def quantity(column: str) -> Quantity:
    """What is known of a column, or of a setting by its path.

    Other people's columns are called as they are.

    >>> quantity("train.weight_decay").symbol, quantity("my_loss").name
    ('\\\\lambda', 'my_loss')
    """
    *sections, leaf = column.split(".")
    for name in ("_".join([*sections, leaf]), leaf) if sections else (column,):
        if known := metric_of(name) or SETTINGS.get(name):
            return known
    return Quantity(name=column)


def noun(column: str) -> str:
    """The display name of a column without its unit, for sentences and cells.

    >>> noun("val_loss"), noun("nc1_ratio"), noun("my_loss")
    ('validation loss', 'within / between variance', 'my_loss')
    """
    return quantity(column).name


def label(column: str) -> str:
    """The display name with its unit, for axes and headings.

    >>> label("val_loss"), label("lr"), label("my_loss")
    ('validation loss (nats)', 'learning rate', 'my_loss')
    """
    known = quantity(column)
    return f"{known.name} ({known.unit})" if known.unit else known.name


def in_words(text: str) -> str:
    """Text with display names in place of identifiers that have an underscore.

    >>> in_words("given train_loss and my_own at train.weight_decay 0.1")
    'given training loss and my_own at train.weight_decay 0.1'
    """
    return IDENTIFIER.sub(lambda match: noun(match[0]), text)
