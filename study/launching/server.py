"""The report of a run on this computer's own address, built anew as cells arrive."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from study.launching.progress import Progress
from study.settings.faults import Fault, StudyError
from study.store import RunPaths
from study.store.places import place

LOOPBACK = "127.0.0.1"
PAUSE = 1.0
"""Seconds between two looks at the run."""
REST = 3
"""Times what a report took that the next one waits while cells still arrive."""
PAGE = "report.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".pdf": "application/pdf",
}
"""Endings of files that are served, and how browsers are to take them."""
SERVED = re.compile(r"report\.html|(?:tables|figures|print)(?:/[\w-][\w.+-]*)+")
"""Files of a report, by their place in its folder."""
SHELL = {"": "live.html", "live.css": "live.css", "live.js": "live.js"}
"""What stands around the report."""
OWN = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
POLICIES = {
    "": OWN + "frame-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    PAGE: "frame-ancestors 'self'",  # and what the page says of itself
}
OTHERS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""The policy of all other files, which run nothing."""


class LiveReport:
    """A report that is built anew as cells arrive, with a server on loopback.

    A context: the server begins and ends with it. `turn` looks at the run once.
    """

    def __init__(
        self, look: Callable[[], Progress], command: Sequence[str], folder: Path, port: int = 0
    ) -> None:
        """Open the server.

        Args:
            look: how far the run is.
            command: what writes the report to `folder`.
            folder: where the report lies.
            port: where to listen; 0 for any that is free.

        Raises:
            StudyError: the port cannot be listened at.
        """
        self.look, self.command, self.folder = look, command, folder
        self.version = int((folder / PAGE).is_file())
        self.problem = ""
        self.progress = look()
        self._built_of = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._begun = self._ended = time.monotonic()
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(self))
        except OSError as error:
            fix = "Give another port, or leave it out for any that is free"
            fault = Fault("--port", f"{port} cannot be used ({error.strerror})", fix)
            raise StudyError([fault]) from None
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> LiveReport:
        """Answer requests from now on."""
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer no more, and end a report that is being built."""
        self._server.shutdown()
        self._server.server_close()
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
        self._said.close()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{LOOPBACK}:{self.port}/"

    @property
    def building(self) -> bool:
        """Whether a report is being built."""
        return self._child is not None

    def turn(self) -> None:
        """Look at the run; begin to build where cells have come, or note that it is done."""
        self.progress = self.look()
        if self._child is not None:
            if (code := self._child.poll()) is not None:
                self._end(code)
        elif self.progress.stored not in (0, self._built_of) and self._rested:
            self._built_of = self.progress.stored
            self._begun = time.monotonic()
            self._said.seek(0)
            self._said.truncate()
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said
            )

    @property
    def _rested(self) -> bool:
        """Whether trainings had the processor to themselves for long enough."""
        wait = REST * (self._ended - self._begun)
        return not self.progress.left or time.monotonic() >= self._ended + wait

    def _end(self, code: int) -> None:
        """Take note of a report that was built, or why it was not."""
        self._child = None
        self._ended = time.monotonic()
        self.version += code == 0
        self._said.seek(0)
        text = self._said.read().decode("utf-8", errors="replace").strip()
        begun = text.rfind("error:")
        self.problem = "" if code == 0 else text[begun:] if begun >= 0 else text[-300:]

    def state(self) -> dict[str, Any]:
        """How far the run and its report are, as plain values."""
        return {
            **asdict(self.progress),
            "text": self.progress.text,
            "version": self.version,
            "building": self.building,
            "problem": self.problem,
        }

    def answer(self, path: str) -> tuple[bytes, str] | None:
        """What lies at the path of an address, and its type; None for what is not served."""
        name = unquote(path).removeprefix("/")
        if name == "progress.json":
            return json.dumps(self.state()).encode(), TYPES[".json"]
        if name in SHELL:
            file = SHELL[name]
            content = (resources.files("study.launching") / file).read_bytes()
            return content, TYPES[Path(file).suffix]
        if not SERVED.fullmatch(name) or Path(name).suffix not in TYPES:
            return None
        try:
            place = (self.folder / name).resolve(strict=True)
            inside = place.is_relative_to(self.folder.resolve())
            return (place.read_bytes(), TYPES[place.suffix]) if inside else None
        except (OSError, KeyError):
            return None


def serve(look: Callable[[], Progress], options: argparse.Namespace) -> None:
    """Show a run and its report until Ctrl-C, as `add_serving_arguments` has asked.

    Raises StudyError as `LiveReport`.
    """
    folder = options.out or RunPaths(place(options.run)).report
    command = [sys.executable, "-m", "analysis", *(options.report or [options.run])]
    # Most of the time the run is incomplete: it is what the reader wants to see grow.
    command += ["--allow-missing", "--out", str(folder)]
    try:
        with LiveReport(look, command, folder, options.port or 0) as live:
            print(f"{live.address} shows the report as cells arrive; Ctrl-C ends it", flush=True)
            while True:
                live.turn()
                time.sleep(PAUSE)
    except KeyboardInterrupt:
        print("Stopped.")


def _handler(live: LiveReport) -> type[BaseHTTPRequestHandler]:
    """What answers requests to a live report."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "collapse-study", ""
        timeout = 30

        def do_GET(self) -> None:
            """Send a file of the report, or how far the run is."""
            # Any page can send its reader here by a name of its own that it lets point to this
            # computer, and then read what is answered: so only this computer's names are heard.
            names = {f"{LOOPBACK}:{live.port}", f"localhost:{live.port}"}
            if not set(self.headers.get_all("Host", [""])) <= names:
                return self._send(HTTPStatus.MISDIRECTED_REQUEST, b"unknown host\n")
            path = urlsplit(self.path).path
            answer = live.answer(path)
            if answer is None:
                return self._send(HTTPStatus.NOT_FOUND, b"not found\n")
            return self._send(HTTPStatus.OK, *answer, policy=POLICIES.get(path[1:], OTHERS))

        def do_HEAD(self) -> None:
            """Send what GET would, without its content."""
            self.do_GET()

        def _send(
            self, status: HTTPStatus, content: bytes, kind: str = TYPES[".md"], policy: str = OTHERS
        ) -> None:
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(content))),
                ("Content-Security-Policy", policy),
                ("Cache-Control", "no-store"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("Referrer-Policy", "no-referrer"),
                ("X-Content-Type-Options", "nosniff"),
            ):
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the terminal has the address alone."""

    return Handler
