"""Build notebooks from their scripts: `python notebooks/build.py` executes them all and saves their outputs.

python notebooks/build.py              # every lesson
python notebooks/build.py 01 03        # lessons whose names start with these
python notebooks/build.py --check 01   # write nothing; compare with the saved outputs
python notebooks/build.py --translate  # write translated notebooks from the saved ones, without executing
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import jupytext
import nbformat
from nbclient import NotebookClient

from bilevel.experiments import write_text
from bilevel.lessons import MODES, VARIABLE
from games.core import require

FOLDER = Path(__file__).resolve().parent
SCRIPTS = "[0-9][0-9]_*.py"
ALONE = ("teacher.py",)
"""Lessons without a number."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
    },
}
"""The same on every machine."""
COLLAPSE = "hide-input"
"""Tag of cells whose code is collapsed: on pages of the site by the tag itself, elsewhere by `COLLAPSED`."""
COLLAPSED = {"cellView": "form", "jupyter": {"source_hidden": True}}
"""Metadata of a collapsed cell, for Colab and for JupyterLab."""
SLIDES = ("A picture of the answer", "The idea in words", "The key equation")
"""Beginnings of the headings of sections that are slides."""


LINK = re.compile(r"\]\((\w+)\.ipynb\)")
"""A link from a lesson to another one."""


def lessons(folder: Path = FOLDER, beginnings: Iterable[str] = ()) -> list[Path]:
    """The lesson scripts, in order; if `beginnings` are given, only those whose names start with one of them.

    Raises:
        ValueError: no script starts with one of the beginnings.
    """
    found = sorted(
        [
            *folder.glob(SCRIPTS),
            *(folder / name for name in ALONE if (folder / name).exists()),
        ]
    )
    wanted = tuple(beginnings)
    for beginning in wanted:
        require(
            any(path.name.startswith(beginning) for path in found),
            f"No lesson begins with {beginning!r}.",
        )
    return [path for path in found if path.name.startswith(wanted or "")]


def read(script: Path) -> Any:
    """Read a percent script as a notebook without outputs, bit-for-bit the same on every machine."""
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for index, (cell, slide) in enumerate(
        zip(notebook.cells, slide_types(notebook.cells), strict=True)
    ):
        cell.id = f"cell-{index:03d}"
        # A formatter puts two blank lines before a function that begins a cell.
        cell.source = cell.source.strip("\n")
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict(
            {
                **({"tags": tags} if tags else {}),
                **(COLLAPSED if COLLAPSE in tags else {}),
                "slideshow": {"slide_type": slide},
            }
        )
    return notebook


def slide_types(cells: Iterable[Any]) -> list[str]:
    """Which cells are slides: the question, and the sections of `SLIDES`; the others are skipped.

    >>> cells = [
    ...     {"cell_type": "markdown", "source": source}
    ...     for source in ("# A question", "## A picture of the answer", "More.", "## From scratch")
    ... ]
    >>> slide_types(cells)
    ['slide', 'slide', '-', 'skip']
    """
    found, section = [], ""
    for cell in cells:
        lines = cell["source"].splitlines() if cell["cell_type"] == "markdown" else []
        headings = [line for line in lines if line.startswith(("# ", "## "))]
        section = headings[-1] if headings else section
        shown = any(
            heading.startswith(("# ", *(f"## {name}" for name in SLIDES)))
            for heading in headings or [section.removeprefix("# ")]
        )
        found.append("skip" if not shown else "slide" if headings else "-")
    return found


def translate(notebook: Any, translation: Path) -> Any:
    """Replace the Markdown cells of a saved notebook, and keep its code and outputs.

    Args:
        notebook: the saved notebook.
        translation: its translated Markdown cells in order, separated by lines with `+++`.

    Raises:
        ValueError: the translation has more or fewer cells than the notebook.
    """
    texts = translation.read_text(encoding="utf-8").strip().split("\n\n+++\n\n")
    cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    require(
        len(texts) == len(cells),
        f"{translation.name} has {len(texts)} cells, the lesson has {len(cells)}.",
    )
    beside = {path.stem for path in translation.parent.glob("*.md")}
    for cell, text in zip(cells, texts, strict=True):
        cell.source = LINK.sub(
            lambda link: link[0] if link[1] in beside else f"](../{link[1]}.ipynb)",
            text,
        )
    return notebook


