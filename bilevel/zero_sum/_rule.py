"""Learning rules as pure steps on payoff tables, and the iterates that they produce."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bilevel.core import counted
from games.core import require
from games.theory import Strategies, action_counts, action_payoffs, require_strategies

PER_DECADE = 10
"""Recorded steps per power of ten."""
ADVICE = "a smaller learning rate may help"
TOLERANCE = 1e-6
"""Distance of the sum of a strategy's probabilities from 1 that counts as rounding."""


class RuleState(NamedTuple):
    """The state of a learning rule after some steps.

    >>> from bilevel.zero_sum import FictitiousPlay
    >>> state = FictitiousPlay().init(torch.eye(2))
    >>> state.steps, state.strategies[0]
    (0, tensor([1., 0.]))
    """

    steps: int
    """Number of steps taken."""
    strategies: Strategies
    """Last iterate: the strategies that the next step is taken from, [..., action] each."""
    totals: Strategies
    """Weighted sums of past strategies, [..., action] each."""
    weight: float
    """Sum of their weights."""
    memory: Any
    """Further memory of the rule: a nest of tensors."""

    @property
    def average(self) -> Strategies:
        """Average iterate: the weighted mean of past strategies; the last iterate where there is none yet."""
        if self.weight == 0:
            return self.strategies
        return tuple(total / self.weight for total in self.totals)


class Rule(ABC):
    """A learning rule: every agent updates its own strategy from the expected payoffs of its own actions.

    A step is pure, differentiable in the payoffs and the strategies where its formula is, and batched over
    the leading axes of the strategies; `torch.vmap` adds a batch of payoffs.

    >>> from bilevel.zero_sum import MultiplicativeWeights
    >>> rule, pennies = MultiplicativeWeights(learning_rate=1.0), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> start = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    >>> rule.step(rule.init(pennies, start), pennies).strategies[0]  # 1 / (1 + exp(-2)) for heads
    tensor([0.8808, 0.1192])
    """

    batched: ClassVar[bool] = True
    """The initial strategies may have leading axes."""

    def init(self, payoffs: Tensor, start: Sequence[Tensor] | None = None) -> RuleState:
        """The state before the first step.

        Args:
            payoffs: of a two-agent zero-sum game, the row agent's [row, column]; of any other game, a table
                [A_0, ..., A_(N-1), agent], as `games.theory.payoff_table` has it.
            start: each agent's initial strategy, [..., action]; None: uniform strategies, unless the rule
                says otherwise.

        Raises:
            ValueError: the payoffs are no such table, or `start` does not consist of probabilities of each
                agent's actions.
        """
        if start is None:
            start = self.default_start(payoffs)
        require_strategies(payoffs, start)
        for strategy in start:
            sums = strategy.detach().sum(-1)
            require(
                bool((strategy >= 0).all()) and bool(((sums - 1).abs() <= TOLERANCE).all()),
                "Initial strategies are probabilities: 0 or more each, with the sum 1.",
            )
        strategies = tuple(strategy.to(payoffs.dtype) for strategy in start)
        zeros = tuple(map(torch.zeros_like, strategies))
        return RuleState(0, strategies, zeros, 0.0, self.memory(payoffs, strategies))

    def default_start(self, payoffs: Tensor) -> Strategies:
        """Uniform strategies, [action] each."""
        return tuple(payoffs.new_full((count,), 1 / count) for count in action_counts(payoffs))

    def memory(self, payoffs: Tensor, strategies: Strategies) -> Any:
        """The initial memory of the rule; None by default."""
        return None

    @abstractmethod
    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        """Take one step in the game with these payoffs; pure."""

    def run(self, state: RuleState, payoffs: Tensor, steps: int) -> RuleState:
        """Take several steps: `step` repeated, unless the rule has a faster way to the same state."""
        for _ in range(steps):
            state = self.step(state, payoffs)
        return state


def all_values(payoffs: Tensor, strategies: Strategies) -> Strategies:
    """Expected payoffs of all agents' actions."""
    return tuple(action_payoffs(payoffs, strategies, agent) for agent in range(len(strategies)))


