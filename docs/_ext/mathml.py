"""Formulas as MathML, which browsers render by themselves: no script, no network."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

SIZES = re.compile(r"\\[Bb]igg?[lr]?(?![a-zA-Z])")
"""Sizes of brackets, which MathML finds by itself."""

DIGITS = re.compile(r"\\frac(\d)(\d)")


def latex(node: nodes.math | nodes.math_block) -> str:
    """A formula as the converter reads it."""
    return DIGITS.sub(r"\\frac{\1}{\2}", SIZES.sub("", node.astext()))


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    self.body.append(tex2mathml(latex(node), as_block=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(tex2mathml(latex(node), as_block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
