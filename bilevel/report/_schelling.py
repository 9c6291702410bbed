"""Schelling's diagram as a figure and as a file."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bilevel.experiments import write_text
from bilevel.report._style import BLACK, BLUE, RED, save, style
from bilevel.report._table import csv_text
from games.theory import EVERYBODY, Estimated, ScriptedSchelling

SURE = 1.96
"""Standard errors that a 95 % interval reaches to each side."""
LOOKS = {
    "cooperator": (BLUE, "o", "-"),
    "defector": (RED, "s", "--"),
    "all agents": (BLACK, "D", ":"),
}


def draw_roles(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw what a cooperator and a defector earn, by how many others cooperate, with 95 % intervals.

    Agents who are not interchangeable have lines of their own, the later the paler.
    """
    for role, values in (("cooperator", data.cooperator), ("defector", data.defector)):
        for row, agent in enumerate(data.agents):
            one = Estimated(values.mean[row], values.error[row])
            label = role if agent == EVERYBODY else f"{role}, agent {agent}"
            _draw(axes, one, role, label, opacity=1 - 0.7 * row / len(data.agents))
    axes.set_xlabel("others who cooperate")
    axes.set_ylabel(f"value of one agent\n({unit})")
    axes.legend()


def draw_average(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw what agents earn on average, by how many of them cooperate, with 95 % intervals."""
    _draw(axes, data.average, "all agents", "all agents")
    axes.set_xlabel("agents who cooperate")
    axes.set_ylabel(f"value, mean over all agents\n({unit})")


def write_schelling(
    data: ScriptedSchelling, folder: Path, title: str, unit: str, *, stem: str = "schelling"
) -> list[Path]:
    """Write the figure and the numbers behind it.

    Args:
        data: what was measured.
        folder: where; made if it is not there.
        title: the game's name.
        unit: of values (`Game.value_unit`).
        stem: what the files are called, before .png and .csv.

    Returns:
        the files written.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = folder / f"{stem}.csv"
    write_text(numbers, csv_text(data.records()))
    with style():
        figure = Figure(figsize=(10, 4.8))
        roles, average = figure.subplots(1, 2)
        draw_roles(roles, data, unit)
        draw_average(average, data, unit)
        how = f"{title}: scripted agents, means of {data.episodes} episodes each with 95 % intervals"
        figure.suptitle(f"{how}\n{textwrap.fill(str(data.verdict()), 100)}", fontsize=12)
    return [save(figure, folder / f"{stem}.png"), numbers]


def _draw(axes: Axes, values: Estimated, look: str, label: str, opacity: float = 1.0) -> None:
    color, marker, dashes = LOOKS[look]
    axes.errorbar(
        range(len(values.mean)),
        values.mean,
        yerr=SURE * values.error,
        color=color,
        marker=marker,
        linestyle=dashes,
        capsize=3,
        alpha=opacity,
        label=label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
