"""Every path of a report, below the folder that it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportPaths:
    """Files of a report's folder.

    report.html    the page
    tables/        every table as csv, md and tex
    figures/       every figure; for a paper in one-column/ and two-columns/
    print/         tables that were asked for alone, as LaTeX
    runs/NAME/     the report of a single run, where the page pools several
    """

    folder: Path

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    def printed(self, table: str) -> Path:
        """A table for print."""
        return self.folder / "print" / f"{table}.tex"

    def run(self, name: str) -> ReportPaths:
        """The report of a single run."""
        return ReportPaths(self.folder / "runs" / name)
