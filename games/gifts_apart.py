"""Gifts as actions whose rewards stay the game's own: what is given is reckoned apart from what is earned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from games._gift_actions import GiftGame, GiftState, without_gifts
from games.base import ExactGame, Game
from games.constants import constant, kept
from games.errors import require
from games.memory_one import observed_states
from games.repeated import RepeatedGame
from games.wrapped import WrappedExactGame


@dataclass(frozen=True, kw_only=True)
class GiftsApartGame(GiftGame):
    """A game with gifts as actions that pays what the game itself pays, so that welfare is the game's own.

    In all else it is `GiftGame`: purses are filled and emptied, and the game is told of the gifts. Whoever
    learns adds what is given, by the same rules.

    >>> from games.escape_room import EscapeRoom
    >>> from games.gift_rules import GiftRules
    >>> game = GiftsApartGame(game=EscapeRoom(), rules=GiftRules(amount=2.0))
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 5]]), generator)
    >>> rewards, state.given[0]  # agent 1 leaves by the door, and gives
    (tensor([[-1., 10.]]), tensor([[0., 0.],
            [2., 0.]]))
    """

    @property
    def best_welfare(self) -> float | None:
        """As in the game: gifts are no welfare."""
        return self.game.best_welfare

    def step(
        self, state: GiftState, actions: Tensor, generator: torch.Generator
    ) -> tuple[GiftState, Tensor, Tensor]:
        """Play one step, in which gifts change hands beside the rewards; see `Game.step`."""
        state, _, done = super().step(state, actions, generator)
        return state, state.extrinsic, done

    give = Game.give  # the game is told in `step`: there are no other gifts


@dataclass(frozen=True, kw_only=True)
class GiftsApartExactGame(GiftsApartGame, WrappedExactGame):
    """The same for a game with exact values, where those of gifts are exact, too.

    They are in one-shot games, where agent i gives G = min(amount, purse) with the probability of its actions
    with a gift; and, of zero-sum gifts, in repeated games, where it gives in every step

        sum_o rho_i(o) sum_a pi_i(a with a gift | o) G,

    rho_i(o) being the discounted share of the steps in which agent i observes o. What is left in a purse
    depends on all that was given before, so limited budgets have no such sum there.

    Raises:
        ValueError: the game is neither, or, as a repeated one, has a limited budget; or as `GiftGame`.

    >>> from games.gift_rules import GiftRules
    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> game = GiftsApartExactGame(game=SymmetricTwoAgentGame(), rules=GiftRules(amount=2.0))
    >>> policies = torch.tensor([[[1.0, 0, 0, 0]], [[0, 0.5, 0, 0.5]]])  # agent 1 defects, half with a gift
    >>> game.values(policies), game.paid_values(policies)
    (tensor([-3.,  0.]), tensor([-2., -1.]))
    """

    game: ExactGame
    """The exact game that is played."""

    def __post_init__(self) -> None:
        """Check that gifts have exact values."""
        super().__post_init__()
        repeated = type(self.game) is RepeatedGame  # a kind of it may end
        limited = self.rules.source.limited
        require(
            (repeated and not limited) or (self.game.horizon == 1 and self.game.num_observations == 1),
            "Gifts have exact values in one-shot games and, if they are zero-sum, in repeated games that do "
            f"not end; this is {type(self.game).__name__} with a {self.rules.budget} budget.",
        )

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected `episode_value` in the game itself, [..., agent].

        Args:
            policies: probabilities [..., agent, observation, action], of actions without, then with a gift.
        """
        return self.game.values(without_gifts(policies))

    def paid_values(self, policies: Tensor) -> Tensor:
        """The same with what each agent receives and, if gifts are zero-sum, less what it gives."""
        split = self.rules.split(self.game, policies.dtype, policies.device)
        return self.rules.paid(self.values(policies), self._given(policies, split), split)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        """Each agent's expected share of cooperating actions, with a gift or without, [..., agent]."""
        return self.game.cooperation(without_gifts(policies))

    def gifts(self, policies: Tensor) -> Tensor:
        """What is expected to go from whom to whom, [..., giver, receiver], in units of `episode_value`."""
        split = self.rules.split(self.game, policies.dtype, policies.device)
        return self._given(policies, split).unsqueeze(-1) * split

    def _given(self, policies: Tensor, split: Tensor) -> Tensor:
        """What each agent is expected to give: [..., giver]."""
        wanting = policies.unflatten(-1, (2, -1))[..., 1, :].sum(-1)
        if isinstance(self.game, RepeatedGame):
            wanting = wanting * observation_shares(self.game, without_gifts(policies))
        purse = torch.full_like(split[0], self.rules.purse)
        whole = self.rules.given(torch.ones_like(purse, dtype=torch.bool), purse, split)
        given: Tensor = wanting.sum(-1) * whole
        return given


def observation_shares(game: RepeatedGame, policies: Tensor) -> Tensor:
    """The discounted share of the steps in which each agent sees each observation.

    Args:
        game: a repeated game that does not end.
        policies: probabilities [..., agent, 1 + A^N, A].

    Returns:
        [..., agent, 1 + A^N], summing to 1.

    >>> observation_shares(RepeatedGame(discount=0.5), torch.full((2, 5, 2), 0.5))[0]
    tensor([0.5000, 0.1250, 0.1250, 0.1250, 0.1250])
    """
    seen = _state_behind(game.num_agents, game.num_actions, policies.device)
    later = game.discount * game.occupancy(policies)[..., seen]
    return torch.cat((torch.full_like(later[..., :1], 1 - game.discount), later), -1)


@kept
def _state_behind(agents: int, actions: int, device: torch.device) -> Tensor:
    """The joint action that each agent sees as observation 1, 2, ...: [agent, A^N]."""
    states = [sorted(range(len(seen)), key=seen.__getitem__) for seen in observed_states(agents, actions)]
    return constant(states, torch.int64, device)
