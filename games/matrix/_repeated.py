"""Matrix games repeated with memory one, infinitely or for a finite number of steps."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import (
    ExactGame,
    Step,
    alias,
    cached_constants,
    computed,
    constant,
    product,
    require,
    traced,
    uniform,
)
from games.matrix import _memory_one as memory_one
from games.matrix._matrix import MatrixGame, MatrixState, payoff_array, payoff_tensor
from games.matrix._normal_forms import SymmetricTwoAgentGame

MAX_JOINT_ACTIONS = 2**16
MAX_EXACT_STATES = 32
"""Larger chains are sampled: five agents with two actions fit, three with three, two with five."""


@dataclass(frozen=True, kw_only=True)
class RepeatedGame(ExactGame):
    """A stage game repeated with memory one; values are per step, (1 - discount) V.

    An agent observes 0 at the start, then 1 + the last joint action as a number in base A (the number of
    actions), with its own action as the most significant digit, followed by the other agents' actions in
    increasing order. For two agents who cooperate (C) or defect (D) the observations 0 to 4 are: start, then
    (own, other) = CC, CD, DC, DD. The same outcome CD is 2 to agent 0 and 3 to agent 1. `values` is the
    expectation of the infinite game; a sampled episode stops after `horizon` steps, so its `episode_value`
    omits a fraction discount^horizon of it.

    With probability `noise`, each chosen action is independently replaced by one of the other actions, which
    are equally likely. All agents, the acting one included, observe the executed action. A policy p thus
    becomes (1 - noise) p + noise (1 - p) / (A - 1), in exact values and in samples; exact shares of
    cooperation count executed actions.

    Raises:
        ValueError: the stage is not a matrix game, or a number is out of range; from `values` and
            `cooperation`, when there are more than 32 joint actions.
    Source:
        Foerster et al., Learning with Opponent-Learning Awareness, arXiv 1709.04326. Unlike in its released
        code each agent sees its own action first, as in Lu et al., arXiv 2205.01447. Noise: Wu and Axelrod,
        How to cope with noise in the iterated prisoner's dilemma, Journal of Conflict Resolution 39(1), 1995;
        in Selten's trembling hand (1975) the replacement may be the chosen action itself.

    >>> game = RepeatedGame()
    >>> game.values(torch.full((2, 5, 2), 0.5))
    tensor([-1.5000, -1.5000])
    """

    stage: MatrixGame = SymmetricTwoAgentGame()  # noqa: RUF009 - frozen
    """The matrix game of every step."""
    discount: float = 0.96
    """Weight of a step relative to the one before it, in [0, 1)."""
    horizon: int = 150
    """Steps of a sampled episode, 1 or more; exact values do not depend on it."""
    noise: float = 0.0
    """Probability that an action is replaced by another one (a trembling hand), in [0, 1]."""

    # a number: 0 at the start, else 1 + the last joint action as the agent sees it
    observation_space = computed(lambda self: spaces.Discrete(self.num_observations))
    effective_horizon = computed(lambda self: 1 / (1 - self.discount))
    episode_weight = computed(lambda self: 1 - self.discount**self.horizon)

    def __post_init__(self) -> None:
        require(isinstance(self.stage, MatrixGame), f"The stage must be a matrix game; it is {self.stage!r}.")
        agents, actions = self.stage.num_agents, self.stage.num_actions
        require(
            actions**agents <= MAX_JOINT_ACTIONS,
            f"Agents of a repeated game remember the last joint action, one of {MAX_JOINT_ACTIONS} at most; "
            f"{agents} agents with {actions} actions have {actions}^{agents}: choose a smaller stage.",
        )
        require(0 <= self.discount < 1, f"The discount must lie in [0, 1); it is {self.discount}.")
        whole = isinstance(self.horizon, int) and self.horizon >= 1
        require(0 <= self.noise <= 1, f"noise is a probability, from 0 to 1; it is {self.noise}.")
        require(whole, f"The horizon must be a whole number of steps, 1 or more; it is {self.horizon}.")

    num_agents = alias("stage.num_agents")
    action_space = alias("stage.action_space")
    action_names = alias("stage.action_names")
    neighbors = alias("stage.neighbors")
    symmetric = alias("stage.symmetric")
    fully_symmetric = alias("stage.fully_symmetric")
    draws_by_rows = alias("stage.draws_by_rows")
    pure = alias("stage.pure")
    best_welfare = alias("stage.best_welfare")  # per step
    best_cooperation = alias("stage.best_cooperation")
    defection_welfare = alias("stage.defection_welfare")
    cooperates = alias("stage.cooperates")
    scripted = alias("stage.scripted")
    render = alias("stage.render")
    value_unit = "reward per step"

    @property
    def num_observations(self) -> int:
        joint_actions: int = self.num_actions**self.num_agents
        return 1 + joint_actions

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected discounted reward per step, (1 - discount) V.

        Policies are probabilities [..., agent, 1 + A^N, A]; the values are [..., agent].
        """
        if policies.ndim == 3:  # torch 2.13: jvp(grad) turns 0-dim float32 into float64 beside Python floats
            return self.values(policies.unsqueeze(0)).squeeze(0)
        if _unrolled(policies):
            shares = memory_one.two_agent_occupancy(self.carried_out(policies), self.discount)
            rewards = _rewards_by_agent(self.stage)
            return torch.stack(
                [functools.reduce(torch.add, map(torch.mul, shares, own)) for own in rewards], -1
            )
        table = payoff_tensor(self.stage, policies.dtype, policies.device).flatten(0, -2)
        return product(self.occupancy(policies), table)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        """Each agent's discounted share of cooperation, [..., agent]; None where that is not defined."""
        if not self.stage.cooperative:
            return None
        return _share_of_cooperation(self.occupancy(policies), self.num_agents)

    def values_and_cooperation(self, policies: Tensor) -> tuple[Tensor, Tensor | None]:
        table = payoff_tensor(self.stage, policies.dtype, policies.device).flatten(0, -2)
        shares = self.occupancy(policies)  # of both
        cooperation = _share_of_cooperation(shares, self.num_agents) if self.stage.cooperative else None
        return product(shares, table), cooperation

    def carried_out(self, policies: Tensor) -> Tensor:
        """Probabilities of executed actions from those of chosen actions, both [..., A].

        >>> RepeatedGame(noise=0.25).carried_out(torch.tensor([1.0, 0.0]))
        tensor([0.7500, 0.2500])
        """
        if self.noise == 0:
            return policies
        other = self.noise / (policies.shape[-1] - 1)
        return other + (1 - self.noise - other) * policies

    def occupancy(self, policies: Tensor) -> Tensor:
        """Discounted shares of the joint actions: [..., agent, 1 + A^N, A] -> [..., A^N], summing to 1.

        Agent 0's action is the most significant digit. Raises ValueError above 32 joint actions.
        """
        if policies.ndim == 3:  # for the same reason as in `values`
            return self.occupancy(policies.unsqueeze(0)).squeeze(0)
        policies = self.carried_out(policies)
        if _unrolled(policies):
            return torch.stack(memory_one.two_agent_occupancy(policies, self.discount), -1)
        states = policies.shape[-2] - 1
        if states > MAX_EXACT_STATES:
            raise ValueError(
                f"Exact values need at most {MAX_EXACT_STATES} joint actions, as each is a state of the "
                f"chain; there are {states}. Sample the game instead."
            )
        return memory_one.chain_occupancy(policies, self.discount)

    def reset(self, batch: int, generator: torch.Generator) -> MatrixState:
        return self.stage.reset(batch, generator)

    def observe(self, state: MatrixState) -> Tensor:
        weights = _observation_weights(self.num_agents, self.num_actions, state.actions.device)
        numbers = 1 + (state.actions.unsqueeze(-2) * weights).sum(-1)
        return torch.where(state.time.unsqueeze(-1) == 0, 0, numbers)

    def step(self, state: MatrixState, actions: Tensor, generator: torch.Generator) -> Step:
        """Play the stage game: rewards are not discounted, and the state holds the executed actions."""
        if self.noise > 0:
            draws = uniform((*actions.shape, 2), generator)
            count = self.num_actions
            others = (actions + 1 + (draws[..., 1] * (count - 1)).to(actions.dtype)) % count
            actions = torch.where(draws[..., 0] < self.noise, others, actions)
        state, rewards, _ = self.stage.step(state, actions, generator)
        return state, rewards, state.time >= self.horizon

    def episode_value(self, rewards: Tensor) -> Tensor:
        """Discount an episode's rewards to a value per step: (1 - discount) sum_t discount^t r_t."""
        times = torch.arange(rewards.shape[0], dtype=rewards.dtype, device=rewards.device)
        weights = (1 - self.discount) * self.discount**times
        value: Tensor = torch.tensordot(weights, rewards, 1)
        return value


