"""Policy-space response oracles (PSRO): a growing population of strategies and the equilibrium over it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bilevel.core import inner_step
from bilevel.optimizers import sgd
from bilevel.zero_sum._fictitious_play import best_response
from bilevel.zero_sum._multiplicative_weights import require_positive
from bilevel.zero_sum._rule import Rule, RuleState, advance, repeat
from games.core import require
from games.theory import Strategies, action_counts, action_payoffs, zero_sum_equilibrium, zero_sum_matrix

Oracle = Callable[[Tensor, Strategies, int], Tensor]
"""(payoffs, strategies, agent) -> the agent's response [action] to the other agents' strategies."""

SAME = 1e-9
"""Largest difference of probabilities between strategies that count as the same."""


def exact_response(payoffs: Tensor, strategies: Strategies, agent: int) -> Tensor:
    """Best pure response, the first one if there are several: the default oracle.

    Args:
        payoffs: as for `Rule.init`.
        strategies: of every agent, [..., action] each.
        agent: index of the agent that responds.
    Returns:
        Probabilities 0 and 1, [..., action].

    >>> exact_response(torch.eye(2), (torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.5])), agent=1)
    tensor([1., 0.])
    """
    return best_response(action_payoffs(payoffs, strategies, agent))


def policy_gradient_response(steps: int = 100, learning_rate: float = 1.0) -> Oracle:
    """Create an oracle that learns its response: softmax policy gradient from a uniform policy.

    Args:
        steps: number of gradient steps, 1 or more.
        learning_rate: of gradient ascent on the logits, per unit of payoff; above 0.
    Returns:
        The oracle, whose responses are mixed strategies.
    Raises:
        ValueError: a setting is out of range.

    >>> respond = policy_gradient_response(steps=50)
    >>> respond(torch.eye(2), (torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])), 1)  # best: action 1
    tensor([0.0105, 0.9895])
    """
    require(steps >= 1, f"steps must be 1 or more, not {steps}.")
    require_positive(learning_rate=learning_rate)
    optimizer = sgd(learning_rate)
    step = inner_step(lambda logits, values, data: -(logits.softmax(-1) * values).sum(-1), optimizer)

    def respond(payoffs: Tensor, strategies: Strategies, agent: int) -> Tensor:
        values = action_payoffs(payoffs, strategies, agent).detach()
        logits = torch.zeros_like(values)
        state = optimizer.init(logits)
        with torch.no_grad():
            for _ in range(steps):
                logits, state = step(logits, state, values, None)
        return logits.softmax(-1)

    return respond


@dataclass(frozen=True)
class PolicySpaceResponseOracles(Rule):
    """Policy-space response oracles (PSRO) with the Nash meta-solver, also known as double oracle.

    Every agent has a population of strategies, at first action 0 alone. A step adds each agent's response to
    the other's current mixture, unless the population has it, and then solves the game between the
    populations by linear programming. The last iterate is the equilibrium over the populations,
    `RuleState.memory` the populations, [strategy, action] each. With exact responses it is an equilibrium of
    the game when nothing new is added. Only for two-agent zero-sum games, and not batched.

    Source:
        Lanctot et al., A Unified Game-Theoretic Approach to Multiagent Reinforcement Learning, arXiv
        1711.00832; McMahan et al., Planning in the presence of cost functions controlled by an adversary,
        ICML 2003.

    >>> from games import make, nash_conv
    >>> from bilevel.zero_sum import learn
    >>> payoffs = make("rock-paper-scissors").payoffs()
    >>> nash_conv(payoffs, learn(payoffs, PolicySpaceResponseOracles(), 2, record=[0, 1, 2]).last).round()
    tensor([2., 2., 0.], dtype=torch.float64)
    """

    batched: ClassVar[bool] = False

    oracle: Oracle = exact_response
    """Best-response oracle, (payoffs, strategies, agent) -> response [action]."""

    def default_start(self, payoffs: Tensor) -> Strategies:
        """Action 0 of every agent."""
        counts = action_counts(payoffs)
        return tuple(torch.eye(count, dtype=payoffs.dtype, device=payoffs.device)[0] for count in counts)

    def memory(self, payoffs: Tensor, strategies: Strategies) -> Strategies:
        """Populations of one strategy, [1, action] each."""
        zero_sum_matrix(payoffs)
        require(
            all(strategy.ndim == 1 for strategy in strategies),
            "PSRO starts from one strategy [action] of each agent: it takes no batch of starts.",
        )
        return tuple(strategy.unsqueeze(0) for strategy in strategies)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        rows, columns = grown = tuple(
            _with(population, self.oracle(payoffs, state.strategies, agent))
            for agent, population in enumerate(state.memory)
        )
        if all(map(operator.is_, grown, state.memory)):
            return advance(state, state.strategies, state.memory)
        solved = zero_sum_equilibrium(rows @ zero_sum_matrix(payoffs) @ columns.mT)
        mixtures = solved.row.to(rows) @ rows, solved.column.to(columns) @ columns
        return advance(state, mixtures, (rows, columns))

    def run(self, state: RuleState, payoffs: Tensor, steps: int) -> RuleState:
        """Take several steps; when exact responses add nothing, the remaining ones at once."""
        end = state.steps + steps
        while state.steps < end:
            before, state = state, self.step(state, payoffs)
            if self.oracle is exact_response and state.memory is before.memory:
                state = repeat(state, end - state.steps)
        return state


def _with(population: Tensor, response: Tensor) -> Tensor:
    """The population with a response, unless it is there."""
    known = bool(((population - response).abs().amax(-1) <= SAME).any())
    return population if known else torch.cat((population, response.unsqueeze(0)))
