"""The error of the store, which every module of the room may raise."""


class StoreError(RuntimeError):
    """The store refuses to take rows, or to read what is no run."""