def translations(script: Path) -> list[Path]:
    """The translations of a lesson, one in each folder of a language."""
    return sorted(script.parent.glob(f"*/{script.stem}.md"))


def write_translations(script: Path) -> None:
    """Write the translated notebooks of a lesson from the saved one."""
    for path in translations(script):
        kept = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
        write_text(
            path.with_suffix(".ipynb"), nbformat.writes(translate(kept, path)) + "\n"
        )
        print(f"{path.parent.name}/{path.stem}.ipynb: written")


def tagged(notebook: Any) -> dict[str, Any]:
    """The cells that have a tag, by their tag."""
    return {
        tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])
    }


def solved(notebook: Any, solutions: Any) -> Any:
    """Insert answers after the exercises of a notebook: the wrong one, if any, then the right one.

    After every `exercise-N`, unchanged, come its check and `wrong-N`; then its check again and `solution-N`,
    which the next check of the notebook grades.

    Raises:
        ValueError: an exercise has no solution or no check, or a solution or a wrong answer no exercise.
    """
    cells, answers = tagged(notebook), tagged(solutions)
    numbers = {
        tag.removeprefix("exercise-") for tag in cells if tag.startswith("exercise-")
    }
    for number in sorted(numbers):
        require(
            f"solution-{number}" in answers,
            f"Exercise {number} has no cell tagged solution-{number}.",
        )
        require(
            f"check-{number}" in cells,
            f"Exercise {number} has no cell tagged check-{number}.",
        )
    for tag in answers:
        require(
            tag.rpartition("-")[2] in numbers,
            f"The cell tagged {tag} answers no exercise.",
        )
    result = nbformat.from_dict({**notebook, "cells": []})
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        result.cells.append(cell)
        for number in (
            tag.removeprefix("exercise-") for tag in tags if tag.startswith("exercise-")
        ):
            for tag in (f"wrong-{number}", f"solution-{number}"):
                if tag in answers:
                    result.cells += [
                        _again(cells[f"check-{number}"]),
                        _again(answers[tag]),
                    ]
    for index, cell in enumerate(result.cells):
        cell.id = f"cell-{index:03d}"
    return result


def execute(notebook: Any, *, mode: str, folder: Path = FOLDER) -> Any:
    """Execute a notebook in a fresh kernel, in place, and return it.

    Args:
        notebook: what to execute.
        mode: `full` or `fast` (`lesson.size`).
        folder: where the kernel starts.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        ValueError: there is no such mode.
    """
    require(mode in MODES, f"A mode is full or fast, not {mode!r}.")
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    with (
        TemporaryDirectory() as own,
        patch.dict(os.environ, {VARIABLE: mode, "IPYTHONDIR": own}),
    ):
        client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def texts(notebook: Any) -> list[str]:
    """The text outputs of a notebook: streams, and the text form of all other outputs except figures."""
    found = []
    for output in (
        output for cell in notebook.cells for output in cell.get("outputs", [])
    ):
        if output.output_type == "stream":
            found.append(f"{output.name}: {output.text}")
        elif "image/png" not in output.get("data", {}):
            shown = output.get("data", {})
            found.append(
                str(
                    shown.get(
                        "text/markdown", shown.get("text/plain", output.output_type)
                    )
                )
            )
    return found


def main(arguments: list[str]) -> int:
    """Build or check the requested lessons; return 1 if a check failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="notebooks/build.py", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "beginnings", nargs="*", help="beginnings of lesson names; default: all lessons"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare text outputs"
    )
    parser.add_argument(
        "--translate",
        action="store_true",
        help="execute nothing; write translated notebooks from the saved ones",
    )
    options = parser.parse_args(arguments)
    try:
        chosen = lessons(beginnings=options.beginnings)
    except ValueError as error:
        parser.error(str(error))
    differ = []
    for script in chosen:
        if options.translate:
            write_translations(script)
            continue
        kept = script.with_suffix(".ipynb")
        notebook = execute(read(script), mode="full")
        if not options.check:
            write_text(kept, nbformat.writes(notebook) + "\n")
            write_translations(script)
        elif texts(nbformat.read(kept, as_version=4)) != texts(notebook):
            differ.append(kept.name)
        print(
            f"{kept.name}: {'differs' if kept.name in differ else 'the same' if options.check else 'written'}"
        )
    return 1 if differ else 0


def _again(cell: Any) -> Any:
    return nbformat.from_dict({**cell, "metadata": {}})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
