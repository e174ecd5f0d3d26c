"""The data card of a run, README.md of its data set, written from the run itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.columns import metric_of, noun
from study.columns.rows import OF_A_ROW
from study.hub.names import HubError, HubName
from study.settings.arguments import COMMAND as PACKAGE
from study.settings.yaml_files import read_yaml
from study.store import RunPaths, Store

if TYPE_CHECKING:
    import polars as pl

NAME = "README.md"
MOST_LEVELS = 12
"""Levels of an axis that are listed."""
CONFIG = "rows"
"""The name of the table for `datasets.load_dataset`."""
OWN = ("configs", "size_categories")
"""Entries of the front matter that follow from the rows; all others are the owner's to change."""
DECLARED = {
    "primary": "decides about",
    "margin": "changes that count as none",
    "level": "levels whose epoch is asked for",
    "intervention": "axes whose effect is asked for",
    "matched": "levels compared at equal training loss",
}
"""What a study declares under `analysis`, and what that is."""
_MARK = re.compile(r"<!-- written by collapse-study, ([0-9a-f]{64}) -->\s*")


def card(run: Path, name: HubName, *, license: str | None, former: str = "") -> str:
    """README.md of a packed run in the data set of that name.

    What the front matter of the `former` one says besides of the rows stays; `license` takes the
    place of the one there. The run's own README.md stands in the end.

    Raises HubError where the text of the former one was written by somebody, which would be lost.
    """
    from huggingface_hub import DatasetCardData

    store = Store(run)
    rows = store.read()
    entries: dict[str, Any] = {
        "pretty_name": f"{name.short}: neural collapse",
        "task_categories": ["tabular-regression"],
        "tags": ["neural-collapse", "quantization", "generalization", PACKAGE],
        **_former_entries(name, former),
        "size_categories": [_size(len(rows))],
        "configs": [
            {"config_name": CONFIG, "data_files": store.paths.packed.name, "default": True}
        ],
    }
    if license is not None:
        entries["license"] = license
    body = "\n".join(_body(store, rows, name))
    front = DatasetCardData(**entries).to_yaml()
    return f"---\n{front}\n---\n{body}\n{_mark(body)}\n"


def has_license(text: str) -> bool:
    """Whether the front matter of a card names a license."""
    return bool(_front_matter(text)[0].get("license"))


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The entries at the head of a card, and the text below them."""
    from huggingface_hub import DatasetCard

    whole = DatasetCard(text)
    return whole.data.to_dict(), whole.text  # type: ignore[no-untyped-call]


def _mark(body: str) -> str:
    digest = hashlib.sha256(body.strip().encode()).hexdigest()
    return f"<!-- written by collapse-study, {digest} -->"


def _former_entries(name: HubName, text: str) -> dict[str, Any]:
    """The front matter of a card that may be replaced."""
    import yaml

    if not text.strip():
        return {}
    try:
        entries, body = _front_matter(text)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise HubError(
            f"{name}: the front matter of {NAME} there cannot be read: mend it there ({error})"
        ) from error
    marks = list(_MARK.finditer(body))
    if body.strip() and not (
        marks and not body[marks[-1].end() :].strip() and _is_own(body, marks[-1])
    ):
        raise HubError(
            f"{name}: {NAME} there holds text that no push has written and that one would replace: "
            f"move it to {NAME} of the run, which every card ends with, and delete it there"
        )
    return {key: value for key, value in entries.items() if key not in OWN}


def _is_own(body: str, mark: re.Match[str]) -> bool:
    """Whether the text before the mark of a card is that which was marked."""
    return _mark(body[: mark.start()]) == mark[0].strip()


def _size(count: int) -> str:
    """The Hub's name for a number of rows."""
    ends = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M")]
    below = "n"
    for end, text in ends:
        if count < end:
            return f"n<{text}" if below == "n" else f"{below}<n<{text}"
        below = text
    return "1M<n<10M" if count < 10_000_000 else "10M<n<100M"


def _body(store: Store, rows: pl.DataFrame, name: HubName) -> Iterator[str]:
    planned = store.planned()
    yield from (f"# {name.short}", "")
    yield (
        "Neural collapse of trainings, measured by "
        f"{PACKAGE} {version(PACKAGE)}: each row is a checkpoint of a training at one precision, "
        "with all its settings."
    )
    yield from ("", *_counts(store, rows, planned), "")
    yield from ("## What the study asks", "", *_study(store.paths, planned), "")
    yield from ("## Read it", "", *_reading(name), "")
    yield from ("## Columns", "", *_columns(rows.columns), "")
    yield from ("## Where it comes from", "", *_provenance(store), "")
    yield from ("## Citation", "", *_citation(name), "")
    own = store.paths.root / NAME
    if own.is_file():
        yield from ("## What was found", "", own.read_text(encoding="utf-8").strip(), "")


