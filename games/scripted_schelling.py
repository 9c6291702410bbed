"""Schelling's diagram of a game that is played in steps: from its scripted cooperators and defectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.base import Game
from games.dilemma import Verdict, judge, rules
from games.errors import require

SURE = 2.0
"""Margins of fewer standard errors count as ties."""


class Estimated(NamedTuple):
    """Means over episodes, with their standard errors."""

    mean: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScriptedSchelling:
    """What agents by the book earn, by how many others cooperate: in a game's `episode_value`, per agent.

    In every episode who cooperates is drawn anew, and what an agent earns is averaged over those that play
    the same role.
    """

    agents: int
    """How many play, N."""
    episodes: int
    """Episodes for each number of cooperators."""
    cooperator: Estimated
    """A cooperator's value, [m], when m = 0..N-1 of the others cooperate."""
    defector: Estimated
    """A defector's value, [m], when m = 0..N-1 of the others cooperate."""
    average: Estimated
    """The value averaged over all agents, [n], when n = 0..N of all the agents cooperate."""

    def verdict(self) -> Verdict:
        """Is it a dilemma? See `games.dilemma.dilemma_test`; within two standard errors is a tie."""
        corners = [
            (role.mean[place], role.error[place])
            for role in (self.cooperator, self.defector)
            for place in (-1, 0)
        ]
        margins = {}
        for rule in rules(self.agents):
            margin = sum(weight * mean for weight, (mean, _) in zip(rule.weights, corners, strict=True))
            error = sum(
                (weight * error) ** 2 for weight, (_, error) in zip(rule.weights, corners, strict=True)
            )
            margins[rule] = float(margin) if abs(margin) > SURE * np.sqrt(error) else 0.0
        return Verdict(*judge(margins, self.agents))

    def records(self) -> list[dict[str, str | int | float]]:
        """The data as rows: role, how many others (of the group: how many of all) cooperate, mean, error."""
        parts = {"cooperator": self.cooperator, "defector": self.defector, "group": self.average}
        return [
            {"role": role, "cooperating": count, "mean": float(mean), "standard_error": float(error)}
            for role, part in parts.items()
            for count, (mean, error) in enumerate(zip(part.mean, part.error, strict=True))
        ]


def scripted_schelling(game: Game, generator: torch.Generator, *, episodes: int = 64) -> ScriptedSchelling:
    """Play a game by the book, with every number of cooperators, all in one batch.

    Args:
        game: a game with a script (`Game.scripted`).
        generator: the source of every draw, of who cooperates too.
        episodes: for each number of cooperators, at least 2.

    Raises:
        ValueError: nobody wrote a script for the game, or there are too few episodes.

    Source:
        Schelling 1973; for games that are played in steps: Hughes et al., arXiv 1803.08884.

    >>> from games.snowdrift import Snowdrift
    >>> data = scripted_schelling(Snowdrift(agents=2), torch.Generator().manual_seed(0))
    >>> print(data.verdict())
    Not a social dilemma: 2R > T + S fails (cooperating beats taking turns: a tie).
    """
    require(episodes >= 2, f"An error can be estimated from 2 episodes or more, not from {episodes}.")
    agents, device = game.num_agents, generator.device
    counts = torch.arange(agents + 1, device=device).repeat_interleave(episodes)
    order = torch.rand(len(counts), agents, generator=generator, device=device).argsort(-1).argsort(-1)
    cooperative = order < counts[:, None]
    values = _play(game, cooperative, generator).double()
    by_count = values.unflatten(0, (agents + 1, episodes))
    roles = cooperative.unflatten(0, (agents + 1, episodes))
    return ScriptedSchelling(
        agents,
        episodes,
        cooperator=_estimate(by_count[1:], roles[1:]),
        defector=_estimate(by_count[:-1], ~roles[:-1]),
        average=_estimate(by_count, torch.ones_like(roles)),
    )


@torch.no_grad()
def _play(game: Game, cooperative: Tensor, generator: torch.Generator) -> Tensor:
    """Each agent's `episode_value`, [batch, agent]."""
    state = game.reset(len(cooperative), generator)
    going = torch.ones(len(cooperative), 1, dtype=torch.bool, device=generator.device)
    paid = []
    for _ in range(game.horizon):
        actions = game.scripted(state, cooperative)
        require(actions is not None, f"Nobody has written a script for {type(game).__name__}.")
        assert actions is not None
        state, rewards, done = game.step(state, actions, generator)
        paid.append(torch.where(going, rewards, 0))
        going = going & ~done[:, None]
        if not going.any():
            break
    return game.episode_value(torch.stack(paid))


def _estimate(values: Tensor, chosen: Tensor) -> Estimated:
    """Average over an episode's chosen agents, then over episodes: [count, episode, agent] -> [count]."""
    means = (values * chosen).sum(-1) / chosen.sum(-1)
    error = means.std(1) / means.shape[1] ** 0.5
    return Estimated(means.mean(1).numpy(force=True), error.numpy(force=True))
