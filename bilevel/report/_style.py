"""Style of all figures: readable on slides and with color blindness."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bilevel.experiments import write_atomic, write_text

BLUE, RED, GREEN, AMBER = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK, YELLOW = "#CC79A7", "#56B4E9", "#000000", "#F0E442"
"""Okabe and Ito's palette, which does not depend on color vision."""
GRAY = "#666666"
"""Color of reference levels and their labels."""
DOTTED: Any = (0, (1, 1))
DASHED: Any = (0, (5, 2))
SHORT_DASHED: Any = (0, (2, 2))
DASH_DOTTED: Any = (0, (3, 1, 1, 1))
LONG_DASH_DOTTED: Any = (0, (6, 2, 1, 2))

COLORS = {"selfish": RED, "prosocial": BLUE, "fixed": AMBER, "tos": GREEN}
SPARE_COLORS = (PURPLE, SKY, BLACK, YELLOW)
DASHES: dict[str, Any] = {"selfish": DOTTED, "prosocial": DASHED, "fixed": DASH_DOTTED}
SPARE_DASHES: tuple[Any, ...] = ("-", LONG_DASH_DOTTED, SHORT_DASHED)
"""Line styles of other methods, one per cycle of the spare colors."""

SETTINGS: Any = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E0E0E0",
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
}
PNG: Any = {"compress_level": 1}
"""Fast compression: slightly larger files in a third of the time."""


def style() -> AbstractContextManager[None]:
    """Apply this style in a `with` block."""
    return mpl.rc_context(SETTINGS)


def colors(names: Sequence[str]) -> dict[str, str]:
    """Color of each method, always the same for the known ones.

    >>> colors(["tos", "mine"])
    {'tos': '#009E73', 'mine': '#CC79A7'}
    """
    return {name: look["color"] for name, look in looks(names).items()}


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Color and dashes of each method's line, as Matplotlib's settings; up to twelve unknown ones differ.

    >>> looks(["tos", "mine"])["mine"]
    {'color': '#CC79A7', 'linestyle': '-'}
    """
    found = {name: {"color": color, "linestyle": DASHES.get(name, "-")} for name, color in COLORS.items()}
    for index, name in enumerate(name for name in names if name not in COLORS):
        again, spare = divmod(index, len(SPARE_COLORS))
        found[name] = {"color": SPARE_COLORS[spare], "linestyle": SPARE_DASHES[again % len(SPARE_DASHES)]}
    return {name: found[name] for name in names}


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically in its extension's format; `savefig` would draw it twice for the layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        if path.suffix == ".png":
            figure.set_dpi(SETTINGS["savefig.dpi"])
            write_atomic(path, lambda file: FigureCanvasAgg(figure).print_png(file, pil_kwargs=PNG))
        else:
            write_atomic(path, lambda file: figure.savefig(file, format=path.suffix[1:]))
    return path


def save_with_numbers(figure: Figure, path: Path, numbers: str) -> list[Path]:
    """Write a figure, and its numbers as CSV in the same folder; return both files."""
    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(table, numbers)
    return [save(figure, path), table]
