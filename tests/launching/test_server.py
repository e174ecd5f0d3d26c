"""The served report: what is answered to whom, and that it is built anew as cells arrive."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from places import ROOT

from analysis.__main__ import main as analyse
from study.launching import server
from study.launching.progress import Progress
from study.launching.server import LiveReport
from study.settings.faults import StudyError
from study.status import main as status

BEGUN = Progress("cells", total=4, done=1, failed=0, left=3, running=1, stored=1)
WRITE = """
import sys, pathlib
folder, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
number = int(count.read_text())
if number == 2:
    print("[1/1] association", file=sys.stderr)
    sys.exit("error: too few rows")
(folder / "tables").mkdir(parents=True, exist_ok=True)
(folder / "tables" / "own.csv").write_text(f"cells\\n{number}\\n")
part = "<section id='s'><details><summary>all</summary>" + "<p>line</p>" * 99 + "</details>"
(folder / "report.html").write_text(f"<title>{number}</title>{part}</section>")
"""
"""What stands for the report: a page of the number of cells that it was built of."""


class Run:
    """A run of which the test says how far it is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder / "report", folder / "count"
        self.at(BEGUN)

    def at(self, progress: Progress) -> None:
        """Let it be so far."""
        self.progress = progress
        self.file.write_text(str(progress.stored))

    def live(self) -> LiveReport:
        """Its report and a server."""
        command = [sys.executable, "-c", WRITE, str(self.folder), str(self.file)]
        return LiveReport(lambda: self.progress, command, self.folder)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def until(live: LiveReport, holds: Callable[[], bool]) -> None:
    """Look at the run until something holds."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        live.turn()
        time.sleep(0.02)


def get(
    live: LiveReport, path: str, *, host: str | None = None, method: str = "GET"
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, content and headers of an answer; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{live.port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def state(live: LiveReport) -> Any:
    return json.loads(get(live, "/progress.json")[1])


def test_a_report_is_built_anew_after_a_cell_arrived(run: Run) -> None:
    run.at(replace(BEGUN, done=0, left=4, stored=0))
    with run.live() as live:
        live.turn()
        assert not live.building  # there are no rows
        assert get(live, "/report.html")[0] == 404
        run.at(BEGUN)
        until(live, lambda: live.version == 1)
        assert b"<title>1</title>" in get(live, "/report.html")[1]
        run.at(replace(BEGUN, stored=2))
        until(live, lambda: live.problem != "")
        told = state(live)
        assert (told["version"], told["problem"]) == (1, "error: too few rows")
        assert b"<title>1</title>" in get(live, "/report.html")[1]
        assert get(live, "/tables/own.csv")[:2] == (200, b"cells\n1\n")
        for _ in range(5):  # no cell, no work
            live.turn()
            assert not live.building
        run.at(replace(BEGUN, done=4, left=0, running=0, stored=4))
        until(live, lambda: live.version == 2)
        assert b"<title>4</title>" in get(live, "/report.html")[1]
        told = state(live)
        assert (told["done"], told["left"], told["problem"]) == (4, 0, "")
        assert told["text"] == "4 of 4 cells done, 0 left"


def test_trainings_have_the_processor_between_two_reports(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("study.launching.server.time.monotonic", lambda: now[0])
    live = run.live()
    with live:
        live.turn()
        assert live.building
        assert live._child is not None
        live._child.wait()
        now[0] += 10
        live.turn()
        assert live.version == 1
        run.at(replace(BEGUN, stored=2))
        now[0] += 10 * server.REST - 1
        live.turn()
        assert not live.building
        now[0] += 2
        live.turn()
        assert live.building


def test_the_head_says_all_of_the_progress() -> None:
    assert BEGUN.text == "1 of 4 cells done, 3 left, 1 training running"
    later = replace(BEGUN, units="trials", failed=2, running=3, seconds_left=90.0)
    assert later.text == (
        "1 of 4 trials done, 3 left, 2 failed, 3 trainings running, about 1 min 30 s to go"
    )


def test_nothing_but_the_report_is_served_and_to_this_computer_alone(
    run: Run, tmp_path: Path
) -> None:
    with run.live() as live:
        until(live, lambda: live.version == 1)
        secret = tmp_path / "secret.csv"
        secret.write_text("secret")
        (run.folder / "tables" / "link.csv").symlink_to(secret)
        (run.folder / "tables" / "page.py").write_text("secret")
        (run.folder / "notes.md").write_text("secret")
        (run.folder / "tables" / ".hidden.csv").write_text("secret")
        for path in (
            "/../secret.csv",
            "/tables/../../secret.csv",
            "/tables/%2e%2e/%2e%2e/secret.csv",
            "/tables/..%2f..%2fsecret.csv",
            f"/{secret}",
            f"/tables/{secret}",
            "/tables/link.csv",
            "/tables/page.py",
            "/tables/.hidden.csv",
            "/tables",
            "/tables/",
            "/tables/own.csv/",
            "/tables/own.csv%00",
            "/notes.md",
            "/count",
        ):
            code, content, _ = get(live, path)
            assert code == 404, path
            assert b"secret" not in content
        port = live.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
            for path in ("/", "/report.html", "/progress.json"):
                assert get(live, path, host=host)[0] == 421
        assert get(live, "/report.html", host=f"localhost:{port}")[0] == 200
        for path in ("/", "/live.js", "/live.css", "/report.html", "/progress.json"):
            code, content, headers = get(live, path)
            assert code == 200
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "frame-ancestors" in headers["Content-Security-Policy"]
            assert "Python" not in headers["Server"]
            code, body, head = get(live, path, method="HEAD")
            assert (code, body, head["Content-Length"]) == (200, b"", str(len(content)))
        assert get(live, "/report.html", method="POST")[0] == 501
        assert live._server.server_address[0] == "127.0.0.1"
        with pytest.raises(StudyError, match=f"--port: {port} cannot be used"):
            LiveReport(lambda: BEGUN, [], run.folder, port)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_each_report_and_keeps_what_is_open(run: Run, tmp_path: Path) -> None:
    inner = "document.querySelector('iframe').contentDocument"
    with run.live() as live, browsing(tmp_path) as browser:
        browser.visit(live.address)
        until(live, lambda: live.version == 1)
        browser.until(f"{inner}?.title === '1' && {inner}.readyState === 'complete'")
        text = "document.querySelector('header span').textContent"
        browser.until(f"{text} === '{BEGUN.text}'")
        assert browser.value("document.querySelector('progress').value") == 0.25
        browser.value(f"{inner}.querySelector('details').open = true")
        run.at(replace(BEGUN, done=4, left=0, running=0, stored=4))
        until(live, lambda: live.version == 2)
        browser.until(f"{inner}?.title === '4' && {inner}.querySelector('details')?.open")
        browser.until(f"{text} === '4 of 4 cells done, 0 left'")
        for width in (390, 1280):
            browser.resize(width, mobile=True)
            assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.complaints() == []
        asked = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert [url for url in asked if not url.startswith((live.address, "data:"))] == []


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    opened = Browser(folder)
    try:
        yield opened
    finally:
        opened.close()


def test_the_command_serves_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text((ROOT / "runs/optimizers/study.yaml").read_text())
    with subprocess.Popen(
        [sys.executable, "-m", "study.status", str(folder), "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Where the suite runs in the background, Ctrl-C is ignored, which children inherit.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert select.select([process.stdout], [], [], 90)[0]
            line = process.stdout.readline()
            port = int(line.split(":")[2].partition("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/progress.json")
            told = json.loads(connection.getresponse().read())
            assert (told["done"], told["version"], told["units"]) == (0, 0, "cells")
            assert told["building"] is False
            assert told["left"] == told["total"] > 0
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
            assert process.stdout.read() == "Stopped.\n"
            assert process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("door", "arguments", "fault"),
    [
        (status, ["RUN", "--serve", "--json"], "--serve: leave out --json"),
        (status, ["RUN", "--serve", "--watch"], "--serve: leave out --watch"),
        (status, ["RUN", "--port", "8000"], "--port: this is of --serve"),
        (status, ["RUN", "--out", "x"], "--out: this is of --serve"),
        (analyse, ["RUN", "--port", "8000"], "--port: this is of --serve"),
        (analyse, ["RUN", "RUN", "--serve"], "--serve: give one run directory"),
        (analyse, ["RUN/rows.csv", "--serve"], "--serve: give one run directory"),
        (analyse, ["RUN", "--serve", "--table", "within"], "--serve: leave out --table"),
    ],
)
def test_what_does_not_go_with_serve_is_refused(
    door: Any, arguments: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part.replace("RUN", str(tmp_path)) for part in arguments]
    assert door(given) == 2
    assert fault in capsys.readouterr().err


def test_a_report_hands_its_arguments_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[str]] = []

    def take(given: list[str]) -> int:
        handed.append(given)
        return 7

    monkeypatch.setattr("study.status.main", take)
    given = ["--seed", "3", str(tmp_path), "--port", "8001", "--primary", "a,b", "--serve"]
    assert analyse([*given, "--out", str(tmp_path / "x")]) == 7
    report = ["--seed", "3", str(tmp_path), "--primary", "a,b"]
    folder = str(tmp_path / "x")
    assert handed == [
        [str(tmp_path), "--serve", "--port", "8001", "--out", folder, "--report", *report]
    ]
