"""The section on a search: course, best, importances, fresh seeds."""

from __future__ import annotations

from functools import partial

import polars as pl

from analysis.figures.tuning import arms, front, history, importance_bars, schedules
from analysis.findings.importances import TOP, importances
from analysis.findings.tuning import arm, comparison_table, confirmed
from analysis.reading.search_record import SearchRecord
from analysis.reading.table import Table
from analysis.report.columns import CONFIRMATION, IMPORTANCE, trial_columns
from analysis.report.exhibits import Context, Exhibit, Section
from analysis.report.pictures import FigureExhibit
from analysis.report.tables import TableExhibit


def tuning(context: Context) -> Section | None:
    """What a search found; None for a run that is no search."""
    search = context.table.search
    if search is None:
        return None
    exhibits = [
        *_confirmation(search, context.table),
        *_course(search),
        *_importances(search),
        *_schedules(search, context.table),
        _trials(search),
    ]
    return Section("tuning", "The search", _text(search), tuple(exhibits))


def _text(search: SearchRecord) -> tuple[str, ...]:
    columns = " and ".join(
        f"{'small' if each.lower else 'large'} {each.column}" for each in search.objectives
    )
    counts = search.trials["state"].value_counts(sort=True)
    states = ", ".join(f"{row['count']} {row['state']}" for row in counts.iter_rows(named=True))
    constraints = f" under {', '.join(search.constraints)}" if search.constraints else ""
    if len(search.best) == 1 and len(search.objectives) == 1:
        row = search.trials.row(by_predicate=pl.col("trial") == search.best[0], named=True)
        outcome = (
            f"The best is trial {row['trial']}: {row['settings']}. Its settings are in "
            f"{search.paths.best()}."
        )
    elif search.best:
        count = f"{len(search.best)} trial{' is' if len(search.best) == 1 else 's are'}"
        outcome = (
            f"{count} on the front; best-trial-NUMBER.yaml in {search.paths.root} holds the "
            "settings of each."
        )
    else:
        outcome = "No trial is complete and holds the constraints."
    return (
        f"Optuna looked for {columns}{constraints} in {len(search.trials)} trials "
        f"({states}). {outcome}",
        "Trials were chosen for what earlier ones gave, on one seed: they are no sample, so "
        "nothing is tested among them. What a search found holds if it holds on seeds that it "
        "did not see.",
        f"The trials one by one: optuna-dashboard {search.paths.journal}",
    )


def _confirmation(search: SearchRecord, table: Table) -> list[Exhibit]:
    column = search.objectives[0].column
    line = confirmed(search, table.frame, table.roles.metrics.get(column))
    if line is None or search.confirmation is None:
        return []
    seeds = search.confirmation.seeds
    winner = "the winner" if line.stands else "an earlier winner"
    used = (
        f"Last checkpoint of {winner} (trial {line.trial}) and of the study as it is (the "
        f"untuned default), each trained on the fresh seeds {seeds[0]} to {seeds[-1]}. "
    )
    scale = (
        "natural logarithm; means are geometric, differences are given as ratios too"
        if line.scale == "log"
        else "raw"
    )
    how = (
        f"Scale: {scale}. Both arms are paired by their seed; a seed that breaks a constraint or "
        "has no value in one of them is left out."
    )
    if line.patterns is not None:
        how += (
            f" p: two-sided, the mean of the {line.n} differences under all {line.patterns:,} "
            "patterns of their signs; interval: 95%, the shifts that this test does not reject."
        )
    exhibits: list[Exhibit] = [
        TableExhibit(
            "confirmation",
            f"Trial {line.trial} against the untuned default",
            used + how,
            comparison_table(line),
            CONFIRMATION,
        )
    ]
    sides = [
        arm(table.frame, cells, column, search.constraints)
        for cells in (search.confirmation.tuned, search.confirmation.default)
    ]
    if any(len(side.values) for side in sides):
        geometric = line.scale == "log"
        names = (f"trial {line.trial}", "untuned default")
        figure = partial(arms, sides[0], sides[1], names, column, geometric=geometric)
        mean = "geometric" if geometric else "arithmetic"
        caption = (
            f"{used}A point is a seed that holds the constraints, a line joins a pair, "
            f"a bar is the {mean} mean of the pairs."
        )
        exhibits.append(
            FigureExhibit("confirmation_seeds", f"Fresh seeds: {column}", caption, figure)
        )
    return exhibits


