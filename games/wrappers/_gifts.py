"""Gifts as actions: an agent may reward the others in the step in which it acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games import matrix
from games.core import (
    ExactGame,
    Game,
    State,
    Step,
    alias,
    cached_constants,
    computed,
    constant,
    numbered_actions,
    require,
    require_name,
)
from games.wrappers._sharing_matrix import both_present
from games.wrappers._wrapper import PaidGame, WrappedExactGame, nothing_paid

LARGEST_TABLE = 2**20
"""Maximum number of joint actions, with and without gifts, of a payoff table."""


class Budget(NamedTuple):
    """The source of gifts."""

    pays: bool  # gifts are taken from the giver's reward
    limited: bool  # gifts are taken from a purse that may be empty
    earns: bool  # the agent's positive rewards in the game fill that purse


BUDGETS = {
    "zero-sum": Budget(pays=True, limited=False, earns=False),
    "fixed": Budget(pays=False, limited=True, earns=False),
    "replenishable": Budget(pays=False, limited=True, earns=True),
}
"""Name -> budget of gifts (Lupu and Precup, 2020): who pays for a gift, and whether gifts are limited."""
BudgetName = Literal["zero-sum", "fixed", "replenishable"]
Receivers = Literal["neighbors", "everybody"]


@dataclass(frozen=True, kw_only=True)
class GiftRules:
    """The settings of gifts as actions.

    A gift is split equally among its receivers; an agent without receivers gives nothing. The part of a
    receiver that has left stays with the giver, in its reward or its purse. A purse that holds less than a
    whole gift gives the rest of its contents. Received gifts do not fill a purse.

    Raises:
        ValueError: the amount is not above 0, or the purse does not fit the kind of budget.

    >>> GiftRules(amount=2.0, budget="fixed")
    Traceback (most recent call last):
    ValueError: A fixed budget needs something to give: purse must be above 0, but it is 0.0.
    """

    amount: float
    """Size of a whole gift, in reward units; above 0."""
    budget: BudgetName = "zero-sum"
    """Source of gifts: the giver's reward (zero-sum); a purse per episode that is free to give (fixed); or a
    purse that the agent's positive rewards in the game fill after each step (replenishable)."""
    purse: float = 0.0
    """Contents of each agent's purse at the start of an episode, in reward units; 0 or more."""
    receivers: Receivers = "neighbors"
    """Receivers that split a gift: the giver's neighbors, or all other agents."""

    def __post_init__(self) -> None:
        require_name(self.budget, BUDGETS, "budget")
        require_name(self.receivers, ("neighbors", "everybody"), "kind of receivers")
        matrix.require_finite(amount=self.amount, purse=self.purse)
        require(self.amount > 0, f"A gift is worth something: amount must be above 0, not {self.amount}.")
        require(self.purse >= 0, f"A purse cannot hold less than nothing: purse is {self.purse}.")
        require(
            self.budget != "fixed" or self.purse > 0,
            f"A fixed budget needs something to give: purse must be above 0, but it is {self.purse}.",
        )
        require(
            self.source.limited or self.purse == 0,
            f"Zero-sum gifts come out of the giver's reward, so there is no purse; purse is {self.purse}.",
        )

    @property
    def source(self) -> Budget:
        return BUDGETS[self.budget]

    def check_fits(self, game: Game) -> None:
        """Raise ValueError if no gift is possible in this game."""
        require(
            not self.source.limited or self.purse > 0 or game.horizon > 1,
            "In a game of one step a purse is never filled: give it a purse above 0 to start with.",
        )

    def split(self, game: Game, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Each receiver's share of a gift: [giver, receiver], rows summing to 1 or 0."""
        return _split(game, self.receivers, dtype, device)

    def split_now(self, split: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """The split among the agents present, boolean [..., agent], and the fraction of a gift that is given.

        The split is [..., giver, receiver], its rows summing to 1 or 0; the fraction is [..., giver].

        >>> everybody = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
        >>> GiftRules(amount=1.0).split_now(everybody, torch.tensor([True, True, False]))
        (tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 0., 0.]]), tensor([0.5000, 0.5000, 0.0000]))
        """
        if present is None:
            return split, 1.0
        receiving = (split > 0) & both_present(present)
        count = receiving.sum(-1).to(split.dtype)
        fraction = count / (split > 0).sum(-1).clamp(min=1)
        return receiving / count.clamp(min=1).unsqueeze(-1), fraction

    def given(self, gives: Tensor, purse: Tensor, split: Tensor) -> Tensor:
        """Each agent's gift, [..., agent], from its choice to give (boolean) and its purse."""
        whole = self.amount * (gives & (split.sum(-1) > 0)).to(purse.dtype)
        return torch.minimum(whole, purse) if self.source.limited else whole

    def left(self, purse: Tensor, given: Tensor, extrinsic: Tensor) -> Tensor:
        """Contents of the purses after a step, [..., agent], from the gifts and the game's rewards."""
        if not self.source.limited:
            return purse
        return purse - given + extrinsic.clamp_min(0) if self.source.earns else purse - given

    def paid(self, extrinsic: Tensor, given: Tensor, split: Tensor) -> Tensor:
        """Each agent's reward with gifts, [..., agent], from the game's rewards and all agents' gifts."""
        received = (given.unsqueeze(-1) * split).sum(-2)
        return extrinsic + received - given if self.source.pays else extrinsic + received


class GiftState(NamedTuple):
    """The game's state, and rewards and gifts of the last step; 0 before the first."""

    game: State
    extrinsic: Tensor  # the game's own rewards of the last step, [batch, agent]
    given: Tensor  # gifts of the last step, [batch, giver, receiver]
    purse: Tensor  # contents of each agent's purse, [batch, agent]; always 0 where gifts are zero-sum


@dataclass(frozen=True, kw_only=True)
class GiftGame(PaidGame):
    """A game with two versions of every action: a is the game's action a, and A + a is the same with a gift.

    The game's dynamics do not depend on gifts unless it uses them (`Game.give`). Observations are the game's
    own or, with `observe_purse`, end with the contents of the agent's purse: one more number after a vector,
    one more plane after planes.

    Raises:
        ValueError: the purse is to be observed where there is none or observations are Discrete; or a
            replenishable one is empty in a game of one step, which never fills it.
    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020: the three budgets, there
        with the gift as an action of its own. Wang et al., arXiv 2105.06593: every action with and without.
        Not checked against the first: that a nearly empty purse gives the rest of its contents, and that
        only positive rewards of the game fill a replenishable one.

    >>> from games import make
    >>> from games.wrappers import GiftRules
    >>> game = GiftGame(game=make("escape-room"), rules=GiftRules(amount=2.0))
    >>> game.action_names[-1]
    'door and give'
    >>> generator = torch.Generator().manual_seed(0)
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 5]]), generator)
    >>> state.extrinsic, rewards  # agent 1 leaves by the door, and gives
    (tensor([[-1., 10.]]), tensor([[1., 8.]]))
    """

    rules: GiftRules
    observe_purse: bool = False
    """End an observation with the contents of the agent's purse, in reward units."""
    separate: bool = False
    """Leave rewards, and with them welfare, as the game's own: learners then add the gifts in the state's
    `given` by the same rules, and `give` does nothing, as there are no other gifts."""

    action_names = computed(lambda self: _with_gifts(self.game.action_names))

    def __post_init__(self) -> None:
        self.rules.check_fits(self.game)
        require(
            not self.observe_purse or self.rules.source.limited,
            "Zero-sum gifts come out of the giver's reward, so there is no purse to observe.",
        )
        space = self.game.observation_space
        require(
            not self.observe_purse or isinstance(space, spaces.Box),
            f"The purse can stand behind a vector or planes, but this game's agents observe {space}.",
        )

    @property
    def takes_gifts(self) -> bool:
        return not self.separate and self.game.takes_gifts

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2 * numbered_actions(self.game, "A game with gifts among its actions"))

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        space = self.game.observation_space
        if not self.observe_purse or not isinstance(space, spaces.Box):
            return space
        extra = (1, *space.shape[1:])
        largest = np.full(extra, np.inf if self.rules.source.earns else self.rules.purse)
        low, high = np.concatenate((space.low, np.zeros(extra))), np.concatenate((space.high, largest))
        return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype.type)

    @property
    def best_welfare(self) -> float | None:
        """The game's own; None, unknown, if gifts add to its rewards."""
        return self.game.best_welfare if self.separate or self.rules.source.pays else None

    def reset(self, batch: int, generator: torch.Generator) -> GiftState:
        nothing, given = nothing_paid(batch, self.num_agents, generator.device)
        return GiftState(self.game.reset(batch, generator), nothing, given, nothing + self.rules.purse)

    def observe(self, state: GiftState) -> Tensor:
        observation = self.game.observe(state.game)
        if not self.observe_purse:
            return observation
        purse = state.purse.to(observation).reshape(*state.purse.shape, *[1] * (observation.ndim - 2))
        return torch.cat((observation, purse.expand(*observation.shape[:2], 1, *observation.shape[3:])), 2)

    def action_mask(self, state: GiftState) -> Tensor | None:
        legal = self.game.action_mask(state.game)
        return None if legal is None else torch.cat((legal, legal), -1)

    def step(self, state: GiftState, actions: Tensor, generator: torch.Generator) -> Step:
        own, gives = self._split_actions(actions)
        game, extrinsic, done = self.game.step(state.game, own, generator)
        among_all = self.rules.split(self.game, extrinsic.dtype, extrinsic.device)
        split, fraction = self.rules.split_now(among_all, self.game.present(state.game))
        given = fraction * self.rules.given(gives, state.purse.to(extrinsic), split)
        purse = self.rules.left(state.purse, given, extrinsic)
        gifts = given.unsqueeze(-1) * split
        after = GiftState(self.game.give(game, gifts), extrinsic, gifts, purse)
        return after, extrinsic if self.separate else self.rules.paid(extrinsic, given, split), done

    def cooperates(self, state: GiftState, actions: Tensor) -> Tensor | None:
        return self.game.cooperates(state.game, self._split_actions(actions)[0])

    def give(self, state: GiftState, gifts: Tensor) -> GiftState:
        return state if self.separate else super().give(state, gifts)

    def restart(self, state: GiftState, done: Tensor, generator: torch.Generator) -> GiftState:
        fresh: GiftState = super().restart(state, done, generator)
        return fresh._replace(purse=state.purse.masked_fill(done[:, None], self.rules.purse))

    def _split_actions(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The game's actions, and a mask of those with a gift."""
        own = self.game.num_actions
        return actions % own, actions >= own


@dataclass(frozen=True, kw_only=True)
class GiftExactGame(GiftGame, WrappedExactGame):
    """`GiftGame` for a game with exact values and exact expected gifts; rewards are the game's own.

    Expected gifts are exact in one-shot games, where agent i gives G = min(amount, purse) with the
    probability of its actions with a gift; and, if zero-sum, in repeated games, where it gives in every step

        sum_o rho_i(o) sum_a pi_i(a with a gift | o) G,

    rho_i(o) being the discounted share of the steps in which agent i observes o. A limited budget depends on
    all earlier gifts, so that it has no such sum there.

    Raises:
        ValueError: the game is neither, or the budget of a repeated game is limited; or as `GiftGame`.

    >>> from games import make
    >>> from games.wrappers import GiftRules
    >>> game = GiftExactGame(game=make("prisoners-dilemma"), rules=GiftRules(amount=2.0))
    >>> policies = torch.tensor([[[1.0, 0, 0, 0]], [[0, 0.5, 0, 0.5]]])  # agent 1 defects, half with a gift
    >>> game.values(policies), game.paid_values(policies)
    (tensor([-3.,  0.]), tensor([-2., -1.]))
    """

    game: ExactGame
    """The wrapped game."""
    separate: Literal[True] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        repeated = type(self.game) is matrix.RepeatedGame  # subclasses may be finite
        limited = self.rules.source.limited
        require(
            (repeated and not limited) or (self.game.horizon == 1 and self.game.num_observations == 1),
            "Gifts have exact values in one-shot games and, if they are zero-sum, in repeated games that do "
            f"not end; this is {type(self.game).__name__} with a {self.rules.budget} budget.",
        )

    def values(self, policies: Tensor) -> Tensor:
        """Expected `episode_value` in the game itself, [..., agent]; actions with a gift last."""
        return self.game.values(without_gifts(policies))

    def paid_values(self, policies: Tensor) -> Tensor:
        """`values` plus each agent's received gifts and, if gifts are zero-sum, minus those it gives."""
        split = self.rules.split(self.game, policies.dtype, policies.device)
        return self.rules.paid(self.values(policies), self._given(policies, split), split)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return self.game.cooperation(without_gifts(policies))

    def gifts(self, policies: Tensor) -> Tensor:
        """Expected gifts, [..., giver, receiver], in units of `episode_value`."""
        split = self.rules.split(self.game, policies.dtype, policies.device)
        return self._given(policies, split).unsqueeze(-1) * split

    def _given(self, policies: Tensor, split: Tensor) -> Tensor:
        """Each agent's expected gift: [..., giver]."""
        giving = policies.unflatten(-1, (2, -1))[..., 1, :].sum(-1)
        if isinstance(self.game, matrix.RepeatedGame):
            giving = giving * observation_shares(self.game, without_gifts(policies))
        purse = torch.full_like(split[0], self.rules.purse)
        whole = self.rules.given(torch.ones_like(purse, dtype=torch.bool), purse, split)
        given: Tensor = giving.sum(-1) * whole
        return given


@dataclass(frozen=True, kw_only=True)
class GiftMatrixGame(matrix.MatrixGame):
    """A matrix game with gifts: a matrix game of twice as many actions; see `gift_actions`."""

    game: matrix.MatrixGame
    """The game without gifts."""
    rules: GiftRules

    cooperative = False  # there are more than two actions
    action_names = computed(lambda self: _with_gifts(self.game.action_names))

    def __post_init__(self) -> None:
        self.rules.check_fits(self.game)
        require(
            _joint_actions(self.game) <= LARGEST_TABLE,
            f"A table with gifts holds at most {LARGEST_TABLE} joint actions; this one needs "
            f"{2 * self.game.num_actions}^{self.game.num_agents}.",
        )

    neighbors = alias("game.neighbors")
    best_cooperation = alias("game.best_cooperation")  # gifts leave the optimal actions
    defection_welfare = alias("game.defection_welfare")  # defectors give nothing

    def build_payoffs(self) -> NDArray[np.float64]:
        agents, own = self.game.num_agents, self.game.num_actions
        joint = np.indices((2 * own,) * agents)
        extrinsic = torch.from_numpy(matrix.payoff_array(self.game)[tuple(joint % own)])
        gives = torch.from_numpy(np.moveaxis(joint >= own, 0, -1).copy())
        split = self.rules.split(self.game, torch.float64, torch.device("cpu"))
        given = self.rules.given(gives, torch.full_like(extrinsic, self.rules.purse), split)
        return self.rules.paid(extrinsic, given, split).numpy()

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return self.game.cooperation(without_gifts(policies))

    def cooperates(self, state: matrix.MatrixState, actions: Tensor) -> Tensor | None:
        return self.game.cooperates(state, actions % self.game.num_actions)


def gift_actions(
    game: Game,
    amount: float,
    budget: BudgetName = "zero-sum",
    *,
    purse: float = 0.0,
    receivers: Receivers = "neighbors",
    observe_purse: bool = False,
) -> GiftGame | GiftMatrixGame:
    """Add a second version of every action: a + A is a with a gift, A being the game's number of actions.

    Args:
        game: any game with Discrete actions.
        amount: size of a whole gift, in reward units; above 0.
        budget: "zero-sum": the giver's reward pays. "fixed": gifts are free until `purse` is used up.
            "replenishable": the agent's positive rewards in the game fill the purse after each step.
        purse: contents of each agent's purse at the start of an episode, in reward units.
        receivers: the agents that split a gift equally.
        observe_purse: end an observation with the contents of the agent's purse.
    Returns:
        A matrix game for a matrix game of at most 2^20 joint actions with gifts; otherwise a game.
    Raises:
        ValueError: see `GiftRules` and `GiftGame`.
    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020; Wang et al., Emergent
        Prosociality in Multi-Agent Games Through Gifting, arXiv 2105.06593.

    >>> from games import make
    >>> game = gift_actions(make("stag-hunt-gifting"), amount=10)
    >>> game.action_names
    ('hunt', 'forage', 'hunt and give', 'forage and give')
    """
    rules = GiftRules(amount=amount, budget=budget, purse=purse, receivers=receivers)
    if isinstance(game, matrix.MatrixGame) and not observe_purse and _joint_actions(game) <= LARGEST_TABLE:
        return GiftMatrixGame(game=game, rules=rules)
    return GiftGame(game=game, rules=rules, observe_purse=observe_purse)


def without_gifts(policies: Tensor) -> Tensor:
    """Probabilities of the game's actions, summed over with and without a gift: [..., 2 A] -> [..., A]."""
    summed: Tensor = policies.unflatten(-1, (2, -1)).sum(-2)
    return summed


def observation_shares(game: matrix.RepeatedGame, policies: Tensor) -> Tensor:
    """Discounted share of each agent's observations, in an infinitely repeated game.

    Policies are [..., agent, 1 + A^N, A]; the shares, [..., agent, 1 + A^N], sum to 1.
    """
    seen = _joint_action_of(game.num_agents, game.num_actions, policies.device)
    later = game.discount * game.occupancy(policies)[..., seen]
    return torch.cat((torch.full_like(later[..., :1], 1 - game.discount), later), -1)


@cached_constants
def _joint_action_of(agents: int, actions: int, device: torch.device) -> Tensor:
    """The joint action behind each agent's observation 1, 2, ...: [agent, A^N]."""
    observed = matrix.observed_states(agents, actions)
    states = [sorted(range(len(seen)), key=seen.__getitem__) for seen in observed]
    return constant(states, torch.int64, device)


@cached_constants
def _split(game: Game, receivers: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    everybody = [[True] * game.num_agents] * game.num_agents
    others = np.array(everybody if receivers == "everybody" else game.neighbors.tolist(), float)
    np.fill_diagonal(others, 0)
    return constant(others / others.sum(-1, keepdims=True).clip(min=1), dtype, device)


def _with_gifts(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(f"{name} and give" for name in names))


def _joint_actions(game: matrix.MatrixGame) -> int:
    """Number of joint actions, with gifts."""
    count: int = (2 * game.num_actions) ** game.num_agents
    return count
