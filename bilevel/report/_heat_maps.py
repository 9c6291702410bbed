"""Final transfers between agents as heat maps: shares, incentives, payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.experiments import Run, agent_metric
from bilevel.report._style import style, wrapped
from games.core import Game

MAX_WITH_DEVIATION = 4
"""Maximum number of agents for which cells show means and standard deviations over seeds."""
MAX_NUMBERED = 12
"""Maximum number of agents for which cells show means."""
FAR = 0.25
"""Minimum distance of the seeds from their mean, as a share of the color scale's end, that a title notes."""
ROLES = 0.1
"""Median distance of the seeds from their mean, as a share of the color scale's end, above which they are
taken to differ in the agents' roles."""
MAX_COLUMNS = 4
"""Maximum number of heat maps in a row."""
KINDS = {
    "share": ("share_0_1", "final shares"),
    "incentive": ("incentive_0_1", "final incentives"),
    "payment": ("paid_0", "final payments of the planner"),
}
"""Kind of transfers -> a metric that only it has, and its title."""


class Transfers(NamedTuple):
    """Transfers between agents after training."""

    kind: str
    """A key of `KINDS`."""
    unit: str
    values: np.ndarray
    """Amounts, [giver, receiver, seed]; of payments one giver, the planner."""
    order: str = ""
    """Quantity by which the agents of each seed are sorted, largest first; empty: not sorted."""
    impossible: np.ndarray | None = None
    """Mask of the transfers that the graph of sharing excludes, [giver, receiver]; None: none."""

    @property
    def mean(self) -> np.ndarray:
        """Mean over seeds, [giver, receiver]."""
        return np.asarray(self.values.mean(-1))


def final_transfers(results: Run) -> Transfers | None:
    """Transfers of a finished run between its agents, or from its planner; None if there are none.

    Agents of a symmetric game are sorted by their roles, where these differ between seeds.

    >>> from bilevel.experiments import train
    >>> final_transfers(train("chicken", "selfish", seeds=3, outer_steps=2, out="run")).mean
    array([[1., 0.],
           [0., 1.]])
    """
    found = _unsorted_transfers(results)
    return found if found is None or not _by_role(results, found) else sorted_by_role(found)


def _unsorted_transfers(results: Run) -> Transfers | None:
    """Transfers of a finished run, agents as they are numbered; None if there are none."""
    final, config = results.final, results.config
    paid = agent_metric(final, "paid", config.game.num_agents)
    kind = next((kind for kind, (metric, _) in KINDS.items() if metric in final or kind in final), None)
    kind = "payment" if kind is None and paid is not None else kind
    if kind is None:
        return None
    if kind == "payment":
        assert paid is not None
        values = paid.T[None]
    else:
        values = _between_agents(final, kind, config.game.num_agents)
    unit = "share" if kind == "share" else config.game.value_unit if config.exact else "reward per episode"
    return Transfers(kind, unit, values, impossible=impossible_transfers(config.game, values))


def impossible_transfers(game: Game, values: np.ndarray) -> np.ndarray | None:
    """Mask of the transfers between agents that are not neighbors, [giver, receiver].

    None if all agents are neighbors, if a method ignores the graph, or for agents too many for numbers.

    Args:
        game: its `neighbors` are the graph of sharing.
        values: amounts, [giver, receiver, seed].
    """
    if len(values) != game.num_agents or game.num_agents > MAX_NUMBERED:
        return None
    excluded = ~game.neighbors.numpy(force=True)
    return excluded if excluded.any() and not values[excluded].any() else None


def roles_differ(transfers: Transfers) -> bool:
    """True if agents rank differently in different seeds, and half of the seeds are far from the mean."""
    ranks = _ranks(transfers)
    return bool((ranks != ranks[:, :1]).any()) and float(np.median(_distances(transfers))) > ROLES


