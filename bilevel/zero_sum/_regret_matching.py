"""Regret matching, and regret matching+ with alternating updates and linear averaging."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.zero_sum._rule import Rule, RuleState, advance, all_values
from games.theory import Strategies, action_payoffs


@dataclass(frozen=True)
class RegretMatching(Rule):
    """Regret matching: probabilities in proportion to the positive parts of the cumulative regrets.

    An action's regret grows by its payoff less that of the strategy; without a positive regret the strategy
    is uniform. All agents move at once, and the plain average converges in zero-sum games: after T steps
    each agent's regret is at most L sqrt(A / T) per step, where L is the range of the payoffs. In games of
    any kind, play converges to the set of coarse correlated equilibria.

    Long runs are sensitive to rounding, as the strategy jumps where the last positive regret vanishes.

    Source:
        Hart and Mas-Colell, A simple adaptive procedure leading to correlated equilibrium, Econometrica 68,
        2000; for zero-sum games: Zinkevich et al., Regret minimization in games with incomplete
        information, NeurIPS 2007.

    >>> from games import nash_conv
    >>> from bilevel.zero_sum import learn
    >>> payoffs = torch.tensor([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
    >>> nash_conv(payoffs, learn(payoffs, RegretMatching(), 100, record=[100]).average)
    tensor([0.2674], dtype=torch.float64)
    """

    def memory(self, payoffs: Tensor, strategies: Strategies) -> Strategies:
        """Cumulative regrets, [..., action] each."""
        return tuple(map(torch.zeros_like, strategies))

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        regrets = tuple(
            regret + _instantaneous(values, own)
            for regret, values, own in zip(
                state.memory, all_values(payoffs, state.strategies), state.strategies, strict=True
            )
        )
        return advance(state, tuple(map(_matched, regrets)), regrets)


@dataclass(frozen=True)
class RegretMatchingPlus(RegretMatching):
    """Regret matching+: negative regrets are reset to 0, agents move in turn, and late steps weigh more.

    In each step agent 0 moves first, and every agent moves on the new strategies of those before it. The
    average weighs step t by t, and counts the strategies just before the last agent moves: its own old one,
    and the others' new ones. This is the convention of CFR+. The bound is that of `RegretMatching`; in the
    experiments of CFR+ it converges much faster.

    Source:
        Tammelin et al., Solving Heads-up Limit Texas Hold'em, IJCAI 2015; Tammelin, Solving Large Imperfect
        Information Games Using CFR+, arXiv 1407.5042.

    >>> from games import nash_conv
    >>> from bilevel.zero_sum import learn
    >>> payoffs = torch.tensor([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
    >>> nash_conv(payoffs, learn(payoffs, RegretMatchingPlus(), 100, record=[100]).average)
    tensor([0.0091], dtype=torch.float64)
    """

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        current, regrets = list(state.strategies), []
        played = state.strategies
        for agent, regret in enumerate(state.memory):
            played = tuple(current)
            gained = _instantaneous(action_payoffs(payoffs, played, agent), current[agent])
            regrets.append((regret + gained).clamp(min=0))
            current[agent] = _matched(regrets[agent])
        return advance(state, tuple(current), tuple(regrets), played, weight=state.steps + 1)


def _instantaneous(values: Tensor, strategy: Tensor) -> Tensor:
    """Regrets of one step: the actions' payoffs less the strategy's."""
    return values - (values * strategy).sum(-1, keepdim=True)


def _matched(regrets: Tensor) -> Tensor:
    """Probabilities in proportion to positive regrets; uniform where there is none."""
    positive = regrets.clamp(min=0)
    total = positive.sum(-1, keepdim=True)
    some = total > 0
    uniform = torch.full_like(regrets, 1 / regrets.shape[-1])
    return torch.where(some, positive / torch.where(some, total, 1), uniform)
