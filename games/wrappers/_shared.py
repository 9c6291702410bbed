"""Games and PettingZoo environments with rewards shared among the agents."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, overload

import torch
from pettingzoo.utils.env import ParallelEnv
from torch import Tensor

from games.core import ExactGame, Game, State, Step, cached_constants, computed, constant, require
from games.wrappers import _sharing_matrix as matrices
from games.wrappers._shared_environment import EnvironmentIncentives, SharedParallelEnv
from games.wrappers._wrapper import PaidGame, WrappedExactGame, nothing_paid

Incentives = Callable[[Tensor, Tensor], Tensor]
"""From observations [batch, agent, *shape] and actions [batch, agent] to gifts [batch, giver, receiver]."""


class SharedState(NamedTuple):
    """The game's state, and rewards and gifts of the last step; 0 before the first."""

    game: State
    extrinsic: Tensor  # the game's own rewards, [batch, agent]
    given: Tensor  # gifts, [batch, giver, receiver]; the diagonal is the part an agent keeps


@dataclass(frozen=True, kw_only=True)
class RewardingGame(PaidGame, abc.ABC):
    """A game with rewards computed from the wrapped game's, which is passed the gifts (`Game.give`)."""

    symmetric = False  # rewards may depend on the agent's index
    fully_symmetric = False

    @abc.abstractmethod
    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        """Gifts, [batch, giver, receiver], and rewards, [batch, agent], from the game's rewards of a step."""

    def reset(self, batch: int, generator: torch.Generator) -> SharedState:
        paid = nothing_paid(batch, self.num_agents, generator.device)
        return SharedState(self.game.reset(batch, generator), *paid)

    def step(self, state: SharedState, actions: Tensor, generator: torch.Generator) -> Step:
        game, extrinsic, done = self.game.step(state.game, actions, generator)
        given, rewards = self.pay(state.game, actions, extrinsic)
        return SharedState(self.game.give(game, given), extrinsic, given), rewards, done


@dataclass(frozen=True, kw_only=True)
class SharedGame(RewardingGame):
    """A game in which giver i passes the share T_ij of its reward to receiver j; see `shared`.

    r~_j = sum_i T_ij r_i, so that the total is the game's own. The share of an agent that has left stays with
    its giver.

    Raises:
        ValueError: the matrix does not fit the agents, or gives to an agent that is not a neighbor.

    >>> from games import make
    >>> game = SharedGame(game=make("prisoners-dilemma"), sharing=((0.5, 0.5), (0, 1)))
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 1]]), generator)
    >>> state.extrinsic, rewards
    (tensor([[-3.,  0.]]), tensor([[-1.5000, -1.5000]]))
    """

    sharing: matrices.SharingRows
    """Shares [giver][receiver]; each row sums to 1."""

    def __post_init__(self) -> None:
        rows = matrices.sharing_rows(self.sharing, range(self.num_agents))
        object.__setattr__(self, "sharing", rows)
        for giver, receiver in (~self.neighbors).nonzero().tolist():
            require(
                rows[giver][receiver] == 0,
                f"Agent {giver} gives agent {receiver} the share {rows[giver][receiver]:g}, but in this game "
                "they are no neighbors.",
            )

    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        shares = _matrix(self.sharing, extrinsic.dtype, extrinsic.device)
        given = extrinsic.unsqueeze(-1) * matrices.share_among_present(shares, self.game.present(before))
        return given, given.sum(-2)


@dataclass(frozen=True, kw_only=True)
class SharedExactGame(SharedGame, WrappedExactGame):
    """`SharedGame` for a game with exact values, which are shared exactly: V~_j = sum_i T_ij V_i."""

    game: ExactGame
    """The wrapped game."""

    def values(self, policies: Tensor) -> Tensor:
        own = self.game.values(policies)
        return (own.unsqueeze(-1) * _matrix(self.sharing, own.dtype, own.device)).sum(-2)


