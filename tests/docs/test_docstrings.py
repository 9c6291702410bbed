"""Docstrings as reStructuredText: what would be read as markup stands as it was written."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "_ext"))

import docstrings


def test_the_example_holds() -> None:
    assert doctest.testmod(docstrings) == (0, 1)


def test_names_are_links_and_other_code_is_literal() -> None:
    assert docstrings.inline(["See `Unrolled`, `unrolled(segments=sqrt)`s."]) == [
        "See :py:obj:`Unrolled <bilevel.hypergradient.Unrolled>`, ``unrolled(segments=sqrt)``\\ s."
    ]


def test_stars_bars_and_underscores_are_escaped() -> None:
    assert docstrings.inline(["a * b, |x|, theta_ and x_t"]) == [r"a \* b, \|x\|, theta\_ and x_t"]


def test_a_section_that_follows_a_line_at_once_is_found() -> None:
    assert docstrings.prepare(["A sum.", "Args:", "    x: a number.", "Returns:", "    Another."]) == [
        "A sum.",
        "",
        "Args:",
        "    x: a number.",
        "",
        "Returns:",
        "    Another.",
    ]
