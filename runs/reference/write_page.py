"""Write README.md anew from README.md.j2 and the tables of the report: run it after the report."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from analysis.report.fill import fill

HERE = Path(__file__).parent


def page() -> str:
    """The page, with the numbers of the report's tables and of paper.csv."""
    files = [*(HERE / "report" / "tables").glob("*.csv"), HERE / "paper.csv"]
    frames = {file.stem: pl.read_csv(file, infer_schema_length=None) for file in files}
    return fill((HERE / "README.md.j2").read_text(encoding="utf-8"), frames)


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(), encoding="utf-8")
