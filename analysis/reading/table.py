"""What the columns of a table are for, and the tidy table of every analysis.

Light: it needs polars alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from analysis.reading.search_record import SearchRecord

Direction = Literal["lower", "higher"]

PARTS_OF_SEED = ("init_seed", "shuffle_seed")
CDNV = "nc1_cdnv"  # scales with the feature norm: never shown without the two companions below
CDNV_VARIANTS = ("nc1_cdnv", "nc1_cdnv_log10", "nc1_cdnv_log")
CDNV_SCALE_FREE = "nc1_cdnv_galanti"
CDNV_NORM = "nc2_log_norm_mean"
OF_REGRESSION = ("nrc1", "nrc2", "nrc3")
BESIDE_REGRESSION = ("nrc1_variance", "nrc2_variance")
OF_ORDER = ("onc1", "onc2", "onc3", "onc3_thresholds")
# What the report shows first: of regressions and ordered classes their own quantities, then those
# of Wu & Papyan 2024 and what they must be read beside, then their kin.
CORE = (
    *OF_REGRESSION,
    *BESIDE_REGRESSION,
    "onc1",
    "onc2",
    "onc3_thresholds",
    "nc1_cdnv",
    "nc1_cdnv_galanti",
    "nc2_log_norm_mean",
    "nc2_log_norm_std",
    "nc2_interference_std",
    "gnc2_log_distance_std",
    "nc3_cosine_mean",
    "unc3_cosine_std",
    "nc4_agreement",
)
HEADLINE = (*CORE, "nc1_ratio", "nc2_etf_error", "nc3_dual_error", "nc4_agreement_train")
# What a study asks about unless it names other metrics before it is run: one a property.
PRIMARY = (
    "nc1_ratio",
    "nc2_log_norm_std",
    "nc2_interference_std",
    "gnc2_log_distance_std",
    "nc3_cosine_mean",
    "unc3_cosine_std",
    "nc4_agreement",
)
OF_TARGETS = {"nrc1": OF_REGRESSION, "onc1": OF_ORDER}
"""What stands in place of `PRIMARY` where the column is measured."""
SHORT = 15  # metrics of a table that is shown whole
ROW = "row of the file"  # column that says where a row stands, until the table is checked
LONGEST = 490  # characters of a message
VALUE_SHOWN = 60  # characters of a value in a message
BITS = "bits_per_weight"
FLOOR = "entropy_floor"  # least expected loss of any model, where it is known
ZERO_ERROR = "zero_error_epoch"  # first epoch after which the training split had no error
ABOVE_FLOOR = "val_loss_above_floor"  # val_loss - entropy_floor
REFMEANS = (
    "_refmeans"  # a metric at a precision with the class means of the reference precision kept
)


# Axes that act by ratios, so that their logarithm is taken; so does every axis of the architecture.
LOGGED = ("width", "depth", "lr", "batch_size", "data_train_tokens")
CLASS_VALUES = (
    "norm",
    "scaled_norm",
    "variance_norm",
    "cdnv",
    "cdnv_galanti",
    "interference",
    "head_cosine",
    "agreement",
    "ncc_accuracy",
    "accuracy",
)  # columns of a table of single classes
SCALED_NORM = "scaled_norm"  # which tables that were written before it lack


class AnalysisError(ValueError):
    """The request or the table is wrong; the message says what, where, what to do.

    No traceback is shown for it. Of a message of more than `LONGEST` characters the middle is left
    out.
    """

    def __init__(self, message: str) -> None:
        """Keep the beginning, which says where, and the end, which says what to do."""
        if len(message) > LONGEST:
            end = LONGEST // 3
            message = f"{message[: LONGEST - end - 5]} ... {message[-end:]}"
        super().__init__(message)


def shown(value: object) -> str:
    """A value of a table as messages quote it, a long one in part."""
    text = repr(value)
    return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean X? Known: ...' for an unknown name.

    It lists the nearest of many names, all of a few.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    shown = names if len(names) <= 15 else close[1:] or names[:15]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"{hint} Known: {', '.join(shown)}{more}."


@dataclass(frozen=True)
class Metric:
    """A collapse metric.

    Its column, its family (NC1 ... UNC3), the direction of its value that means more collapse.
    """

    column: str
    family: str = ""
    direction: Direction | None = None
    heavy_tailed: bool = False
    citation: str = ""
    description: str = ""


@dataclass(frozen=True)
class Intervention:
    """An axis whose effect is asked for, with its levels; the baseline comes first.

    `name` is what the study calls it, `levels` all others in their order. `numeric` levels ascend.
    """

    name: str
    axis: str
    baseline: float | str | bool
    levels: tuple[float | str | bool, ...]
    numeric: bool


@dataclass(frozen=True)
class Matched:
    """An axis whose levels are compared at equal training loss, with a baseline.

    Trainings of one seed are compared that agree in all axes but those that are `free`. `name` is
    what the study calls the axis.
    """

    name: str
    axis: str
    baseline: float | str | bool
    levels: tuple[float | str | bool, ...]
    free: tuple[str, ...]


@dataclass(frozen=True)
class Roles:
    """Columns by what they are for.

    `unit` names the training of a row; `order` the column along which its checkpoints stand; `axes`
    the settings that vary (without seed and precision); `architecture` those of them that describe
    the model; `responses` outcome columns and the direction that is better; `margin` the change of
    a column that counts as none; `level` the value of a metric whose epoch is asked for; `primary`
    the metrics that the study is to decide about, of which those stay that the table has;
    `interventions` the axes whose effect is asked for, `matched` the one whose levels are compared
    at equal training loss.
    """

    response: str
    responses: Mapping[str, Direction]
    metrics: Mapping[str, Metric]
    axes: tuple[str, ...]
    architecture: tuple[str, ...]
    unit: str
    order: str | None = None
    seed: str | None = None
    precision: str | None = None
    margin: Mapping[str, float] = field(default_factory=dict)
    level: Mapping[str, float] = field(default_factory=dict)
    primary: tuple[str, ...] = PRIMARY
    interventions: tuple[Intervention, ...] = ()
    matched: Matched | None = None

    def __post_init__(self) -> None:
        """Leave out primary metrics that the table lacks."""
        known = tuple(name for name in self.primary if name in self.metrics)
        object.__setattr__(self, "primary", known)


@dataclass(frozen=True)
class Missing:
    """Points of the grid without rows.

    `reason` is set where the table's map declares them.
    """

    points: pl.DataFrame
    reason: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set of the run.

    Its name in tables, settings, facts, and one row per class (class, name, samples).
    """

    name: str
    settings: Mapping[str, object]
    facts: Mapping[str, str | int | float | None]
    classes: pl.DataFrame | None


