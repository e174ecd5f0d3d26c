"""Plain text as LaTeX."""

from __future__ import annotations

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
    """Plain text as LaTeX; letters that pdflatex lacks by their number."""
    return "".join(LATEX.get(letter) or _known(letter) for letter in plain)


def _known(letter: str) -> str:
    """A letter that LaTeX has without packages, or its number."""
    if (letter.isascii() and letter.isprintable()) or "À" <= letter <= "ÿ":
        return letter
    return rf"\texttt{{U+{ord(letter):04X}}}"
