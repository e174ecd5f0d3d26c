"""A packed run pushed to the Hub: one commit, which loses nothing that was there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.hub import card
from study.hub.client import LOGIN, asking
from study.hub.fetching import fetch
from study.hub.names import HubError, HubName, parse_name
from study.store import VOLATILE, Store, StoreError
from study.store.packing import is_of_run

if TYPE_CHECKING:
    import polars as pl
    from huggingface_hub.hf_api import DatasetInfo

OF_THE_HUB = (".gitattributes", card.NAME)
"""Files that the Hub makes with a data set, or that a push amends."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    name      the data set at the commit
    url       where the Hub shows it
    files     how many files of the run are there now, with the card
    changed   whether the commit is a new one
    private   whether only those see it whom the owner lets
    licensed  whether its card names a license
    """

    name: HubName
    url: str
    files: int
    changed: bool
    private: bool
    licensed: bool

    def lines(self) -> list[str]:
        """The same in words, a line each."""
        seen = "private" if self.private else "public"
        done = "pushed" if self.changed else "nothing is new there"
        lines = [f"{done}: {self.name} ({self.files} files, {seen}), {self.url}"]
        if not self.licensed:
            lines.append("Its card names no license: --license cc-by-4.0, for example, does.")
        return lines


def check_target(text: str) -> HubName:
    """The data set that a push goes to; HubError where the text names something else."""
    name = parse_name(text)
    if name.revision or name.file:
        raise HubError(f"{text}: a push makes the next commit of a data set: write hub:OWNER/NAME")
    return name


def unpublished(run: Path) -> list[str]:
    """Files of a packed folder that a push leaves out, by their path in it."""
    files = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return sorted(file for file in files if not is_of_run(file) and file != card.NAME)


def push(run: Path, name: HubName, *, public: bool = False, license: str | None = None) -> Pushed:
    """Push the packed run in a folder to a data set, which is made if need be.

    All files go in one commit upon the one that was looked at, so that nothing half is seen and
    nothing is lost to a push at the same time. No file is deleted.

    Raises HubError where a row that is there would be lost or changed, where something else than a
    run is there, where the data set is not as `public` as it is asked for, and where the Hub
    refuses.
    """
    former = _looked_at(name, public)
    if former is not None:
        _check_what_is_there(run, name, former)
    text = card.card(run, name, license=license, former=_former_card(name, former))
    with asking(name) as api:
        from huggingface_hub import CommitOperationAdd

        if former is None:
            api.create_repo(name.repository, repo_type="dataset", private=not public)
            former = api.dataset_info(name.repository)
        files = [
            path
            for path in sorted(run.rglob("*"))
            if path.is_file() and is_of_run(path.relative_to(run).as_posix())
        ]
        operations = [CommitOperationAdd(card.NAME, text.encode())]
        operations += [CommitOperationAdd(path.relative_to(run).as_posix(), path) for path in files]
        commit = api.create_commit(
            name.repository,
            operations,
            repo_type="dataset",
            commit_message=_message(run),
            parent_commit=former.sha,
        )
    return Pushed(
        name=name.at(commit.oid),
        url=f"{api.endpoint}/datasets/{name.repository}",
        files=len(operations),
        changed=commit.oid != former.sha,
        private=not public,
        licensed=card.has_license(text),
    )


def _message(run: Path) -> str:
    store = Store(run)
    return f"Rows of {len(store.keys())} cells"


def _looked_at(name: HubName, public: bool) -> DatasetInfo | None:
    """What the Hub tells of a data set; None where there is none yet."""
    with asking(name) as api:
        from huggingface_hub import get_token
        from huggingface_hub.errors import RepositoryNotFoundError

        if get_token() is None:
            raise HubError(f"{name}: a push needs a token of the Hub: {LOGIN}")
        try:
            info = api.dataset_info(name.repository)
        except RepositoryNotFoundError:
            return None
    if public and info.private:
        raise HubError(
            f"{name} is private: make it public in its settings on the Hub, or leave out --public"
        )
    if not public and not info.private:
        raise HubError(f"{name} is public, for everybody to read: push there with --public")
    return info


def _check_what_is_there(run: Path, name: HubName, info: DatasetInfo) -> None:
    """Raise HubError where a push would lose rows, or files of something else."""
    store = Store(run)
    there = {each.rfilename for each in info.siblings or ()}
    ours = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    if not {store.paths.packed.name, store.paths.planned.name} <= there:
        if clash := sorted((there & ours) - {*OF_THE_HUB}):
            raise HubError(f"{name} holds {clash[0]}, but no run: push under another name")
        return
    assert info.sha is not None  # which the Hub always tells
    _check_rows(name, Store(fetch(name.at(info.sha)).path), store)


def _check_rows(name: HubName, there: Store, here: Store) -> None:
    """Raise HubError unless all rows that are there are here, too, and equal."""
    import polars as pl
    import pyarrow as pa

    try:
        keys, former = there.keys(), there.read()
    except (StoreError, pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise HubError(
            f"{name} holds rows that cannot be read, so none are replaced: push under "
            f"another name ({error})"
        ) from error
    if lost := keys - here.keys():
        raise HubError(
            f"{name} holds rows of {len(lost)} cells that this run lacks, and a push loses none: "
            "push under another name; or get a copy of it with `collapse-study pack "
            f"{name} runs/{name.short}`, let a launch go on with that, and push that"
        )
    if changed := _changed(former, here.read(keys)):
        raise HubError(
            f"{name} holds other rows of {len(changed)} cells, such as {min(changed)}, and a push "
            "changes none: push under another name"
        )


def _changed(there: pl.DataFrame, here: pl.DataFrame) -> set[str]:
    """Cells whose rows differ, in columns that are no volatile ones."""
    names = [
        [
            column
            for column in frame.columns
            if column not in VOLATILE and frame[column].null_count() < len(frame)
        ]
        for frame in (there, here)
    ]
    if {*names[0]} != {*names[1]} or len(there) != len(here):
        return {*there["cell"]}
    rows = [frame.select(sorted(names[0])).rows() for frame in (there, here)]
    return {
        cell
        for cell, before, after in zip(there["cell"], *rows, strict=True)
        if repr(before) != repr(after)  # NaN is equal to itself
    }


def _former_card(name: HubName, info: DatasetInfo | None) -> str:
    """The text of README.md that is there; '' for none."""
    if info is None or card.NAME not in {each.rfilename for each in info.siblings or ()}:
        return ""
    with asking(name) as api:
        path = Path(
            api.hf_hub_download(name.repository, card.NAME, repo_type="dataset", revision=info.sha)
        )
    return path.read_text(encoding="utf-8-sig", errors="replace")