@dataclass(frozen=True)
class Table:
    """A tidy table, one row per training, checkpoint and precision, and its roles.

    It holds everything that a report shows. `source` tells where it came from and is never opened;
    `name` is short, for titles.
    """

    frame: pl.DataFrame
    roles: Roles
    source: str
    about: str = ""
    missing: tuple[Missing, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    layers: pl.DataFrame | None = None  # rows of single layers, where the run measured them
    data: tuple[DataSet, ...] = ()  # what the run was measured on
    classes: Mapping[str, pl.DataFrame] = field(
        default_factory=dict
    )  # measured class by class, by name of the file
    search: SearchRecord | None = None  # where the rows are those of a search
    name: str = ""  # the source stands for it where there is none


@dataclass(frozen=True)
class Choices:
    """What a reader may choose.

    Permutations of every test, bootstrap replicates, the one seed of both, and lists of the classes
    (tokens) that tables of classes show.
    """

    permutations: int = 10_000
    bootstrap: int = 2_000
    seed: int = 0
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def expected_sign(metric: Metric, better: Direction | None) -> int | None:
    """Sign of r if more collapse went with a better response.

    None where metric or response has no direction.
    """
    if metric.direction is None or better is None:
        return None
    return 1 if metric.direction == better else -1


def headline(roles: Roles) -> tuple[str, ...]:
    """Metrics that are shown at once, the others being folded.

    All of a short list, else those of `HEADLINE`.
    """
    known = tuple(name for name in HEADLINE if name in roles.metrics)
    return known if known and len(roles.metrics) > SHORT else tuple(roles.metrics)


def core(roles: Roles) -> tuple[str, ...]:
    """The fewest metrics that stand for all, for figures with several panels a metric."""
    return tuple(name for name in CORE if name in roles.metrics) or headline(roles)
