"""Families of dilemmas for any number of agents: pairwise games on a graph, contributions to a common pot."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import alias, computed, require
from games.matrix._counted import CountedFamily
from games.matrix._matrix import MatrixGame, require_finite
from games.matrix._normal_forms import SymmetricTwoAgentGame

MAX_AGENTS = 12
PRISONERS_DILEMMA = SymmetricTwoAgentGame(reward=3, sucker=0, temptation=4, punishment=1)


@dataclass(frozen=True, kw_only=True)
class Family(MatrixGame):
    """A two-action dilemma for any number of agents, with payoffs computed from the cooperators."""

    agents: int = 3
    """Number of agents, from 2 to 12: the payoff table has 2^agents rows."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and 2 <= self.agents <= MAX_AGENTS,
            f"agents must be a whole number between 2 and {MAX_AGENTS}, as the payoff table has 2^agents "
            f"rows; it is {self.agents}.",
        )
        numbers = {name: value for name, value in vars(self).items() if not isinstance(value, MatrixGame)}
        require_finite(**numbers)

    num_agents = alias("agents")

    def build_payoffs(self) -> NDArray[np.float64]:
        cooperates = 1 - np.indices((2,) * self.agents).astype(np.float64)
        return np.moveaxis(self.profile_payoffs(cooperates), 0, -1).copy()

    @abc.abstractmethod
    def profile_payoffs(self, cooperates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Payoffs from indicators of cooperation (1 or 0), both [agent, *profile]."""


@dataclass(frozen=True, kw_only=True)
class SymmetricalFamily(CountedFamily):
    """A two-agent game between every pair of agents; payoffs are divided by the N - 1 opponents.

    Source: Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.
    """

    c: float = 3
    """Total gift of each cooperator to the other agents, in the game's units; any finite number."""
    d: float = 1
    """Value of the alternative to mutual cooperation, in the game's units; any finite number."""

    @property
    @abc.abstractmethod
    def pair_payoffs(self) -> tuple[float, float, float, float]:
        """R, S, T and P of the pairwise game."""

    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reward, sucker, temptation, punishment = self.pair_payoffs
        cooperators = others / (self.agents - 1)
        defectors = (self.agents - 1 - others) / (self.agents - 1)
        return (
            reward * cooperators + sucker * defectors,
            temptation * cooperators + punishment * defectors,
        )


class SymmetricalPrisonersDilemma(SymmetricalFamily):
    """N-agent prisoner's dilemma of every agent against every other.

    A defector gets d + c n_C / (n - 1), a cooperator c (n_C - 1) / (n - 1), where n_C counts all cooperators
    of the n agents.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> SymmetricalPrisonersDilemma(agents=3).payoffs()[0, 0, 1]
    tensor([1.5000, 1.5000, 4.0000], dtype=torch.float64)
    """

    pair_payoffs = computed(lambda self: (self.c, 0, self.c + self.d, self.d))


class SymmetricalChicken(SymmetricalFamily):
    """N-agent chicken of every agent against every other.

    A defector gets (c + d) n_C / (n - 1), a cooperator c (n_C - 1) / (n - 1) + d n_D / (n - 1), where n_C and
    n_D count all cooperators and defectors of the n agents.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> SymmetricalChicken(agents=3).payoffs()[0, 0, 1]
    tensor([2., 2., 4.], dtype=torch.float64)
    """

    pair_payoffs = computed(lambda self: (self.c, self.d, self.c + self.d, 0))


class SymmetricalStagHunt(SymmetricalFamily):
    """N-agent stag hunt of every agent against every other.

    A defector gets c n_C / (n - 1) + d (n_D - 1) / (n - 1), a cooperator (c + d)(n_C - 1) / (n - 1), where
    n_C and n_D count all cooperators and defectors of the n agents.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> SymmetricalStagHunt(agents=3).payoffs()[0, 0, 1]
    tensor([2., 2., 3.], dtype=torch.float64)
    """

    pair_payoffs = computed(lambda self: (self.c + self.d, 0, self.c, self.d))


@dataclass(frozen=True, kw_only=True)
class GraphFamily(Family):
    """A two-agent game along the edges of a graph: agent i gets the weighted sum of its games.

    Source: Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.
    """

    stage: SymmetricTwoAgentGame = PRISONERS_DILEMMA
    """The game played along each edge; any symmetric two-agent game."""

    action_names = alias("stage.action_names")

    @property
    @abc.abstractmethod
    def weights(self) -> NDArray[np.float64]:
        """Weight of agent i's payoff against agent j: [agent, agent], zero on the diagonal."""

    @property
    def neighbors(self) -> Tensor:
        """The opponents, in either direction, and the agent itself."""
        plays = torch.tensor(self.weights > 0)
        return plays | plays.T | torch.eye(self.agents, dtype=torch.bool)

    def profile_payoffs(self, cooperates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum w_ij X(a_i, a_j) over j, with X as a polynomial in the indicators of cooperation."""
        game, defects = self.stage, 1 - cooperates
        met_cooperators = np.tensordot(self.weights, cooperates, 1)
        met_defectors = np.tensordot(self.weights, defects, 1)
        cooperator = game.reward * met_cooperators + game.sucker * met_defectors
        defector = game.temptation * met_cooperators + game.punishment * met_defectors
        return cooperates * cooperator + defects * defector


class Cyclical(GraphFamily):
    """Two-agent games around a ring: agent i's payoff is that of its game against the next agent.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> Cyclical(agents=3).payoffs()[0, 1, 0]
    tensor([0., 4., 3.], dtype=torch.float64)
    """

    @property
    def weights(self) -> NDArray[np.float64]:
        return np.roll(np.eye(self.agents), 1, axis=1)  # 1 from each agent to the next


class Tycoon(GraphFamily):
    """Two-agent games of a tycoon, agent 0, against every other agent; agent 0 gets the sum of its payoffs.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> Tycoon(agents=3).payoffs()[0, 1, 0]
    tensor([3., 4., 3.], dtype=torch.float64)
    """

    @property
    def weights(self) -> NDArray[np.float64]:
        """1 between agent 0 and each other agent, in both directions."""
        weights = np.zeros((self.agents, self.agents))
        weights[0, 1:] = weights[1:, 0] = 1
        return weights


class Circular(GraphFamily):
    """Two-agent games of all pairs on a ring, with weight 2^-k, not normalized, at distance k.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> Circular(agents=4).weights[0]
    array([0.  , 0.5 , 0.25, 0.5 ])
    """

    @property
    def weights(self) -> NDArray[np.float64]:
        """2^-(distance on the ring)."""
        places = np.arange(self.agents)
        apart = np.abs(places[:, None] - places)
        distance = np.minimum(apart, self.agents - apart)
        return np.where(distance > 0, 0.5**distance, 0.0)


@dataclass(frozen=True, kw_only=True)
class PublicGoods(CountedFamily):
    """Public goods game: each agent keeps its unit or gives it to a pot, which is multiplied and split.

    Of n agents n_C give: a cooperator gets k n_C / n and a defector 1 + k n_C / n, a dilemma for 1 < k < n.

    Source:
        Willis et al., arXiv 2310.12928; the default of k is this toolkit's.

    >>> PublicGoods(agents=4, k=2).payoffs()[0, 0, 1, 1]
    tensor([1., 1., 2., 2.], dtype=torch.float64)
    """

    k: float = 2
    """Multiplier of the pot; any finite number, a dilemma for 1 < k < agents."""

    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.k * ((others + 1) / self.agents), 1 + self.k * (others / self.agents)


@dataclass(frozen=True, kw_only=True)
class ContributionGame(CountedFamily):
    """Public goods game without an endowment: contribute one unit or nothing, r_i = k sum(c) / n - c_i.

    Source:
        The linear public goods experiment of Fehr and Gaechter, American Economic Review 90(4), 2000: four
        agents and a marginal return of 0.4, which is k = 1.6.

    >>> ContributionGame(agents=4).payoffs()[0, 0, 1, 1]
    tensor([-0.2000, -0.2000,  0.8000,  0.8000], dtype=torch.float64)
    """

    k: float = 1.6
    """Multiplier of the pot; any finite number, a dilemma for 1 < k < agents."""

    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.k * ((others + 1) / self.agents) - 1, self.k * (others / self.agents)
