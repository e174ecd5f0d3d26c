"""`python -m study.columns` prints docs/metrics.md."""

from study.columns.document import document

print(document(), end="")
