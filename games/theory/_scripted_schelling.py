"""Schelling diagrams of sequential games, from scripted cooperators and defectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import Game, require
from games.theory._dilemma import TURNS, Verdict, corners, judge, rules

TIE_ERRORS = 2.0  # margins of fewer standard errors count as ties
EVERYBODY = "all"
"""Label of values pooled over agents."""


class Estimated(NamedTuple):
    """Means over episodes, with their standard errors.

    >>> from games import make
    >>> from games.theory import scripted_schelling
    >>> average = scripted_schelling(make("stag-hunt"), torch.Generator()).average
    >>> average.mean, average.error  # of both agents, if none, one or both cooperate
    (array([1., 1., 3.]), array([0., 0., 0.]))
    """

    mean: NDArray[np.float64]
    """Means over episodes."""
    error: NDArray[np.float64]
    """Standard errors of the means."""


@dataclass(frozen=True)
class ScriptedVerdict(Verdict):
    """The conditions of a social dilemma that hold between two scripts; no other policies were tested."""

    TIE: ClassVar[str] = "within two standard errors of a tie"

    def __str__(self) -> str:
        if self.is_dilemma:
            return f"Between these two scripts, a social dilemma by {self.motive}."
        found = f"Between these two scripts, no social dilemma shows: {self.reasons}"
        return f"{found}; other policies may face one."


@dataclass(frozen=True, eq=False)
class ScriptedSchelling:
    """Returns of scripted agents by the number of other cooperators, in a game's `episode_value`.

    Cooperators are drawn anew in every episode. In a game with interchangeable agents
    (`Game.symmetric`) values are pooled over agents; otherwise each agent has its own, as a mean over agents
    would hide that some gain where others lose.

    >>> from games import make
    >>> from games.theory import scripted_schelling
    >>> data = scripted_schelling(make("escape-room"), torch.Generator(), episodes=4)
    >>> data.agents, data.cooperator.mean.shape  # agent, number of other cooperators
    (('all',), (1, 2))
    >>> data.records()[0]
    {'role': 'cooperator', 'agent': 'all', 'cooperating': 0, 'mean': -1.0, 'standard_error': 0.0}
    """

    agents: tuple[str, ...]  # labels of the rows: "all", or the agents' numbers
    num_agents: int
    episodes: int  # episodes for each number of cooperators, and, unless all are pooled, for each agent
    cooperator: Estimated  # a cooperator's value, [agent, m], m = 0..N-1 others cooperating
    defector: Estimated  # a defector's value, [agent, m], m = 0..N-1 others cooperating
    average: Estimated  # mean value of all agents, [n], n = 0..N agents cooperating

    def verdict(self) -> ScriptedVerdict:
        """Test the conditions of `games.theory.dilemma_test`; a margin is the smallest over agents.

        A margin within two standard errors is a tie.
        """
        margins = {}
        for rule in rules(self.num_agents):
            weights = np.array(rule.weights)
            margin = weights @ corners(rule, self.cooperator.mean, self.defector.mean)
            variances = corners(rule, self.cooperator.error**2, self.defector.error**2)
            if rule == TURNS:  # R is a mean over agents, whose errors are independent
                variances[0] /= len(self.agents)
            error = np.sqrt(weights**2 @ variances)
            margins[rule] = float(np.where(np.abs(margin) > TIE_ERRORS * error, margin, 0.0).min())
        return ScriptedVerdict(*judge(margins, self.num_agents))

    def better_replies(self) -> NDArray[np.int64]:
        """The role that pays an agent more, for each number of cooperating others: [agent, m].

        1: defecting, -1: cooperating, 0: they differ by two standard errors or less.
        """
        margin = self.defector.mean - self.cooperator.mean
        error = np.hypot(self.defector.error, self.cooperator.error)
        return np.where(np.abs(margin) > TIE_ERRORS * error, np.sign(margin), 0).astype(np.int64)

    def best_counts(self) -> range:
        """Numbers of cooperators around the best one whose average is within two standard errors of it."""
        mean, error = self.average
        best = int(mean.argmax())
        tied = mean[best] - mean <= TIE_ERRORS * np.hypot(error, error[best])
        first, last = best, best
        while first > 0 and tied[first - 1]:
            first -= 1
        while last < self.num_agents and tied[last + 1]:
            last += 1
        return range(first, last + 1)

    def records(self) -> list[dict[str, str | int | float]]:
        """The data as rows: role, agent, number of cooperating others (group: of all agents), mean, error."""
        lines = [
            (role, agent, mean, error)
            for role, part in (("cooperator", self.cooperator), ("defector", self.defector))
            for agent, mean, error in zip(self.agents, part.mean, part.error, strict=True)
        ]
        lines.append(("group", EVERYBODY, self.average.mean, self.average.error))
        names = ("role", "agent", "cooperating", "mean", "standard_error")
        return [
            dict(zip(names, (role, agent, count, float(mean), float(error)), strict=True))
            for role, agent, means, errors in lines
            for count, (mean, error) in enumerate(zip(means, errors, strict=True))
        ]


def scripted_schelling(game: Game, generator: torch.Generator, *, episodes: int = 64) -> ScriptedSchelling:
    """Play a game's scripted policies with every number of cooperators, in one batch.

    Args:
        game: a game with a script (`Game.scripted`).
        generator: the source of every draw, that of the cooperators included.
        episodes: number of episodes for each number of cooperators and, unless the game is `symmetric`, for
            each agent; at least 2.
    Returns:
        Mean values of cooperators and defectors by the number of cooperators, with standard errors.
    Raises:
        ValueError: the game has no script, or there are too few episodes.
    Source:
        Schelling 1973; for games of many steps: Hughes et al., arXiv 1803.08884.

    >>> from games import make
    >>> data = scripted_schelling(make("snowdrift", agents=2), torch.Generator().manual_seed(0))
    >>> print(data.verdict())
    Between these two scripts, no social dilemma shows: 2R > T + S fails (cooperating beats taking turns:
    within two standard errors of a tie); other policies may face one.
    """
    require(episodes >= 2, f"An error can be estimated from 2 episodes or more, not from {episodes}.")
    agents, device = game.num_agents, generator.device
    # Every agent is the first, second, ... to cooperate equally often.
    turns = 1 if game.symmetric else agents
    counts = torch.arange(agents + 1, device=device).repeat_interleave(episodes * turns)
    drawn = torch.rand(len(counts) // turns, agents, generator=generator, device=device)
    order = drawn.argsort(-1).argsort(-1).repeat_interleave(turns, 0)
    order = (order + torch.arange(len(order), device=device)[:, None] % turns) % agents
    cooperative = order < counts[:, None]
    values = _play(game, cooperative, generator).double()
    by_count = values.unflatten(0, (agents + 1, -1))
    roles = cooperative.unflatten(0, (agents + 1, -1))
    return ScriptedSchelling(
        (EVERYBODY,) if game.symmetric else tuple(map(str, range(agents))),
        agents,
        episodes,
        cooperator=_by_role(by_count[1:], roles[1:], pooled=game.symmetric),
        defector=_by_role(by_count[:-1], ~roles[:-1], pooled=game.symmetric),
        average=_estimate(by_count, torch.ones_like(roles)),
    )


@torch.no_grad()
def _play(game: Game, cooperative: Tensor, generator: torch.Generator) -> Tensor:
    """Each agent's `episode_value`, [batch, agent]."""
    state = game.reset(len(cooperative), generator)
    running = torch.ones(len(cooperative), 1, dtype=torch.bool, device=generator.device)
    rewards_paid = []
    for _ in range(game.horizon):
        actions = game.scripted(state, cooperative)
        require(actions is not None, f"Nobody has written a script for {type(game).__name__}.")
        assert actions is not None
        state, rewards, done = game.step(state, actions, generator)
        rewards_paid.append(torch.where(running, rewards, 0))
        running = running & ~done[:, None]
        if not running.any():
            break
    return game.episode_value(torch.stack(rewards_paid))


