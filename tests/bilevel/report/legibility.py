"""Legibility of figures and frames: contrast, signs beside color, legends beside the data, texts inside."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import ImageFont

from bilevel.report import _style
from games.render import Pen, Symbol, draw_key

LEAST_CONTRAST = 3.0
"""Contrast with white of graphical objects: Web Content Accessibility Guidelines 2.1, criterion 1.4.11."""
APART = 12.0
"""Distance of two colors in CIELAB from which they can be told apart side by side."""
PART_APART = 0.15
"""Part of their pixels by which two symbols of a frame's key can be told apart."""
SIMULATED: dict[str, NDArray[np.float64]] = {
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
    "greyscale": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
"""Linear RGB -> the linear RGB that is seen, at severity 1: Machado, Oliveira and Fernandes, A
Physiologically-Based Model for Simulation of Color Vision Deficiency, IEEE
TVCG 15(6), 2009; and luminance."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color: Any) -> NDArray[np.float64]:
    """Linear RGB of a color on white: sRGB is decoded, and opacity is mixed in."""
    red, green, blue, alpha = to_rgba(color)
    return decoded(alpha * np.array([red, green, blue]) + 1 - alpha)


def decoded(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear RGB of sRGB, both from 0 to 1."""
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(color: Any) -> float:
    return float(linear(color) @ SIMULATED["greyscale"][0])


def contrast(color: Any, background: Any = "white") -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines 2.1, from 1 to 21."""
    low, high = sorted((luminance(color), luminance(background)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB, [..., channel] both, with the white point D65."""
    xyz = rgb.clip(0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    x, y, z = np.moveaxis(
        np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def distance(one: Any, other: Any, seen_by: str) -> float:
    """Distance of two colors in CIELAB for one of `SIMULATED`."""
    matrix = SIMULATED[seen_by]
    return float(np.linalg.norm(lab(matrix @ linear(one)) - lab(matrix @ linear(other))))


@contextmanager
def recorded() -> Iterator[list[Figure]]:
    """All figures that `bilevel.report.save` writes as PNG within a block."""
    figures: list[Figure] = []

    class Recorder(FigureCanvasAgg):
        def print_png(self, *arguments: Any, **settings: Any) -> None:
            super().print_png(*arguments, **settings)
            figures.append(self.figure)

    with mock.patch.object(_style, "FigureCanvasAgg", Recorder):
        yield figures


def problems(figure: Figure) -> list[str]:
    """Everything that cannot be read in a figure, one sentence each; none: it is legible."""
    FigureCanvasAgg(figure).draw()
    return [*_faint(figure), *_alike(figure), *_covered(figure), *_crossed(figure), *_clipped(figure)]


def _texts(figure: Figure) -> list[Text]:
    """Texts that are drawn; ticks beyond the axes' limits are not."""
    beyond = {
        label
        for axes in figure.axes
        for place, axis in enumerate((axes.xaxis, axes.yaxis))
        for label in axis.get_ticklabels(which="both")
        if not min(axis.get_view_interval()) <= label.get_position()[place] <= max(axis.get_view_interval())
    }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in texts if text not in beyond]


def _background(text: Text) -> Any:
    """Color below a text: that of its cell in a heat map, else white."""
    axes = text.axes
    if axes is None or not axes.images or text not in axes.texts:
        return "white"
    (image,) = axes.images
    column, row = (round(place) for place in text.get_position())
    return image.to_rgba(np.asarray(image.get_array())[row : row + 1, column : column + 1])[0, 0]


def _line_colors(line: Line2D) -> set[Any]:
    """Colors of a line and of the edges of its markers."""
    alpha = line.get_alpha()
    colors = []
    if line.get_linestyle() not in ("None", "", " "):
        colors.append(line.get_color())
    if line.get_marker() not in ("None", "", " ", None):
        colors.append(line.get_markeredgecolor())
    return {to_rgba(color, alpha) for color in colors}


def _lines(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_visible() and len(line.get_xdata())]


def _faint(figure: Figure) -> Iterator[str]:
    for text in _texts(figure):
        found = contrast(to_rgba(text.get_color(), text.get_alpha()), _background(text))
        if found < LEAST_CONTRAST:
            yield f"The text {text.get_text()!r} has a contrast of {found:.2f}."
    for axes in figure.axes:
        for line in _lines(axes):
            for color in _line_colors(line):
                if contrast(color) < LEAST_CONTRAST:
                    yield f"The line {line.get_label()!r} has a contrast of {contrast(color):.2f}."


def _signs(line: Line2D) -> tuple[str, ...]:
    """Signs of a line other than its color."""
    filled = contrast(line.get_markerfacecolor()) > 1.2 if line.get_marker() != "None" else False
    return str(line._dash_pattern), str(line.get_marker()), str(filled)  # type: ignore[attr-defined]


def _legends(figure: Figure) -> list[Legend]:
    return [legend for legend in figure.findobj(Legend) if legend.get_visible()]


def _alike(figure: Figure) -> Iterator[str]:
    """Entries of a legend that differ neither by a sign beside color nor, for some eyes, by color."""
    for legend in _legends(figure):
        names = [text.get_text() for text in legend.get_texts()]
        lines = [
            (name, lines[0])
            for name, handle in zip(names, legend.legend_handles, strict=True)
            if handle is not None and (lines := handle.findobj(Line2D))
        ]
        for (name, one), (other_name, other) in itertools.combinations(lines, 2):
            if _signs(one) != _signs(other):
                continue
            for eyes in SIMULATED:
                found = distance(one.get_color(), other.get_color(), eyes)
                if found < APART:
                    yield f"{name!r} and {other_name!r} look alike ({eyes}: {found:.1f})."
                    break


def _covered(figure: Figure) -> Iterator[str]:
    """Legends that lie over data or texts."""
    for legend in _legends(figure):
        box = legend.get_window_extent().padded(-1)
        for axes in figure.axes:
            inside = axes.get_window_extent()
            for line in _lines(axes):
                path = line.get_transform().transform_path(line.get_path())
                points = path.interpolated(20).vertices
                seen = points[np.isfinite(points).all(1)]
                if any(box.contains(*point) and inside.contains(*point) for point in seen):
                    yield f"A legend lies over {line.get_label()!r}."
        inner = set(legend.findobj(Text))
        for text in _texts(figure):
            if text not in inner and box.overlaps(text.get_window_extent()):
                yield f"A legend lies over the text {text.get_text()!r}."


def _crossed(figure: Figure) -> Iterator[str]:
    """Texts among data that a line crosses."""
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent()
            for line in _lines(axes):
                path = line.get_transform().transform_path(line.get_path())
                if text.get_visible() and path.intersects_bbox(box, filled=False):
                    yield f"The line {line.get_label()!r} crosses the text {text.get_text()!r}."


def _clipped(figure: Figure) -> Iterator[str]:
    for text in _texts(figure):
        extent = text.get_window_extent()
        outside = (
            min(extent.x0, extent.y0) < -1
            or extent.x1 > figure.bbox.width + 1
            or extent.y1 > figure.bbox.height + 1
        )
        if outside and text.get_clip_path() is None and text.get_in_layout():
            yield f"The text {text.get_text()!r} is cut off at the figure's edge."
    headings = [axes.title for axes in figure.axes if axes.title.get_text()]
    for one, other in itertools.combinations(headings, 2):
        if one.get_window_extent().padded(-1).overlaps(other.get_window_extent().padded(-1)):
            yield f"The titles {one.get_text()!r} and {other.get_text()!r} overlap."


class Written(NamedTuple):
    """A text in a frame: its color, that below it, its box in pixels, and the pixels when it was written."""

    words: str
    color: str
    background: tuple[float, ...]
    box: tuple[int, int, int, int]  # left, top, right, bottom
    pixels: NDArray[np.uint8]


def frame_problems(draw: Callable[[], NDArray[np.uint8]]) -> list[str]:
    """Everything that cannot be read in a frame drawn with `games.render.Pen`, one sentence each.

    Symbols of its key are compared as pictures: they may differ in color, in shape or in their texts.
    """
    texts: list[Written] = []
    keys: list[Sequence[tuple[Symbol, str]]] = []
    plain, plain_key = Pen.text, draw_key

    def text(
        pen: Pen, place: Any, words: str, *, size: float, color: str = "#333333", anchor: str = "mm"
    ) -> None:
        font = ImageFont.load_default(max(size * pen._scale, 6))
        left, top, right, bottom = (
            round(x) for x in pen._draw.textbbox(pen._at(place), words, font, anchor=anchor)
        )
        inside = np.s_[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        below = pen.picture()[inside].reshape(-1, 3)
        plain(pen, place, words, size=size, color=color, anchor=anchor)
        if words and len(below):
            background = tuple(np.median(below, 0) / 255)
            texts.append(Written(words, color, background, (left, top, right, bottom), pen.picture()[inside]))

    def key(pen: Pen, entries: Sequence[tuple[Symbol, str]], top: float, width: float) -> None:
        keys.append(entries)
        plain_key(pen, entries, top, width)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Pen, "text", text))
        for module in list(sys.modules.values()):
            if vars(module).get("draw_key") is plain_key:
                stack.enter_context(mock.patch.object(module, "draw_key", key))
        frame = draw()
    return [*_unreadable(frame, texts), *_alike_in(keys)]


def _unreadable(frame: NDArray[np.uint8], texts: Sequence[Written]) -> Iterator[str]:
    """Texts of a frame that are faint, cut off, or covered by what was drawn later."""
    for words, color, background, (left, top, right, bottom), pixels in texts:
        found = contrast(color, background)
        if found < LEAST_CONTRAST:
            yield f"The text {words!r} has a contrast of {found:.2f}."
        if min(left, top) < 0 or right > frame.shape[1] or bottom > frame.shape[0]:
            yield f"The text {words!r} is cut off at the frame's edge."
        elif (frame[top:bottom, left:right] != pixels).any():
            yield f"The text {words!r} is covered."


def _alike_in(keys: Sequence[Sequence[tuple[Symbol, str]]]) -> Iterator[str]:
    """Symbols of a key that some eyes cannot tell apart."""
    for entries in keys:
        drawn, words = {}, {}
        for symbol, meaning in entries:
            pen = Pen(26, 26)
            with mock.patch.object(Pen, "text", autospec=True, side_effect=Pen.text) as text:
                symbol(pen, (4, 4), 18)
            drawn[meaning] = decoded(pen.picture() / 255)
            words[meaning] = [call.args[2] for call in text.call_args_list if call.args[2]]
        for (name, one), (other_name, other) in itertools.combinations(drawn.items(), 2):
            if words[name] != words[other_name]:
                continue
            inked = ((one < 1) | (other < 1)).any(-1).sum()
            for eyes, matrix in SIMULATED.items():
                apart = np.linalg.norm(lab(one @ matrix.T) - lab(other @ matrix.T), axis=-1) >= APART
                part = apart.sum() / inked
                if part < PART_APART:
                    yield f"{name!r} and {other_name!r} look alike ({eyes}: {part:.3f} of their pixels)."
                    break
