"""Multiplicative weights and their optimistic form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bilevel.zero_sum._rule import Rule, RuleState, advance, all_values
from games.core import require
from games.theory import Strategies


@dataclass(frozen=True)
class MultiplicativeWeights(Rule):
    """Multiplicative weights (Hedge, exponential weights): x ~ x exp(eta u).

    u are the expected payoffs of the agent's actions. The average of the strategies converges in zero-sum
    games: after T steps each agent's regret is at most (log A) / (eta T) + eta L^2 / 8 per step, where L is
    the range of the payoffs. The last iterate spirals away from an interior equilibrium.

    Source:
        Freund and Schapire, Adaptive game playing using multiplicative weights, Games and Economic Behavior
        29, 1999; Bailey and Piliouras, Multiplicative Weights Update in Zero-Sum Games, EC 2018.

    >>> import torch
    >>> from games import nash_conv
    >>> from bilevel.zero_sum import learn
    >>> pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> start = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64).unbind()
    >>> history = learn(pennies, MultiplicativeWeights(), 1000, start=start, record=[1000])
    >>> nash_conv(pennies, history.last), nash_conv(pennies, history.average)
    (tensor([1.9217], dtype=torch.float64), tensor([0.0476], dtype=torch.float64))
    """

    learning_rate: float = 0.1
    """Learning rate eta, per unit of payoff; above 0."""

    def __post_init__(self) -> None:
        require_positive(learning_rate=self.learning_rate)

    def memory(self, payoffs: Tensor, strategies: Strategies) -> Strategies:
        """Log-probabilities, which stay finite where probabilities underflow."""
        return tuple(strategy.log() for strategy in strategies)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        values = all_values(payoffs, state.strategies)
        logs = _reweighted(state.memory, values, self.learning_rate)
        return advance(state, tuple(log.exp() for log in logs), logs)


@dataclass(frozen=True)
class OptimisticMultiplicativeWeights(MultiplicativeWeights):
    """Optimistic multiplicative weights: x ~ x exp(eta (2 u_t - u_(t-1))), with u_(-1) = u_0.

    The last payoffs predict the next ones. In zero-sum games with a unique equilibrium, the last iterate
    converges for small learning rates.

    Source:
        Rakhlin and Sridharan, Optimization, Learning, and Games with Predictable Sequences, arXiv 1311.1869;
        Daskalakis and Panageas, Last-Iterate Convergence, arXiv 1807.04252.

    >>> import torch
    >>> from games import nash_conv
    >>> from bilevel.zero_sum import learn
    >>> pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> start = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64).unbind()
    >>> history = learn(pennies, OptimisticMultiplicativeWeights(), 1000, start=start, record=[1000])
    >>> nash_conv(pennies, history.last)
    tensor([0.0032], dtype=torch.float64)
    """

    def memory(self, payoffs: Tensor, strategies: Strategies) -> tuple[Strategies, Strategies]:  # type: ignore[override]
        """Log-probabilities, and the payoffs of the step before."""
        return super().memory(payoffs, strategies), all_values(payoffs, strategies)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        logs, before = state.memory
        values = all_values(payoffs, state.strategies)
        predicted = tuple(2 * now - old for now, old in zip(values, before, strict=True))
        logs = _reweighted(logs, predicted, self.learning_rate)
        return advance(state, tuple(log.exp() for log in logs), (logs, values))


def _reweighted(logs: Strategies, values: Strategies, learning_rate: float) -> Strategies:
    return tuple(
        (log + learning_rate * value).log_softmax(-1) for log, value in zip(logs, values, strict=True)
    )


def require_positive(**settings: float) -> None:
    """Raise ValueError unless every setting is above 0 and finite."""
    for name, value in settings.items():
        require(0 < value < float("inf"), f"{name} must be above 0 and finite, not {value}.")
