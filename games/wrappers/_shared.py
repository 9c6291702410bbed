"""Any game, or PettingZoo environment, with its rewards shared among the agents."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, overload

import torch
from pettingzoo.utils.env import ParallelEnv
from torch import Tensor

from games.core import ExactGame, Game, State, constant, kept, require
from games.wrappers._shared_environment import EnvironmentIncentives, SharedParallelEnv
from games.wrappers._sharing_matrix import (
    MATRICES_ALWAYS_PAY,
    SharingLike,
    SharingRows,
    both_present,
    share_among_present,
    sharing_rows,
)
from games.wrappers._wrapper import WrappedExactGame, WrappedGame, measures_of_gifts

Incentives = Callable[[Tensor, Tensor], Tensor]
"""From observations [batch, agent, *shape] and actions [batch, agent] to gifts [batch, giver, receiver]."""


class SharedState(NamedTuple):
    """The game's state, and what its last step paid."""

    game: State
    """The game's own state."""
    extrinsic: Tensor
    """What the game itself paid each agent in the last step, [batch, agent]; 0 before the first."""
    given: Tensor
    """What went from whom to whom in the last step, [batch, giver, receiver]; 0 before the first.
    On the diagonal stands what was kept of what was shared out."""


@dataclass(frozen=True, kw_only=True)
class RewardingGame(WrappedGame, abc.ABC):
    """The base of games whose agents get something other than what the game pays them."""

    @property
    def symmetric(self) -> bool:
        """No: what agents are paid may depend on who they are."""
        return False

    @abc.abstractmethod
    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        """Turn what the game paid into what went from whom to whom, and what each agent gets.

        Args:
            before: the game's state before the step.
            actions: integer [batch, agent].
            extrinsic: what the game paid, [batch, agent].

        Returns:
            [batch, giver, receiver] and [batch, agent], in reward units.
        """

    def inner(self, state: SharedState) -> State:
        """Take the game's own state out."""
        return state.game

    def reset(self, batch: int, generator: torch.Generator) -> SharedState:
        """Start `batch` copies, in which nothing has been paid."""
        nothing = torch.zeros(batch, self.num_agents, device=generator.device)
        given = torch.zeros(batch, self.num_agents, self.num_agents, device=generator.device)
        return SharedState(self.game.reset(batch, generator), nothing, given)

    def step(
        self, state: SharedState, actions: Tensor, generator: torch.Generator
    ) -> tuple[SharedState, Tensor, Tensor]:
        """Play one step of the game, tell it what is given, and pay; see `Game.step`."""
        game, extrinsic, done = self.game.step(state.game, actions, generator)
        given, rewards = self.pay(state.game, actions, extrinsic)
        return SharedState(self.game.give(game, given), extrinsic, given), rewards, done

    def measures(self, state: SharedState) -> dict[str, Tensor]:
        """What the game measures, and what it paid itself, what went to others, and what came from them."""
        return {**super().measures(state), **measures_of_gifts(state.extrinsic, state.given)}

    def give(self, state: SharedState, gifts: Tensor) -> SharedState:
        """Tell the game of gifts beyond its own sharing."""
        return state._replace(game=self.game.give(state.game, gifts))

    def restart(self, state: SharedState, done: Tensor, generator: torch.Generator) -> SharedState:
        """Replace the copies that are done by fresh ones, in which nothing has been paid."""
        return SharedState(
            self.game.restart(state.game, done, generator),
            state.extrinsic.masked_fill(done[:, None], 0),
            state.given.masked_fill(done[:, None, None], 0),
        )


@dataclass(frozen=True, kw_only=True)
class SharedGame(RewardingGame):
    """A game in which giver i hands the share T_ij of what the game pays it to receiver j.

    r~_j = sum_i T_ij r_i, so that the total is the game's own. What would go to an agent that has left stays
    with its giver. What the game itself paid stands in the state's `extrinsic`, and the
    game is told what was given (`Game.give`).

    Raises:
        ValueError: the matrix is none of this many agents, a share is negative or goes to an agent that is
            not a neighbour, or a row misses 1.

    Source:
        Yi et al., Learning to Share, arXiv 2112.08702.

    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
    >>> game = SharedGame(game=SymmetricTwoAgentGame(), sharing=((0.5, 0.5), (0, 1)))
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 1]]), generator)
    >>> state.extrinsic, rewards
    (tensor([[-3.,  0.]]), tensor([[-1.5000, -1.5000]]))
    """

    sharing: SharingRows
    """Shares [giver][receiver], 0 or more; each row sums to 1, the diagonal being what is kept."""

    def __post_init__(self) -> None:
        """Check the matrix."""
        rows = sharing_rows(self.sharing, range(self.num_agents))
        object.__setattr__(self, "sharing", rows)
        for giver, receiver in (~self.neighbours).nonzero().tolist():
            require(
                rows[giver][receiver] == 0,
                f"Agent {giver} gives agent {receiver} the share {rows[giver][receiver]:g}, but in this game "
                "they are no neighbours.",
            )

    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        """Hand out every reward by its giver's row."""
        shares = _matrix(self.sharing, extrinsic.dtype, extrinsic.device)
        given = extrinsic.unsqueeze(-1) * share_among_present(shares, self.game.present(before))
        return given, given.sum(-2)


