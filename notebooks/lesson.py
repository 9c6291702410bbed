"""What every lesson needs besides its subject: sizes, one figure style, intervals, sliders."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from descriptions import add_descriptions
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bilevel import report
from bilevel.experiments import require_seeds
from bilevel.report import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SETTINGS, SKY, YELLOW
from games.core import require

__all__ = ["AMBER", "BLACK", "BLUE", "GRAY", "GREEN", "MODES", "PURPLE", "RED", "SKY", "VARIABLE", "YELLOW"]
__all__ += ["draw_band", "explore", "mode", "press", "size", "use_style"]

VARIABLE = "BILEVEL_NOTEBOOKS"
"""Set while notebooks are executed by a program: `full` for the outputs that are kept, `fast` for tests."""
MODES = ("full", "fast")


def mode() -> str | None:
    """Who executes this notebook: a program in `full` or `fast` mode, or (None) a reader.

    Raises:
        ValueError: the variable holds something else.
    """
    value = os.environ.get(VARIABLE)
    require(
        value in (*MODES, None), f"{VARIABLE} must be full or fast, or not be set at all; it is {value!r}."
    )
    return value


def size(full: int, *, fast: int) -> int:
    """A number of steps, seeds or points: `full` for readers, `fast` where a test only asks "does it run?".

    >>> size(200, fast=5)
    200
    """
    return fast if mode() == "fast" else full


def use_style() -> None:
    """Draw all figures of this notebook in the project's one style, and give each an alternative text.

    Call it in the first cell.
    """
    add_descriptions()
    mpl.rcParams.update(SETTINGS)
    mpl.rcParams.update({"figure.figsize": (8, 4.5), "figure.max_open_warning": 0})


def draw_band(axes: Axes, x: Any, samples: Any, *, label: str, color: str, **line: Any) -> Line2D:
    """Draw the interquartile mean over seeds as a line, and its 95 % bootstrap interval as a band.

    Args:
        axes: where.
        x: the points, [point].
        samples: values, [point, seed] with 3 seeds or more; NumPy or torch.
        label: the line's words in the legend.
        color: of both.
        line: further settings of Matplotlib's line.

    Returns:
        the line.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.
    """
    values = np.asarray(samples, dtype=float)
    require_seeds(values.shape[-1])
    look = {"color": color, "label": label, **line}
    return report.draw_band(axes, np.asarray(x), values, look, resamples=500)


def explore(draw: Callable[..., None], **ranges: tuple[Any, ...]) -> None:
    """Show a figure with a slider for each of its settings; in saved outputs, the figure alone.

    Args:
        draw: draws and shows one figure; takes the settings as keywords.
        ranges: for each setting (least, greatest, step, start): whole numbers make whole steps.

    Raises:
        ValueError: a range does not have four numbers, or its start lies outside.
    """
    for name, values in ranges.items():
        require(len(values) == 4, f"{name} needs (least, greatest, step, start), not {values}.")
        least, greatest, _, start = values
        require(least <= start <= greatest, f"{name} starts at {start}, outside {least} to {greatest}.")
    if mode() is not None:
        draw(**{name: values[3] for name, values in ranges.items()})
        return
    import ipywidgets  # noqa: PLC0415 - readers without widgets still see the figures

    ipywidgets.interact(draw, **{name: _slider(ipywidgets, *values) for name, values in ranges.items()})


def press(react: Callable[[str], None], *names: str) -> None:
    """Show a button for each name; a press shows what `react(name)` prints and draws.

    In saved outputs there are no buttons, and nothing is shown.

    Args:
        react: what happens; takes the button's name.
        names: of the buttons, one or more.

    Raises:
        ValueError: there are no names.
    """
    require(bool(names), "press needs the name of one button or more.")
    if mode() is not None:
        return
    import ipywidgets  # noqa: PLC0415 - as above
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


def _slider(ipywidgets: Any, least: Any, greatest: Any, step: Any, start: Any) -> Any:
    whole = all(isinstance(value, int) for value in (least, greatest, step, start))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=start, min=least, max=greatest, step=step, continuous_update=False)
