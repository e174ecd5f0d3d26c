"""`python -m study.precision` prints docs/precision.md."""

from study.precision.document import document

print(document(), end="")
