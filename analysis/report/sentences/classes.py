"""What the summary says of lists of classes, beside the average of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.findings.classes import LISTED, ClassList
from analysis.report.descriptions import Paragraph
from analysis.report.tables import number, share

NAMES = {"scaled_norm": "scaled norm", "cdnv": "CDNV", "interference": "interference"}


def class_lists(lines: Sequence[ClassList]) -> Iterator[Paragraph]:
    """Of each list at the first precision, how it lies to the average of all classes."""
    sentences = []
    for name in dict.fromkeys(line.list for line in lines):
        line = next(line for line in lines if line.list == name)
        parts = [part for column in LISTED if (part := _beside(line, column))]
        if parts:
            count = f"{line.classes} class{'' if line.classes == 1 else 'es'}"
            sentences.append(f"Of {name} ({count}, {line.precision}) {'; '.join(parts)}.")
    if sentences:
        text = " ".join(sentences)
        yield Paragraph("Classes", f"{text} They are of one training: nothing is tested.")


def _beside(line: ClassList, column: str) -> str:
    mean, average = getattr(line, column), getattr(line, f"{column}_all")
    below = getattr(line, f"{column}_below")
    if mean is None or average is None:
        return ""
    size = (
        f"{number(mean)} where all classes have {number(average)}"
        if column == "interference"
        else f"{share(mean / average)} times that of all classes"
        if average
        else f"{number(mean)}"
    )
    return f"the mean {NAMES[column]} is {size}, below that for {below} of {line.classes}"