def _by_role(values: Tensor, chosen: Tensor, *, pooled: bool) -> Estimated:
    """Estimate the values of agents in one role: [count, episode, agent] -> [agent or 1, count]."""
    if pooled:
        rows = [_estimate(values, chosen)]
    else:
        rows = [_estimate_agent(values[..., agent], chosen[..., agent]) for agent in range(values.shape[-1])]
    return Estimated(*(np.stack(part) for part in zip(*rows, strict=True)))


def _estimate(values: Tensor, chosen: Tensor) -> Estimated:
    """Average over an episode's chosen agents, then over episodes: [count, episode, agent] -> [count]."""
    means = (values * chosen).sum(-1) / chosen.sum(-1)
    error = means.std(1) / means.shape[1] ** 0.5
    return Estimated(means.mean(1).numpy(force=True), error.numpy(force=True))


def _estimate_agent(values: Tensor, chosen: Tensor) -> Estimated:
    """Average one agent's values over the episodes in which it has the role: [count, episode] -> [count]."""
    pairs = [
        (own[has_role].mean(), own[has_role].std() / has_role.sum() ** 0.5)
        for own, has_role in zip(values, chosen, strict=True)
    ]
    mean, error = (torch.stack(part).numpy(force=True) for part in zip(*pairs, strict=True))
    return Estimated(mean, error)
