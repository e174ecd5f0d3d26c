"""The page in a real browser sorts and unfolds tables, and opens what a link leads to.

It has no error on its console and asks the network for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from report_study import write_study

import analysis


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
    browser.open(page)

    # all sections are folded, and a link opens the one it leads to, with what folds its target
    visible = "document.querySelector('#{0}').checkVisibility()"
    assert browser.value("document.querySelectorAll('header p').length") == 3
    assert browser.value(visible.format("table-properties")) is True
    assert browser.value(visible.format("table-within")) is False
    browser.value("document.querySelector(\"nav a[href='#within']\").click()")
    browser.until(visible.format("table-within"))
    assert browser.value(visible.format("table-association")) is False
    browser.value("location.hash = 'table-changes'")
    browser.until(visible.format("table-changes"))
    browser.value("document.querySelectorAll('details').forEach(part => part.open = false)")

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
        browser.resize(width, mobile=True)
        assert browser.value("document.documentElement.scrollWidth") <= width
    # on a phone each value of the table of properties stands beside its heading, all in one line
    browser.resize(390, mobile=True)
    lefts = browser.value(
        "[...document.querySelectorAll('.cards td')].map(cell => cell.getBoundingClientRect().left)"
    )
    assert len(lefts) >= 4 * 5
    assert len(set(lefts)) == 1
    # A4 less its margins: nothing is cut off on paper
    browser.resize(718, 1000)
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
    # what is folded is printed
    browser.value("document.querySelectorAll('details').forEach(part => part.open = false)")
    browser.call("Page.printToPDF")
    closed = "document.querySelectorAll('section > details:not([open])').length"
    assert browser.value(closed) == 0
    colour = "getComputedStyle(document.body).backgroundColor"
    shades = []
    for scheme in ("light", "dark"):
        browser.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        shades.append(browser.value(colour))
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 31)"]

    assert browser.complaints() == []
    seen = [(event["method"], event["params"]) for event in browser.events if "method" in event]
    requests = [
        params["request"]["url"] for method, params in seen if method == "Network.requestWillBeSent"
    ]
    assert requests[0] == page.as_uri()  # so requests are seen at all
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    assert {url for url in requests if url.startswith("file:")} == {page.as_uri()}
