"""A window that shows frames one after another."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from games.core import require

NO_WINDOW = (
    'render_mode="human" opens a window, and here Matplotlib cannot open one (it needs a display, and a '
    'toolkit such as Tk or Qt): take "rgb_array" for frames or "ansi" for text.'
)


class FrameWindow:
    """A Matplotlib window that shows frames under a title.

    After closing it reopens with the next frame; an unpickled copy opens a window of its own.

    Args:
        title: title of the window.
    Raises:
        ValueError: there is no display, or Matplotlib has no toolkit to open windows on it.

    With a display, `FrameWindow("coin game").show(game.render(state), seconds=0.25)` shows a frame; without:

    >>> import matplotlib.pyplot as plt
    >>> plt.switch_backend("agg")  # draws into memory
    >>> FrameWindow("coin game")
    Traceback (most recent call last):
    ValueError: render_mode="human" opens a window, and here Matplotlib cannot open one ...
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._figure: Figure | None = _open(title)

    def show(self, frame: np.ndarray, seconds: float) -> None:
        """Show a frame, uint8 [height, width, 3], for some seconds; the window stays responsive meanwhile."""
        figure = self._figure
        if figure is None or not plt.fignum_exists(figure.number):
            figure = self._figure = _open(self.title)
        if not figure.axes:
            figure.show()
        figure.clear()
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.imshow(frame)
        figure.canvas.draw_idle()
        figure.canvas.start_event_loop(seconds)

    def close(self) -> None:
        """Close the window; a second time does nothing."""
        if self._figure is not None:
            plt.close(self._figure)
        self._figure = None

    def __getstate__(self) -> dict[str, Any]:
        return {"title": self.title, "_figure": None}


def _open(title: str) -> Figure:
    """Make an empty figure with a window that is not shown yet."""
    try:
        figure = plt.figure()
    except ImportError as error:  # MPLBACKEND names a toolkit, and there is no display for it
        raise ValueError(NO_WINDOW) from error
    toolkit = figure.canvas.required_interactive_framework
    if toolkit is None:
        plt.close(figure)
    require(toolkit is not None, NO_WINDOW)
    if figure.canvas.manager is not None:
        figure.canvas.manager.set_window_title(title)
    return figure