def _course(search: SearchRecord) -> list[Exhibit]:
    if not (search.trials["state"] == "complete").any():
        return []
    caption = (
        f"{len(search.trials)} trials in the order in which they were asked for, at their last "
        "checkpoint."
    )
    exhibits: list[Exhibit] = [
        FigureExhibit("history", "The course of the search", caption, partial(history, search))
    ]
    if len(search.objectives) > 1:
        constraints = " that holds the constraints" if search.constraints else ""
        caption = (
            f"Complete trials at their last checkpoint; no other{constraints} is better than "
            "one on the front in all objectives."
        )
        exhibits.append(FigureExhibit("front", "The front", caption, partial(front, search)))
    return exhibits


def _importances(search: SearchRecord) -> list[Exhibit]:
    frames = {}
    for number, objective in enumerate(search.objectives):
        if (frame := importances(search, number)) is not None:
            frames[objective.column] = frame
    if not frames:
        return []
    n = int((search.trials["holds"].fill_null(False)).sum())
    few = sum(frame["importance"].null_count() for frame in frames.values()) // len(frames)
    rest = f" {few} parameters were in fewer than {2 * TOP} trials, too few to tell." if few else ""
    caption = (
        f"PED-ANOVA (Optuna) of the {n} trials that hold the constraints: how differently the "
        "best of them and all of them choose a parameter; in parentheses the trials that had "
        "it. With so few trials a rough guide, and a sampler that has found a good region "
        f"varies little there.{rest}"
    )
    table = pl.concat(
        [frame.with_columns(pl.lit(name).alias("objective")) for name, frame in frames.items()]
    )
    return [
        FigureExhibit("importances", "What mattered", caption, partial(importance_bars, frames)),
        TableExhibit(
            "importances", "What mattered, in numbers", caption, table, IMPORTANCE, folded=True
        ),
    ]


def _schedules(search: SearchRecord, table: Table) -> list[Exhibit]:
    """Best and worst trial that hold the constraints, and the untuned default."""
    objective = search.objectives[0]
    if not search.exemplars:
        return []
    collapse = {
        name: table.frame.filter(pl.col("cell") == cell).sort("epoch")
        for name, cell in search.exemplars.items()
    }
    collapse = {name: rows for name, rows in collapse.items() if not rows.is_empty()}
    columns = tuple(
        dict.fromkeys([*(each.column for each in search.objectives), "train_accuracy", "val_loss"])
    )
    columns = tuple(name for name in columns if name in table.frame.columns)
    caption = (
        "The learning rate of every optimizer step, as it was used, beside the collapse that it "
        f"led to. Best and worst: of the {len(search.sound)} trials that hold the constraints, "
        f"by {objective.column} at the last checkpoint."
    )
    figure = partial(schedules, search.rates, collapse, columns)
    return [FigureExhibit("schedules", "Schedules and collapse", caption, figure)]


def _trials(search: SearchRecord) -> TableExhibit:
    ordered = search.trials.sort(
        pl.col("holds").fill_null(False),
        search.objectives[0].column,
        descending=[True, not search.objectives[0].lower],
        nulls_last=True,
    )
    caption = (
        f"{len(ordered)} trials, those that hold the constraints first, then by "
        f"{search.objectives[0].column}."
    )
    columns = trial_columns(tuple(objective.column for objective in search.objectives))
    best = set(search.best)
    return TableExhibit(
        "trials",
        "All trials",
        caption,
        ordered,
        columns,
        muted=lambda row: row["trial"] not in best,
        folded=True,
    )
