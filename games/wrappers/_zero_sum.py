"""Zero-sum forms of games: every agent's reward is relative to the others' mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Game, State, Step, alias, require
from games.matrix import MatrixGame, payoff_array
from games.wrappers._wrapper import WrappedExactGame, WrappedGame

Rewards = TypeVar("Rewards", Tensor, NDArray[np.float64])


@overload
def zero_sum(game: MatrixGame) -> MatrixGame: ...
@overload
def zero_sum(game: ExactGame) -> ExactGame: ...
@overload
def zero_sum(game: Game) -> Game: ...
def zero_sum(game: Game) -> Game:
    """Make a game in which each agent gets its reward minus the mean of the other agents'.

    The rewards of every step sum to 0, so that cooperation is not defined: `cooperates`, `cooperation`,
    `scripted` and `defection_welfare` are None. A matrix game stays a matrix game (it can be repeated and
    solved), an exact game stays exact.

    Args:
        game: any game whose `episode_value` is linear in the rewards.
    Returns:
        A game of the same kind: matrix game, exact game or game.
    Raises:
        ValueError: there are fewer than two agents.

    >>> from games import make
    >>> zero_sum(make("prisoners-dilemma")).payoffs()[..., 0]
    tensor([[ 0., -3.],
            [ 3.,  0.]], dtype=torch.float64)
    """
    if isinstance(game, MatrixGame):
        return ZeroSumMatrixGame(game=game)
    if isinstance(game, ExactGame):
        return ZeroSumExactGame(game=game)
    return ZeroSumGame(game=game)


def relative_rewards(rewards: Rewards) -> Rewards:
    """Own reward less the mean of the others', [..., agent]: r_i - sum_{j != i} r_j / (N - 1).

    >>> relative_rewards(torch.tensor([3.0, 1.0, -1.0]))
    tensor([ 3.,  0., -3.])
    """
    differences = rewards[..., :, None] - rewards[..., None, :]
    relative: Rewards = differences.sum(-1) / (rewards.shape[-1] - 1)
    return relative


@dataclass(frozen=True, kw_only=True)
class ZeroSumMatrixGame(MatrixGame):
    """The zero-sum form of a matrix game; see `zero_sum`."""

    game: MatrixGame
    """The matrix game whose payoffs are compared."""

    cooperative = False  # one agent's gain is the others' loss
    best_welfare = 0.0

    def __post_init__(self) -> None:
        _require_opponents(self.game)

    action_names = alias("game.action_names")
    neighbors = alias("game.neighbors")

    def build_payoffs(self) -> NDArray[np.float64]:
        return relative_rewards(payoff_array(self.game))


@dataclass(frozen=True, kw_only=True)
class ZeroSumGame(WrappedGame):
    """The zero-sum form of any game; see `zero_sum`."""

    best_welfare = 0.0
    best_cooperation = defection_welfare = None  # all totals are 0

    def __post_init__(self) -> None:
        _require_opponents(self.game)

    difference_rewards = Game.difference_rewards  # the sum of rewards is always 0

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> Step:
        state, rewards, done = self.game.step(state, actions, generator)
        return state, relative_rewards(rewards), done

    def present(self, state: State) -> None:
        """None: no agent leaves, as other agents' rewards still count against those that have left."""

    def cooperates(self, state: State, actions: Tensor) -> Tensor | None:
        return None  # no action is good for all

    def scripted(self, state: State, cooperative: Tensor) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class ZeroSumExactGame(ZeroSumGame, WrappedExactGame):
    """The zero-sum form of an exact game; see `zero_sum`."""

    game: ExactGame
    """The exact game whose values are compared."""

    def values(self, policies: Tensor) -> Tensor:
        return relative_rewards(self.game.values(policies))

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return None


def _require_opponents(game: Game) -> None:
    agents = game.num_agents
    require(agents >= 2, f"A zero-sum game needs at least 2 agents; this one has {agents}.")
