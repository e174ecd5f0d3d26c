"""Where a source lies: on this computer as it is, or fetched from the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analysis.reading.table import AnalysisError
from study.hub.names import HubError, is_hub, parse_name
from study.store import StoreError
from study.store.places import place


@dataclass(frozen=True)
class Place:
    """A folder of a run or the file of a table.

    path   where it lies
    text   what messages and reports call it; of the Hub with the commit that was read
    name   what titles call it; '' for a folder that is given by dots
    parts  names from the outermost folder to its own, which tell sources apart
    """

    path: Path
    text: str
    name: str
    parts: tuple[str, ...]


def place_of(source: str | Path | Place) -> Place:
    """The place of a source, which is fetched where it lies on the Hub.

    It is then named `hub:OWNER/NAME[@REVISION][/FILE]`. Raises AnalysisError where that fails.
    """
    if isinstance(source, Place):
        return source
    if not is_hub(source):
        try:
            path = place(source)
        except StoreError as error:
            raise AnalysisError(str(error)) from None
        whole = path.resolve()
        own = whole.name if whole.is_dir() else whole.stem
        return Place(path, str(path), path.stem, (*whole.parts[1:-1], own))
    from study.hub.fetching import fetch

    try:
        fetched = fetch(name := parse_name(str(source)))
    except HubError as error:
        raise AnalysisError(str(error)) from None
    owner, _, repository = name.repository.partition("/")
    parts = (owner, repository, name.short) if name.file else (owner, repository)
    return Place(fetched.path, str(fetched.name), name.short, parts)
