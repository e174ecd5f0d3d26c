"""Where one lease lies, and how one of several writers gets it.

    read()         the lease that lies there
    take(lease)    write a lease where none lies, or in place of one whose owner is gone
    renew(lease)   write it again; False where another owner has taken it over
    free(lease)    end it, if it is still there

A file is created exclusively and moved aside to be taken over, without locks of the file system,
which on shared disks are not to be trusted. An object is replaced on the condition that it is the
one that was read, so that its server lets one of two owners win at any time.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from study.store.atomic import create, give_name, write_atomically
from study.store.lease import Lease, lease_of
from study.store.objects import ObjectPath
from study.store.paths import LeasePaths
from study.store.places import is_object


class Slot(Protocol):
    """The place of one lease."""

    def read(self) -> Lease | None:
        """The lease that lies there; None where there is none."""

    def take(self, lease: Lease, gone: Lease | None) -> bool:
        """Write a lease in place of that of an owner who is gone, or of none.

        Of several who try one succeeds.
        """

    def renew(self, lease: Lease) -> bool:
        """Write a lease again that was taken here; False where it is another's by now."""

    def free(self, lease: Lease) -> None:
        """Let another take it, unless another has done so."""


def slot_of(paths: LeasePaths, training: str) -> Slot:
    """The slot of a training."""
    path = paths.lease(training)
    return ObjectSlot(path, training) if is_object(path) else FileSlot(paths, training)


def held(paths: LeasePaths) -> Iterator[str]:
    """Trainings whose slots hold a lease, in order, by one look."""
    for path in paths.leases():
        if not (is_object(path) and path.stat().st_size == 0):
            yield path.stem


class FileSlot:
    """A lease in a file."""

    def __init__(self, paths: LeasePaths, training: str) -> None:
        self.paths, self.training = paths, training
        self.path = paths.lease(training)

    def read(self) -> Lease | None:
        """See `Slot`."""
        return self._read(self.path)

    def take(self, lease: Lease, gone: Lease | None) -> bool:
        """See `Slot`."""
        if gone is not None:
            self._clear(gone.owner)
        try:
            create(self.path, lease.content())
        except FileExistsError:
            return False
        return True

    def renew(self, lease: Lease) -> bool:
        """See `Slot`."""
        current = self.read()
        if current is not None and current.owner != lease.owner and not current.unreadable:
            return False
        write_atomically(self.path, lease.content())
        return True

    def free(self, lease: Lease) -> None:
        """See `Slot`."""
        current = self.read()
        if current is not None and current.owner == lease.owner:
            self.path.unlink(missing_ok=True)

    def _clear(self, owner: str) -> None:
        """Remove the lease of an owner who is gone; of several observers one succeeds."""
        aside = self.paths.aside(self.training, secrets.token_hex(8))
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        taken = self._read(aside)
        if taken is not None and taken.owner != owner:
            # Somebody else has taken it over in between: give it back.
            with suppress(FileExistsError):  # its owner has renewed it already
                give_name(aside, self.path)
        aside.unlink(missing_ok=True)

    def _read(self, path: Path) -> Lease | None:
        while True:
            try:
                return lease_of(self.training, path.read_bytes())
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.ESTALE:  # replaced on its server while it was read
                    continue
                raise


class ObjectSlot:
    """A lease in an object, which is empty once it was freed.

    It is not deleted: a delete has no condition that all servers know, and could end the lease of
    the next owner.
    """

    def __init__(self, path: ObjectPath, training: str) -> None:
        self.path, self.training = path, training
        self._tag: str | None = None
        """Of the content that was read or written last; None where there was no object."""

    def read(self) -> Lease | None:
        """See `Slot`."""
        lease, self._tag = self._look()
        return lease

    def take(self, lease: Lease, gone: Lease | None) -> bool:
        """See `Slot`. The slot was read before, and nobody may have written since."""
        return self._write(lease.content())

    def renew(self, lease: Lease) -> bool:
        """See `Slot`."""
        if self._write(lease.content()):
            return True
        # A write whose answer was lost leaves a content of this owner with another tag.
        current, tag = self._look()
        if current is None:
            ours = tag is None  # deleted by hand; empty, it was another's that has ended
        else:
            ours = current.owner == lease.owner or current.unreadable
        if not ours:
            return False
        self._tag = tag
        return self._write(lease.content())

    def free(self, lease: Lease) -> None:
        """See `Slot`."""
        if not self._write(b""):
            current, tag = self._look()
            if current is not None and current.owner == lease.owner:
                self._tag = tag
                self._write(b"")

    def _look(self) -> tuple[Lease | None, str | None]:
        """The lease that lies there, and the tag of its content; None for no object."""
        try:
            content, tag = self.path.read_tagged()
        except FileNotFoundError:
            return None, None
        return lease_of(self.training, content) if content else None, tag

    def _write(self, content: bytes) -> bool:
        """Write where nothing has changed since this slot saw it; whether it did."""
        try:
            if self._tag is None:
                self._tag = self.path.create(content)
            else:
                self._tag = self.path.exchange(content, self._tag)
        except (FileExistsError, FileNotFoundError):
            return False
        return True
