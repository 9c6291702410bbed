"""What lessons import: sizes by mode, grades for any answer, sliders that redraw."""

from __future__ import annotations

import sys

import IPython.display
import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bilevel import lessons
from bilevel.lessons import close, expect, graded


@graded("Exercise 7")
def check(double):
    expect(close(double(2.0), 4.0), "It does not double.")
    return "It doubles."


def dotted_inside(x):
    return x * ...


def dotted(x):
    return ...


def half_done(x):
    y = ...  # it never gets far enough to return them
    return x.forget(y)


def with_dots_of_its_own(x):
    return 2 * torch.tensor([x])[..., 0]


def left_over(x):
    return 2 * x
    return ...


def of_tensors(x):
    return x.mul(2)


def silent(x):
    """No return yet."""


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (lambda x: 2 * x, "✓ Exercise 7: right. It doubles."),
        (lambda x: x, "✗ Exercise 7: not yet. It does not double."),
        (
            lambda x: x / 0,
            "✗ Exercise 7: not yet. Your code stopped with ZeroDivisionError: float division by zero",
        ),
        (..., "○ Exercise 7: not done yet. Put your answer in the place of the dots."),
        (dotted, "○ Exercise 7: not done yet. Put your answer in the place of the dots in dotted."),
        (half_done, "○ Exercise 7: not done yet. Put your answer in the place of the dots in half_done."),
        (with_dots_of_its_own, "✓ Exercise 7: right. It doubles."),
        (
            dotted_inside,
            "○ Exercise 7: not done yet. Put your answer in the place of the dots in dotted_inside.",
        ),
        (
            silent,
            "✗ Exercise 7: not yet. silent returns nothing: end it with `return` and the result; `print` "
            "only shows it.",
        ),
        (left_over, "✓ Exercise 7: right. It doubles."),
        (of_tensors, "✓ Exercise 7: right. It doubles."),
    ],
)
def test_any_answer_gets_a_sentence(answer, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(answer)
    assert capsys.readouterr().out == shown + "\n"


def test_a_check_does_not_tell_the_answer() -> None:
    assert (
        check.__doc__ == "Print a sentence about your answer to Exercise 7: right, not yet, or not done yet."
    )
    assert not hasattr(check, "__wrapped__")


@pytest.mark.parametrize("answer", [[1.0, 2.0 + 1e-3], [1.0], [[1.0, 2.0]], "words", [float("nan"), 2.0]])
def test_what_is_not_close(answer) -> None:
    assert close(torch.tensor([1.0, 2.0]), [1.0, 2.0])
    assert not close(answer, torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(("value", "steps"), [(None, 200), ("full", 200), ("fast", 5)])
def test_sizes(value: str | None, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lessons.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(lessons.VARIABLE, value)
    assert lessons.size(200, fast=5) == steps


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lessons.VARIABLE, "quick")
    with pytest.raises(ValueError, match="must be full or fast, or not be set at all; it is 'quick'"):
        lessons.size(200, fast=5)


def test_programs_see_the_start_and_readers_a_slider(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, float]] = []

    def draw(steps: int, rate: float) -> None:
        drawn.append((steps, rate))

    monkeypatch.setenv(lessons.VARIABLE, "full")
    lessons.explore(draw, steps=(1, 9, 1, 3), rate=(0.0, 1.0, 0.1, 0.5))
    assert drawn == [(3, 0.5)]
    monkeypatch.delenv(lessons.VARIABLE)
    sliders: list[ipywidgets.Widget] = []
    monkeypatch.setattr(ipywidgets, "interact", lambda draw, **found: sliders.extend(found.values()))
    lessons.explore(draw, steps=(1, 9, 1, 3), rate=(0.0, 1.0, 0.1, 0.5))
    assert [(type(slider).__name__, slider.value, slider.max) for slider in sliders] == [
        ("IntSlider", 3, 9),
        ("FloatSlider", 0.5, 1.0),
    ]


def test_buttons_react(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[str] = []
    shown: list[ipywidgets.VBox] = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    monkeypatch.setenv(lessons.VARIABLE, "full")
    lessons.press(pressed.append, "cooperate", "defect")
    assert shown == []
    monkeypatch.delenv(lessons.VARIABLE)
    lessons.press(pressed.append, "cooperate", "defect")
    row, _ = shown[0].children
    for button in (*row.children, row.children[0]):
        button.click()
    assert pressed == ["cooperate", "defect", "cooperate"]
    with pytest.raises(ValueError, match="one button or more"):
        lessons.press(pressed.append)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 1, 0.1), r"rate needs \(minimum, maximum, step, initial value\)"),
        ((0, 1, 0.1, 2), "rate starts at 2, outside 0 to 1"),
    ],
)
def test_ranges_that_make_no_slider(values, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lessons.explore(lambda rate: None, rate=values)


@pytest.mark.parametrize("name", ["AMBER", "BLACK", "BLUE", "GRAY", "GREEN", "PURPLE", "RED", "SKY"])
def test_contrast_with_white(name: str) -> None:
    channels = np.array(to_rgb(getattr(lessons, name)))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 3  # WCAG 2's contrast


def test_a_band_holds_its_line() -> None:
    axes = Figure().subplots()
    samples = torch.arange(30.0).reshape(3, 10)
    line = lessons.draw_band(axes, [0, 1, 2], samples, label="mean", color=lessons.BLUE)
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_ydata(), [4.5, 14.5, 24.5])
    assert band[:, 1].min() < 4.5 < 24.5 < band[:, 1].max()
    with pytest.raises(ValueError, match="needs 3 seeds or more, not 2"):
        lessons.draw_band(axes, [0], samples[:1, :2], label="mean", color=lessons.BLUE)


def test_without_widgets_there_is_one_figure_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(lessons.VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    drawn: list[float] = []
    lessons.explore(lambda rate: drawn.append(rate), rate=(0.0, 1.0, 0.1, 0.5))
    lessons.press(print, "cooperate")
    assert drawn == [0.5]
    sliders, buttons = capsys.readouterr().out.splitlines()
    assert sliders.startswith("Sliders need the package ipywidgets: pip install 'bilevel[lessons]'")
    assert buttons.startswith("Buttons need the package ipywidgets")