@dataclass(frozen=True, kw_only=True)
class SharedExactGame(SharedGame, WrappedExactGame):
    """The same for a game with exact values, which are shared exactly: V~_j = sum_i T_ij V_i.

    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
    >>> game = SharedExactGame(game=SymmetricTwoAgentGame(), sharing=((0.5, 0.5), (0, 1)))
    >>> game.values(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))  # agent 0 cooperates, agent 1 defects
    tensor([-1.5000, -1.5000])
    """

    game: ExactGame
    """The exact game that is played."""

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected `episode_value` after sharing, [..., agent]; see `ExactGame.values`."""
        own = self.game.values(policies)
        return (own.unsqueeze(-1) * _matrix(self.sharing, own.dtype, own.device)).sum(-2)


@dataclass(frozen=True, kw_only=True)
class IncentiveGame(RewardingGame):
    """A game in which each agent may add to the others' rewards, by what it sees and what they did.

    What would go to oneself, to an agent that is not a neighbour, or to or from one that has left, is not
    paid. What the game itself paid stands in the state's `extrinsic`, what was added in its `given`, whose
    rows sum to what it cost or would cost each giver.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051: there the giver's cost
        appears in the outer objective alone, as here by default.

    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
    >>> def reward_cooperation(seen, actions):
    ...     return 2.0 * (actions == 0).unsqueeze(-2).expand(-1, 2, 2)
    >>> game = IncentiveGame(game=SymmetricTwoAgentGame(), incentives=reward_cooperation)
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 1]]), generator)
    >>> state.extrinsic, rewards
    (tensor([[-3.,  0.]]), tensor([[-1.,  0.]]))
    """

    incentives: Incentives
    """From observations and actions to gifts [batch, giver, receiver], in reward units; negative: a fine."""
    givers_pay: bool = False
    """Whether what is given is taken from its giver's reward, so that the total is the game's own."""

    @property
    def pure(self) -> bool:
        """No: incentives may come from a network that learns."""
        return False

    @property
    def best_welfare(self) -> float | None:
        """The game's, if givers pay; otherwise incentives add to it, and nobody knows how much."""
        return self.game.best_welfare if self.givers_pay else None

    @property
    def defection_welfare(self) -> float | None:
        """The game's, if givers pay; otherwise incentives add to it, and nobody knows how much."""
        return self.game.defection_welfare if self.givers_pay else None

    def pay(self, before: State, actions: Tensor, extrinsic: Tensor) -> tuple[Tensor, Tensor]:
        """Add what is given, and take it from the givers if they pay.

        Raises:
            ValueError: the incentives have not one entry for each giver and receiver of each copy.
        """
        gifts = self.incentives(self.game.observe(before), actions)
        expected = (*extrinsic.shape, self.num_agents)
        require(
            tuple(gifts.shape) == expected,
            f"Incentives must have shape [batch, giver, receiver] = {expected}, not {tuple(gifts.shape)}.",
        )
        allowed = self.neighbours.to(extrinsic.device).clone().fill_diagonal_(False)
        present = self.game.present(before)
        allowed = allowed if present is None else allowed & both_present(present)
        given = torch.where(allowed, gifts.to(extrinsic), 0)
        rewards = extrinsic + given.sum(-2)
        return given, rewards - given.sum(-1) if self.givers_pay else rewards


@overload
def shared(game_or_env: ExactGame, sharing: SharingLike) -> SharedExactGame: ...


@overload
def shared(game_or_env: Game, sharing: SharingLike) -> SharedGame: ...


@overload
def shared(game_or_env: Game, sharing: Incentives, *, givers_pay: bool = ...) -> IncentiveGame: ...


@overload
def shared(
    game_or_env: ParallelEnv[str, Any, Any],
    sharing: SharingLike | EnvironmentIncentives,
    *,
    givers_pay: bool = ...,
) -> SharedParallelEnv: ...


def shared(
    game_or_env: Game | ParallelEnv[str, Any, Any],
    sharing: SharingLike | Incentives | EnvironmentIncentives,
    *,
    givers_pay: bool = False,
) -> Game | SharedParallelEnv:
    """Share the rewards of a game or of a PettingZoo environment by a matrix or by incentives.

    Args:
        game_or_env: a game, which stays one (and stays exact, by a matrix), or any `ParallelEnv`.
        sharing: shares [giver, receiver], each row summing to 1: nested numbers, an array or a tensor. Or
            incentives: a function; see `IncentiveGame` and `SharedParallelEnv`.
        givers_pay: whether incentives are taken from their giver's reward; sharing by a matrix always is.

    Returns:
        a `SharedExactGame`, `SharedGame`, `IncentiveGame` or `SharedParallelEnv`.

    Raises:
        ValueError: the first argument is neither a game nor a parallel environment, or the matrix is bad.

    >>> from games._catalogue import make
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
    require(not givers_pay, MATRICES_ALWAYS_PAY)
    rows = sharing_rows(sharing, range(game_or_env.num_agents))
    if isinstance(game_or_env, ExactGame):
        return SharedExactGame(game=game_or_env, sharing=rows)
    return SharedGame(game=game_or_env, sharing=rows)


@kept
def _matrix(rows: SharingRows, dtype: torch.dtype, device: torch.device) -> Tensor:
    return constant(rows, dtype, device)
