"""Paths of objects in a bucket, which answer what runs ask of `Path`.

A write is whole or not at all. `create` and `exchange` are conditional writes: of several writers
the server lets one win. Folders exist while objects lie below them. Each look is one request, or
one listing for all that lies in a folder, unless it says otherwise. A request that fails for the
moment is sent again, as `study.store.outage` says.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial, total_ordering
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from study.store.errors import StorageError
from study.store.outage import OUTAGE

if TYPE_CHECKING:
    from botocore.client import BaseClient

T = TypeVar("T")
SCHEME = "s3://"
ATTEMPTS = 3
"""Tries of a request, or of a part of a large file, within a second or two."""
CONFLICTS = 7
"""Tries of a write that meets others, with pauses that double."""
PAGE = 1000
"""Objects that one request lists or deletes; the protocol allows no more."""
_MISSING = ("404", "NoSuchKey", "NotFound")
_CHANGED = ("412", "PreconditionFailed")
_CONFLICT = "ConditionalRequestConflict"
"""What a server answers where two conditional writes meet: the later is to ask again."""


@dataclass(frozen=True)
class Facts:
    """What a listing says of an object: bytes and time of the last write."""

    st_size: int
    st_mtime: float
    st_mode: int = stat.S_IFREG | 0o644


class _Clients:
    """The client of this process, which its threads share and its forks do not."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Let the next request make a client of its own."""
        self.lock = threading.Lock()
        self.client: BaseClient | None = None

    def get(self) -> BaseClient:
        """The client; credentials, region and endpoint are boto's own settings."""
        with self.lock:
            if self.client is None:
                self.client = _new_client()
            return self.client


def _new_client() -> BaseClient:
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        # Servers other than Amazon's refuse checksums that they do not know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)


CLIENTS = _Clients()
client = CLIENTS.get


