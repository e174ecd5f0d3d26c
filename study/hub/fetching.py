"""A run or a table of the Hub, fetched to the user's cache at one commit.

Only files that a run has are fetched, and none is believed: readers check them as they check those
of any run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from study.hub.client import asking
from study.hub.names import HubError, HubName, is_inside
from study.store import RunPaths
from study.store.packing import PROVENANCE, READ

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

TABLES = (".csv", ".tsv", ".txt", ".gz", ".xlsx", ".parquet")
"""Endings of files that may be tables."""
SHOWN = 5
"""Tables of a data set that a message names."""
MOST_BYTES = 20 * 2**30
"""Of what is fetched at once; whether more is to fill the disk is left to the user."""


@dataclass(frozen=True)
class Fetched:
    """A folder of a run or the file of a table, and its name at its commit."""

    path: Path
    name: HubName


def fetch(name: HubName) -> Fetched:
    """The run of that name, or the table where the name has a file, in the cache.

    With HF_HUB_OFFLINE set it is what was fetched last. Raises HubError where it cannot be had,
    is none, or is too large.
    """
    if name.file is not None:
        return _fetched(name, [escape(name.file)])
    return _run(_fetched(name, READ))


def fetch_whole(name: HubName, folder: Path) -> Fetched:
    """The run of that name with its provenance and report, copied to a folder.

    Raises HubError as `fetch`, and for the name of a file.
    """
    if name.file is not None:
        raise HubError(f"{name} is a file: give the data set, {HubName(name.repository)}")
    return _run(_fetched(name, [*READ, *PROVENANCE], folder))


def _run(fetched: Fetched) -> Fetched:
    if not RunPaths(fetched.path).planned.is_file():
        raise HubError(f"{fetched.name} holds no run that `collapse-study pack --push` has sent")
    return fetched


def _fetched(name: HubName, patterns: Sequence[str], folder: Path | None = None) -> Fetched:
    """Files of a data set that match patterns, in a folder or else in the cache."""
    with asking(name) as api:
        from huggingface_hub import constants, snapshot_download

        local = constants.is_offline_mode() and folder is None
        commit = None if local else _checked_commit(api, name, patterns)
        path = Path(
            snapshot_download(
                name.repository,
                repo_type="dataset",
                revision=name.revision if folder is None else commit,
                allow_patterns=list(patterns),
                local_dir=folder,
                local_files_only=local,
            )
        )
    if folder is None and commit not in (None, path.name):
        raise HubError(f"{name} has changed while it was fetched: try again")
    return Fetched(path / name.file if name.file else path, name.at(commit or path.name))


def _checked_commit(api: HfApi, name: HubName, patterns: Sequence[str]) -> str:
    """The commit of a name, whose files may be fetched."""
    from huggingface_hub.hf_api import RepoFile

    commit = api.dataset_info(name.repository, revision=name.revision).sha
    assert commit is not None  # which the Hub always tells
    entries = api.list_repo_tree(
        name.repository, recursive=True, revision=commit, repo_type="dataset"
    )
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    _check_files(name, files, patterns)
    return commit


def _check_files(name: HubName, files: Iterable[RepoFile], patterns: Sequence[str]) -> None:
    """Raise HubError for files that are not there, lie elsewhere, or are too large."""
    sizes = {file.path: file.size for file in files}
    if outside := [path for path in sizes if not is_inside(path)]:
        raise HubError(f"{name} lists {outside[0]!r}, outside of itself: nothing of it is fetched")
    chosen = [path for path in sizes if any(fnmatchcase(path, each) for each in patterns)]
    tables = [path for path in sizes if path.endswith(TABLES)]
    if name.file is not None and not chosen:
        raise HubError(
            f"{HubName(name.repository, name.revision)} has no file {name.file}{_some(tables)}"
        )
    if name.file is None and RunPaths(Path()).planned.name not in sizes:
        raise HubError(f"{name} holds no run: name one of its tables, {name}/FILE{_some(tables)}")
    if (total := sum(sizes[path] for path in chosen)) > MOST_BYTES:
        raise HubError(
            f"{name} holds {total / 2**30:.0f} GiB of what is to be read: fetch it with `hf "
            f"download {name.repository} --repo-type dataset`, and give the folder"
        )


def _some(tables: Sequence[str]) -> str:
    """Tables of a data set, as the end of a message."""
    if not tables:
        return "; it has no tables"
    more = f" and {len(tables) - SHOWN} more" if len(tables) > SHOWN else ""
    return f"; it has {', '.join(tables[:SHOWN])}{more}"
