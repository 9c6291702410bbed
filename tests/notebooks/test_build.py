"""Scripts into notebooks: the same every time, whole or not at all; answers in the place of exercises."""

from __future__ import annotations

from pathlib import Path

import build
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

LESSON = """\
# %% [markdown]
# # A lesson

# %%
import os

print(os.environ["BILEVEL_NOTEBOOKS"])

# %% tags=["exercise-1"]
answer = ...

# %% tags=["check-1"]
print("open" if answer is ... else "right" if answer == 2 else "wrong")
"""
SOLUTIONS = """\
# %% tags=["wrong-1"]
answer = 3

# %% tags=["solution-1"]
answer = 2
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "00_a_lesson.py"
    path.write_text(LESSON, encoding="utf-8")
    return path


def parsed(text: str, tmp_path: Path):
    path = tmp_path / "answers.py"
    path.write_text(text, encoding="utf-8")
    return build.read(path)


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_a_notebook_knows_its_mode(script: Path, mode: str) -> None:
    notebook = build.execute(build.read(script), mode=mode, folder=script.parent)
    assert build.texts(notebook) == [f"stdout: {mode}\n", "stdout: open\n"]


def test_the_same_script_gives_the_same_bits(script: Path) -> None:
    once, again = (
        nbformat.writes(build.execute(build.read(script), mode="fast", folder=script.parent))
        for _ in range(2)
    )
    assert once == again
    assert "iopub" not in once


def test_answers_follow_their_exercises(script: Path, tmp_path: Path) -> None:
    notebook = build.solved(build.read(script), parsed(SOLUTIONS, tmp_path))
    shown = build.texts(build.execute(notebook, mode="fast", folder=script.parent))
    assert shown == ["stdout: fast\n", "stdout: open\n", "stdout: wrong\n", "stdout: right\n"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("# %%\n1", "Exercise 1 has no cell tagged solution-1."),
        (
            SOLUTIONS + '\n# %% tags=["solution-2"]\nanswer = 2',
            "The cell tagged solution-2 answers no exercise.",
        ),
    ],
)
def test_answers_and_exercises_match(script: Path, tmp_path: Path, answers: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build.solved(build.read(script), parsed(answers, tmp_path))


def test_a_translation_keeps_code_and_outputs(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zh"
    folder.mkdir()
    translation = folder / "00_a_lesson.md"
    translation.write_text("# \u4e00\u8bfe [a](00_a_lesson.ipynb), [b](01_b.ipynb)\n", encoding="utf-8")
    kept = build.execute(build.read(script), mode="fast", folder=script.parent)
    script.with_suffix(".ipynb").write_text(nbformat.writes(kept), encoding="utf-8")
    build.write_translations(script)
    translated = nbformat.read(translation.with_suffix(".ipynb"), as_version=4)
    assert translated.cells[0].source == "# \u4e00\u8bfe [a](00_a_lesson.ipynb), [b](../01_b.ipynb)"
    assert translated.cells[1:] == kept.cells[1:]
    translation.write_text("one\n\n+++\n\ntwo", encoding="utf-8")
    with pytest.raises(ValueError, match=r"00_a_lesson\.md has 2 cells, the lesson has 1\."):
        build.write_translations(script)


def test_an_error_leaves_what_was_there(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = script.with_suffix(".ipynb")
    kept.write_text("before", encoding="utf-8")
    script.write_text(LESSON.replace("print(", "prnt("), encoding="utf-8")
    monkeypatch.setattr(build, "FOLDER", script.parent)
    monkeypatch.setattr(build, "lessons", lambda beginnings: [script])
    with pytest.raises(CellExecutionError, match="prnt"):
        build.main([])
    assert kept.read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in script.parent.iterdir()) == ["00_a_lesson.ipynb", "00_a_lesson.py"]


def test_a_check_compares_what_is_printed(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "lessons", lambda beginnings: [script])
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    script.write_text(LESSON.replace("os.environ[", "3 * os.environ["), encoding="utf-8")
    assert build.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "00_a_lesson.ipynb: written",
        "00_a_lesson.ipynb: the same",
        "00_a_lesson.ipynb: differs",
    ]


def test_bad_input(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="A mode is full or fast, not 'quick'"):
        build.execute(build.read(script), mode="quick")
    with pytest.raises(SystemExit, match="2"):
        build.main(["99"])
    assert "No lesson begins with '99'." in capsys.readouterr().err
