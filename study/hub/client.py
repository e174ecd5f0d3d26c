"""The client of the Hub, and what its errors mean to those who ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from study.hub.names import HubError, HubName

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOGIN = "run `hf auth login`, or set HF_TOKEN"
AGAIN = "try again: what has arrived is not sent twice"
MEANINGS = {
    401: f"the Hub does not accept the token: {LOGIN}",
    403: "the token has no right to do this: take one that may write there",
    404: "there is no such data set, or none that you may see: check its name; for a private one "
    f"{LOGIN}",
    409: "somebody has pushed there at the same time: push again",
    412: "somebody has pushed there at the same time: push again",
    413: "the Hub takes no commit of this size: push fewer files",
    429: "the Hub has had too many requests: wait some minutes, then try again",
}
"""What an answer of the Hub means, by its status."""


@contextmanager
def asking(name: HubName) -> Iterator[HfApi]:
    """The client, whose errors become HubErrors that say what to do."""
    try:
        from huggingface_hub import HfApi

        # The base of errors of the network, whichever HTTP library the client is built on.
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    except ImportError as error:
        raise HubError(
            f"{name} needs {error.name}, which is not installed: "
            "run pip install 'collapse-study[hub]'"
        ) from error
    try:
        yield HfApi()
    except HubError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise HubError(f"{name}: {_meaning(error)}") from error


def _meaning(error: BaseException) -> str:
    """What an error of the client says, in a line, and what to do about it."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    first = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    told = f"{type(error).__name__}: {first}".rstrip(".: ")
    if isinstance(error, RepositoryNotFoundError):
        return MEANINGS[404]
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision: give a branch, a tag or a commit of it"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE keeps this from the network: unset it"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        own = f" ({error.server_message})" if error.server_message else ""
        return f"{MEANINGS.get(status, f'the Hub answers with {status}: {AGAIN}')}{own}"
    if isinstance(error, LocalEntryNotFoundError):
        return f"not all of it lies in the cache of this computer: unset HF_HUB_OFFLINE ({told})"
    if isinstance(error.__cause__, Exception) and isinstance(error, RuntimeError):
        return _meaning(error.__cause__)
    if isinstance(error, ValueError):
        return " ".join(str(error).split())
    return f"the Hub cannot be reached, or has broken off ({told}): {AGAIN}"
