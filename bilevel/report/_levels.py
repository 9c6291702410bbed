"""Reference levels among curves: lines whose labels keep clear of the curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from bilevel.report._style import GRAY

SAME = 1e-9
"""Relative difference up to which levels are merged."""
PLACES = 13
"""Number of places along a level that its label can take, on either side."""
GAP = 3.0
"""Distance of a label from its line, in points."""
BAND = 0.1
"""Weight of a band behind a label; a line counts 1, and another label 10."""
LABEL = 10.0

Level = tuple[str, float]
"""A label and its height."""


def draw_levels(axes: Axes, levels: Sequence[Level], form: Callable[[float], str] = "{:.4g}".format) -> None:
    """Mark levels: one line per height, whose label moves to free space when the figure is drawn."""
    merged: list[tuple[list[str], float]] = []
    for text, height in sorted(levels, key=lambda level: -level[1]):
        last = merged[-1] if merged else None
        if last is not None and last[1] - height <= SAME * max(1.0, abs(height)):
            last[0].extend([text] if text not in last[0] else [])
        else:
            merged.append(([text], height))
    for words, height in merged:
        axes.axhline(height, color=GRAY, linewidth=1, linestyle="--", zorder=1)
        label = LevelLabel(f"{', '.join(words)} {form(height)}", height)
        axes.add_artist(label)
        label.set_clip_on(False)


class LevelLabel(Annotation):
    """A label above or below its level, as far to the right as it crosses no line and no other label.

    It is placed whenever it is drawn, as only then the limits and the size of the axes are known.
    """

    def __init__(self, text: str, height: float) -> None:
        super().__init__(
            text,
            (1, height),
            (0, GAP),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="bottom",
            fontsize=10,
            color="#444444",
            zorder=1.5,  # behind the curves
        )

    def draw(self, renderer: Any) -> None:
        if self.get_visible() and isinstance(self.axes, Axes):
            self._place(renderer, self.axes)
        super().draw(renderer)

    def _place(self, renderer: Any, axes: Axes) -> None:
        inside = axes.get_window_extent(renderer)
        width = self.get_window_extent(renderer).width / inside.width
        ends = np.linspace(1.0, min(width, 1.0), PLACES)
        candidates = [(end, above) for end in ends.tolist() for above in (True, False)]
        costs = []
        for candidate in candidates:
            self._move(*candidate)
            costs.append(self._cost(renderer, axes, inside))
            if costs[-1] == 0:
                return
        self._move(*candidates[int(np.argmin(costs))])

    def _move(self, end: float, above: bool) -> None:
        self.xy = (end, self.xy[1])
        self.set_position((0, GAP if above else -GAP))
        self.set_verticalalignment("bottom" if above else "top")

    def _cost(self, renderer: Any, axes: Axes, inside: Bbox) -> float:
        """Weighted number of lines, bands and labels behind the label; 1 more outside the axes."""
        box = self.get_window_extent(renderer)
        lines = (line.get_transform().transform_path(line.get_path()) for line in axes.lines)
        bands = (
            band.get_transform().transform_path(path)
            for band in axes.collections
            if isinstance(band, PolyCollection)
            for path in band.get_paths()
        )
        before = axes.texts[: axes.texts.index(self)]
        return float(
            sum(path.intersects_bbox(box, filled=False) for path in lines)
            + BAND * sum(path.intersects_bbox(box, filled=True) for path in bands)
            + LABEL * sum(box.overlaps(text.get_window_extent(renderer)) for text in before)
            + (box.y0 < inside.y0 or box.y1 > inside.y1)
        )
