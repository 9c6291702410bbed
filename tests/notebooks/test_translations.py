"""Every translated lesson: code and outputs of the English one, the same formulas and code spans."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import build
import nbformat
import pytest

TRANSLATIONS = [path for script in build.lessons() for path in build.translations(script)]
EVERY = pytest.mark.parametrize(
    "translation", TRANSLATIONS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
EXACT = re.compile(
    r"\$\$.+?\$\$|\$[^$]+\$|`[^`]+`|</?(?:details|summary)>|^#+ |^```\w*$", re.DOTALL | re.MULTILINE
)


def english(translation: Path) -> Path:
    return translation.parents[1] / f"{translation.stem}.ipynb"


def test_lessons_0_to_5_are_there_in_chinese() -> None:
    found = [path.stem[:2] for path in TRANSLATIONS if path.parent.name == "zh"]
    assert found == ["00", "01", "02", "03", "04", "05"]


@EVERY
def test_the_notebook_is_the_english_one_with_translated_text(translation: Path) -> None:
    kept = nbformat.read(translation.with_suffix(".ipynb"), as_version=4)
    source = nbformat.read(english(translation), as_version=4)
    assert build.translate(source, translation) == kept, "python notebooks/build.py --translate"


@EVERY
def test_formulas_code_spans_and_headings_are_the_same(translation: Path) -> None:
    pairs = zip(
        *(
            [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
            for path in (english(translation), translation.with_suffix(".ipynb"))
        ),
        strict=True,
    )
    for ours, theirs in pairs:
        assert Counter(EXACT.findall(theirs)) == Counter(EXACT.findall(ours)), ours.splitlines()[0]


@EVERY
def test_formulas_within_text_stay_on_their_line(translation: Path) -> None:
    text = re.sub(r"\$\$.*?\$\$|`[^`]*`", "", translation.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [line for line in text.splitlines() if line.count("$") % 2] == []
