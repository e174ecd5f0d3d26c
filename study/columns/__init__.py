"""What every column of a row is called and means.

There is no torch here, so that stores and reports read it at once.
"""

from study.columns.labels import in_words, label, noun, quantity
from study.columns.metric import Direction, Metric, Quantity
from study.columns.table import METRICS

__all__ = ["METRICS", "Direction", "Metric", "Quantity", "in_words", "label", "noun", "quantity"]