def advance(
    state: RuleState, strategies: Strategies, memory: Any, played: Strategies | None = None, weight: float = 1
) -> RuleState:
    """The state after a step, whose average counts `played` (None: the strategies before the step)."""
    counted = state.strategies if played is None else played
    totals = tuple(
        torch.add(total, one, alpha=weight) for total, one in zip(state.totals, counted, strict=True)
    )
    return RuleState(state.steps + 1, strategies, totals, state.weight + weight, memory)


def repeat(state: RuleState, count: int) -> RuleState:
    """The state after `count` steps that leave the strategies and the memory as they are."""
    totals = tuple(total + count * own for total, own in zip(state.totals, state.strategies, strict=True))
    return state._replace(steps=state.steps + count, totals=totals, weight=state.weight + count)


class Iterates(NamedTuple):
    """Iterates of a rule at recorded steps; see `learn`.

    >>> from bilevel.zero_sum import FictitiousPlay, learn
    >>> history = learn(torch.eye(2), FictitiousPlay(), steps=3)
    >>> history.steps, history.last[0].shape
    ((1, 2, 3), torch.Size([3, 2]))
    """

    steps: tuple[int, ...]
    """Recorded steps."""
    last: Strategies
    """Last iterates, [record, ..., action] for each agent."""
    average: Strategies
    """Average iterates, [record, ..., action] for each agent."""
    state: RuleState
    """The state after the last step."""


def learn(
    payoffs: Tensor,
    rule: Rule,
    steps: int,
    *,
    start: Sequence[Tensor] | None = None,
    record: Iterable[int] | None = None,
) -> Iterates:
    """Let a rule learn in a one-shot game, and record its last and average iterates.

    NashConv over time is `nash_conv(payoffs, history.last)`, of the averages
    `nash_conv(payoffs, history.average)` (`games.nash_conv`).

    Args:
        payoffs: as for `Rule.init`.
        rule: the learning rule of all agents.
        steps: number of steps, 1 or more.
        start: as for `Rule.init`.
        record: steps to record, from 0 to `steps`; None: about ten per power of ten, as `log_spaced` has
            them.

    Returns:
        The iterates.

    Raises:
        ValueError: as for `Rule.init`; `steps` is below 1, or a step to record is out of range.
        FloatingPointError: the strategies are no longer finite numbers.

    >>> from games import nash_conv
    >>> from bilevel.zero_sum import OptimisticMultiplicativeWeights
    >>> pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> start = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64).unbind()
    >>> history = learn(pennies, OptimisticMultiplicativeWeights(), 1000, start=start, record=[10, 1000])
    >>> nash_conv(pennies, history.last)
    tensor([0.4946, 0.0032], dtype=torch.float64)
    """
    require(steps >= 1, f"The number of steps must be 1 or more, not {steps}.")
    chosen = sorted(set(log_spaced(steps) if record is None else record))
    outside = [step for step in chosen if not 0 <= step <= steps]
    require(not outside, f"Recorded steps are from 0 to {steps}, not {outside[:1]}.")
    state = rule.init(payoffs, start)
    last, average = [], []
    for step in chosen:
        state = rule.run(state, payoffs, step - state.steps)
        if not all(bool(strategy.isfinite().all()) for strategy in state.strategies):
            raise FloatingPointError(
                f"The strategies are not finite after {counted(state.steps, 'step')}: {ADVICE}."
            )
        last.append(state.strategies)
        average.append(state.average)
    final = rule.run(state, payoffs, steps - state.steps)
    return Iterates(tuple(chosen), _stacked(last), _stacked(average), final)


def log_spaced(steps: int) -> tuple[int, ...]:
    """About ten steps per power of ten, from 1 to a last one, with all powers of ten.

    >>> log_spaced(20)
    (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20)
    """
    spaced = (round(10 ** (place / PER_DECADE)) for place in range(PER_DECADE * len(str(steps)) + 1))
    return tuple(sorted({step for step in spaced if step < steps} | {steps}))


def _stacked(profiles: Sequence[Strategies]) -> Strategies:
    return tuple(torch.stack(one) for one in zip(*profiles, strict=True))
