"""The section about methods of quantization beside formats, and where they hurt."""

from __future__ import annotations

from functools import partial

from analysis.figures.methods import damage_by_layer, methods_by_format
from analysis.findings.methods import (
    MethodLine,
    ScopeLine,
    SourceLine,
    methods,
    metrics_after,
    scopes,
    sources,
)
from analysis.reading.selection import precisions
from analysis.reading.table import core
from analysis.report.columns import columns_of
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import (
    Column,
    TableExhibit,
    called,
    number,
    p_value,
    share,
    signed,
    signed_number,
    whole,
    worded,
)

LEAST_FOR_INTERVAL = 6
"""Differences of which signed ranks have p below .05: 2^(1 - 5) is not."""
MODEL = Column("model", "model")
ERRORS = (
    Column("weight error", "weight_error", number, hint="relative, median"),
    Column("signal to noise", "signal_to_noise", number, hint="of features, dB, median"),
)
METHODS = columns_of(
    MethodLine,
    MODEL,
    Column("format", "format"),
    Column("method", "method"),
    Column("trainings", "n", whole),
    Column("bits per weight", "bits", number),
    Column("change by nearest", "nearest", signed_number, hint="median change of the response"),
    Column("change here", "change", signed_number, hint="median change of the response"),
    Column(
        "recovered",
        "recovered",
        share,
        hint="of what rounding to nearest changes for the worse",
    ),
    Column("method - nearest", "difference", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("p", "p", p_value, hint="signed ranks, two-sided"),
    *ERRORS,
)
SCOPES = columns_of(
    ScopeLine,
    MODEL,
    Column("format", "format"),
    Column("rounded part", "scope"),
    Column("trainings", "n", whole),
    Column("change", "change", signed_number, hint="Hodges-Lehmann pseudo-median"),
    Column("95% interval", "low", signed_number, "high", hint="inverts the signed-rank test"),
    Column("share of all", "share", share, hint="of the change where all is rounded"),
    *ERRORS,
)
SOURCES = columns_of(
    SourceLine,
    MODEL,
    Column("error", "error", called),
    Column("given", "given", worded),
    Column("trainings", "n", whole),
    Column("Spearman's r", "rho", signed, hint="over precisions; median over trainings"),
    Column("95% interval", "low", signed, "high", hint="inverts the signed-rank test"),
)


def methods_section(context: Context) -> Section | None:
    """Methods at equal bits, parts of the model alone, and what damage follows from."""
    table, response = context.table, context.response
    if not precisions(table):
        return None
    lines, parts = methods(table), scopes(table)
    if not len(lines) and not len(parts):
        return None
    used = "One value per training at its last checkpoint, paired by training."
    fewest = min([*lines["n"], *parts["n"]])
    if fewest < LEAST_FOR_INTERVAL:
        used += f" Fewer than {LEAST_FOR_INTERVAL} trainings have no 95% interval."
    exhibits: list[Exhibit] = []
    if len(lines):
        few = core(table.roles)
        after = metrics_after(table, few)
        columns = (*METHODS[:4], *(Column(name, name, number) for name in few))
        exhibits += [
            TableExhibit("methods", "Methods at equal bits", used, lines, METHODS),
            FigureExhibit(
                "methods",
                f"Change of {response} by method",
                f"{used} Medians over trainings; lines reach from the least to the largest.",
                partial(methods_by_format, lines, response),
            ),
            TableExhibit(
                "methods_metrics", "Collapse after each method", used, after, columns, folded=True
            ),
        ]
    if len(parts):
        exhibits += [
            TableExhibit("damage_by_layer", "Damage by layer", used, parts, SCOPES),
            FigureExhibit(
                "damage_by_layer",
                f"Change of {response} where one part alone is rounded",
                f"{used} Pseudo-medians; thin lines reach from the least to the largest, thick "
                "ones over the 95% interval.",
                partial(damage_by_layer, parts, response),
            ),
        ]
    if len(causes := sources(table)):
        text = f"{used} Fine-tuned precisions are left out."
        exhibits.append(
            TableExhibit("damage_sources", "What the damage goes with", text, causes, SOURCES)
        )
    return Section(
        "methods",
        "Methods of quantization",
        (
            "Methods that choose integers by more than the nearest one, beside rounding to nearest "
            "at the same bits. What qat-* recovers is also further training: its control is "
            "ft-fp32.",
            "Errors of weights are not errors of features: a method that follows the inputs may "
            "move weights further and features less.",
        ),
        tuple(exhibits),
    )
