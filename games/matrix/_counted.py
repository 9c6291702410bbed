"""Games of two actions whose payoffs depend on one's own action and the number of other cooperators."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import Step, alias, cached_constants, computed, constant, product, require
from games.matrix._matrix import MatrixGame, MatrixState, require_finite

MAX_AGENTS = 10_000
MAX_IN_A_TABLE = 16  # maximum number of agents for a table of the payoffs of all 2^N profiles
TOLERANCE = 1e-12
"""Payoffs that miss a straight line by up to this share of the largest count as linear: it is rounding."""


@dataclass(frozen=True, kw_only=True)
class CountedFamily(MatrixGame):
    """A symmetric game of two actions, described by N payoffs per own action rather than 2^N rows.

    So a thousand agents can play, sampled or with exact values. Where payoffs are linear in the number of
    cooperators, as in public goods, exact values take O(N) operations; otherwise O(N^2), by the distribution
    of the number of other cooperators (`others_cooperating`).

    Raises:
        ValueError: the number of agents or another setting is out of range; from `build_payoffs`, there are
            more than 16 agents.

    >>> class Volunteers(CountedFamily):
    ...     def counted_payoffs(self, others):  # a cooperator pays 1; one is enough for all
    ...         return np.full(self.agents, 1.0), np.where(others > 0, 2.0, 0.0)
    >>> game = Volunteers(agents=1000)
    >>> game.best_welfare, game.defection_welfare
    (1999.0, 0.0)
    >>> game.values(torch.tensor([0.5, 0.5]).expand(1000, 1, 2))[0]
    tensor(1.5000)
    """

    agents: int = 3
    """Number of agents, from 2 to 10 000; up to 16 for a table of all profiles, as `games.theory` needs."""

    num_agents = alias("agents")
    symmetric = True
    fully_symmetric = True  # payoffs depend on the number of cooperators alone
    action_space = computed(lambda self: spaces.Discrete(2))
    # the greatest total over numbers of cooperators
    best_welfare = computed(lambda self: float(welfare_by_count(self).max()))
    best_cooperation = computed(lambda self: best_share(welfare_by_count(self)))
    # the total under full defection
    defection_welfare = computed(lambda self: float(welfare_by_count(self)[0]))

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and 2 <= self.agents <= MAX_AGENTS,
            f"agents must be a whole number between 2 and {MAX_AGENTS}; it is {self.agents}.",
        )
        require_finite(**vars(self))

    @abc.abstractmethod
    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Payoffs of a cooperator and of a defector by the number of other cooperators, 0 to N - 1."""

    def build_payoffs(self) -> NDArray[np.float64]:
        require(
            self.agents <= MAX_IN_A_TABLE,
            f"A table of all profiles is laid out for {MAX_IN_A_TABLE} agents at most, as it has 2^agents "
            f"rows; {type(self).__name__} has {self.agents} agents here.",
        )
        actions = np.moveaxis(np.indices((2,) * self.agents), 0, -1)
        return self.payoffs_of(actions)

    def payoffs_of(self, profile: NDArray[np.int64]) -> NDArray[np.float64]:
        cooperates = profile == 0
        others = cooperates.sum(-1, keepdims=True) - cooperates
        payoffs: NDArray[np.float64] = count_array(self)[profile, others]
        return payoffs

    def values(self, policies: Tensor) -> Tensor:
        return (policies.squeeze(-2) * self.action_values(policies)).sum(-1)

    def action_values(self, policies: Tensor) -> Tensor:
        """Values of each agent's actions, [..., agent, action], against the others' policies."""
        cooperate = policies[..., 0, 0]
        line = straight_line(self)
        if line is None:
            table = count_tensor(self, policies.dtype, policies.device)
            return product(others_cooperating(cooperate), table.mT)
        others = cooperate.sum(-1, keepdim=True) - cooperate
        return torch.stack([start + slope * others for start, slope in line], -1)

    def shared_values(self, own: Tensor, others: Tensor, sharing: Tensor) -> Tensor | None:
        """Shared value of each learner, [..., learner]; None where payoffs are not linear.

        Learner i's value is that of the policies own[i] and others[j] for j not i, probabilities
        [..., agent, 1, action]; sharing is [..., giver, receiver]. Values are linear in own[i], and agent i
        changes all other values equally, so that only the product with the matrix takes O(N^2) operations.
        """
        line = straight_line(self)
        if line is None:
            return None
        slopes = torch.tensor([slope for _, slope in line], dtype=own.dtype, device=own.device)
        action_values = self.action_values(others)
        value_now = (others.squeeze(-2) * action_values).sum(-1)
        value_own = (own.squeeze(-2) * action_values).sum(-1)
        change = own[..., 0, 0] - others[..., 0, 0]
        response = (others.squeeze(-2) * slopes).sum(-1)  # change of a value per additional cooperator
        received = sharing.mT @ torch.stack((value_now, response), -1)
        kept_share = sharing.diagonal(dim1=-2, dim2=-1)
        from_others = received - kept_share.unsqueeze(-1) * torch.stack((value_now, response), -1)
        return from_others[..., 0] + change * from_others[..., 1] + kept_share * value_own

    def difference_rewards(self, actions: Tensor, default: int) -> Tensor:
        welfare = _welfare_tensor(self, torch.get_default_dtype(), actions.device)
        cooperates = (actions == 0).long()
        count = cooperates.sum(-1, keepdim=True)
        return welfare[count] - welfare[count - cooperates + int(default == 0)]

    def step(self, state: MatrixState, actions: Tensor, generator: torch.Generator) -> Step:
        table = count_tensor(self, torch.get_default_dtype(), actions.device)
        cooperates = (actions == 0).long()
        others = cooperates.sum(-1, keepdim=True) - cooperates
        time = state.time + 1
        return MatrixState(time, actions), table[actions, others], time >= self.horizon


