"""Learned weights of agents' losses over training: a panel for each term."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from matplotlib.figure import Figure

from bilevel.experiment.folder import Results
from bilevel.outer.learned_loss_weights import TERMS
from bilevel.report.curves import draw_curves
from bilevel.report.measures import mean_weight
from bilevel.report.style import style

UNITS = {"policy": "of minus the return", "value": "of the critic's error", "entropy": "reward units per nat"}
"""Term -> what a weight of 1 counts, for axes."""


def weights_of_agents(results: Results) -> dict[str, Results]:
    """One run as many, the curves of each being one agent's loss weights; none where none were learned."""
    return {
        f"agent {agent}": dataclasses.replace(
            results, curves={term: results.curves[f"{term}_weight_{agent}"] for term in TERMS}
        )
        for agent in range(results.config.game.num_agents)
        if f"policy_weight_{agent}" in results.curves
    }


def weights_of_methods(runs: Mapping[str, Results]) -> dict[str, Results]:
    """The runs that learned loss weights, their curves being the agents' mean of these."""
    found = {}
    for label, results in runs.items():
        means = {term: mean_weight(results.curves, term, results.config.game.num_agents) for term in TERMS}
        curves = {term: mean for term, mean in means.items() if mean is not None}
        if curves:
            found[label] = dataclasses.replace(results, curves=curves)
    return found


def loss_weight_figure(runs: Mapping[str, Results], title: str) -> Figure:
    """Draw the weights of each term over training.

    Args:
        runs: label -> run whose curves are named as `TERMS`: of `weights_of_agents` or `weights_of_methods`.
        title: above all panels.
    """
    with style():
        figure = Figure(figsize=(14.4, 4.6))
        parts = figure.subplots(1, len(TERMS))
        for axes, term in zip(parts, TERMS, strict=True):
            draw_curves(axes, runs, term, log=False)
            axes.set_title(f"{term}'s term")
            axes.set_ylabel(f"weight ({UNITS[term]})")
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), high + 0.02 * (high or 1.0))
        handles, labels = parts[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
        figure.suptitle(title, fontsize=12)
    return figure
