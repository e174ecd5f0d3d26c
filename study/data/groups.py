"""Groups of samples (`data.group`): lists of tokens, or a column of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from study.data.base import DataError, Groups, Ints
from study.settings.faults import StudyError, some_of
from study.settings.yaml_files import read_yaml

MOST_GROUPS = 16
"""A column with more values than this tells samples apart, not groups of them."""
NONE = -1
"""The group of a sample that belongs to none."""
FORM = "write `name: [token, ...]` for two groups or more"


def read_token_groups(path: str, base: Path) -> dict[str, list[str]]:
    """Lists of tokens by the name of their group.

    Raises:
        DataError: the file cannot be read, is not of the form, or puts a token into two groups.
    """
    try:
        content = read_yaml(base / Path(path).expanduser())
    except StudyError as error:
        fault = error.faults[0]
        what = f"{fault.path} {fault.message}".strip()
        raise DataError(f"data.group: {path}: {what}; {FORM}") from error
    if faults := list(_faults_of(content)):
        raise DataError(f"data.group: {path}: {'; '.join(faults)}")
    return content


def _faults_of(content: Mapping[str, Any]) -> Iterator[str]:
    if not 2 <= len(content) <= MOST_GROUPS:
        yield f"{len(content)} groups, but 2 to {MOST_GROUPS} can be compared: {FORM}"
    for name, tokens in content.items():
        if not (isinstance(tokens, list) and tokens):
            yield f"group {name} is {tokens!r}, no list of tokens: {FORM}"
        elif odd := [token for token in tokens if not isinstance(token, str)]:
            yield f"group {name} has {some_of(map(repr, odd), '')}, no text: put it in quotes"
    lists = [own for own in content.values() if isinstance(own, list)]
    tokens = [token for own in lists for token in own if isinstance(token, str)]
    if twice := sorted({token for token in tokens if tokens.count(token) > 1}):
        yield f"listed twice: {some_of(twice, '')}; a token is of one group, once"


def spoken(name: str) -> str:
    """The name of a token without the mark of a leading space."""
    return name[1:] if name[:1] in ("Ġ", "▁", " ") else name


def token_groups(
    path: str, base: Path, class_names: Sequence[str], counts: Mapping[str, Ints]
) -> Groups:
    """Groups of samples whose class is a token of one of the lists.

    A token is listed with or without the mark of a leading space, and stands for both.

    Args:
        path: the file of the lists.
        base: folder at which a relative path starts.
        class_names: (V,) names of the classes.
        counts: (V,) samples of each class by split.

    Raises:
        DataError: the file is not of the form, a token is no class or has no training sample, or a
            group has no sample in a split.
    """
    lists = read_token_groups(path, base)
    of_class = np.full(len(class_names), NONE, dtype=np.int64)
    known: dict[str, list[int]] = {}
    for number, name in enumerate(class_names):
        for form in dict.fromkeys([name, spoken(name)]):
            known.setdefault(form, []).append(number)
    strange, unseen, faults = [], [], []
    for group, tokens in enumerate(lists.values()):
        for token in tokens:
            numbers = np.array(known.get(token, []), dtype=np.int64)
            if not len(numbers):
                strange.append(token)
            elif not counts["train"][numbers].any():
                unseen.append(token)
            if (of_class[numbers] >= 0).any():
                faults.append(f"{token!r} stands for a class that another token stands for")
            of_class[numbers] = group
    if strange:
        faults.insert(0, f"no class is called {_quoted(strange)}")
    if unseen:
        faults.insert(0, f"no training sample has the class {_quoted(unseen)}")
    if not faults:
        by_split = {
            split: [int(own[of_class == group].sum()) for group in range(len(lists))]
            for split, own in counts.items()
        }
        faults += _empty(tuple(lists), by_split)
    if faults:
        raise DataError(f"data.group: {path}: {'; '.join(faults)}; take out or replace them")
    return Groups(tuple(lists), of_class=of_class)


def numbered(
    values: Mapping[str, Sequence[object]], names: Sequence[str] | None, column: str
) -> tuple[dict[str, Ints], list[str]]:
    """Numbers of groups by split, and the names of the groups.

    A row without a value has -1.

    Args:
        values: of the column by split: texts, whole numbers or booleans.
        names: of numbers from 0, where the table has them; else values name themselves, in the
            order of their texts.
        column: their column, for messages.

    Raises:
        DataError: a value is of another type.
    """
    known = [value for own in values.values() for value in own if value is not None]
    if odd := [value for value in known if not isinstance(value, str | int)]:
        raise DataError(
            f"data.group: column {column!r} holds {odd[0]!r}: groups are texts, whole numbers or "
            "booleans"
        )
    if names is not None:
        # -1 stands for a missing label.
        return {
            split: np.array([NONE if value is None else value for value in own], dtype=np.int64)
            for split, own in values.items()
        }, list(names)
    texts = sorted({str(value) for value in known})
    number = {text: place for place, text in enumerate(texts)}
    return {
        split: np.array(
            [NONE if value is None else number[str(value)] for value in own], dtype=np.int64
        )
        for split, own in values.items()
    }, texts


def row_groups(values: Mapping[str, Ints], names: Sequence[str], column: str) -> Groups:
    """Groups of rows, by the numbers (rows,) of their groups in each split.

    Raises:
        DataError: a group has no row in a split, or there are too few or too many of them.
    """
    by_split = {
        split: np.bincount(own[own >= 0], minlength=len(names)).tolist()
        for split, own in values.items()
    }
    if not 2 <= len(names) <= MOST_GROUPS:
        raise DataError(
            f"data.group: column {column!r} has {len(names)} values, but 2 to {MOST_GROUPS} groups "
            "can be compared: name another column"
        )
    if faults := list(_empty(tuple(names), by_split)):
        raise DataError(
            f"data.group: of column {column!r} {'; '.join(faults)}: name another column, or use "
            "more of the data"
        )
    return Groups(tuple(names), of_rows=dict(values))


def _empty(names: Sequence[str], by_split: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Groups without a sample in a split."""
    for split, sizes in by_split.items():
        if empty := [name for name, size in zip(names, sizes, strict=True) if not size]:
            yield f"no sample of the {split} split is in group {_quoted(empty)}"


def _quoted(names: Iterable[str]) -> str:
    return some_of([repr(name) for name in names], "")
