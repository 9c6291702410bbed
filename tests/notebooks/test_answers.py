"""Every exercise: right answers of different form pass its check, and wrong ones do not.

The answers are in `answers/NN.py`, one in each cell, below `# %% right N` or `# %% wrong N`. Each runs after
the cells of its lesson up to the exercises, as a reader's does.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import build
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from bilevel.lessons import RIGHT, WRONG

ANSWERS = Path(__file__).parent / "answers"
LEAST = 4
"""Right answers, and wrong ones, of every exercise."""


class Answer(NamedTuple):
    """An answer to an exercise."""

    lesson: str
    exercise: str
    kind: str
    """right or wrong."""
    line: int
    """Its first line in the file."""
    source: str


def answers() -> Iterator[Answer]:
    for path in sorted(ANSWERS.glob("*.py")):
        cells = re.split(r"^# %% (right|wrong) (\d+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        line = 1
        for kind, exercise, source in zip(cells[1::3], cells[2::3], cells[3::3], strict=True):
            yield Answer(path.stem, exercise, kind, line + 1, source)
            line += 1 + source.count("\n")


@cache
def cells_of(lesson: str) -> tuple[list[str], dict[str, str]]:
    """The code cells of a lesson before its exercises; and those of its checks, by their number."""
    (script,) = build.lessons(beginnings=[lesson])
    code = [cell for cell in build.read(script).cells if cell.cell_type == "code"]
    tags = [next(iter(cell.metadata.get("tags", [])), "") for cell in code]
    first = next(place for place, tag in enumerate(tags) if tag.startswith("exercise-"))
    checks = {
        tag.removeprefix("check-"): cell.source
        for tag, cell in zip(tags, code, strict=True)
        if tag.startswith("check-")
    }
    return [cell.source for cell in code[:first]], checks


@pytest.fixture(scope="module")
def space_of() -> Iterator[Any]:
    """What a lesson defines before its exercises: lesson -> a copy of its names."""
    spaces: dict[str, tuple[dict[str, Any], torch.dtype]] = {}

    def find(lesson: str) -> dict[str, Any]:
        if lesson not in spaces:
            torch.set_default_dtype(torch.float32)
            module = ModuleType(f"lesson_{lesson}")
            patch.setitem(sys.modules, module.__name__, module)  # where dataclasses look names up
            space: dict[str, Any] = module.__dict__
            for source in cells_of(lesson)[0]:
                exec(source, space)
            plt.close("all")
            spaces[lesson] = space, torch.get_default_dtype()
        torch.set_default_dtype(spaces[lesson][1])
        return dict(spaces[lesson][0])

    with pytest.MonkeyPatch.context() as patch, mpl.rc_context():  # lessons set the style of figures
        patch.setenv("BILEVEL_NOTEBOOKS", "fast")
        yield find
    torch.set_default_dtype(torch.float32)


def grade(answer: Answer, space: dict[str, Any]) -> str:
    """What the check prints about an answer."""
    name = f"<answer {answer.lesson} {answer.line}>"
    linecache.cache[name] = len(answer.source), None, answer.source.splitlines(keepends=True), name
    exec(compile(answer.source, name, "exec"), space)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(cells_of(answer.lesson)[1][answer.exercise], space)
    return said.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    "answer", list(answers()), ids=lambda each: f"{each.lesson}-{each.exercise}-{each.kind}-line-{each.line}"
)
def test_answers_get_the_grade_that_they_deserve(answer: Answer, space_of: Any) -> None:
    said = grade(answer, space_of(answer.lesson))
    assert said[0] == {"right": RIGHT, "wrong": WRONG}[answer.kind], said


def test_every_exercise_has_enough_of_both() -> None:
    found = [(each.lesson, each.exercise, each.kind) for each in answers()]
    for script in build.lessons():
        lesson = script.name[:2]
        if lesson.isdigit():
            for exercise in cells_of(lesson)[1]:
                for kind in ("right", "wrong"):
                    assert found.count((lesson, exercise, kind)) >= LEAST, (lesson, exercise, kind)