def _unrolled(policies: Tensor) -> bool:
    """True where elimination is unrolled: two agents with two actions, traced into one kernel."""
    return policies.shape[-3] == policies.shape[-1] == 2 and traced()


@cached_constants
def _rewards_by_agent(stage: MatrixGame) -> tuple[tuple[float, ...], ...]:
    """Payoffs as numbers, which a compiled kernel takes as literals: [agent][joint action]."""
    return tuple(map(tuple, payoff_array(stage).reshape(-1, stage.num_agents).T.tolist()))


def _share_of_cooperation(shares: Tensor, agents: int) -> Tensor:
    """Frequency of each agent's first action of two: [..., joint action] -> [..., agent]."""
    return product(shares, _cooperators(agents, shares.dtype, shares.device))


@cached_constants
def _cooperators(agents: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 where an agent takes the first of two actions, [joint action, agent]."""
    return constant(1 - np.indices((2,) * agents).reshape(agents, -1).T, dtype, device)


@cached_constants
def _observation_weights(agents: int, actions: int, device: torch.device) -> Tensor:
    return constant(memory_one.observation_weights(agents, actions), torch.int64, device)


@dataclass(frozen=True, kw_only=True)
class FiniteRepeatedGame(RepeatedGame):
    """A repeated game whose exact values are those of its finite episodes of `horizon` steps.

    `RepeatedGame.values` are those of infinitely many steps, which sampled estimates miss by a share of
    discount^horizon. Here `values` are the expectation of `episode_value`, and `occupancy` covers the steps
    played. It loops over the horizon: a reference for measurements, too slow for learning.

    >>> game = FiniteRepeatedGame(discount=0.5, horizon=2)
    >>> game.values(torch.full((2, 5, 2), 0.5))  # -1.5 a step times 1 - 0.5^2
    tensor([-1.1250, -1.1250])
    """

    # the greatest total of an episode, in the units of `episode_value`
    best_welfare = computed(lambda self: self.stage.best_welfare * self._played)

    @property
    def defection_welfare(self) -> float | None:
        each_step = self.stage.defection_welfare
        return None if each_step is None else each_step * self._played

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected (1 - discount) sum_{t < horizon} discount^t r_t, [..., agent]."""
        table = payoff_tensor(self.stage, policies.dtype, policies.device).flatten(0, -2)
        return self._played * (self.occupancy(policies).unsqueeze(-1) * table).sum(-2)

    def values_and_cooperation(self, policies: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both from one loop over the horizon."""
        each_step, cooperation = super().values_and_cooperation(policies)
        return self._played * each_step, cooperation

    def occupancy(self, policies: Tensor) -> Tensor:
        """The discounted share of the steps played in which each joint action is taken, [..., A^N]."""
        joint = _joint_probabilities(self.carried_out(policies))
        now, transitions = joint[..., :1, :], joint[..., 1:, :]
        total, weight = now, 1.0
        for _ in range(self.horizon - 1):
            now, weight = now @ transitions, weight * self.discount
            total = total + weight * now
        return total.squeeze(-2) * ((1 - self.discount) / self._played)

    @property
    def _played(self) -> float:
        """The total weight of the steps played, relative to 1 for infinitely many."""
        return 1 - self.discount**self.horizon


def _joint_probabilities(policies: Tensor) -> Tensor:
    """Probability of every joint action, at the start and after each one: [..., 1 + A^N, A^N]."""
    agents, _, actions = policies.shape[-3:]
    joint = torch.ones_like(policies[..., 0, :, :1])
    for agent, order in enumerate(memory_one.observed_states(agents, actions)):
        own = policies[..., agent, [0, *order], :]
        joint = (joint.unsqueeze(-1) * own.unsqueeze(-2)).flatten(-2)
    return joint
