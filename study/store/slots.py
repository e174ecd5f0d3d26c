"""Where one lease lies, and how one of several writers gets it.

    read()         the lease that lies there
    take(lease)    write a lease where none lies, or in place of one whose owner is gone
    renew(lease)   write it again; False where another owner has taken it over
    free(lease)    end it, if it is still there

A file is created exclusively, and so is the name of whoever comes after an owner who is gone, in a
file of that owner's own: an owner has one heir, whom nobody else replaces, without locks of the
file system, which on shared disks are not to be trusted. An object is replaced on the condition
that it is the one that was read, so that its server lets one of two owners win at any time.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from study.store.atomic import create, write_atomically
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
    """A lease in a file, and beside it an heir of each owner who was taken over.

    Whoever follows the heirs from the file comes to the owner: `take` is decided by the creation of
    an heir, so that a taker who is killed before the file has its lease holds it all the same, and
    is taken over like any other. Heirs stay until their lease is freed, so that an owner whom
    others took for gone learns it whatever the file says.
    """

    def __init__(self, paths: LeasePaths, training: str) -> None:
        self.paths, self.training = paths, training
        self.path = paths.lease(training)
        self._heirs: list[Path] = []
        """Those on the way to the lease that was taken here."""

    def read(self) -> Lease | None:
        """See `Slot`."""
        leases = self._line()
        return leases[-1] if leases else None

    def take(self, lease: Lease, gone: Lease | None) -> bool:
        """See `Slot`."""
        path = self.path if gone is None else self._heir(gone.owner)
        try:
            create(path, lease.content())
        except FileExistsError:
            return False
        if gone is None:
            return True
        owners = [each.owner for each in self._line()]
        if lease.owner not in owners:  # the one who is gone had an heir, whose lease has ended
            path.unlink(missing_ok=True)
            return False
        write_atomically(self.path, lease.content())
        self._heirs = [self._heir(owner) for owner in owners]
        for left in set(self.paths.heirs(self.training)).difference(self._heirs):
            left.unlink(missing_ok=True)  # by owners who were killed
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
            for path in (self.path, *self._heirs):
                path.unlink(missing_ok=True)

    def _line(self) -> list[Lease]:
        """The lease of the file, its owner's heir, and so on."""
        leases, path = list[Lease](), self.path
        while (lease := self._look(path)) is not None:
            leases.append(lease)
            path = self._heir(lease.owner)
        return leases

    def _heir(self, owner: str) -> Path:
        return self.paths.heir(self.training, owner)

    def _look(self, path: Path) -> Lease | None:
        while True:
            try:
                return lease_of(self.training, path.read_bytes(), path.name)
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
        return lease_of(self.training, content, self.path.name) if content else None, tag

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
