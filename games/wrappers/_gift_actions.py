"""Gifts as actions: an agent may reward the others in the same step in which it acts.

Gifts as actions whose rewards stay the game's own: what is given is reckoned apart from what is earned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Game, State, constant, kept, numbered_actions, require
from games.matrix import MatrixGame, MatrixState, RepeatedGame, observed_states, payoff_array
from games.wrappers._gift_rules import GiftRules
from games.wrappers._wrapper import WrappedExactGame, WrappedGame, measures_of_gifts

LARGEST_TABLE = 2**20
"""The most joint actions, of those with and without gifts, that are written out as a payoff table."""


class GiftState(NamedTuple):
    """The game's state, and what has been given."""

    game: State
    """The game's own state."""
    extrinsic: Tensor
    """What the game itself paid each agent in the last step, [batch, agent]; 0 before the first."""
    given: Tensor
    """What went from whom to whom in the last step, [batch, giver, receiver]; 0 before the first."""
    purse: Tensor
    """What each agent has left to give, [batch, agent]; always 0 where gifts are zero-sum."""


@dataclass(frozen=True, kw_only=True)
class GiftGame(WrappedGame):
    """A game in which every action comes twice: a is the game's action a, and A + a is the same with a gift.

    The game goes on as if there were no gifts, and is told of them (`Game.give`). Observations are the game's
    own, or, with `observe_purse`, end with what the agent has left to give: one more number behind a vector,
    one more plane behind planes.

    Raises:
        ValueError: the purse is to be observed where there is none, or where observations are mere numbers;
            or a replenishable one is empty in a game of one step, which never fills it.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020: the three budgets, there
        with the gift as an action of its own. Wang et al., arXiv 2105.06593: every action with and without.
        Not checked against the first: that a purse which is nearly empty gives what is left, and that only
        what the game pays, if it is positive, fills a replenishable one.

    >>> from games.matrix._escape_room import EscapeRoom
    >>> game = GiftGame(game=EscapeRoom(), rules=GiftRules(amount=2.0))
    >>> game.action_names[-1]
    'door and give'
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 5]]), generator)
    >>> state.extrinsic, rewards  # agent 1 leaves by the door, and gives
    (tensor([[-1., 10.]]), tensor([[1., 8.]]))
    """

    rules: GiftRules
    """How large a gift is, who gets it, and where it comes from."""
    observe_purse: bool = False
    """Whether an observation ends with what the agent has left to give, in reward units."""

    def __post_init__(self) -> None:
        """Check that there is something to give, and what is to be observed."""
        self.rules.check_fits(self.game)
        require(
            not self.observe_purse or self.rules.source.limited,
            "Zero-sum gifts come out of the giver's reward, so there is no purse to observe.",
        )
        seen = self.game.observation_space
        require(
            not self.observe_purse or isinstance(seen, spaces.Box),
            f"The purse can stand behind a vector or planes, but this game's agents observe {seen}.",
        )

    @property
    def action_space(self) -> spaces.Discrete:
        """The game's actions without, then with a gift."""
        return spaces.Discrete(2 * numbered_actions(self.game, "A game with gifts among its actions"))

    @property
    def action_names(self) -> tuple[str, ...]:
        """The game's names without, then with a gift."""
        return with_gifts(self.game.action_names)

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        """The game's, with the purse behind it if that is observed."""
        space = self.game.observation_space
        if not self.observe_purse or not isinstance(space, spaces.Box):
            return space
        most = np.inf if self.rules.source.earns else self.rules.purse
        one = (1, *space.shape[1:])
        low = np.concatenate((space.low, np.zeros(one)))
        high = np.concatenate((space.high, np.full(one, most)))
        return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype.type)

    @property
    def best_welfare(self) -> float | None:
        """The game's where gifts are zero-sum; otherwise they add to it, and nobody knows how much."""
        return self.game.best_welfare if self.rules.source.pays else None

    def inner(self, state: GiftState) -> State:
        """Take the game's own state out."""
        return state.game

    def reset(self, batch: int, generator: torch.Generator) -> GiftState:
        """Start `batch` copies with fresh purses."""
        nothing = torch.zeros(batch, self.num_agents, device=generator.device)
        given = torch.zeros(batch, self.num_agents, self.num_agents, device=generator.device)
        return GiftState(self.game.reset(batch, generator), nothing, given, nothing + self.rules.purse)

    def observe(self, state: GiftState) -> Tensor:
        """What each agent sees: float [batch, agent, *shape], or integer [batch, agent]."""
        seen = self.game.observe(state.game)
        if not self.observe_purse:
            return seen
        purse = state.purse.to(seen).reshape(*state.purse.shape, *[1] * (seen.ndim - 2))
        return torch.cat((seen, purse.expand(*seen.shape[:2], 1, *seen.shape[3:])), 2)

    def action_mask(self, state: GiftState) -> Tensor | None:
        """Which actions are legal: those of the game, with and without a gift."""
        legal = self.game.action_mask(state.game)
        return None if legal is None else torch.cat((legal, legal), -1)

    def step(
        self, state: GiftState, actions: Tensor, generator: torch.Generator
    ) -> tuple[GiftState, Tensor, Tensor]:
        """Play one step of the game, tell it of the gifts, and pay; see `Game.step`."""
        own, wanted = self._parts(actions)
        game, extrinsic, done = self.game.step(state.game, own, generator)
        everybody = self.rules.split(self.game, extrinsic.dtype, extrinsic.device)
        split, part = self.rules.split_now(everybody, self.game.present(state.game))
        given = part * self.rules.given(wanted, state.purse.to(extrinsic), split)
        purse = self.rules.left(state.purse, given, extrinsic)
        gifts = given.unsqueeze(-1) * split
        after = GiftState(self.game.give(game, gifts), extrinsic, gifts, purse)
        return after, self.rules.paid(extrinsic, given, split), done

    def cooperates(self, state: GiftState, actions: Tensor) -> Tensor | None:
        """Which actions cooperate in the game, whether they come with a gift or not."""
        return self.game.cooperates(state.game, self._parts(actions)[0])

    def measures(self, state: GiftState) -> dict[str, Tensor]:
        """What the game measures, and what it paid itself, what was given, and what was received."""
        return {**super().measures(state), **measures_of_gifts(state.extrinsic, state.given)}

    def give(self, state: GiftState, gifts: Tensor) -> GiftState:
        """Tell the game of gifts that are no actions."""
        return state._replace(game=self.game.give(state.game, gifts))

    def restart(self, state: GiftState, done: Tensor, generator: torch.Generator) -> GiftState:
        """Replace the copies that are done by fresh ones with fresh purses."""
        return GiftState(
            self.game.restart(state.game, done, generator),
            state.extrinsic.masked_fill(done[:, None], 0),
            state.given.masked_fill(done[:, None, None], 0),
            state.purse.masked_fill(done[:, None], self.rules.purse),
        )

    def _parts(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The game's actions, and which of them come with a gift."""
        own = self.game.num_actions
        return actions % own, actions >= own


@dataclass(frozen=True, kw_only=True)
class GiftMatrixGame(MatrixGame):
    """A matrix game with gifts, which is a matrix game of twice as many actions: its values stay exact.

    Raises:
        ValueError: the table would have more than 2^20 joint actions, or a replenishable purse is empty: in a
            game of one step it is never filled.

    Source:
        Wang et al., arXiv 2105.06593.

    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
    >>> game = GiftMatrixGame(game=SymmetricTwoAgentGame(), rules=GiftRules(amount=1.5))
    >>> game.payoffs()[0, 3]  # agent 0 cooperates, agent 1 defects and gives
    tensor([-1.5000, -1.5000], dtype=torch.float64)
    """

    game: MatrixGame
    """The matrix game that is played."""
    rules: GiftRules
    """How large a gift is, who gets it, and where it comes from."""

    def __post_init__(self) -> None:
        """Check that there is something to give, and room for the table."""
        self.rules.check_fits(self.game)
        require(
            _profiles(self.game) <= LARGEST_TABLE,
            f"A table with gifts holds at most {LARGEST_TABLE} joint actions; this one needs "
            f"{2 * self.game.num_actions}^{self.game.num_agents}.",
        )

    @property
    def cooperative(self) -> bool:
        """No: there are more than two actions."""
        return False

    @property
    def action_names(self) -> tuple[str, ...]:
        """The game's names without, then with a gift."""
        return with_gifts(self.game.action_names)

    @property
    def neighbours(self) -> Tensor:
        """As in the game."""
        return self.game.neighbours

    @property
    def defection_welfare(self) -> float | None:
        """As in the game: who defects gives nothing."""
        return self.game.defection_welfare

    def build_payoffs(self) -> NDArray[np.float64]:
        """Add what is received, and take what is paid: float64 [2A, ..., 2A, agent]."""
        agents, own = self.game.num_agents, self.game.num_actions
        joint = np.indices((2 * own,) * agents)
        extrinsic = torch.from_numpy(payoff_array(self.game)[tuple(joint % own)])
        wanted = torch.from_numpy(np.moveaxis(joint >= own, 0, -1).copy())
        split = self.rules.split(self.game, torch.float64, torch.device("cpu"))
        given = self.rules.given(wanted, torch.full_like(extrinsic, self.rules.purse), split)
        return self.rules.paid(extrinsic, given, split).numpy()

    def cooperation(self, policies: Tensor) -> Tensor | None:
        """Each agent's probability to cooperate, with a gift or without, [..., agent]."""
        return self.game.cooperation(without_gifts(policies))

    def cooperates(self, state: MatrixState, actions: Tensor) -> Tensor | None:
        """Which actions cooperate in the game, whether they come with a gift or not."""
        return self.game.cooperates(state, actions % self.game.num_actions)


def gift_actions(
    game: Game,
    amount: float,
    budget: Literal["zero-sum", "fixed", "replenishable"] = "zero-sum",
    *,
    purse: float = 0.0,
    receivers: Literal["neighbours", "everybody"] = "neighbours",
    observe_purse: bool = False,
) -> GiftGame | GiftMatrixGame:
    """Let every action come with a gift: a + A is a with a gift, A being the number of the game's actions.

    Args:
        game: any game.
        amount: what a whole gift is worth, in reward units; above 0.
        budget: "zero-sum": the giver's reward pays. "fixed": `purse` is free to give until it is used up.
            "replenishable": what the game pays the agent, if positive, fills the purse after each step.
        purse: what is in each agent's purse at the start of an episode, in reward units.
        receivers: among whom a gift is split equally.
        observe_purse: whether an observation ends with what the agent has left to give.

    Returns:
        a matrix game for a matrix game of at most 2^20 joint actions with gifts; otherwise a game.

    Raises:
        ValueError: see `GiftRules`, `GiftGame` and `GiftMatrixGame`.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020; Wang et al., Emergent
        Prosociality in Multi-Agent Games Through Gifting, arXiv 2105.06593.

    >>> from games._catalogue import make
    >>> game = gift_actions(make("stag-hunt-gifting"), amount=10)
    >>> game.action_names
    ('hunt', 'forage', 'hunt and give', 'forage and give')
    """
    rules = GiftRules(amount=amount, budget=budget, purse=purse, receivers=receivers)
    if isinstance(game, MatrixGame) and not observe_purse and _profiles(game) <= LARGEST_TABLE:
        return GiftMatrixGame(game=game, rules=rules)
    return GiftGame(game=game, rules=rules, observe_purse=observe_purse)


def with_gifts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name actions without, then with a gift.

    >>> with_gifts(("stay", "go"))
    ('stay', 'go', 'stay and give', 'go and give')
    """
    return (*names, *(f"{name} and give" for name in names))


def without_gifts(policies: Tensor) -> Tensor:
    """Which actions of the game are chosen, whether they come with a gift or not: [..., 2 A] -> [..., A].

    >>> without_gifts(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    tensor([0.6000, 0.4000])
    """
    chosen: Tensor = policies.unflatten(-1, (2, -1)).sum(-2)
    return chosen


def _profiles(game: MatrixGame) -> int:
    """How many joint actions there are, with gifts."""
    profiles: int = (2 * game.num_actions) ** game.num_agents
    return profiles


@dataclass(frozen=True, kw_only=True)
class GiftsApartGame(GiftGame):
    """A game with gifts as actions that pays what the game itself pays, so that welfare is the game's own.

    In all else it is `GiftGame`: purses are filled and emptied, and the game is told of the gifts. Whoever
    learns adds what is given, by the same rules.

    >>> from games.matrix._escape_room import EscapeRoom
    >>> from games.wrappers._gift_rules import GiftRules
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

    >>> from games.wrappers._gift_rules import GiftRules
    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
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
