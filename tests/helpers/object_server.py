"""A server of S3's protocol, which can be told to fail.

Writes come one after another, so that their conditions hold as on a real server.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from study.store.objects import CLIENTS, client

BUCKET = "studies"
SECRET = "the-secret-of-a-test"
WRITES = ("PUT", "POST", "DELETE")


class ObjectServer:
    """The server, in this process.

    requests   counts them by method; a GET of a list is `LIST`, a PUT of a copy `COPY`
    failing    answers 503 while it is true
    ignored    headers that it does not know, such as `HTTP_IF_NONE_MATCH`
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, type: str, message: str, *args: Any) -> None:
                """Nothing."""

        self.requests: Counter[str] = Counter()
        self.failing, self.ignored = False, set[str]()
        self._application = create_backend_app("s3")
        self._writing = threading.Lock()
        self._server = make_server(host, port, self._answer, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        self.address = f"http://{host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of the server needs."""
        return {
            "AWS_ACCESS_KEY_ID": "the-key-of-a-test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
        }

    def serve(self) -> None:
        """Serve until `close`."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Serve no more; whoever asks is refused."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        self.requests[_kind(environ)] += 1
        if self.failing:
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        for header in self.ignored:
            environ.pop(header, None)
        if method not in WRITES:
            return list(self._application(environ, start))
        with self._writing:
            return list(self._application(environ, start))


def _kind(environ: dict[str, Any]) -> str:
    method: str = environ["REQUEST_METHOD"]
    if method == "GET" and "list-type" in environ.get("QUERY_STRING", ""):
        return "LIST"
    return "COPY" if "HTTP_X_AMZ_COPY_SOURCE" in environ else method


@contextmanager
def object_server(host: str = "127.0.0.1") -> Iterator[ObjectServer]:
    """A server with a bucket, to which the environment of this process leads meanwhile."""
    server = ObjectServer(host)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            CLIENTS.forget()
            client().create_bucket(Bucket=BUCKET)
            yield server
    finally:
        CLIENTS.forget()
        server.close()
        thread.join()
