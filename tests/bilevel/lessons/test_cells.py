"""In a kernel: cells that Python could not read, and names that are missing, get a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FIRST = """\
from bilevel.lessons import use_style
from bilevel.lessons.checks.start_here import check_1

use_style()
"""
DOTS = "def kept(N):\n    return ..."
BROKEN = "def kept(N):\n    return (1 / N"
RIGHT = "def kept(N):\n    return 1 / N"
CHECK = "check_1(kept)"


def run(*sources: str) -> list[list[Any]]:
    """Outputs of each cell, in a fresh kernel that goes on after errors."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.fixture(autouse=True)
def own_ipython(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


def text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


def test_an_answer_that_python_could_not_read_is_not_graded_by_its_last_version() -> None:
    *_, stale, _, after = run(FIRST, RIGHT, BROKEN, CHECK, RIGHT, CHECK)
    assert text(stale) == (
        "✗ Exercise 1: not yet. Python could not read the cell that defines kept (SyntaxError in line 2), so "
        "your last change is not here: correct it, and run it again.\n"
    )
    assert text(after).startswith("✓ Exercise 1: right.")


def test_a_missing_name_gets_a_sentence_and_other_errors_their_traceback() -> None:
    *_, missing, renamed, other = run(FIRST, CHECK, DOTS.replace("kept", "mine"), "kept_or_not + 1")
    (_, checked, _, broken) = run(FIRST, CHECK, DOTS, "kept_or_not + 1")
    for outputs in (missing, checked):
        assert "Nothing here is called kept: give your answer the name that it had" in text(outputs)
        assert not any("NameError" in text([output]) for output in outputs)
    assert renamed == []
    for outputs in (other, broken):
        assert any(output.output_type == "error" and output.ename == "NameError" for output in outputs)
