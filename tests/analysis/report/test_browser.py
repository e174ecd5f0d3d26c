"""The page in a real browser sorts and unfolds tables.

It has no error on its console and asks the network for nothing.

The browser is driven over a pipe (Chrome DevTools protocol), so that nothing but Debian's chromium
is needed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_study import write_study

import analysis

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


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(tmp_path)
    yield opened
    opened.close()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    report = analysis.report(
        write_study(tmp_path / "rows.parquet", 1.5), permutations=50, bootstrap=50
    )
    page = report.write(tmp_path)
    browser.call("Page.navigate", url=page.as_uri())
    browser.wait("Page.loadEventFired")

    column = (
        "[...document.querySelectorAll('#table-association tbody tr')].map(row => "
        "row.cells[{0}].dataset.sort)"
    )
    place = browser.value(
        "[...document.querySelectorAll('#table-association th')].findIndex(head => "
        "head.textContent.trim() === 'r')"
    )
    before = browser.value(column.format(place))
    click = f"document.querySelectorAll('#table-association th button')[{place}].click()"
    browser.value(click)
    up = [float(value) for value in browser.value(column.format(place))]
    assert up == sorted(float(value) for value in before)
    assert up != [float(value) for value in before]
    browser.value(click)
    assert [float(value) for value in browser.value(column.format(place))] == up[::-1]
    head = f"document.querySelectorAll('#table-association th')[{place}].getAttribute('aria-sort')"
    assert browser.value(head) == "descending"

    # what is folded opens; every figure is drawn; nothing but tables and figures scrolls sideways,
    # on a phone either
    assert browser.value("document.querySelector('#table-changes').checkVisibility()") is False
    browser.value("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.value("document.querySelector('#table-changes').checkVisibility()") is True
    assert browser.value("document.querySelectorAll('.plot svg').length") == len(report.figures)
    assert (
        browser.value(
            "[...document.querySelectorAll('.plot svg')].every(svg => svg.clientHeight > 50)"
        )
        is True
    )
    for width in (390, 1280):
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        assert browser.value("document.documentElement.scrollWidth") <= width
    # A4 less its margins: nothing is cut off on paper
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=718,
        height=1000,
        deviceScaleFactor=1,
        mobile=False,
    )
    browser.call("Emulation.setEmulatedMedia", media="print")
    beyond = (
        "[...document.querySelectorAll('table, svg')].filter(part => "
        "part.getBoundingClientRect().right > 718)"
    )
    assert (
        browser.value(f"{beyond}.map(part => part.id + ' ' + part.getBoundingClientRect().right)")
        == []
    )
    browser.call("Emulation.setEmulatedMedia", media="")
    colour = "getComputedStyle(document.body).backgroundColor"
    shades = []
    for scheme in ("light", "dark"):
        browser.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        shades.append(browser.value(colour))
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 31)"]

    seen = [(event["method"], event["params"]) for event in browser.events if "method" in event]
    assert not [params for method, params in seen if method == "Runtime.exceptionThrown"]
    assert not [
        params
        for method, params in seen
        if method == "Log.entryAdded" and params["entry"]["level"] == "error"
    ]
    assert not [params for method, params in seen if method == "Runtime.consoleAPICalled"]
    requests = [
        params["request"]["url"] for method, params in seen if method == "Network.requestWillBeSent"
    ]
    assert requests[0] == page.as_uri()  # so requests are seen at all
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    assert {url for url in requests if url.startswith("file:")} == {page.as_uri()}
