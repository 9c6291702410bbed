"""Alternative texts of figures in a notebook, for readers who do not see them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend


def describe(figure: Figure) -> str:
    """Describe a figure by its titles, axis labels and legends.

    >>> figure = Figure()
    >>> axes = figure.subplots()
    >>> _ = axes.plot([0, 1], [0, 2], label="selfish")
    >>> _ = axes.set(title="Two agents", xlabel="outer steps", ylabel="welfare")
    >>> _ = axes.legend()
    >>> describe(figure)
    'Figure. Two agents: welfare against outer steps; legend: selfish.'
    """
    whole = [_line(figure.get_suptitle()), _legend(figure.legends)]
    parts = [text for axes in figure.axes if (text := _part(axes))]
    return " ".join(f"{text}." for text in ("Figure", *filter(None, whole), *parts))


def add_descriptions() -> None:
    """Add alternative texts to the figures of the running notebook; outside a notebook, do nothing.

    Calling it again has no effect, so a first cell can be run twice.
    """
    from IPython import get_ipython  # noqa: PLC0415 - readers outside of notebooks need none

    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return  # a script, or IPython in a terminal: keep its figure windows
    formatter = shell.display_formatter.formatters["image/png"]
    shell.run_line_magic("matplotlib", "inline")  # loads the formatter on first use
    draw = formatter.lookup_by_type(Figure)
    if getattr(draw, "func", None) is not _drawn:
        formatter.for_type(Figure, functools.partial(_drawn, draw))


def _drawn(draw: Callable[[Figure], Any], figure: Figure) -> Any:
    """The formatter's image, with its alternative text."""
    picture = draw(figure)
    return picture if picture is None else (picture, {"alt": describe(figure)})


def _part(axes: Axes) -> str:
    title = next((text for where in ("center", "left", "right") if (text := axes.get_title(where))), "")
    across, up = _line(axes.get_xlabel()), _line(axes.get_ylabel())
    what = f"{up} against {across}" if across and up else up or across
    named = ": ".join(filter(None, (_line(title), what)))
    legend = axes.get_legend()
    words = [] if named else [_line(text.get_text()) for text in axes.texts]
    drawn = f"drawn with the words: {', '.join(filter(None, words))}" if any(words) else ""
    return "; ".join(filter(None, (named, drawn, _legend([legend] if legend else []))))


def _legend(legends: list[Legend]) -> str:
    names = [_line(text.get_text()) for legend in legends for text in legend.get_texts()]
    return f"legend: {', '.join(names)}" if names else ""


def _line(text: str) -> str:
    r"""The text on one line, its formulas without TeX.

    >>> _line("weight $\\varphi$ of the\nloss")
    'weight φ of the loss'
    """
    formulas = re.sub(r"\$([^$]*)\$", lambda found: re.sub(r"\\(?:var)?([a-z]+)", _letter, found[1]), text)
    return " ".join(formulas.split())


def _letter(found: re.Match[str]) -> str:
    try:
        return unicodedata.lookup(f"GREEK SMALL LETTER {found[1]}")
    except KeyError:  # a command that is no letter, such as \max
        return found[1]