def sorted_by_role(transfers: Transfers) -> Transfers:
    """Sort the agents of each seed, rows and columns alike, by what they give away or receive.

    The mean over seeds of the learned roles differs from any seed's transfers if another agent takes a role
    in each seed. Where agents are interchangeable their numbers carry no information, and the mean of sorted
    agents shows the roles. Givers are sorted by the amount given to others, and among equals by the amount
    received; the planner's receivers are sorted by the amount received.

    >>> roles = np.array([[[0.2, 1.0], [0.8, 0.0]], [[0.0, 0.7], [1.0, 0.3]]])  # [giver, receiver, seed]
    >>> sorted_by_role(Transfers("share", "share", roles)).mean.round(2).tolist()
    [[0.25, 0.75], [0.0, 1.0]]
    """
    ranks = _ranks(transfers)
    columns = np.take_along_axis(transfers.values, ranks[None], 1)
    if transfers.kind == "payment":
        return transfers._replace(values=columns, order="payment")
    order = "share given away" if transfers.kind == "share" else "amount given"
    return transfers._replace(values=np.take_along_axis(columns, ranks[:, None], 0), order=order)


def transfers_at(run: Run, steps: np.ndarray) -> np.ndarray | None:
    """Shares or incentives between agents after some outer steps of training.

    Agents are in the order of `final_transfers`.

    Args:
        run: the run.
        steps: numbers of outer steps, from 1, [step].

    Returns:
        Amounts, [giver, receiver, step, seed]; None if matrices were not recorded during training.

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "selfish", seeds=3, outer_steps=4, out="run")
    >>> transfers_at(run, np.array([1, 4])).shape
    (2, 2, 2, 3)
    """
    final = _unsorted_transfers(run)
    if final is None or final.kind == "payment":
        return None
    rows = {name: values[steps - 1] for name, values in run.curves.items() if name.startswith(final.kind)}
    if not rows.keys() & {final.kind, KINDS[final.kind][0]}:
        return None
    values = _between_agents(rows, final.kind, run.config.game.num_agents)
    if not _by_role(run, final):
        return values
    ranks = _ranks(final)
    return np.take_along_axis(np.take_along_axis(values, ranks[None, :, None], 1), ranks[:, None, None], 0)


def _between_agents(numbers: Mapping[str, np.ndarray], kind: str, agents: int) -> np.ndarray:
    """Amounts between agents, [giver, receiver, ..., seed], from one array or a metric for each pair."""
    if kind in numbers:  # a matrix of many agents, [..., seed, giver, receiver]
        return np.asarray(np.moveaxis(numbers[kind], (-2, -1), (0, 1)))
    nothing = np.zeros_like(numbers[KINDS[kind][0]])
    indices = range(agents)
    return np.stack([[numbers.get(f"{kind}_{i}_{j}", nothing) for j in indices] for i in indices])


def _by_role(run: Run, transfers: Transfers) -> bool:
    """True if the agents of each seed are sorted by their roles."""
    return run.config.game.fully_symmetric and roles_differ(transfers)


def transfer_note(transfers: Transfers) -> str:
    """Lines for a title: order of the agents, empty cells, and a warning if no seed is near the mean."""
    note = f"\nagents sorted by {transfers.order}" if transfers.order else ""
    if transfers.impossible is not None:
        note += "\nempty: not neighbors"
    far = transfers.values.shape[-1] > 1 and _distances(transfers).min() > FAR
    return f"{note}\n(no seed is near this mean)" if far else note


def _ranks(transfers: Transfers) -> np.ndarray:
    """Agents of each seed in the order of `sorted_by_role`: [rank, seed]."""
    values = transfers.values
    if transfers.kind == "payment":
        return np.argsort(-values[0], axis=0, kind="stable")
    between = values * ~np.eye(len(values), dtype=bool)[..., None]
    return np.lexsort((-between.sum(0), -between.sum(1)), axis=0)