def others_cooperating(cooperate: Tensor) -> Tensor:
    """Distribution of the number of other cooperators, [..., agent, number from 0 to N - 1].

    Agents cooperate independently, with probabilities [..., agent]. This is the Poisson binomial
    distribution, by the discrete Fourier transform of its generating function; each agent's own factor is
    left out by products from both sides rather than by division, for stability. O(N^2), differentiable.

    Source:
        Fernandez and Williams, Closed-form expression for the Poisson-binomial probability density function,
        IEEE Transactions on Aerospace and Electronic Systems 46(2), 2010.

    >>> others_cooperating(torch.tensor([0.25, 0.5, 1.0]))[2]  # among the first two: none, one, both
    tensor([0.3750, 0.5000, 0.1250])
    """
    agents = cooperate.shape[-1]
    fractions = torch.arange(agents, dtype=cooperate.dtype, device=cooperate.device) / agents
    roots = torch.polar(torch.ones_like(fractions), -2 * math.pi * fractions)
    factors = 1 + cooperate.unsqueeze(-1) * (roots - 1)  # [..., agent, frequency]
    ones = torch.ones_like(factors[..., :1, :])
    before = torch.cat((ones, factors[..., :-1, :]), -2).cumprod(-2)
    after = torch.cat((ones, factors[..., 1:, :].flip(-2)), -2).cumprod(-2).flip(-2)
    distribution: Tensor = torch.fft.ifft(before * after).real
    return distribution


def count_array(game: CountedFamily) -> NDArray[np.float64]:
    """Payoffs by own action and number of other cooperators, read-only and cached.

    Args:
        game: a counted family of N agents.
    Returns:
        Payoffs of a cooperator and of a defector when 0 to N - 1 others cooperate, float64 [2, N], in the
        game's units.

    >>> from games import make
    >>> count_array(make("public-goods", agents=3, k=1.5))
    array([[0.5, 1. , 1.5],
           [1. , 1.5, 2. ]])
    """
    return _cached_array(game)


@cached_constants
def _cached_array(game: CountedFamily) -> NDArray[np.float64]:
    payoffs = np.stack(game.counted_payoffs(np.arange(game.agents))).astype(np.float64)
    payoffs.setflags(write=False)
    return payoffs


@cached_constants
def count_tensor(game: CountedFamily, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`count_array` as a tensor, cached per dtype and device: do not change it in place."""
    return constant(count_array(game).copy(), dtype, device)


@cached_constants
def _welfare_tensor(game: CountedFamily, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`welfare_by_count` as a tensor, [N + 1]."""
    return constant(welfare_by_count(game), dtype, device)


@cached_constants
def straight_line(game: CountedFamily) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """(start, slope) of payoffs start + slope * others, cooperating and defecting; None if not linear."""
    payoffs, others = count_array(game), np.arange(game.agents)
    starts, slopes = payoffs[:, 0], (payoffs[:, -1] - payoffs[:, 0]) / (game.agents - 1)
    error = np.abs(starts[:, None] + slopes[:, None] * others - payoffs).max()
    if error > TOLERANCE * np.abs(payoffs).max():
        return None
    cooperator, defector = zip(starts.tolist(), slopes.tolist(), strict=True)
    return cooperator, defector


def best_share(welfare: NDArray[np.float64]) -> float | None:
    """Share of cooperators with the greatest welfare, from the welfare by their number; None if several tie.

    >>> best_share(np.array([0.0, 2.0, 1.0])), best_share(np.array([1.0, 0.0, 1.0]))
    (0.5, None)
    """
    best = np.flatnonzero(np.isclose(welfare, welfare.max(), rtol=0, atol=1e-9 * np.abs(welfare).max()))
    return float(best[0]) / (len(welfare) - 1) if len(best) == 1 else None


def welfare_by_count(game: CountedFamily) -> NDArray[np.float64]:
    """Total payoff by the number of cooperators.

    Args:
        game: a counted family of N agents.
    Returns:
        The sum of all agents' payoffs when 0 to N agents cooperate, float64 [N + 1], in the game's units.

    >>> from games import make
    >>> welfare_by_count(make("public-goods", agents=3, k=1.5))
    array([3. , 3.5, 4. , 4.5])
    """
    cooperator, defector = count_array(game)
    total = np.arange(game.agents + 1)
    welfare: NDArray[np.float64] = total * np.append(0.0, cooperator) + (game.agents - total) * np.append(
        defector, 0.0
    )
    return welfare
