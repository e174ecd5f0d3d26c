"""Plain text as LaTeX."""

from __future__ import annotations

from analysis.report.digits import LOWERED, POWER

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$\mid$",
    "−": r"$-$",
    "–": r"--",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "²": r"$^2$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "ξ": r"$\xi$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "Δ": r"$\Delta$",
    "“": "``",
    "”": "''",
}


def escape_latex(plain: str) -> str:
    """Plain text as LaTeX; letters that pdflatex lacks by their number.

    >>> escape_latex("−1.2×10⁻⁵ nats")
    '$-$1.2$\\\\times 10^{-5}$ nats'
    """
    pieces = POWER.split(plain)  # text and the power of ten after it in turn
    return "".join(
        rf"$\times 10^{{{piece.translate(LOWERED)}}}$"
        if at % 2
        else "".join(LATEX.get(letter) or _known(letter) for letter in piece)
        for at, piece in enumerate(pieces)
    )


def _known(letter: str) -> str:
    """A letter that LaTeX has without packages, or its number."""
    if (letter.isascii() and letter.isprintable()) or "À" <= letter <= "ÿ":
        return letter
    return rf"\texttt{{U+{ord(letter):04X}}}"
