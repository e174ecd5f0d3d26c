"""The pages of the documentation: each is listed, every link leads somewhere, the site builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt
from markdown_it.token import Token
from places import ROOT
from yaml12 import Yaml12

from study.__main__ import modules

DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "runs" / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "runs").glob("*/README.md")),
)
LIST = re.compile(r"^```\{toctree\}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(collapse-study |python -m study\.)([a-z]\w*)([^#]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*")
SCHEMA = json.loads((DOCS / "study.schema.json").read_text(encoding="utf-8"))
LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*\"")


def listed(index: str) -> set[Path]:
    """Pages that the lists of docs/index.md name, or find by a pattern."""
    lines = [line for block in LIST.findall(index) for line in block.splitlines()]
    names = [line.strip() for line in lines if line.strip() and not line.startswith(":")]
    return {path.resolve() for name in names for path in DOCS.glob(f"{name}.md")}


def tokens(text: str) -> Iterator[Token]:
    """All parts of a page, those within a line too."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def anchors(text: str) -> set[str]:
    """Anchors of headings, as repositories and the site name them."""
    names: Counter[str] = Counter()
    found = set()
    for before, token in pairwise(tokens(text)):
        if before.type == "heading_open":
            parts = [part for part in token.children if part.type in ("text", "code_inline")]
            words = "".join(part.content for part in parts).lower()
            name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(f"{name}-{names[name]}" if names[name] else name)
            names[name] += 1
    return found


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of a page to files or headings that do not exist."""
    links = {"link_open": "href", "image": "src"}
    dead = []
    for token in tokens(text):
        url = urlsplit(str(token.attrs.get(links.get(token.type, ""), "")))
        if url.scheme or url.netloc or not (url.path or url.fragment):
            continue
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        if not target.exists():
            dead.append(url.geturl())
        elif url.fragment and target.suffix == ".md":
            there = text if target == page else target.read_text(encoding="utf-8")
            dead += [] if url.fragment in anchors(there) else [url.geturl()]
    return dead


def test_every_page_is_listed() -> None:
    assert {path.resolve() for path in PAGES} - {INDEX} == listed(INDEX.read_text("utf-8")), (
        "list the page in docs/index.md, below the heading that it belongs to"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_and_a_missing_page_are_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `b`: c\n\n# A b c\n")
    page = tmp_path / "page.md"
    page.touch()
    good = "[a](there.md#a-b-c) [b](there.md#a-b-c-1) [c](#here) [d](https://x.invalid/y)\n# Here\n"
    assert dead_links(page, good) == []
    bad = "[a](gone.md) [b](there.md#d) [c](#gone) `[d](code.md)` ![e](gone.png)\n"
    assert dead_links(page, bad) == ["gone.md", "there.md#d", "#gone", "gone.png"]
    assert listed("```{toctree}\n:glob:\nmetrics\nnone\n```\n") == {DOCS / "metrics.md"}


def fenced(text: str, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    blocks = (token for token in tokens(text) if token.type == "fence")
    return [block.content for block in blocks if block.info.strip() in languages]


def unknown_options(text: str, parsers: dict[str, ArgumentParser]) -> list[str]:
    """Options of commands in a page that the command does not have."""
    code = [part.content for part in tokens(text) if part.type == "code_inline"]
    lines = [*code, *"\n".join(fenced(text, "", "console")).splitlines()]
    unknown = []
    for script, name, rest in (found for line in lines for found in COMMAND.findall(line)):
        if name in parsers:
            known = parsers[name]._option_string_actions
            options = OPTION.findall(rest)
            unknown += [f"{name} {option}" for option in options if option not in known]
        elif script == "collapse-study ":
            unknown.append(name)
    return unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_pages_give_them(page: Path) -> None:
    parsers = {name: import_module(module).parser() for name, module in modules().items()}
    assert unknown_options(page.read_text(encoding="utf-8"), parsers) == []


def test_an_unknown_option_is_seen() -> None:
    parser = ArgumentParser()
    parser.add_argument("--dry-run")
    good = "`collapse-study launch x --dry-run`"
    bad = "```\npython -m study.launch x --dry   # --no\n```\n`collapse-study lanch`"
    assert unknown_options(f"{good}\n\n{bad}", {"launch": parser}) == ["lanch", "launch --dry"]


def studies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every piece of a study file in the pages, with what a whole file must have."""
    for page in PAGES:
        for text in fenced(page.read_text(encoding="utf-8"), "yaml"):
            piece = yaml.load(text, Yaml12)
            yield page.name, {"name": "piece", "grid": {"seed": [0]}} | piece


@pytest.mark.parametrize(("name", "study"), list(studies()))
def test_pieces_of_study_files_fit_the_schema(name: str, study: dict[str, Any]) -> None:
    faults = Draft202012Validator(SCHEMA).iter_errors(study)
    assert [fault.message for fault in faults] == [], name


@pytest.mark.long
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs"]
    done = subprocess.run(
        [sys.executable, *command, "-d", str(tmp_path / "read"), ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert tmp_path / "site" / "docs" / "settings.html" in pages
    made = [page for page in pages if "_downloads" not in page.parts]
    outside = {page.name: LOADED.findall(page.read_text(encoding="utf-8")) for page in made}
    assert {name: urls for name, urls in outside.items() if urls} == {}
    assert "<math" in (tmp_path / "site" / "docs" / "metrics.html").read_text(encoding="utf-8")
