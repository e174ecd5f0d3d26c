"""How Sphinx makes the site of the pages: `make docs`.

The source folder is the project itself, so that a link that works in the repository works on the
site. The order of pages is that of the lists in docs/index.md. Nothing is fetched by a reader's
browser from another host: formulas are MathML, fonts those of the system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from docutils.nodes import math, math_block
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "collapse-study"
author = "the collapse-study authors"
root_doc = "docs/index"
extensions = ["myst_parser"]
include_patterns = [
    "docs/*.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "runs/README.md",
    "runs/*/README.md",
]
exclude_patterns = [".*", "analysis", "build", "study", "tests"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
smartquotes = False  # which makes one dash of the two of an option
html_theme = "furo"
html_title = project
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_extra_path = ["site/root"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def mathml(formula: str, *, block: bool) -> str:
    """LaTeX as MathML; bars of norms keep their size beside exponents."""
    text: str = tex2mathml(formula, as_block=block)
    return text.replace("<mo>‖</mo>", '<mo stretchy="false">‖</mo>')


def write_inline(translator: HTML5Translator, node: math) -> None:
    """Write a formula of a line; nothing of it is left to depart from."""
    translator.body.append(mathml(node.astext(), block=False))
    raise SkipNode


def write_block(translator: HTML5Translator, node: math_block) -> None:
    """Write a formula that stands alone."""
    translator.body.append(mathml(node.astext(), block=True))
    raise SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