def _counts(store: Store, rows: pl.DataFrame, planned: pl.DataFrame) -> Iterator[str]:
    done = store.keys() & set(planned["cell"])
    yield from _table(
        ("rows", "columns", "trainings", "cells done", "cells failed", "cells asked for"),
        [
            (
                len(rows),
                rows.width,
                rows["training"].n_unique(),
                len(done),
                len(store.failed() & set(planned["cell"])),
                len(planned),
            )
        ],
    )


def _study(paths: RunPaths, planned: pl.DataFrame) -> Iterator[str]:
    """Axes of the grid, what was declared before it ran, and the settings."""
    yield "The grid varies:"
    yield ""
    axes = [
        column
        for column in planned.columns
        if column not in ("cell", "training") and planned[column].n_unique() > 1
    ]
    lines = [(f"`{axis}`", noun(axis), _levels(planned[axis])) for axis in axes]
    yield from _table(("axis", "what it is", "levels"), lines)
    files = [path for path in (paths.study, paths.search_file) if path.is_file()]
    for path in files:
        content = read_yaml(path)
        content.pop("folder", None)
        declared = content.get("analysis")
        if isinstance(declared, Mapping) and declared:
            yield from ("", "Declared before it ran:", "")
            yield from (
                f"* {DECLARED.get(key, key)}: {_plain(value)}" for key, value in declared.items()
            )
        yield from ("", f"All of `{path.name}`:", "", "```yaml", _yaml(content), "```")


def _levels(column: pl.Series) -> str:
    values = column.unique().sort().to_list()
    shown = ", ".join("none" if value is None else f"{value}" for value in values[:MOST_LEVELS])
    more = len(values) - MOST_LEVELS
    return f"{shown} and {more} more" if more > 0 else shown


def _plain(value: object) -> str:
    """A value of a study in words: names by commas, pairs by their sign."""
    if isinstance(value, Mapping):
        return ", ".join(f"`{key}` {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return str(value)


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return text.strip()


def _reading(name: HubName) -> Iterator[str]:
    whole = HubName(name.repository)
    yield from (
        "```",
        f"collapse-study report {whole}               # a report of it",
        f"collapse-study pack {whole} runs/{name.short}   # a copy that a launch goes on with",
        "```",
        "",
        "```python",
        "import datasets, polars",
        "",
        f'rows = datasets.load_dataset("{name.repository}", "{CONFIG}", split="train")',
        f'rows = polars.read_parquet("hf://datasets/{name.repository}/rows.parquet")',
        "```",
        "",
        f"`{whole}@COMMIT` is one version of it, whatever is pushed later.",
    )


def _columns(names: Iterable[str]) -> Iterator[str]:
    lines = []
    for name in names:
        metric = metric_of(name)
        if metric is not None:
            unit = f" {metric.unit}" if metric.unit else ""
            what = f"{metric.name}: {metric.description}"
            lines.append((f"`{name}`", what, f"{metric.range}{unit}", metric.citation))
        else:
            lines.append((f"`{name}`", OF_A_ROW.get(name) or _setting(name), "", ""))
    yield from _table(("column", "what it is", "range", "source"), lines)


def _setting(name: str) -> str:
    words = noun(name)
    return "a setting of the study" if words == name else f"a setting: {words}"


def _provenance(store: Store) -> Iterator[str]:
    """Data sets, versions and commits, each once."""
    for record in store.data():
        settings = ", ".join(
            f"{key} {value}" for key, value in record.settings.items() if value is not None
        )
        yield f"* data: {settings}"
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(store.paths.launches.glob("[!.]*.json"))
    ]
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for library, number in record.get("versions", {}).items():
            versions.setdefault(library, {})[str(number)] = None
    if versions:
        named = (f"{library} {' and '.join(numbers)}" for library, numbers in versions.items())
        yield f"* versions: {', '.join(named)}"
    if commits := dict.fromkeys(record["git_sha"] for record in records if record.get("git_sha")):
        yield f"* commits of {PACKAGE}: {', '.join(commits)}"
    yield "* launches, with their computers and times: `launches/`; trainings: `trainings/`"


def _citation(name: HubName) -> Iterator[str]:
    yield from (
        f"Cite the data set with its commit, {HubName(name.repository)}@COMMIT, what the column "
        f"`source` above names for each metric, and {PACKAGE}:",
        "",
        "```bibtex",
        f"@software{{{PACKAGE.replace('-', '_')},",
        f"  title = {{{PACKAGE}: neural collapse across scale, training and precision}},",
        f"  author = {{{{the {PACKAGE} authors}}}},",
        f"  version = {{{version(PACKAGE)}}}",
        "}",
        "```",
    )


def _table(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table in Markdown, whose cells hold no line and no bar of their own."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for line in lines:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in line)
        yield f"| {' | '.join(cells)} |"
