"""What every column of a row is called and means.

There is no torch here, so that stores and reports read it at once.
"""

from study.columns.labels import in_words, label, noun, quantity
from study.columns.metric import Direction, Metric, Quantity
from study.columns.sets import OF_OTHER_DATA, columns_of_sets, metric_of, metrics_among
from study.columns.table import METRICS

__all__ = [
    "METRICS",
    "OF_OTHER_DATA",
    "Direction",
    "Metric",
    "Quantity",
    "columns_of_sets",
    "in_words",
    "label",
    "metric_of",
    "metrics_among",
    "noun",
    "quantity",
]