@contextmanager
def _errors(path: ObjectPath) -> Iterator[None]:
    """Within, errors of the client become those of files.

    Raises FileNotFoundError for no object, NotADirectoryError for no bucket, FileExistsError where
    a condition does not hold, and StorageError for all else.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
    )

    try:
        yield
    except ClientError as error:
        raise _translated(error.response, path) from error
    except (BotoCoreError, Boto3Error) as error:
        cause = error.__cause__ or error.__context__  # of a transfer, which has errors of its own
        if isinstance(error, Boto3Error) and isinstance(cause, ClientError):
            raise _translated(cause.response, path) from error
        text = str(error).strip().rstrip(".")
        failure = StorageError(errno.EIO, f"the object storage failed: {text}", str(path))
        failure.passing = isinstance(error, HTTPClientError | IncompleteReadError | Boto3Error)
        raise failure from error


def _translated(response: Mapping[str, Any], path: ObjectPath) -> OSError:
    error = response.get("Error", {})
    code, text = str(error.get("Code", "")), str(error.get("Message", "")).rstrip(".")
    if code in _MISSING:
        return FileNotFoundError(errno.ENOENT, "no such object", str(path))
    if code == "NoSuchBucket":
        return NotADirectoryError(
            errno.ENOTDIR, "there is no such bucket", f"{SCHEME}{path.bucket}"
        )
    if code in _CHANGED:
        return FileExistsError(errno.EEXIST, "another writer was first", str(path))
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        message = f"the object storage denies access ({code}: {text})"
        return StorageError(errno.EACCES, message, str(path))
    message = f"the object storage failed ({code}: {text})"
    failure = StorageError(errno.EIO, message, str(path))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    failure.passing = status in (408, 429) or (status >= 500 and status != 501)
    return failure


def _asked(path: ObjectPath, request: Callable[[], T]) -> T:
    """What the storage answers, as `_errors` says; asked again while that may help."""
    for tries in itertools.count(1):
        try:
            with _errors(path):
                answer = request()
        except StorageError as error:
            if not error.passing:
                raise
            OUTAGE.failed(error, tries)
        except OSError:  # an answer, too: no such object, or a condition that does not hold
            OUTAGE.answered()
            raise
        else:
            OUTAGE.answered()
            return answer
    raise AssertionError("unreachable")


@total_ordering
class ObjectPath:
    """A bucket, an object in it, or a folder of objects.

    It is no `os.PathLike`, so that nothing takes it for a path of this computer.
    """

    __slots__ = ("_facts", "_path")

    def __init__(self, path: str | PurePosixPath, facts: Facts | None = None) -> None:
        """`path`: BUCKET/KEY; `facts`: what a listing said of it, which `stat` then gives."""
        self._path, self._facts = PurePosixPath(path), facts

    def __str__(self) -> str:
        return f"{SCHEME}{self._path}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self._path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self._path == other._path

    def __lt__(self, other: ObjectPath) -> bool:
        return self._path < other._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __truediv__(self, name: str | PurePosixPath) -> ObjectPath:
        return ObjectPath(self._path / name)

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._path.parts[0]

    @property
    def key(self) -> str:
        """Name of the object in its bucket; '' for the bucket itself."""
        return "/".join(self._path.parts[1:])

    @property
    def name(self) -> str:
        """The last part."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The ending of the last part."""
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The scheme, the bucket, and the parts of the key."""
        return (SCHEME, *self._path.parts)

    @property
    def parent(self) -> ObjectPath:
        """The folder; of a bucket the bucket itself."""
        return ObjectPath(self._path.parent) if self.key else self

    def with_suffix(self, suffix: str) -> ObjectPath:
        """The path with another ending."""
        return ObjectPath(self._path.with_suffix(suffix))

    def with_name(self, name: str) -> ObjectPath:
        """The path with another last part."""
        return ObjectPath(self._path.with_name(name))

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """The parts below another path. Raises ValueError where it is not above."""
        return self._path.relative_to(other._path)

    def resolve(self, strict: bool = False) -> ObjectPath:
        """The path itself: there are neither links nor a working folder."""
        return self

    absolute = resolve

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        try:
            self._head()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether objects lie below; a bucket is a folder if it is there."""
        return next(self._listed("", most=1), None) is not None or not self.key

    def is_symlink(self) -> bool:
        """Never: there are no links."""
        return False

    def exists(self) -> bool:
        """Whether there is an object or a folder; two requests where there is no object."""
        return self.is_file() or self.is_dir()

    def stat(self) -> Facts:
        """Size and time, as listed where the path comes from a listing."""
        return self._facts or self._head()

    lstat = stat

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there once an object is."""

    def rmdir(self) -> None:
        """Nothing: a folder is gone with its last object."""

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects and folders in this folder whose name has a pattern, in order."""
        literal = pattern[: next((n for n, c in enumerate(pattern) if c in "*?["), len(pattern))]
        for path in self._listed(literal, delimiter="/"):
            if fnmatchcase(path.name, pattern):
                yield path

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects at any depth whose name has a pattern; one listing."""
        return (path for path in self._listed("") if fnmatchcase(path.name, pattern))

    def iterdir(self) -> Iterator[ObjectPath]:
        """All objects and folders in this folder."""
        return self.glob("*")

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self.read_tagged()[0]

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole content as text."""
        return self.read_bytes().decode(encoding, errors)

    def read_tagged(self) -> tuple[bytes, str]:
        """The whole content, and the tag by which `exchange` knows it again."""

        def read() -> tuple[bytes, str]:
            answer = client().get_object(Bucket=self.bucket, Key=self.key)
            return answer["Body"].read(), answer["ETag"]

        return _asked(self, read)

    def open(self, mode: str = "r", encoding: str | None = None) -> Any:
        """The whole content as a stream to read. Raises ValueError for another mode."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self}: an object is read or written whole, not opened to {mode!r}")
        stream = io.BytesIO(self.read_bytes())
        return stream if mode == "rb" else io.TextIOWrapper(stream, encoding or "utf-8")

    def write_bytes(self, content: bytes) -> None:
        """Write an object, or replace it."""
        self._put(content)

    def create(self, content: bytes) -> str:
        """Write an object that must not exist; its tag. Else FileExistsError."""
        return self._put(content, IfNoneMatch="*")

    def exchange(self, content: bytes, tag: str) -> str:
        """Replace the content that has a tag; the new tag.

        Raises FileExistsError where another content is there, FileNotFoundError where none is.
        """
        return self._put(content, IfMatch=tag)

    def upload(self, file: Path) -> None:
        """Write an object from a file, in parts where it is large; it appears whole."""
        _asked(self, lambda: client().upload_file(str(file), self.bucket, self.key))

    def download(self, file: Path) -> None:
        """Write the content to a file."""
        _asked(self, lambda: client().download_file(self.bucket, self.key, str(file)))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object. Without `missing_ok` a missing one is FileNotFoundError."""
        if not missing_ok:
            self._head()
        _asked(self, lambda: client().delete_object(Bucket=self.bucket, Key=self.key))

    def replace(self, target: ObjectPath) -> None:
        """Copy an object and delete it here: whoever looks meanwhile sees it twice."""
        source = {"Bucket": self.bucket, "Key": self.key}
        _asked(self, lambda: client().copy(source, target.bucket, target.key))
        self.unlink(missing_ok=True)

    def _head(self) -> Facts:
        key = self.key or "/"
        answer = _asked(self, lambda: client().head_object(Bucket=self.bucket, Key=key))
        return Facts(answer["ContentLength"], answer["LastModified"].timestamp())

    def _put(self, content: bytes, **condition: str) -> str:
        """Write; the tag.

        A refusal that finds this very content is that of a try whose answer was lost.
        """
        try:
            return self._put_patiently(content, condition)
        except FileExistsError:
            there, tag = self.read_tagged()
            if there != content:
                raise
            return tag

    def _put_patiently(self, content: bytes, condition: Mapping[str, str]) -> str:
        from botocore.exceptions import ClientError

        request = {"Bucket": self.bucket, "Key": self.key, "Body": content, **condition}

        def put() -> str | None:
            try:
                return str(client().put_object(**request)["ETag"])
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != _CONFLICT:
                    raise
                return None

        for attempt in range(CONFLICTS):
            if (tag := _asked(self, put)) is not None:
                return tag
            time.sleep(0.05 * 2**attempt)
        raise StorageError(errno.EIO, "others write this object again and again", str(self))

    def _listed(
        self, prefix: str, *, delimiter: str = "", most: int | None = None
    ) -> Iterator[ObjectPath]:
        """What lies below whose name has a prefix; with a delimiter, in this folder alone."""
        begin = f"{self.key}/{prefix}" if self.key else prefix
        page: dict[str, Any] = {"Prefix": begin, "Delimiter": delimiter, "MaxKeys": most or PAGE}
        while True:
            answer = _asked(self, partial(client().list_objects_v2, Bucket=self.bucket, **page))
            paths = [
                ObjectPath(
                    f"{self.bucket}/{each['Key']}",
                    Facts(each["Size"], each["LastModified"].timestamp()),
                )
                for each in answer.get("Contents", ())
                if not each["Key"].endswith("/")  # what programs write for an empty folder
            ]
            paths += [
                ObjectPath(f"{self.bucket}/{each['Prefix']}")
                for each in answer.get("CommonPrefixes", ())
            ]
            yield from sorted(paths)
            if not answer.get("IsTruncated"):
                return
            page["ContinuationToken"] = answer["NextContinuationToken"]


def delete(paths: Sequence[ObjectPath]) -> None:
    """Delete objects, many with one request; those that are gone count as deleted."""
    for bucket in {path.bucket for path in paths}:
        keys = [path.key for path in paths if path.bucket == bucket]
        for start in range(0, len(keys), PAGE):
            batch = [{"Key": key} for key in keys[start : start + PAGE]]
            wanted, path = {"Objects": batch, "Quiet": True}, ObjectPath(bucket)
            answer = _asked(path, partial(client().delete_objects, Bucket=bucket, Delete=wanted))
            for error in answer.get("Errors", ()):
                raise _translated({"Error": error}, path / error.get("Key", ""))