def _distances(transfers: Transfers) -> np.ndarray:
    """Maximum difference of each seed from the mean, as a share of the color scale's end: [seed]."""
    differences = np.abs(transfers.values - transfers.mean[..., None]).max((0, 1))
    return np.asarray(differences / color_limits([transfers])[1])


def color_limits(transfers: Sequence[Transfers]) -> tuple[float, float]:
    """Limits of a common color scale: 0 and 1 for shares, else of means, symmetric if one is negative."""
    if all(one.kind == "share" for one in transfers):
        return 0.0, 1.0
    most = max(1e-12, *(float(np.abs(one.mean).max()) for one in transfers))
    return (-most if any((one.mean < 0).any() for one in transfers) else 0.0), most


def draw_transfers(
    axes: Axes, transfers: Transfers, *, scale: tuple[float, float] | None = None, color_bar: bool = True
) -> None:
    """Draw transfers as a heat map: mean over seeds, with the standard deviation for few agents.

    `scale` has the limits of the color scale; None: those of this heat map alone.
    """
    low, most = scale or color_limits([transfers])
    mean, deviation = transfers.mean, transfers.values.std(-1)
    agents = mean.shape[1]
    image = axes.imshow(mean, vmin=low, vmax=most, cmap="RdBu" if low < 0 else "Blues")
    if color_bar:
        cast(Figure, axes.figure).colorbar(image, ax=axes, label=transfers.unit)
    ticks = range(0, agents, 1 + (agents - 1) // MAX_NUMBERED)
    names = [ordinal(agent + 1) if transfers.order else str(agent) for agent in ticks]
    which = "rank" if transfers.order else "agent"
    axes.set_xticks(ticks, names)
    axes.set_xlabel(f"receiver ({which})")
    axes.grid(visible=False)
    if transfers.kind == "payment":
        axes.set_yticks([0], ["planner"])
    else:
        axes.set_yticks(ticks, names)
        axes.set_ylabel(f"giver ({which})")
    if agents > MAX_NUMBERED:
        return
    deviates = transfers.values.shape[-1] > 1 and agents <= MAX_WITH_DEVIATION
    for (giver, receiver), value in np.ndenumerate(mean):
        if transfers.impossible is not None and transfers.impossible[giver, receiver]:
            continue
        text = f"{value:.2f}" + (f"\n± {deviation[giver, receiver]:.2f}" if deviates else "")
        axes.text(
            receiver,
            giver,
            text,
            ha="center",
            va="center",
            fontsize=11 if agents <= MAX_WITH_DEVIATION else 9 if agents <= 8 else 7,
            color="white" if abs(value) > 0.65 * most else "black",
        )


def transfer_figure(transfers: Mapping[str, Transfers], title: str) -> Figure:
    """Draw heat maps side by side, on one color scale if they have one unit."""
    across = min(MAX_COLUMNS, len(transfers))
    down = -(-len(transfers) // across)
    units = {one.unit for one in transfers.values()}
    together = color_limits(list(transfers.values())) if len(units) == 1 else None
    with style():
        agents = next(iter(transfers.values())).mean.shape[1]
        side = min(max(3.2, agents / 2), 5.0)  # inches: numbers need room
        figure = Figure(figsize=(1.4 + side * across, 0.8 + (side + 0.3) * down))
        parts = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (label, one) in zip(parts, transfers.items(), strict=False):
            draw_transfers(axes, one, scale=together, color_bar=together is None)
            axes.set_title(wrapped(f"{label}{transfer_note(one)}", side, 13))
        for axes in parts[len(transfers) :]:
            axes.remove()
        drawn = list(parts[: len(transfers)])
        if together is not None:
            label = f"{units.pop()} (mean)"
            figure.colorbar(drawn[0].images[0], ax=drawn, label=label, aspect=20 * down)
        figure.suptitle(wrapped(title, figure.get_figwidth()), fontsize=12)
    return figure


def ordinal(number: int) -> str:
    """Format a rank.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 21)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st']
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number // 10 % 10 != 1 else "th"
    return f"{number}{ending}"
