"""Names of data sets of the Hub: `hub:OWNER/NAME[@REVISION][/FILE]`.

A revision is a branch, a tag or a commit; one with a slash has `%2F` there, as in addresses of the
Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from study.store import StoreError

PREFIX = "hub:"
FORM = "hub:OWNER/NAME, with @REVISION and /FILE behind it if need be"
_PART = r"\w+(?:[.-]\w+)*"
_SHAPE = re.compile(
    rf"hub:(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^@]+))?",
    flags=re.ASCII,
)


class HubError(StoreError):
    """The Hub does not give or take what it is asked for; the message says what to do."""


@dataclass(frozen=True)
class HubName:
    """A data set of the Hub, and perhaps a file in it.

    repository  `OWNER/NAME`
    revision    branch, tag or commit; None for the newest
    file        the path of a file in it; None for the whole
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        file = f"/{self.file}" if self.file else ""
        return f"{PREFIX}{self.repository}{revision}{file}"

    def at(self, commit: str) -> HubName:
        """The same at a commit."""
        return replace(self, revision=commit)

    @property
    def short(self) -> str:
        """What it is called in titles and by the folders of its reports."""
        return PurePosixPath(self.file).stem if self.file else self.repository.partition("/")[2]


def is_hub(source: object) -> bool:
    """Whether a source names something of the Hub, rightly or not."""
    return isinstance(source, str | Path) and str(source).startswith(PREFIX)


def parse_name(text: str) -> HubName:
    """The name that a text is.

    >>> parse_name("hub:ada/digits@v1/tables/all.csv")
    HubName(repository='ada/digits', revision='v1', file='tables/all.csv')

    Raises HubError for any other text, and for a file outside of the data set.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise HubError(f"{text} is no name of a data set: write {FORM}")
    file, revision = match["file"], match["revision"]
    if file is not None and not is_inside(file):
        raise HubError(
            f"{text}: {file} lies outside of the data set: give the path of a file in it"
        )
    return HubName(match["repository"], revision and unquote(revision), file)


def is_inside(path: str) -> bool:
    """Whether the path of a file leads nowhere but into the data set that lists it."""
    return "\\" not in path and not {"", ".", ".."} & set(path.split("/"))


def refuse_hub(target: object, what: str) -> None:
    """Raise HubError where something is to be changed that lies on the Hub."""
    if is_hub(target):
        short = parse_name(str(target)).short
        raise HubError(
            f"{target} lies on the Hub, where {what}: get a copy, `collapse-study pack {target} "
            f"runs/{short}`, and give runs/{short}"
        )
