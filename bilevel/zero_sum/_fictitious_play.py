"""Fictitious play."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.zero_sum._rule import Rule, RuleState, advance, all_values, repeat
from games.theory import Strategies, action_counts


@dataclass(frozen=True)
class FictitiousPlay(Rule):
    """Fictitious play: every agent plays a best response to the average of the others' past play.

    All agents move at once, first with action 0, and the lowest index breaks ties. `RuleState.totals` are
    the counts of actions. The average converges in zero-sum games of two agents (Robinson), but not in
    general: in Shapley's game it cycles, ever more slowly.

    Source:
        Brown, Iterative solution of games by fictitious play, 1951; Robinson, An iterative method of solving
        a game, Annals of Mathematics 54, 1951; Shapley, Some topics in two-person games, 1964.

    >>> from games import make, nash_conv
    >>> from bilevel.zero_sum import learn
    >>> payoffs = make("rock-paper-scissors").payoffs()
    >>> nash_conv(payoffs, learn(payoffs, FictitiousPlay(), 1000, record=[10, 100, 1000]).average)
    tensor([0.4000, 0.1400, 0.0420], dtype=torch.float64)
    """

    def default_start(self, payoffs: Tensor) -> Strategies:
        """Action 0 of every agent."""
        counts = action_counts(payoffs)
        return tuple(torch.eye(count, dtype=payoffs.dtype, device=payoffs.device)[0] for count in counts)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        after = advance(state, state.strategies, None)
        # Against counts, not averages: sums of whole payoffs are exact, and so are ties.
        return after._replace(strategies=tuple(map(best_response, all_values(payoffs, after.totals))))

    def run(self, state: RuleState, payoffs: Tensor, steps: int) -> RuleState:
        """Take several steps; where two agents repeat their actions, all repetitions at once."""
        end = state.steps + steps
        while state.steps < end:
            if len(state.strategies) == 2 and state.steps > 0:
                state = _repeated(state, payoffs, end - state.steps)
            if state.steps < end:
                state = self.step(state, payoffs)
        return state


def _repeated(state: RuleState, payoffs: Tensor, most: int) -> RuleState:
    """The state after all but the last repetitions of the current actions, `most` steps later at most.

    While both agents repeat their actions, the payoffs of actions against the counts grow linearly: action j
    overtakes the current one after (gap to it) / (growth of its payoff less the current one's) steps.
    """
    repetitions = float(most)
    gaps, growths = all_values(payoffs, state.totals), all_values(payoffs, state.strategies)
    for own, gap, growth in zip(state.strategies, gaps, growths, strict=True):
        behind = (gap * own).sum(-1, keepdim=True) - gap
        faster = growth - (growth * own).sum(-1, keepdim=True)
        steps = torch.where(faster > 0, behind / faster, math.inf).min().floor().item()
        repetitions = min(repetitions, steps - 1)  # the last one, a tie perhaps, is a step of its own
    return repeat(state, max(0, int(repetitions)))


def best_response(values: Tensor) -> Tensor:
    """The pure strategy of maximum payoff, the first one if there are several.

    Args:
        values: expected payoffs of an agent's actions, [..., action].
    Returns:
        Probabilities 0 and 1, [..., action].

    >>> best_response(torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 3.0]]))
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """
    return torch.zeros_like(values).scatter(-1, values.argmax(-1, keepdim=True), 1.0)
