"""Data of a page's charts: learning curves, transfers between agents over training, and profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bilevel.experiments import (
    ENVIRONMENT_STEPS,
    FEWEST_SEEDS,
    Run,
    XAxis,
    agent_metric,
    interquartile_interval,
    interquartile_mean,
)
from bilevel.pages._entries import Entry
from bilevel.report import curve_points, final_transfers, looks, transfers_at

METRICS = {
    "welfare": "welfare",
    "cooperation": "cooperation (fraction of actions)",
    "given_away": "share given away",
}
"""Metric -> its name on the page."""
RESAMPLES = 300
"""Bootstrap samples of an interval of a curve."""
FRAMES = 24
"""Maximum number of outer steps at which transfers are shown."""
MOST_AGENTS = 16
"""Maximum number of agents whose transfers are shown over training, and as a graph."""


def curves(entries: Sequence[Entry], reference: Mapping[str, float]) -> dict[str, Any]:
    """Learning curves, as the page's script draws them.

    Args:
        entries: the rows of a game.
        reference: name -> level of welfare to mark, such as the optimum's.

    Returns:
        Metric -> name, and for each row and unit of the x axis x, mean, low and high; low and high are left
        out with fewer than 3 seeds.
    """
    metrics: dict[str, Any] = {}
    for metric, name in METRICS.items():
        having = [entry for entry in entries if metric in entry.run.curves]
        lines = [_line(entry, metric) for entry in having]
        if lines:
            levels = [[label, float(level)] for label, level in reference.items()]
            metrics[metric] = {"name": name, "lines": lines, "levels": levels if metric == "welfare" else []}
    return metrics


def line_colors(labels: Sequence[str]) -> dict[str, str]:
    """Color of each row, as in all figures."""
    return {label: look["color"] for label, look in looks(list(labels)).items()}


def _line(entry: Entry, metric: str) -> dict[str, Any]:
    counted = ENVIRONMENT_STEPS in entry.run.curves
    units: list[XAxis] = ["outer-steps", "environment-steps"] if counted else ["outer-steps"]
    line: dict[str, Any] = {"label": entry.label}
    for unit in units:
        x, samples = curve_points(entry.run, metric, unit)
        points = {"x": x, "mean": interquartile_mean(samples)}
        if samples.shape[-1] >= FEWEST_SEEDS and np.isfinite(samples).all():
            interval = interquartile_interval(samples, resamples=RESAMPLES)
            points |= {"low": interval.low, "high": interval.high}
        line[unit] = {name: rounded(values) for name, values in points.items()}
    return line


def transfers_over_training(run: Run) -> dict[str, Any] | None:
    """Shares or incentives between agents over training, as a mean over seeds.

    Agents are in the order of the figures: by their roles, where these differ between seeds.

    Returns:
        kind, unit, the agents' names, and frames of an outer step and a matrix [giver][receiver]; one frame,
        of the final policies, where matrices were not recorded. None if rewards are not transferred between
        agents, or there are too many.
    """
    found = final_transfers(run)
    agents = run.config.game.num_agents
    if found is None or found.kind == "payment" or not 2 <= agents <= MOST_AGENTS:
        return None
    names = [f"{'rank' if found.order else 'agent'} {agent + bool(found.order)}" for agent in range(agents)]
    steps = np.unique(np.geomspace(1, len(run.curves["welfare"]), FRAMES).round().astype(int))
    recorded = transfers_at(run, steps)
    frames: list[dict[str, Any]] = []
    if recorded is not None:
        means = np.moveaxis(recorded.mean(-1), -1, 0)  # [step, giver, receiver]
        frames += [
            {"step": int(step), "values": rounded(mean, 3)} for step, mean in zip(steps, means, strict=True)
        ]
    frames.append({"step": None, "values": rounded(found.mean, 3)})
    return {"kind": found.kind, "unit": found.unit, "agents": names, "frames": frames}


def returns_of(run: Run) -> list[dict[str, Any]]:
    """Mean return of each agent, with the least and greatest seed."""
    values = agent_metric(run.final, "return", run.config.game.num_agents)
    if values is None or values.shape[-1] > MOST_AGENTS:
        return []
    return [
        {
            "agent": agent,
            "mean": float(of_agent.mean()),
            "low": float(of_agent.min()),
            "high": float(of_agent.max()),
        }
        for agent, of_agent in enumerate(values.T)
    ]


def rounded(values: np.ndarray, digits: int = 5) -> Any:
    """Round to significant digits, for a short file; NaN and infinity become None.

    >>> rounded(np.array([1.23456789, float("nan")]), 3)
    [1.23, None]
    """
    flat = [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in np.ravel(values)]
    whole = [int(value) if value is not None and value.is_integer() else value for value in flat]
    if np.ndim(values) < 2:
        return whole
    width = np.shape(values)[-1]
    return [whole[first : first + width] for first in range(0, len(whole), width)]
