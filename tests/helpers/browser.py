"""Debian's chromium, driven over a pipe (Chrome DevTools protocol).

Nothing but the browser is needed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
]
PATIENCE = 90.0  # seconds, on a machine that is busy with other things


class Browser:
    """One page, driven over two files of the browser.

    Commands go out on file 3, answers and events come back from file 4, each ended by a null.
    """

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        to_read, self._to_write = os.pipe()
        self._to_read, to_write = os.pipe()
        command = 'exec "$0" "$@" 3<&$READ 4>&$WRITE'
        with (folder / "browser.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "bash",
                    "-c",
                    command,
                    CHROMIUM,
                    *SWITCHES,
                    f"--user-data-dir={folder / 'profile'}",
                ],
                env={**os.environ, "READ": str(to_read), "WRITE": str(to_write)},
                pass_fds=(to_read, to_write),
                stdout=log,
                stderr=log,
            )
        for number in (to_read, to_write):
            os.close(number)
        self.events: list[dict[str, Any]] = []
        self._rest, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, method: str) -> None:
        """Until an event was seen."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is, by value."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression of JavaScript holds."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} does not hold after {PATIENCE} seconds"

    def open(self, page: Path) -> None:
        """Load a page, until all of it is there; forgets the events of the one before."""
        self.visit(page.as_uri())

    def visit(self, address: str) -> None:
        """As `open`, by the address of a page."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.wait("Page.loadEventFired")

    def point(self, kind: str, x: float, y: float) -> None:
        """An event of the mouse at a place of the window: mouseMoved, mousePressed ..."""
        pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def tap(self, x: float, y: float) -> None:
        """Touch a place of the window and let go."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def resize(self, width: int, height: int = 800, *, mobile: bool = False) -> None:
        """Give the page so many pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def complaints(self) -> list[dict[str, Any]]:
        """What the page has thrown, logged as an error, or written on its console."""
        return [
            event["params"]
            for event in self.events
            if event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
            or (
                event.get("method") == "Log.entryAdded"
                and event["params"]["entry"]["level"] == "error"
            )
        ]

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(timeout=30)
        os.close(self._to_write)
        os.close(self._to_read)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._to_read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser said nothing for {PATIENCE} seconds"
            more = os.read(self._to_read, 1 << 16)
            assert more, "the browser ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed
