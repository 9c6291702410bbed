"""Helpers of all lessons: sizes, figure style, confidence bands, sliders."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from bilevel import report
from bilevel.experiments import interquartile_interval, require_seeds
from bilevel.lessons._cells import watch_cells
from bilevel.lessons._descriptions import add_descriptions
from bilevel.methods import Learner
from bilevel.report import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SETTINGS, SKY
from games.core import require

__all__ = ["AMBER", "BLACK", "BLUE", "GRAY", "GREEN", "MODES", "PURPLE", "RED", "SKY", "VARIABLE"]
__all__ += ["draw_band", "explore", "learning_curves", "mode", "over_seeds", "press", "size", "use_style"]

VARIABLE = "BILEVEL_NOTEBOOKS"
"""Environment variable of automatic execution: `full` for saved outputs, `fast` for tests."""
MODES = ("full", "fast")
"""Values of that variable."""


def mode() -> str | None:
    """The execution mode: `full` or `fast` for automatic execution, None for a reader.

    Raises:
        ValueError: the variable has another value.

    >>> mode() is None
    True
    """
    value = os.environ.get(VARIABLE)
    require(
        value in (*MODES, None), f"{VARIABLE} must be full or fast, or not be set at all; it is {value!r}."
    )
    return value


def size(full: int, *, fast: int) -> int:
    """Choose a number of steps, seeds or points: `full` for readers, `fast` for tests that only run the code.

    >>> size(200, fast=5)
    200
    """
    return fast if mode() == "fast" else full


def use_style() -> None:
    """Set the project's figure style for this notebook, add alternative texts to its figures, and watch its
    cells.

    Call it in the first cell.

    >>> with mpl.rc_context():
    ...     use_style()
    ...     mpl.rcParams["figure.figsize"]
    [8.0, 4.5]
    """
    add_descriptions()
    watch_cells()
    mpl.rcParams.update(SETTINGS)
    mpl.rcParams.update({"figure.figsize": (8, 4.5), "figure.max_open_warning": 0})


def draw_band(axes: Axes, x: Any, samples: Any, *, label: str, color: str, **line: Any) -> Line2D:
    """Draw the interquartile mean over seeds as a line, and its 95 % bootstrap interval as a band.

    Args:
        axes: the axes to draw on.
        x: x coordinates, [point].
        samples: values, [point, seed] with 3 seeds or more; NumPy or torch.
        label: legend entry.
        color: color of line and band.
        line: further Matplotlib line properties.

    Returns:
        the line.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    >>> from matplotlib.figure import Figure
    >>> line = draw_band(Figure().subplots(), [0, 1], np.ones((2, 5)), label="tos", color=BLUE)
    >>> line.get_ydata()
    array([1., 1.])
    """
    values = np.asarray(samples, dtype=float)
    require_seeds(values.shape[-1])
    look = {"color": color, "label": label, **line}
    return report.draw_band(axes, np.asarray(x), values, look, resamples=500)


def learning_curves(learner: Learner, steps: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Train a learner, and return its metrics during learning.

    Args:
        learner: what a method builds for a game.
        steps: number of outer steps, 1 or more.
        seed: random seed of the initial state.

    Returns:
        each metric of every outer step: name -> [outer step, seed].

    Raises:
        ValueError: there are no steps.

    >>> import games
    >>> from bilevel import Placement
    >>> from bilevel.methods import ToS
    >>> learner = ToS().build(games.make("prisoners-dilemma"), Placement(seeds=3))
    >>> learning_curves(learner, 5)["welfare"].shape
    torch.Size([5, 3])
    """
    require(steps > 0, f"Learning takes 1 outer step or more, not {steps}.")
    state, rows = learner.init(seed), []
    for _ in range(steps):
        state, metrics = learner.update(state)
        rows.append(metrics)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def over_seeds(values: Any, digits: int = 2) -> str:
    """The interquartile mean over seeds and its 95 % bootstrap interval, as text.

    Args:
        values: one value of each seed, [seed] with 3 seeds or more; NumPy or torch.
        digits: decimal places.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    >>> over_seeds([1.0, 2.0, 3.0, 4.0], digits=1)
    '2.5 [1.0, 4.0]'
    """
    found = interquartile_interval(np.asarray(values, dtype=float), resamples=500)
    return f"{found.estimate:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def explore(draw: Callable[..., None], **ranges: tuple[Any, ...]) -> None:
    """Show a figure with a slider for each of its parameters; in saved outputs, only the figure.

    Args:
        draw: draws and shows one figure; takes the parameters as keyword arguments.
        ranges: for each parameter (minimum, maximum, step, initial value); integers give an integer slider.

    Raises:
        ValueError: a range does not have four numbers, or its initial value is outside.

    >>> explore(print, rate=(0.0, 1.0, 0.1, 2.0))
    Traceback (most recent call last):
    ValueError: rate starts at 2.0, outside 0.0 to 1.0.
    """
    for name, values in ranges.items():
        require(len(values) == 4, f"{name} needs (minimum, maximum, step, initial value), not {values}.")
        low, high, _, start = values
        require(low <= start <= high, f"{name} starts at {start}, outside {low} to {high}.")
    ipywidgets = _widgets()
    if mode() is not None or ipywidgets is None:
        if mode() is None:
            print("Sliders need the package ipywidgets: pip install 'bilevel[lessons]'. Here is one figure.")
        draw(**{name: values[3] for name, values in ranges.items()})
        return
    ipywidgets.interact(draw, **{name: _slider(ipywidgets, *values) for name, values in ranges.items()})


def press(react: Callable[[str], None], *names: str) -> None:
    """Show a button for each name; pressing it shows the output of `react(name)`.

    In saved outputs there are no buttons, and nothing is shown.

    Args:
        react: callback; takes the button's name.
        names: names of the buttons, at least one.

    Raises:
        ValueError: there are no names.

    >>> press(print)
    Traceback (most recent call last):
    ValueError: press needs the name of one button or more.
    """
    require(bool(names), "press needs the name of one button or more.")
    if mode() is not None:
        return
    ipywidgets = _widgets()
    if ipywidgets is None:
        print("Buttons need the package ipywidgets: pip install 'bilevel[lessons]'.")
        return
    from IPython.display import display  # noqa: PLC0415 - as above

    shown = ipywidgets.Output()

    def pressed(button: Any) -> None:
        shown.clear_output(wait=True)
        with shown:
            react(button.description)

    buttons = [ipywidgets.Button(description=name) for name in names]
    for button in buttons:
        button.on_click(pressed)
    display(ipywidgets.VBox([ipywidgets.HBox(buttons), shown]))


def _widgets() -> Any:
    """The package of sliders and buttons; None if it is missing."""
    try:
        import ipywidgets  # noqa: PLC0415 - readers without widgets still see the figures
    except ModuleNotFoundError:
        return None
    return ipywidgets


def _slider(ipywidgets: Any, low: Any, high: Any, step: Any, start: Any) -> Any:
    whole = all(isinstance(value, int) for value in (low, high, step, start))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=start, min=low, max=high, step=step, continuous_update=False)
