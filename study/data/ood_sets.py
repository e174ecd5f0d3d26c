"""Sets of other data that `data.ood` names, and what their columns are called."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

_ENDING = re.compile(r"(\.[a-z0-9]{1,8})+$", re.IGNORECASE)


def _single_by_name(sources: str | list[str] | None) -> str | list[str] | None:
    """A list of one source means what the source means, and has its key."""
    return sources[0] if isinstance(sources, list) and len(sources) == 1 else sources


OodSources = Annotated[
    str | Annotated[list[str], Field(min_length=1)] | None, AfterValidator(_single_by_name)
]
"""One source of other data, several, or None."""


def sources_of(ood: str | list[str] | None) -> tuple[str, ...]:
    """The sources in their order."""
    return () if ood is None else (ood,) if isinstance(ood, str) else tuple(ood)


def set_name(source: str) -> str:
    """What the columns of a set end in.

    The last part of its source, in letters and digits.

    Example:
        >>> set_name("photos"), set_name("./images/SVHN-crops.tar.gz"), set_name("hub:ylecun/mnist")
        ('photos', 'svhn_crops', 'mnist')
    """
    last = posixpath.basename(posixpath.normpath(source.removeprefix("hub:")))
    name = last if source.startswith("hub:") else _ENDING.sub("", last)
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def checked_sets(
    ood: str | list[str] | None, known: Callable[[str], str]
) -> str | list[str] | None:
    """The sources as they are written.

    `known` raises ValueError for a source that there is none of. Raises ValueError with all that is
    wrong: unknown sources, one set twice, names of columns that two share or that are empty.
    """
    faults: list[str] = []
    for source in dict.fromkeys(sources_of(ood)):
        try:
            known(source)
        except ValueError as fault:
            faults.append(str(fault))
    faults += _faults_of_names(sources_of(ood))
    if faults:
        raise ValueError("; ".join(faults))
    return ood


def _faults_of_names(sources: Sequence[str]) -> Iterator[str]:
    first: dict[str, str] = {}
    named: dict[str, str] = {}
    for source in sources:
        place, name = posixpath.normpath(source), set_name(source)
        if place in first:
            yield f"{source!r} names a set that is listed already: name each set once"
        elif not name:
            yield f"{source!r} has no letter or digit that columns could be named by: rename it"
        elif name in named:
            yield (
                f"{named[name]!r} and {source!r} would both have columns that end in _{name}: "
                "rename one of them"
            )
        first[place] = source
        named.setdefault(name, source)
