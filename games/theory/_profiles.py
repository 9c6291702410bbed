"""Pure profiles of one-shot games: payoffs, welfare optima, and gains of deviations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Game, require
from games.matrix import MatrixGame, payoff_array

TOLERANCE = 1e-9  # payoffs that differ by up to this share of the largest count as equal: it is rounding
MAX_PAYOFFS = 2_000_000
CHUNK = 64
"""Profiles per call of `values`: a matrix game takes memory for each pair of profiles."""

Profile = tuple[int, ...]
"""An action of every agent."""


class Outcome(NamedTuple):
    """A profile of pure actions and its welfare.

    >>> from games import make
    >>> from games.theory import pure_equilibria
    >>> pure_equilibria(make("prisoners-dilemma"))
    (Outcome(profile=(1, 1), welfare=-4.0),)
    """

    profile: Profile
    """An action of every agent."""
    welfare: float
    """Sum of all agents' payoffs, in the game's units."""


class Deviation(NamedTuple):
    """A unilateral deviation: one agent's change of action, while the other agents keep theirs.

    >>> from games import make
    >>> from games.theory import minimal_transfer
    >>> minimal_transfer(make("prisoners-dilemma")).symmetric.binding[0]
    Deviation(agent=0, action=1, profile=(0, 0))
    """

    agent: int
    """Index of the agent that deviates."""
    action: int
    """Action to which it deviates."""
    profile: Profile
    """All agents' actions before the deviation."""


class Deviations(NamedTuple):
    """All unilateral deviations from a profile, for every profile of the others; see `Deviation`."""

    agents: NDArray[np.int64]  # [deviation]
    actions: NDArray[np.int64]  # [deviation]
    profiles: NDArray[np.int64]  # [deviation, agent]
    gains: NDArray[np.float64]  # each agent's gain, [deviation, agent], in the game's units; rounding is 0

    def at(self, index: int) -> Deviation:
        profile = tuple(map(int, self.profiles[index]))
        return Deviation(int(self.agents[index]), int(self.actions[index]), profile)


def payoff_table(game: Game) -> NDArray[np.float64]:
    """Payoffs of every pure profile of a one-shot game.

    Args:
        game: a one-shot game with exact values.
    Returns:
        Payoffs in the game's units, float64 [A, ..., A, agent]: one axis per agent's action, then the agent.
    Raises:
        ValueError: the game is sampled, has more than one step or observation, or has too many profiles.

    >>> from games import make
    >>> payoff_table(make("prisoners-dilemma"))[0, 1]
    array([-3.,  0.])
    """
    kind = type(game).__name__
    require(
        isinstance(game, ExactGame),
        f"A payoff table needs exact values, and {kind} has none: its episodes are sampled.",
    )
    assert isinstance(game, ExactGame)
    require(
        game.horizon == 1 and game.num_observations == 1,
        f"Only one-shot games have a payoff table; {kind} has {game.horizon} steps and "
        f"{game.num_observations} observations.",
    )
    agents, actions = game.num_agents, game.num_actions
    require(
        agents * actions**agents <= MAX_PAYOFFS,
        f"A payoff table has {MAX_PAYOFFS} entries at most; {agents} agents with {actions} "
        f"actions have {agents} x {actions}^{agents}.",
    )
    if isinstance(game, MatrixGame):
        return payoff_array(game)
    profiles = torch.from_numpy(np.indices((actions,) * agents).reshape(agents, -1).T.copy())
    policies = torch.nn.functional.one_hot(profiles, actions).double().unsqueeze(-2)
    values: list[Tensor] = [game.values(chunk) for chunk in policies.split(CHUNK)]
    table: NDArray[np.float64] = torch.cat(values).detach().numpy()
    return table.reshape(*(actions,) * agents, agents)


def rounding(table: NDArray[np.float64]) -> float:
    """Largest difference of payoffs that counts as rounding.

    Args:
        table: payoffs of any shape, in the game's units.
    Returns:
        A billionth of the largest payoff's size, in the game's units.

    >>> rounding(np.array([[[2.0, -4.0]]])) == 4e-9
    True
    """
    return TOLERANCE * float(np.abs(table).max(initial=0))


def outcomes(table: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[Outcome, ...]:
    """List the chosen profiles, boolean [A, ..., A], in the order of their actions, agent 0's first."""
    welfare = table.sum(-1)
    return tuple(
        Outcome(tuple(map(int, profile)), float(welfare[tuple(profile)])) for profile in np.argwhere(chosen)
    )


def welfare_optima(game: Game) -> tuple[Outcome, ...]:
    """All pure profiles with maximum welfare, which no mixed profile exceeds.

    Args:
        game: a one-shot game with exact values.
    Returns:
        The optima in the order of their actions, agent 0's first.
    Raises:
        ValueError: as for `payoff_table`.

    >>> from games import make
    >>> welfare_optima(make("chicken"))[0], len(welfare_optima(make("chicken")))
    (Outcome(profile=(0, 0), welfare=0.0), 3)
    """
    table = payoff_table(game)
    welfare = table.sum(-1)
    return outcomes(table, welfare >= welfare.max() - game.num_agents * rounding(table))


def deviations(table: NDArray[np.float64], profile: Profile) -> Deviations:
    """Gains of all agents by every deviation from a profile: each agent, action, and profile of the others.

    >>> table = np.array([[[-1, -1], [-3, 0]], [[0, -3], [-2, -2]]])
    >>> deviations(table, (0, 0)).gains.tolist()
    [[1.0, -2.0], [1.0, -2.0], [-2.0, 1.0], [-2.0, 1.0]]
    """
    agents, actions = table.ndim - 1, table.shape[0]
    before = np.moveaxis(np.indices(table.shape[:-1]), 0, -1)
    rows = []
    for agent in range(agents):
        stays = np.take(table, profile[agent], agent)
        profiles = np.take(before, profile[agent], agent).reshape(-1, agents)
        for action in set(range(actions)) - {profile[agent]}:
            gains = (np.take(table, action, agent) - stays).reshape(-1, agents).astype(np.float64)
            deviators, actions_instead = np.full(len(gains), agent), np.full(len(gains), action)
            rows.append(Deviations(deviators, actions_instead, profiles, gains))
    result = Deviations(*map(np.concatenate, zip(*rows, strict=True)))
    return result._replace(gains=np.where(np.abs(result.gains) <= rounding(table), 0, result.gains))
