"""Formulas as MathML, which browsers render by themselves, in a font of the site: no script, no network."""

from __future__ import annotations

import logging
import re
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path

from docutils import nodes
from fontTools import subset
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

FONT = "STIXTwoMath-Regular.ttf"
"""A math font within `ziamath` (SIL Open Font License)."""

LETTERS = tuple(
    chain(
        range(0x20, 0x100),  # Latin
        range(0x391, 0x3F7),  # Greek
        range(0x2010, 0x2060),  # dashes and dots
        range(0x2100, 0x2150),  # double-struck and script capitals
        range(0x2190, 0x2300),  # arrows and operators
        range(0x2308, 0x230C),  # floor and ceiling
        (0x27E8, 0x27E9, 0x23DF, 0x27F9, 0x25FB),  # angle brackets, a brace, implication, a square
        (0x2C6, 0x2C9, 0x2D9),  # accents
        range(0x1D434, 0x1D468),  # Latin, italic
        range(0x1D49C, 0x1D4D0),  # script
        range(0x1D538, 0x1D56C),  # double-struck
        range(0x1D6E2, 0x1D71C),  # Greek, italic
    )
)
"""Unicode characters that formulas may use; variables are in italics."""

SIZES = re.compile(r"\\[Bb]igg?(?=([(\[])|[)\]])")
"""Commands for the size of a bracket, which `mathml` replaces by \\left and \\right."""

FUNCTION = re.compile(r"(<mi>(?:exp|log)</mi>)(?=<m(?:i|sub|sup|subsup)>)")
"""A function applied without brackets, as in log x."""

WORD_JOINER = "\u2060"
"""Keeps brackets and commas on the line of the formula beside them."""


def mathml(formula: str, display: str) -> str:
    """Convert a formula from LaTeX to MathML; `display` is "inline" or "block"."""
    paired = SIZES.sub(lambda found: r"\left" if found[1] else r"\right", formula)
    return FUNCTION.sub(r'\1<mspace width="0.17em"/>', convert(paired, display=display))


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    before = WORD_JOINER if self.body[-1].endswith("(") else ""
    self.body.append(before + mathml(node.astext(), "inline") + WORD_JOINER)
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(mathml(node.astext(), "block"))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def write_font(app: Sphinx, error: Exception | None) -> None:
    """Write the subset of the font that formulas use, so that pages load fast."""
    if error or app.builder.format != "html":
        return
    logging.getLogger(subset.__name__).setLevel(logging.WARNING)
    options = subset.Options(flavor="woff", hinting=False, layout_features=["ssty", "dtls"], name_IDs=["*"])
    with as_file(files("ziamath.fonts") / FONT) as path:
        font = subset.load_font(path, options)
    letters = subset.Subsetter(options)
    letters.populate(unicodes=LETTERS)
    letters.subset(font)
    subset.save_font(font, Path(app.outdir, "_static", FONT).with_suffix(".woff"), options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
