"""Question, picture, idea and equation of every lesson are slides."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import build
import nbformat
import pytest
from nbconvert import SlidesExporter

NUMBERED = [script for script in build.lessons() if script.name[0].isdigit()]


@pytest.mark.parametrize("script", NUMBERED, ids=lambda path: path.stem)
def test_the_first_sections_are_slides(script: Path) -> None:
    kept = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    slides = [cell for cell in kept.cells if cell.metadata["slideshow"]["slide_type"] == "slide"]
    headings = [heading for cell in slides for heading in re.findall(r"^##? (.*)", cell.source, re.MULTILINE)]
    assert headings[1:3] == ["A picture of the answer", "The idea in words"]
    assert headings[3] in ("The key equation", "The key equations")
    assert len(slides) in (3, 4)
    shown = [cell for cell in kept.cells if cell.metadata["slideshow"]["slide_type"] != "skip"]
    assert any("image/png" in output.get("data", {}) for cell in shown for output in cell.get("outputs", []))


def test_they_become_a_presentation() -> None:
    kept = nbformat.read(NUMBERED[1].with_suffix(".ipynb"), as_version=4)
    page, _ = SlidesExporter(exclude_input=True).from_notebook_node(kept)
    shown = page.partition('<div class="slides">')[2]
    assert len(re.findall(r"<section><section>", shown)) == 4
    assert "From scratch" not in shown


def test_examples() -> None:
    assert doctest.testmod(build).failed == 0
