"""The report: one self-contained html file, with every table as csv, md and tex and every figure as a file beside it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.exhibits import Section, sections, seeds_used
from analysis.load import final_rows, precisions
from analysis.roles import AnalysisError, Choices, Table

LIBRARIES = ("numpy", "scipy", "statsmodels", "polars", "matplotlib")


@dataclass(frozen=True)
class Report:
    """What was analysed, how, and the sections in order."""

    title: str
    table: Table
    choices: Choices
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]
    summary: tuple[str, ...]


def build_report(table: Table, choices: Choices) -> Report:
    """Every exhibit of a table. Deterministic: the same table and choices give the same report."""
    parts = sections(table, choices)
    return Report(
        title=f"Neural collapse and {table.roles.response}: {Path(table.source).stem}",
        table=table,
        choices=choices,
        sections=tuple(parts),
        facts=tuple(_facts(table, choices)),
        summary=tuple(_summary(table, parts)),
    )


def write_report(report: Report, folder: Path, *, formats: tuple[str, ...] = ("svg",)) -> Path:
    """report.html, tables/ and figures/ in `folder`, which is made; returns the path of the page."""
    try:
        for name in ("tables", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for section in report.sections:
            for table in section.tables:
                table.write(folder / "tables")
            for figure in section.figures:
                figure.write(folder / "figures", formats)
        page = folder / "report.html"
        page.write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise AnalysisError(f"{folder}: cannot write the report there ({error.strerror})") from None
    return page


def render(report: Report) -> str:
    """The page as text; it refers to nothing outside itself."""
    environment = Environment(
        loader=PackageLoader("analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(report=report)


def _facts(table: Table, choices: Choices) -> list[tuple[str, str]]:
    """What a reader must know to judge and to repeat the numbers."""
    roles, frame = table.roles, table.frame
    facts = [
        ("Source", table.source),
        *([("About", table.about)] if table.about else []),
        ("Rows", f"{len(frame):,} of {frame[roles.unit].n_unique():,} trainings"),
        ("Rows of the main tables", f"{len(final_rows(table)):,}: one per training, its last checkpoint"),
        ("Axes", ", ".join(f"{axis} ({frame[axis].n_unique()})" for axis in roles.axes) or "none"),
    ]
    if roles.precision is not None:
        facts.append(("Precisions", ", ".join(precisions(table))))
    if roles.seed is not None:
        values = frame[roles.seed].unique().sort().to_list()
        listed = ", ".join("none given" if value is None else str(value) for value in values)
        facts.append(("Seeds of the trainings", listed))
    for part in table.missing:
        reason = part.reason or "not in the table; allowed by --allow-missing"
        points = "; ".join(", ".join(f"{k} {v}" for k, v in row.items()) for row in part.points.head(40).to_dicts())
        more = f"; and {len(part.points) - 40} more" if len(part.points) > 40 else ""
        facts.append((f"Missing points ({len(part.points)})", f"{reason}: {points}{more}"))
    facts += [(f"Left out: {what}", f"{count:,}") for what, count in table.left_out.items()]
    facts.append(("Chance", seeds_used(choices)))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    facts.append(("Computed with", f"Python {platform.python_version()}, {versions}"))
    return facts


def _summary(table: Table, parts: list[Section]) -> list[str]:
    """What the main tables say, in plain words."""
    lines = parts[0].tables[0].frame.filter((parts[0].tables[0].frame["p_maxt"]).is_not_null())
    if lines.is_empty():
        return ["No metric could be related to the response: see the notes of the first table."]
    found = lines.filter(lines["p_maxt"] <= 0.05).sort("r2", descending=True)
    text = [
        f"{len(found)} of {len(lines)} metrics are associated with {table.roles.response} over {max(lines['n'])} "
        "trainings at a family-wise error of 5%."
    ]
    if not found.is_empty():
        best = found.row(0, named=True)
        text.append(f"The closest is {best['metric']}: r {best['r']:+.3f}, R² {best['r2']:.3f}.".replace("-", "−"))
    grid = next((part for part in parts if part.name == "grid"), None)
    if grid is not None and not found.is_empty():
        frame = grid.tables[0].frame
        left = frame.filter(
            (frame["given"] == "") & frame["metric"].is_in(found["metric"].to_list()) & (frame["partial_p"] <= 0.05)
        )
        text.append(f"Given the axes of the grid, {len(left)} of these {len(found)} remain at 5% each (unadjusted).")
    return text
