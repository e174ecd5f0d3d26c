"""`python -m study.reference` writes docs/settings.md and docs/study.schema.json."""

from __future__ import annotations

from pathlib import Path

from study.reference.document import document
from study.reference.schema import schema_text

DOCS = Path(__file__).parents[2] / "docs"


def files() -> dict[Path, str]:
    """The text of each file."""
    return {
        DOCS / "settings.md": document(),
        DOCS / "study.schema.json": schema_text(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
