"""Every lesson: what is kept beside its script, what executing it shows, how its exercises are graded."""

from __future__ import annotations

import re
from pathlib import Path

import build
import nbformat
import pytest

from bilevel.lessons import OPEN, RIGHT, WRONG

SCRIPTS = build.lessons()
ROOT = build.FOLDER.parent
EVERY = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
NUMBERED = pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.stem != "teacher"], ids=lambda path: path.stem
)


def grades(notebook) -> list[tuple[str, str]]:
    """(number, mark) of every check that spoke, in order."""
    shown = "\n".join(text.removeprefix("stdout: ") for text in build.texts(notebook))
    return [
        (number, mark)
        for mark, number in re.findall(rf"^([{OPEN}{RIGHT}{WRONG}]) Exercise (\w+):", shown, re.MULTILINE)
    ]


def numbers(script: Path) -> list[str]:
    tags = build.tagged(build.read(script))
    return [tag.removeprefix("exercise-") for tag in tags if tag.startswith("exercise-")]


def no_warnings(notebook) -> None:
    assert [text for text in build.texts(notebook) if text.startswith("stderr: ")] == []


def answers(script: Path):
    """The solutions' cells; none where a lesson has no exercises."""
    path = script.parent / "solutions" / script.name
    return build.read(path) if numbers(script) else nbformat.v4.new_notebook()


@EVERY
def test_what_is_kept_is_the_script(script: Path) -> None:
    kept = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(kept)
    source = build.read(script)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], "make notebooks"
    assert kept.metadata == source.metadata
    assert [cell.metadata for cell in kept.cells] == [cell.metadata for cell in source.cells]


@EVERY
def test_what_is_kept_was_executed_and_shows_no_warning_and_no_path(script: Path) -> None:
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    kept = nbformat.reads(text, as_version=4)
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    no_warnings(kept)
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in "\n".join(build.texts(kept))
    assert "widget-view" not in text


@pytest.mark.slow
@EVERY
def test_it_executes_and_grades_dots_mistakes_and_solutions(script: Path) -> None:
    """In one go, as starting is what takes long; that no later cell needs an answer shows in what is kept."""
    solutions = answers(script)
    notebook = build.execute(build.solved(build.read(script), solutions), mode="fast")
    no_warnings(notebook)
    wrong = [tag.removeprefix("wrong-") for tag in build.tagged(solutions) if tag.startswith("wrong-")]
    expected = [
        (number, mark)
        for number in numbers(script)
        for mark in (OPEN, *([WRONG] if number in wrong else []), RIGHT)
    ]
    assert grades(notebook) == expected, "\n".join(build.texts(notebook))


@EVERY
def test_what_is_kept_is_not_solved(script: Path) -> None:
    kept = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert grades(kept) == [(number, OPEN) for number in numbers(script)]


@EVERY
def test_formulas_within_text_stay_on_their_line(script: Path) -> None:
    """Else Markdown takes a minus at the start of a line for a list."""
    for cell in (cell for cell in build.read(script).cells if cell.cell_type == "markdown"):
        text = re.sub(r"\$\$.*?\$\$|`[^`]*`", "", cell.source, flags=re.DOTALL)
        assert [line for line in text.splitlines() if line.count("$") % 2] == []


@EVERY
def test_code_fits_beside_a_figure(script: Path) -> None:
    code = [cell for cell in build.read(script).cells if cell.cell_type == "code"]
    assert [line for cell in code for line in cell.source.splitlines() if len(line) > 88] == []


@EVERY
def test_cells_that_draw_are_collapsed(script: Path) -> None:
    for cell in build.read(script).cells:
        collapsed = build.COLLAPSE in cell.metadata.get("tags", [])
        assert cell.metadata.get("jupyter", {}).get("source_hidden", False) is collapsed
        if "plt.subplots" in cell.source and "\nplt.show()" in cell.source:
            assert collapsed, cell.source.splitlines()[0]


def overview() -> dict[str, tuple[str, str, str]]:
    """The rows of lesson 0's table: lesson -> question, minutes, prerequisites."""
    rows = re.findall(
        r"^# \| \[[^\]]+\]\((\w+)\.ipynb\) \| (.+?) \| (.+?) \| (.+?) \|$",
        SCRIPTS[0].read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return {name: (question, minutes, before) for name, question, minutes, before in rows}


@NUMBERED
def test_a_lesson_begins_with_its_question_goals_and_prerequisites(script: Path) -> None:
    title = build.read(script).cells[0].source
    heading, (question,) = (
        title.splitlines()[0],
        re.findall(r"^\*\*(.+?\?)\*\*$", title, re.MULTILINE | re.DOTALL),
    )
    assert heading.startswith(f"# {int(script.name[:2])}. ")
    goals, prerequisites = title.split("**Goals.** ")[1].split("\n\n**Prerequisites.** ")
    assert goals.endswith(".")
    if script != SCRIPTS[0]:
        asked, minutes, before = overview()[script.stem]
        assert " ".join(question.split()) == asked
        assert f"About {minutes}" in prerequisites
        assert re.findall(r"\d\d", prerequisites.partition("About")[0]) == re.findall(r"\d\d", before)


@NUMBERED
def test_a_lesson_ends_with_three_questions_whose_answers_are_folded(script: Path) -> None:
    (cell,) = [cell for cell in build.read(script).cells if cell.source.startswith("## Three questions")]
    found = re.findall(
        r"<details><summary>(\d)\. (.+?\?)</summary>\n\n(.+?)\n\n</details>", cell.source, re.DOTALL
    )
    assert [number for number, _, _ in found] == ["1", "2", "3"]
    assert cell.source.count("<details>") == 3


@NUMBERED
def test_visible_code_fits_a_screen(script: Path) -> None:
    for cell in build.read(script).cells:
        if cell.cell_type == "code" and build.COLLAPSE not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= 36, cell.source.splitlines()[0]


@NUMBERED
def test_no_code_stands_before_the_first_figure(script: Path) -> None:
    kept = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    for cell in (cell for cell in kept.cells if cell.cell_type == "code"):
        assert build.COLLAPSE in cell.metadata.get("tags", []), cell.source.splitlines()[0]
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            return
    pytest.fail("There is no figure.")


def test_every_solution_belongs_to_a_lesson() -> None:
    names = {path.name for path in SCRIPTS}
    assert {path.name for path in (build.FOLDER / "solutions").glob("*.py")} <= names


def test_the_overview_has_every_lesson() -> None:
    assert list(overview()) == [path.stem for path in SCRIPTS[1:]]
