"""Normal forms: symmetric games of two agents and two actions, and random games."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import alias, require
from games.matrix._matrix import MatrixGame, NormalForm, require_finite


@dataclass(frozen=True, kw_only=True)
class SymmetricTwoAgentGame(MatrixGame):
    """A symmetric game of two agents who cooperate (action 0) or defect (action 1): payoffs R, S, T, P.

    The default is the prisoner's dilemma of the literature on opponent shaping.

    Raises:
        ValueError: a payoff is not finite, or there are not two names.
    Source:
        Payoffs of the default: Foerster et al., Learning with Opponent-Learning Awareness, arXiv 1709.04326.

    >>> SymmetricTwoAgentGame().payoffs()[0, 1]
    tensor([-3.,  0.], dtype=torch.float64)
    """

    reward: float = -1
    """R, the payoff when both cooperate, in the game's units; any finite number."""
    sucker: float = -3
    """S, the payoff of cooperating alone, in the game's units; any finite number."""
    temptation: float = 0
    """T, the payoff of defecting alone, in the game's units; any finite number."""
    punishment: float = -2
    """P, the payoff when both defect, in the game's units; any finite number."""
    names: tuple[str, str] = ("cooperate", "defect")
    """Names of the two actions."""

    def __post_init__(self) -> None:
        payoffs = ("reward", "sucker", "temptation", "punishment")
        require_finite(**{name: getattr(self, name) for name in payoffs})
        require(len(self.names) == 2, f"Two actions need two names; there are {len(self.names)}.")

    action_names = alias("names")

    def build_payoffs(self) -> NDArray[np.float64]:
        """Build [2, 2, agent]; the second agent's table is the first one's transpose."""
        own = np.array([[self.reward, self.sucker], [self.temptation, self.punishment]], dtype=np.float64)
        return np.stack((own, own.T), -1)


MOST_PAYOFFS = 1_000_000


def random_zero_sum(actions: int, seed: int) -> NormalForm:
    """Draw a two-agent zero-sum game: agent 0's payoffs are standard normal, agent 1's are minus those.

    Args:
        actions: number of actions of each agent, 2 or more.
        seed: the same seed gives the same game.
    Raises:
        ValueError: there are too few or too many actions.

    >>> random_zero_sum(actions=3, seed=0).payoffs().sum(-1).abs().max()
    tensor(0., dtype=torch.float64)
    """
    _require_size(actions, 2)
    own = _normal((actions, actions), seed)
    return NormalForm(table=tuple(torch.stack((own, -own), -1).tolist()))


def random_general_sum(actions: int, seed: int, *, agents: int = 2, correlation: float = 0.0) -> NormalForm:
    """Draw a game of standard normal payoffs, correlated between agents within each outcome.

    Args:
        actions: number of actions of each agent, 2 or more.
        seed: the same seed gives the same game.
        agents: number of agents, 2 or more; there are agents * actions^agents payoffs.
        correlation: between any two agents' payoffs, from -1 / (agents - 1), which makes the game zero-sum,
            to 1, which gives all agents the same payoff.
    Raises:
        ValueError: there are too few agents or actions, too many payoffs, or no such correlation.
    Source:
        The covariant game of Nudelman et al., Run the GAMUT, AAMAS 2004.

    >>> same = random_general_sum(actions=2, seed=0, correlation=1.0).payoffs()
    >>> bool((same[..., 0] == same[..., 1]).all())
    True
    """
    _require_size(actions, agents)
    least = -1 / (agents - 1)
    require(
        least <= correlation <= 1,
        f"Payoffs of {agents} agents can correlate from {least:.4g} to 1; the correlation is {correlation}.",
    )
    drawn = _normal((*[actions] * agents, agents), seed)
    # The square root of the covariance (1 - c) I + c 1 1' scales the mean over agents and the deviations.
    shared = drawn.mean(-1, keepdim=True)
    deviation = (drawn - shared) * math.sqrt(1 - correlation)
    payoffs = deviation + shared * math.sqrt((agents - 1) * (correlation - least))
    return NormalForm(table=tuple(payoffs.tolist()))


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _require_size(actions: int, agents: int) -> None:
    require(actions >= 2, f"A random game needs at least 2 actions; there are {actions}.")
    require(agents >= 2, f"A random game needs at least 2 agents; there are {agents}.")
    payoffs = agents * actions**agents
    require(
        payoffs <= MOST_PAYOFFS,
        f"A random game has at most {MOST_PAYOFFS} payoffs; {agents} agents with {actions} actions have "
        f"{payoffs}.",
    )
