"""A copy of a run that is small enough to publish, and still a run.

All rows lie in one file instead of one per cell. Kept weights, logs, states of unfinished trainings
and what trackers show are left out; study, provenance, data records, failures, search and report
are copied. Links are neither copied nor followed, and pipes not read. It can be analysed, and
relaunched, which runs nothing that has rows.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from study.store.atomic import write_atomically, write_json
from study.store.cells import Store
from study.store.errors import StoreError
from study.store.paths import RunPaths
from study.store.places import fetch, files_below, is_object, place
from study.store.sealed import seal_table

DIFF = "git_diff"
SECRET = re.compile(r"(?<=://)[^/@\s\"']+(?=@)")
"""`user:password` of an address."""
MASK = "***"
ALIKE = ("precision", "layer", "training")
"""Columns by which packed rows lie, so that metrics next to each other are of one size."""
READ = (
    "study.yaml",
    "planned.parquet",
    "rows.parquet",
    "best*.yaml",
    "failures/*.json",
    "data/*.json",
    "data/*.parquet",
    "classes/*.parquet",
    "search/journal.log",
    "search/search.yaml",
)
"""Files of a packed run that analyses and the status read; `*` stands for letters of one name."""
PROVENANCE = (
    "launches/*.json",
    "trainings/*/provenance.json",
    "report/report.html",
    "report/tables/*",
    "report/figures/*",
    "report/figures/*/*",
    "report/print/*.tex",
)
"""Its other files: who ran it with what, and what was found."""


@dataclass(frozen=True)
class Published:
    """What a packed copy tells of those who ran the study.

    commands  command lines of launches
    users     names of users
    hosts     names of computers
    folders   working directories
    diffs     lines of uncommitted changes of the code, by launch
    """

    commands: tuple[str, ...]
    users: tuple[str, ...]
    hosts: tuple[str, ...]
    folders: tuple[str, ...]
    diffs: dict[str, int]

    def lines(self) -> list[str]:
        """The same in words, a line each."""
        lines = ["It publishes, in launches/:"]
        for name in ("command", "user", "host", "folder"):
            lines += [f"  {name}: {value}" for value in getattr(self, f"{name}s")]
        if self.diffs:
            count = sum(self.diffs.values())
            lines.append(
                f"  uncommitted changes of the code: {count} lines in {len(self.diffs)} launches "
                "(--without-diff leaves them out)"
            )
        return lines


def is_of_run(path: str) -> bool:
    """Whether a path in a packed run is that of a file that such runs have.

    >>> is_of_run("data/a.json"), is_of_run("data/b/a.json"), is_of_run("data/.a.json")
    (True, False, False)
    """
    parts = PurePosixPath(path).parts
    return not any(part.startswith(".") for part in parts) and any(
        len(parts) == each.count("/") + 1 and PurePosixPath(path).match(each)
        for each in (*READ, *PROVENANCE)
    )


def pack(run: str | Path, target: Path, *, with_diff: bool = True) -> Published:
    """Copy `run` to the new folder `target`, which appears whole or not at all.

    Without `with_diff` the uncommitted changes of the code stay out. Users and passwords in
    addresses are masked in every text that is copied.

    Raises StoreError where `run` is none, has no rows or holds damaged ones, FileExistsError where
    `target` exists.
    """
    run = place(run)
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists already: delete it, or name another folder")
    store = Store(run)
    store.planned()  # refuses what is no run
    rows = store.read()
    order = [name for name in ALIKE if name in rows.columns]
    content = seal_table(rows.sort(order, maintain_order=True).to_arrow(), store.metrics())
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_object(target):
        raise StoreError(f"{target}: a copy is made in a folder of this computer: name one")
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        copied = RunPaths(Path(scratch) / target.name)
        if is_object(run):
            _fetch(store.paths, copied.root)
        else:
            shutil.copytree(run, copied.root, ignore=_left_out(store.paths))
        write_atomically(copied.packed, content)
        _mask(copied.root)
        if not with_diff:
            for path, record in _launches(copied):
                write_json(path, {name: value for name, value in record.items() if name != DIFF})
        published = _published(copied)
        copied.root.rename(target)
    return published


def _fetch(paths: RunPaths, target: Path) -> None:
    """Copy what is not left out of a run on object storage."""
    ignored, several = _left_out(paths), []
    for path in files_below(paths.root):
        above = [path]
        while above[-1].parent != paths.root:
            above.append(above[-1].parent)
        if not any(each.name in ignored(each.parent, [each.name]) for each in above):
            several.append(path)
    fetch(several, paths.root, target)


def _left_out(paths: RunPaths) -> Callable[[str | Path, list[str]], set[str]]:
    """What `shutil.copytree` ignores.

    Links, too, because what they lead to is not part of the run, and pipes, which have no end.
    """
    of_run = {
        path.name
        for path in (
            paths.cells,
            paths.parts,
            paths.packed,
            paths.all_checkpoints,
            paths.damaged,
            paths.leases,
            paths.tracking,
        )
    }

    def ignore(folder: str | Path, names: list[str]) -> set[str]:
        here = place(folder)
        links = {name for name in names if not _is_own(here / name)}
        # files that were being written, and what others keep in a folder, such as `.env`
        hidden = {name for name in names if name.startswith(".")}
        if here == paths.root:
            return of_run | links | hidden
        if here.parent == paths.trainings:
            return links | (set(names) - {paths.provenance("").name})
        return links | hidden

    return ignore


def _is_own(path: Path) -> bool:
    """Whether a path is a file or a folder of the run itself, no link and no pipe."""
    return is_object(path) or (not path.is_symlink() and (path.is_file() or path.is_dir()))


def _mask(root: Path) -> None:
    """Mask users and passwords of addresses in texts; sealed tables have none to hide."""
    for path in root.rglob("*"):
        if path.suffix in (".json", ".yaml", ".log", ".jsonl") and path.is_file():
            plain = path.read_text(encoding="utf-8", errors="surrogateescape")
            masked = SECRET.sub(MASK, plain)
            if masked != plain:
                write_atomically(path, masked.encode(errors="surrogateescape"))


def _launches(paths: RunPaths) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records of launches.

    Raises StoreError for a damaged one, of which nobody knows what it would publish.
    """
    for path in sorted(paths.launches.glob("[!.]*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StoreError(f"{path.name} is damaged ({error}): delete that launch") from error
        if isinstance(record, dict):
            yield path, record


def _published(paths: RunPaths) -> Published:
    """What the records of launches tell."""
    records = [(path.stem, record) for path, record in _launches(paths)]

    def texts(*names: str) -> tuple[str, ...]:
        values: list[str] = []
        for _, record in records:
            value: Any = record
            for name in names:
                value = value.get(name) if isinstance(value, dict) else None
            values += [] if value is None else [str(value)]
        return tuple(dict.fromkeys(values))

    return Published(
        commands=texts("command"),
        users=texts("user"),
        hosts=texts("hardware", "host"),
        folders=texts("folder"),
        diffs={name: len(r[DIFF].splitlines()) for name, r in records if r.get(DIFF)},
    )
