"""The page in a real browser sorts and unfolds tables, and opens what a link leads to.

Points of its figures tell their training, open its curves and are chosen by settings. It has no
error on its console and asks the network for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from report_study import write_study

import analysis
from analysis.reading.selection import at_reference, final_rows
from analysis.report.page import Report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A report and where its page lies."""
    folder = tmp_path_factory.mktemp("report")
    rows = write_study(folder / "rows.parquet", 1.5)
    report = analysis.report(rows, permutations=50, bootstrap=50)
    return report, report.write(folder)


def test_the_page_in_a_browser(browser: Browser, written: tuple[Report, Path]) -> None:
    report, page = written
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


POINT = (
    "(() => {{ const box = [...document.querySelectorAll('#figure-association #axes_{panel} > "
    "[id^=line2d] use')].map(part => part.getBoundingClientRect()).sort((a, b) => a.y - b.y)[{at}];"
    " return [box.x + box.width / 2, box.y + box.height / 2] }})()"
)
"""The middle of a point as the svg draws it, the highest first."""
TIP = "document.querySelector('.tip')"
CURVES = "document.querySelector('.curves')"


def test_points_tell_their_training(browser: Browser, written: tuple[Report, Path]) -> None:
    report, page = written
    browser.open(page)
    browser.resize(1280, 900)
    browser.value("location.hash = 'figure-association'")
    browser.until("document.querySelector('#figure-association').checkVisibility()")
    rows = final_rows(report.table).sort("val_loss", descending=True)
    first, second = rows.head(2).to_dicts()

    # the highest point of a panel is the training with the largest loss, in every panel
    for panel in (1, 2, 4):
        x, y = browser.value(POINT.format(panel=panel, at=0))
        browser.point("mouseMoved", x + 2, y - 2)
        browser.until(f"!{TIP}.hidden")
        said = browser.value(f"{TIP}.textContent")
        wanted = f"{first['training']}width {first['width']}, depth {first['depth']}, "
        assert said == f"{wanted}seed {first['seed']}"
        ring = "document.querySelector('#figure-association .ring').getBoundingClientRect()"
        assert browser.value(f"{ring}.x + {ring}.width / 2") == pytest.approx(x, abs=0.5)
        assert browser.value(f"{ring}.y + {ring}.height / 2") == pytest.approx(y, abs=0.5)
    browser.point("mouseMoved", 5, 5)
    browser.until(f"{TIP}.hidden")

    # a click opens its curves, another those of another in their place
    for at, row in enumerate((first, second)):
        x, y = browser.value(POINT.format(panel=1, at=at))
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            browser.point(kind, x, y)
        browser.until(f"{CURVES}?.dataset.training === '{row['training']}'")
        assert browser.value("document.querySelectorAll('.curves').length") == 1
        history = at_reference(report.table).filter(training=row["training"]).sort("epoch")
        shown = browser.value(
            f"[...{CURVES}.querySelector('figure').querySelectorAll('title')].map(part => "
            "part.textContent)"
        )
        lines = history.select("epoch", "val_loss").rows()
        assert shown == [f"epoch {epoch}: {loss:.4g}" for epoch, loss in lines]
    names = browser.value(
        f"[...{CURVES}.querySelectorAll('figcaption')].map(part => part.textContent)"
    )
    assert len(names) == len({"val_loss", "train_loss", *report.table.roles.primary})
    browser.value(f"{CURVES}.querySelector('button').click()")
    assert browser.value(f"{CURVES} === null") is True

    # of a training that was measured once it has the values
    once = "known.curves[0] = {along: [3], values: known.columns.map((_, at) => [at + 0.5])}"
    browser.value(f"window.once = (({once}), curves(0))")
    assert browser.value("once.querySelectorAll('svg').length") == 0
    values = browser.value("[...once.querySelectorAll('dd')].map(part => part.textContent)")
    assert values == [f"{at}.5" for at in range(len(names))]

    # a choice of settings veils the other trainings, in all figures, and they are told no more
    choice = "document.querySelectorAll('#figure-association select')[0]"
    options = browser.value(f"[...{choice}.options].map(option => option.text)")
    assert options == ["all", "32", "64"]
    other = str({32: 64, 64: 32}[first["width"]])
    browser.value(
        f"{choice}.value = {options.index(other) - 1}; {choice}.dispatchEvent(new Event('change'))"
    )
    assert browser.value("document.querySelector('#figure-association .shown').value") == (
        "12 of 24 trainings"
    )
    assert browser.value("[...document.querySelectorAll('.veil')].every(veil => !veil.hidden)")
    x, y = browser.value(POINT.format(panel=1, at=0))
    ink = (
        "(() => {{ const veil = document.querySelector('#figure-association .veil'), box = "
        "veil.getBoundingClientRect(); return [...veil.getContext('2d').getImageData({x} - box.x, "
        "{y} - box.y, 1, 1).data] }})()"
    )
    assert browser.value(ink.format(x=x, y=y))[:3] == [255, 255, 255]
    kept = rows["width"].to_list().index(int(other))
    assert browser.value(
        ink.format(**dict(zip("xy", browser.value(POINT.format(panel=1, at=kept)), strict=True)))
    )[:3] != [255, 255, 255]
    browser.point("mouseMoved", x, y)
    said = browser.value(f"{TIP}.hidden ? '' : {TIP}.textContent")
    assert not said.startswith(first["training"])
    browser.value(f"{choice}.value = -1; {choice}.dispatchEvent(new Event('change'))")
    assert browser.value("[...document.querySelectorAll('.veil')].every(veil => veil.hidden)")

    # by keyboard
    browser.value("document.querySelector('#figure-association .plot > div').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
    assert browser.value(f"!{TIP}.hidden") is True
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter")
    browser.until(f"{CURVES} !== null")

    # on a phone a first tap tells, a second opens, and nothing is wider than the window
    browser.resize(390, mobile=True)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.value(f"{CURVES}.remove()")
    browser.value("document.querySelector('#figure-association').scrollIntoView()")
    place = browser.value(POINT.format(panel=1, at=0))
    browser.tap(*place)
    browser.until(f"{TIP}.textContent.startsWith('{first['training']}') && !{TIP}.hidden")
    assert browser.value(f"{CURVES} === null") is True
    assert browser.value("document.documentElement.scrollWidth") <= 390
    browser.tap(*place)
    browser.until(f"{CURVES}?.dataset.training === '{first['training']}'")
    assert browser.value("document.documentElement.scrollWidth") <= 390
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)

    links = browser.value(
        "[...document.querySelectorAll('figcaption a')].map(link => link.getAttribute('href'))"
    )
    assert sorted(links) == sorted(f"tables/{name}.csv" for name in [*report.frames, "metrics"])
    assert [link for link in links if not (page.parent / link).is_file()] == []
    assert browser.complaints() == []