@dataclass(frozen=True, kw_only=True)
class IncentiveGame(RewardingGame):
    """A game in which each agent may add to the others' rewards, from its observation and their actions.

    Gifts to oneself, to an agent that is not a neighbor, or to or from one that has left, are not paid.
    Each row of the state's `given` sums to the giver's cost, whether or not it pays.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051: there the giver's cost
        appears in the outer objective alone, as here by default.
    """

    incentives: Incentives
    """From observations and actions to gifts [batch, giver, receiver], in reward units; negative: a fine."""
    givers_pay: bool = False
    """Take gifts from the giver's reward, so that the total is the game's own."""

    pure = False  # incentives may come from a network in training
    best_welfare = computed(lambda self: self.game.best_welfare if self.givers_pay else None)
    best_cooperation = computed(lambda self: self.game.best_cooperation if self.givers_pay else None)
    defection_welfare = computed(lambda self: self.game.defection_welfare if self.givers_pay else None)

    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        gifts = self.incentives(self.game.observe(before), actions)
        expected = (*extrinsic.shape, self.num_agents)
        require(
            tuple(gifts.shape) == expected,
            f"Incentives must have shape [batch, giver, receiver] = {expected}, not {tuple(gifts.shape)}.",
        )
        allowed = self.neighbors.to(extrinsic.device).clone().fill_diagonal_(False)
        present = self.game.present(before)
        allowed = allowed if present is None else allowed & matrices.both_present(present)
        given = torch.where(allowed, gifts.to(extrinsic), 0)
        rewards = extrinsic + given.sum(-2)
        return given, rewards - given.sum(-1) if self.givers_pay else rewards


@overload
def shared(game_or_env: ExactGame, sharing: matrices.SharingLike) -> SharedExactGame: ...


@overload
def shared(game_or_env: Game, sharing: matrices.SharingLike) -> SharedGame: ...


@overload
def shared(game_or_env: Game, sharing: Incentives, *, givers_pay: bool = ...) -> IncentiveGame: ...


@overload
def shared(
    game_or_env: ParallelEnv[str, Any, Any],
    sharing: matrices.SharingLike | EnvironmentIncentives,
    *,
    givers_pay: bool = ...,
) -> SharedParallelEnv: ...


def shared(
    game_or_env: Game | ParallelEnv[str, Any, Any],
    sharing: matrices.SharingLike | Incentives | EnvironmentIncentives,
    *,
    givers_pay: bool = False,
) -> Game | SharedParallelEnv:
    """Share the rewards of a game or of a PettingZoo environment by a matrix or by incentives.

    Args:
        game_or_env: a game, which stays one (and with a matrix stays exact), or any `ParallelEnv`.
        sharing: shares [giver, receiver], each row summing to 1: nested numbers, an array or a tensor. Or
            incentives: a function from observations and actions to gifts; see `IncentiveGame` and
            `SharedParallelEnv`.
        givers_pay: take incentives from the giver's reward, as sharing by a matrix always does.
    Returns:
        A `SharedExactGame`, `SharedGame`, `IncentiveGame` or `SharedParallelEnv`.
    Raises:
        ValueError: the first argument is neither a game nor a parallel environment, or the matrix is bad.

    >>> from games import make
    >>> game = shared(make("repeated-prisoners-dilemma"), [[0.6, 0.4], [0.4, 0.6]])
    >>> game.values(torch.full((2, 5, 2), 0.5))
    tensor([-1.5000, -1.5000])
    """
    if isinstance(game_or_env, ParallelEnv):
        return SharedParallelEnv(game_or_env, cast(Any, sharing), givers_pay=givers_pay)
    require(
        isinstance(game_or_env, Game),
        f"shared() takes a Game or a PettingZoo ParallelEnv, and {type(game_or_env).__name__} is neither (an "
        "AEC environment becomes parallel by pettingzoo.utils.conversions.aec_to_parallel).",
    )
    if callable(sharing):
        incentives = cast(Incentives, sharing)
        return IncentiveGame(game=game_or_env, incentives=incentives, givers_pay=givers_pay)
    require(not givers_pay, matrices.MATRICES_ALWAYS_PAY)
    rows = matrices.sharing_rows(sharing, range(game_or_env.num_agents))
    if isinstance(game_or_env, ExactGame):
        return SharedExactGame(game=game_or_env, sharing=rows)
    return SharedGame(game=game_or_env, sharing=rows)


@cached_constants
def _matrix(rows: matrices.SharingRows, dtype: torch.dtype, device: torch.device) -> Tensor:
    return constant(rows, dtype, device)
