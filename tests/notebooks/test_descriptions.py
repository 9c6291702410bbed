"""Every figure in a notebook has an alternative text, which says what its titles, axes and legends say."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from build import execute

from bilevel.lessons._descriptions import add_descriptions, describe

KEPT = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_every_part_is_named_and_line_breaks_are_not() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    figure.suptitle("Two\ngames")
    left.set_title("chicken", loc="left")
    left.set_ylabel("value\n(reward per step)")
    right.plot([0, 1], label="selfish")
    figure.legend()
    assert describe(figure) == "Figure. Two games. legend: selfish. chicken: value (reward per step)."
    plt.close(figure)


def test_formulas_are_words_without_tex() -> None:
    figure, axes = plt.subplots()
    axes.set(xlabel=r"weight $\varphi$", ylabel=r"$\max(z_1 - \alpha, 0)$")
    assert describe(figure) == "Figure. max(z_1 - \u03b1, 0) against weight \u03c6."
    plt.close(figure)


def test_a_picture_of_words_alone_says_them() -> None:
    figure, axes = plt.subplots()
    axes.text(0, 0, "two\nlevels")
    axes.annotate("", (0, 0), (1, 1))
    axes.text(1, 0, "games")
    assert describe(figure) == "Figure. drawn with the words: two levels, games."
    plt.close(figure)


def test_a_first_cell_that_is_run_again_changes_nothing() -> None:
    first = "import matplotlib.pyplot as plt\nfrom bilevel.lessons import use_style\nuse_style()"
    draw = "plt.subplots()[1].set_title('a title')\nplt.show()"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in (first, first, draw, f"{first}\n{draw}")]
    )
    execute(notebook, mode="fast")
    for cell in notebook.cells[2:]:
        (output,) = cell.outputs
        assert output.metadata["image/png"]["alt"] == "Figure. a title."
        assert "image/png" in output.data


def test_outside_of_a_notebook_nothing_happens() -> None:
    add_descriptions()


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_saved_pictures_have_one(kept: Path) -> None:
    outputs = [
        output
        for cell in nbformat.read(kept, as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert outputs
    for output in outputs:
        text = output.metadata["image/png"]["alt"]
        assert text.startswith("Figure. ")
        assert len(text) > len("Figure. ") + 10
        assert "$" not in text
