"""Sentences as a page shows them: columns by their names, identifiers as tooltips."""

from __future__ import annotations

import re

from markupsafe import Markup

from study.columns import noun

IDENTIFIER = re.compile(r"(?<!\.)\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+)\b")
ABBREVIATION = Markup('<abbr title="{}">{}</abbr>')


def named(text: str) -> Markup:
    """Plain text as HTML, with display names in place of identifiers of columns.

    >>> named("r < 0.1 of nc1_ratio and my_own")
    Markup('r &lt; 0.1 of <abbr title="nc1_ratio">within / between variance</abbr> and my_own')
    """
    pieces = IDENTIFIER.split(text)  # text and identifier in turn
    return Markup("").join(
        ABBREVIATION.format(piece, noun(piece)) if at % 2 and noun(piece) != piece else piece
        for at, piece in enumerate(pieces)
    )
