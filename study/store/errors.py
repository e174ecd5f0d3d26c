"""The errors of the store, which every module of the room may raise."""


class StoreError(RuntimeError):
    """The store refuses to take rows, or to read what is no run."""


class StorageError(OSError):
    """The object storage refused a request or did not answer, as `strerror` says.

    `passing`: another try may succeed. A command that it ends has an exit code of its own.
    """

    exit_code = 3
    passing = False

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"
