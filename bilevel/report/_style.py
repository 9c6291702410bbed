"""Style of all figures: readable on slides and with color blindness."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bilevel.experiments import write_atomic, write_text

BLUE, RED, GREEN, AMBER = "#0072B2", "#D55E00", "#009E73", "#BF8300"
"""Colors by Okabe and Ito, distinguishable with color blindness; amber is darkened to show on white."""
PURPLE, SKY, BLACK, YELLOW = "#C56A9D", "#2F8FD0", "#000000", "#8F8500"
"""Colors by Okabe and Ito, distinguishable with color blindness; all but black are darkened to a contrast of
3 to 1 or more with white."""
GRAY = "#666666"
"""Color of reference levels and their labels."""
DOTTED: Any = (0, (1, 1))
"""Line style: dots, for `linestyle` of matplotlib."""
DASHED: Any = (0, (5, 2))
"""Line style: dashes, for `linestyle` of matplotlib."""
SHORT_DASHED: Any = (0, (2, 2))
"""Line style: short dashes, for `linestyle` of matplotlib."""
DASH_DOTTED: Any = (0, (3, 1, 1, 1))
"""Line style: dashes and dots, for `linestyle` of matplotlib."""
LONG_DASH_DOTTED: Any = (0, (6, 2, 1, 2))

LOOKS: dict[str, tuple[str, Any, str]] = {
    "mediator": ("#2F5D3A", DOTTED, r"$\spadesuit$"),
    "advantage-alignment": ("#3B6FB6", DASH_DOTTED, r"$\diamondsuit$"),
    "loqa": ("#827717", SHORT_DASHED, r"$\bowtie$"),
    "m-fos": ("#00695C", LONG_DASH_DOTTED, r"$\otimes$"),
    "coala-pg": ("#5D4037", SHORT_DASHED, r"$\oplus$"),
    "lola-dice": ("#B03A2E", LONG_DASH_DOTTED, "8"),
    "pola": ("#D6336C", DASHED, r"$\heartsuit$"),
    "meva": ("#4B6584", LONG_DASH_DOTTED, r"$\star$"),
    "mgrl": ("#1F6F8B", SHORT_DASHED, r"$\triangle$"),
    "stac": ("#A84300", DASHED, r"$\ominus$"),
    "stacx": ("#7A1FA2", DOTTED, r"$\boxplus$"),
    "bmg": ("#2E7D32", DASH_DOTTED, r"$\oslash$"),
    "aga": ("#C724B1", SHORT_DASHED, "H"),
    "contract": ("#4059AD", LONG_DASH_DOTTED, "d"),
    "selfish": (RED, DOTTED, "v"),
    "prosocial": (BLUE, DASHED, "s"),
    "fixed": ("#9A6700", DASH_DOTTED, "D"),
    "spatial-discount": ("#6C757D", SHORT_DASHED, r"$\clubsuit$"),
    "tos": (GREEN, "-", "o"),
    "svo": ("#795548", DASH_DOTTED, "*"),
    "inequity-aversion": ("#1B1F6B", DASHED, "h"),
    "lase": ("#8B0000", DASHED, "<"),
    "ltos": ("#6A3D9A", DASHED, "^"),
    "gifting": ("#5E8C00", DOTTED, "p"),
    "planner": (BLACK, DASH_DOTTED, ">"),
    "d3c": ("#00838F", DOTTED, "X"),
    "lio": ("#B5518A", DASH_DOTTED, "P"),
}
"""Color, dashes and marker of each method; every color has a contrast of 3 to 1 or more with white."""
SPARE_DASHES: tuple[Any, ...] = ("-", SHORT_DASHED, LONG_DASH_DOTTED)
"""Line styles of other names, which take colors and markers from the end of `LOOKS`."""
MARKER_DISTANCE = 0.15
"""Distance between a line's markers as a share of the panel's diagonal."""

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
    "legend.handlelength": 3.0,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
}
"""Settings of matplotlib that `style` applies."""
PNG: Any = {"compress_level": 1}
"""Fast compression: slightly larger files in a third of the time."""


def style() -> AbstractContextManager[None]:
    """Apply the style of all figures in a `with` block.

    >>> from matplotlib.figure import Figure
    >>> with style():
    ...     figure = Figure(figsize=(4, 3))
    ...     spine = figure.subplots().spines["top"]
    >>> spine.get_visible()
    False
    """
    return mpl.rc_context(SETTINGS)


def colors(names: Sequence[str]) -> dict[str, str]:
    """Color of each method, always the same for the known ones.

    Args:
        names: methods, or other labels of lines.
    Returns:
        Name -> color, as #RRGGBB.

    >>> colors(["tos", "mine"])
    {'tos': '#009E73', 'mine': '#B5518A'}
    """
    return {name: look["color"] for name, look in looks(names).items()}


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Color, dashes and marker of each method's line, as Matplotlib's settings.

    Known methods look the same in all figures. Unknown names take the colors and markers of known methods
    that are not among the names. Markers of different lines are shifted along them, and so show where lines
    coincide.

    Args:
        names: methods, or other labels of lines.
    Returns:
        Name -> settings of `axes.plot`.

    >>> looks(["tos", "mine"])["mine"]["color"], looks(["tos", "mine"])["tos"]["marker"]
    ('#B5518A', 'o')
    """
    found = dict(LOOKS)
    free = [name for name in reversed(LOOKS) if name not in names] or list(reversed(LOOKS))
    for index, name in enumerate(name for name in names if name not in LOOKS):
        again, spare = divmod(index, len(free))
        color, _, marker = LOOKS[free[spare]]
        found[name] = color, SPARE_DASHES[(spare + again) % len(SPARE_DASHES)], marker
    return {
        name: {
            "color": color,
            "linestyle": dashes,
            "marker": marker,
            "markersize": 6,
            "markevery": (MARKER_DISTANCE * place / len(names), MARKER_DISTANCE),
        }
        for place, (name, (color, dashes, marker)) in enumerate((name, found[name]) for name in names)
    }


def wrapped(title: str, width: float, size: float = 12) -> str:
    """Break a title's lines so that they fit into a figure.

    Args:
        title: may have several lines already.
        width: width of the figure, in inches.
        size: size of the font, in points, whose characters are taken to be 0.6 as wide.

    >>> wrapped("escape-room: final incentives and payments, over 32 seeds", 4.6)
    'escape-room: final incentives and payments,\\nover 32 seeds'
    """
    most = max(10, int(72 * width / (0.6 * size)))
    return "\n".join(textwrap.fill(line, most, break_on_hyphens=False) for line in title.splitlines())


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically in its extension's format.

    Args:
        figure: drawn in `style()`.
        path: path of the file; its folder is created if it does not exist.
    Returns:
        The path.

    >>> from pathlib import Path
    >>> from matplotlib.figure import Figure
    >>> from bilevel.report import style
    >>> with style():
    ...     figure = Figure(figsize=(4, 3))
    ...     _ = figure.subplots().plot([1, 2, 3])
    >>> save(figure, Path("figures", "line.png")).exists()
    True
    """
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
