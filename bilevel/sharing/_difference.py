"""Difference rewards: an agent's effect on welfare, relative to a default action."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.sharing._trajectory import Trajectory
from bilevel.sharing._transfer import Report, Transfer
from games.core import Game, require


@dataclass(frozen=True, eq=False)
class DifferenceRewards:
    """Difference rewards, for games that define them (`Game.difference_rewards`).

    D_i = G(z) - G(z_-i, c): the welfare of a step, minus its welfare if agent i had taken the default action
    c. An outer variable without parameters, [seed, 0]; no reward is transferred, and the total is not
    conserved.

    Raises:
        ValueError: the game has no difference rewards, or no such action.

    Source:
        Wolpert and Tumer, Optimal payoff functions for members of collectives, Advances in Complex Systems
        4(2-3), 2001. The counterfactual baseline of COMA (Foerster et al., arXiv 1705.08926) averages over
        the policy's actions instead of taking a default action.

    >>> import games
    >>> from bilevel.sharing import Trajectory
    >>> rule = DifferenceRewards(games.make("public-goods", agents=3, k=1.5), default_action=1)
    >>> own = torch.tensor([0.5, 1.5, 1.5]).reshape(1, 3, 1, 1)  # seed, agent, time, episode
    >>> actions = torch.tensor([0, 1, 1]).reshape(1, 3, 1, 1)  # one agent gives
    >>> episode = Trajectory(own, actions, own, torch.ones(1, 1, 1, 1), cooperated=None)
    >>> rule.transfer(rule.initial(seed=0, seeds=1)).rewards(episode).flatten()
    tensor([0.5000, 0.0000, 0.0000])
    """

    game: Game
    default_action: int
    """Index of the default action, from 0."""
    exact = True

    def __post_init__(self) -> None:
        game, kind = self.game, type(self.game).__name__
        require(
            0 <= self.default_action < game.num_actions,
            f"The actions of {kind} are 0 to {game.num_actions - 1}; the default action is "
            f"{self.default_action}.",
        )
        game.difference_rewards(torch.zeros(1, game.num_agents, dtype=torch.int64), self.default_action)

    @property
    def agents(self) -> int:
        return self.game.num_agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> ByDifference:
        return ByDifference(self, phi)


@dataclass(frozen=True, eq=False)
class ByDifference(Transfer):
    """Learning from difference rewards."""

    variable: DifferenceRewards
    phi: Tensor
    """[seed, 0]: the number of seeds, the dtype and the device."""

    @property
    def matrix(self) -> Tensor:
        """The matrix of ones, the sum of all rewards: its exact values have the same policy gradient."""
        agents = self.variable.agents
        return self.phi.new_ones(len(self.phi), agents, agents)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        variable, own = self.variable, trajectory.rewards
        joint = trajectory.actions.long().movedim(1, -1)
        found = variable.game.difference_rewards(joint, variable.default_action)
        return found.movedim(-1, 1).to(own.dtype) * trajectory.acting

    def report(self, trajectory: Trajectory | None) -> Report:
        return {}
