"""Libraries whose notices at import concern nobody here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_notices_of_torchao() -> Iterator[None]:
    """Silence the import notices of torchao and torch.

    torchao reports kernels of other machines as `Failed to load`, and torch its use of old calls.
    """
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
