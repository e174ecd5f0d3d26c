"""Classes (tokens) that a reader asks for: by their names, or lists in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from analysis.reading.mapping import read_content
from analysis.reading.table import AnalysisError

ASKED = "asked for"
"""The list of classes that are named one by one."""
FORM = "write `list: [name, ...]`, or one name a line in a .txt"

ClassLists = Mapping[str, Sequence[str]]
"""Names of classes by the name of their list."""


def as_lists(classes: str | Sequence[str] | ClassLists) -> ClassLists:
    """Lists by name, where names alone or text of `read_class_lists` may be given."""
    if isinstance(classes, str):
        return read_class_lists(classes)
    lists = classes if isinstance(classes, Mapping) else {ASKED: tuple(classes)}
    return {name: names for name, names in lists.items() if names}


def read_class_lists(text: str) -> ClassLists:
    """Names with commas between them, or those of a file.

    A `.yaml` holds lists by name, a `.txt` one name a line, which the name of the file stands for.
    Raises AnalysisError for a file that cannot be read, or is not of the form.
    """
    path = Path(text)
    if path.suffix not in (".yaml", ".yml", ".txt"):
        names = tuple(part for part in text.split(",") if part)
        return {ASKED: names} if names else {}
    try:
        if path.suffix == ".txt":
            lines = path.read_text(encoding="utf-8").splitlines()
            content: object = {path.stem: [line for line in lines if line.strip()]}
        else:
            content = read_content(path, yaml.SafeLoader)
    except OSError as error:
        raise AnalysisError(f"--classes: {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise AnalysisError(f"--classes: {path}: is no text in UTF-8") from None
    if not (isinstance(content, dict) and content):
        raise AnalysisError(f"--classes: {path}: has no lists by name; {FORM}")
    faults = [fault for name, own in content.items() if (fault := _fault(name, own))]
    if faults:
        raise AnalysisError(f"--classes: {path}: {'; '.join(faults)}; {FORM}")
    return {name: tuple(own) for name, own in content.items()}


def _fault(name: object, names: object) -> str:
    if not isinstance(name, str):
        return f"the name {name!r} of a list is no text"
    if not (isinstance(names, list) and names):
        return f"{name} is no list of names"
    odd = [each for each in names if not isinstance(each, str)]
    return f"{name} has {odd[0]!r}, which is no text (put it in quotes)" if odd else ""
