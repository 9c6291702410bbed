"""Exact values of a repeated game that stops after its horizon, as sampled episodes do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from games.matrix._matrix import payoff_tensor
from games.matrix._memory_one import observed_states
from games.matrix._repeated import RepeatedGame


@dataclass(frozen=True, kw_only=True)
class FiniteRepeatedGame(RepeatedGame):
    """A repeated game whose exact values are those of its episodes: `horizon` steps, and nothing after.

    `RepeatedGame.values` speaks of infinitely many steps, so that a sampled estimate misses it by a share of
    discount^horizon however many episodes there are. This game's `values` are the expectation of
    `episode_value`, and its `occupancy` is that of the steps which are played; in all else it is the same
    game. It loops over the horizon: a reference to measure against, not to learn with.

    >>> game = FiniteRepeatedGame(discount=0.5, horizon=2)
    >>> game.values(torch.full((2, 5, 2), 0.5))  # of -1.5 a step, 1 - 0.5^2
    tensor([-1.1250, -1.1250])
    """

    @property
    def best_welfare(self) -> float:
        """The greatest total of an episode, in the units of `episode_value`."""
        return super().best_welfare * self._played

    @property
    def defection_welfare(self) -> float | None:
        """The total when everybody always defects; None where action 1 does not mean defecting."""
        each_step = super().defection_welfare
        return None if each_step is None else each_step * self._played

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected (1 - discount) sum_{t < horizon} discount^t r_t, [..., agent]."""
        table = payoff_tensor(self.stage, policies.dtype, policies.device).flatten(0, -2)
        return self._played * (self.occupancy(policies).unsqueeze(-1) * table).sum(-2)

    def values_and_cooperation(self, policies: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both of one walk through the horizon."""
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
        """The weight of the steps that are played, of 1 for infinitely many."""
        return 1 - self.discount**self.horizon


def _joint_probabilities(policies: Tensor) -> Tensor:
    """Of every joint action, at the start and after each one: [..., 1 + A^N, A^N]."""
    agents, _, actions = policies.shape[-3:]
    joint = torch.ones_like(policies[..., 0, :, :1])
    for agent, order in enumerate(observed_states(agents, actions)):
        own = policies[..., agent, [0, *order], :]
        joint = (joint.unsqueeze(-1) * own.unsqueeze(-2)).flatten(-2)
    return joint
