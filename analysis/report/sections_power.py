"""The section on what the design can find."""

from __future__ import annotations

from analysis.findings.power import power
from analysis.report.columns import POWER
from analysis.report.exhibits import Context, Section, rows_used
from analysis.report.tables import TableExhibit


def power_of_design(context: Context) -> Section:
    """What replicates find four times in five, and the seeds that it would take."""
    table, rows = context.table, context.rows
    return Section(
        "power",
        "What this design can find",
        (
            "What was not found is shown to be absent only as far as it would have been found. "
            "This follows from the number of seeds in each design cell alone; "
            "`collapse-study launch --dry-run` says it of a study before it runs.",
        ),
        (
            TableExhibit(
                "power",
                "Correlations within design cells that are found four times in five",
                f"{rows_used(table, rows)}. A two-sided test at 5%; the family is adjusted by "
                "Bonferroni, which max-T undercuts.",
                power(rows, table.roles),
                POWER,
            ),
        ),
    )
