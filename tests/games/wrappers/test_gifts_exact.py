"""Gifts apart: rewards and values are the game's own, and what is given has exact values of its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.core import ExactGame
from games.matrix import EscapeRoom, FiniteRepeatedGame, MatrixGame, RepeatedGame, observed_states
from games.matrix._escape_room import DOOR, LEVER
from games.wrappers import GiftExactGame, GiftGame, GiftRules
from games.wrappers._gifts import GiftMatrixGame, observation_shares, without_gifts

RULES = [
    GiftRules(amount=1.5),
    GiftRules(amount=1.5, budget="fixed", purse=1.0),
    GiftRules(amount=1.5, budget="replenishable", purse=4.0),
]
every_budget = pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.budget)


def some_policies(game: ExactGame, seed: int, batch: int = 3) -> Tensor:
    """Probabilities [batch, agent, observation, action] of actions without, then with a gift."""
    shape = (batch, game.num_agents, game.num_observations, 2 * int(game.action_space.n))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)


@every_budget
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_gifts_change_hands_beside_rewards_that_are_the_games_own(rules: GiftRules, seed: int) -> None:
    room = EscapeRoom(agents=3)
    apart, mixed = GiftGame(game=room, rules=rules, separate=True), GiftGame(game=room, rules=rules)
    one, other = (torch.Generator().manual_seed(seed) for _ in range(2))
    draws = torch.Generator().manual_seed(seed)
    state, expected = apart.reset(4, one), mixed.reset(4, other)
    for _ in range(room.horizon):
        actions = torch.randint(6, (4, 3), generator=draws)
        state, rewards, done = apart.step(state, actions, one)
        expected, _, over = mixed.step(expected, actions, other)
        assert torch.equal(rewards, expected.extrinsic)
        assert torch.equal(state.given, expected.given)
        assert torch.equal(state.purse, expected.purse)
        assert torch.equal(apart.observe(state), mixed.observe(expected))  # the room shows what was given
        assert torch.equal(done, over)


def test_the_game_is_told_by_actions_alone() -> None:
    game = GiftGame(game=EscapeRoom(), rules=GiftRules(amount=2.0), separate=True)
    generator = torch.Generator()
    state, *_ = game.step(game.reset(1, generator), torch.tensor([[LEVER, DOOR + 3]]), generator)
    assert game.give(state, torch.full((1, 2, 2), 9.0)) is state
    assert state.game.given[0].tolist() == [[0, 0], [2, 0]]


@every_budget
def test_what_is_best_is_as_in_the_game(rules: GiftRules) -> None:
    game = GiftGame(game=EscapeRoom(), rules=rules, separate=True)
    assert (game.best_welfare, game.defection_welfare) == (9, EscapeRoom().defection_welfare)


@every_budget
@pytest.mark.parametrize("name", ["chicken", "tycoon-prisoners-dilemma", "rock-paper-scissors", "pigou"])
def test_one_shot_values_are_those_of_the_table_with_gifts(name: str, rules: GiftRules) -> None:
    plain = make(name)
    assert isinstance(plain, MatrixGame)
    game, table = GiftExactGame(game=plain, rules=rules), GiftMatrixGame(game=plain, rules=rules)
    policies = some_policies(plain, seed=0)
    torch.testing.assert_close(game.paid_values(policies), table.values(policies), rtol=0, atol=1e-12)
    own = plain.values(without_gifts(policies))
    torch.testing.assert_close(game.values(policies), own, rtol=0, atol=0)
    cooperation, expected = game.cooperation(policies), table.cooperation(policies)
    assert (cooperation is None) == (expected is None)
    assert cooperation is None or torch.equal(cooperation, expected)


@settings(max_examples=20)
@given(amount=st.floats(0.01, 100), seed=st.integers(0, 2**32))
def test_zero_sum_gifts_conserve_exact_totals(amount: float, seed: int) -> None:
    for name in ("public-goods", "repeated-prisoners-dilemma"):
        plain = make(name)
        assert isinstance(plain, ExactGame)
        game = GiftExactGame(game=plain, rules=GiftRules(amount=amount))
        policies = some_policies(plain, seed)
        paid, own = game.paid_values(policies), game.values(policies)
        torch.testing.assert_close(paid.sum(-1), own.sum(-1), rtol=0, atol=1e-11 * amount + 1e-11)
        gifts = game.gifts(policies)
        torch.testing.assert_close(paid - own, gifts.sum(-2) - gifts.sum(-1), rtol=0, atol=1e-11 * amount)


def seeing_no_gifts(plain: RepeatedGame, policies: Tensor) -> Tensor:
    """The same policies where the last joint action is seen with its gifts: [..., 1 + (2A)^N, 2A]."""
    own, agents = int(plain.action_space.n), plain.num_agents
    rows = [0]
    for number in range((2 * own) ** agents):  # as an observer writes it: its own digit first
        digits = [number // (2 * own) ** place % (2 * own) % own for place in reversed(range(agents))]
        rows.append(1 + sum(digit * own ** (agents - 1 - place) for place, digit in enumerate(digits)))
    return policies[..., rows, :]


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.96])
def test_repeated_values_are_those_of_the_repeated_table_with_gifts(discount: float) -> None:
    """The table's repeated game has 16 joint actions, of which agents here see 4: another route."""
    plain, rules = RepeatedGame(discount=discount), GiftRules(amount=2.0)
    game = GiftExactGame(game=plain, rules=rules)
    table = dataclasses.replace(plain, stage=GiftMatrixGame(game=plain.stage, rules=rules))
    policies = some_policies(plain, seed=1)
    expected = table.values(seeing_no_gifts(plain, policies))
    torch.testing.assert_close(game.paid_values(policies), expected, rtol=0, atol=1e-12)


def test_repeated_values_of_three_agents_are_the_limit_of_long_episodes() -> None:
    """Along a graph: 64 joint actions with gifts, too many for the chain, so they are followed in time."""
    stage = make("tycoon-prisoners-dilemma", agents=3)
    assert isinstance(stage, MatrixGame)
    plain, rules = RepeatedGame(stage=stage, discount=0.8), GiftRules(amount=2.0)
    policies = some_policies(plain, seed=2)
    table = GiftMatrixGame(game=stage, rules=rules)
    long = FiniteRepeatedGame(stage=table, discount=0.8, horizon=150)
    expected = long.values(seeing_no_gifts(plain, policies))
    found = GiftExactGame(game=plain, rules=rules).paid_values(policies)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_observations_are_seen_as_often_as_what_makes_them_is_played() -> None:
    game = make("repeated-public-goods")
    assert isinstance(game, RepeatedGame)
    policies = without_gifts(some_policies(game, seed=3))
    shares, played = observation_shares(game, policies), game.occupancy(policies)
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]), rtol=0, atol=1e-12)
    for agent, seen in enumerate(observed_states(game.num_agents)):
        for state, observation in enumerate(seen):
            torch.testing.assert_close(
                shares[:, agent, observation], game.discount * played[:, state], rtol=0, atol=1e-14
            )


@pytest.mark.parametrize(
    ("plain", "rules"),
    [
        (make("repeated-prisoners-dilemma"), RULES[1]),
        (make("repeated-prisoners-dilemma"), RULES[2]),
        (FiniteRepeatedGame(), RULES[0]),
    ],
)
def test_gifts_without_exact_values_are_refused(plain: ExactGame, rules: GiftRules) -> None:
    with pytest.raises(ValueError, match=f"zero-sum, in repeated games .* with a {rules.budget} budget"):
        GiftExactGame(game=plain, rules=rules)


def test_a_purse_that_is_never_filled_is_refused() -> None:
    empty = GiftRules(amount=1.0, budget="replenishable")
    for kind in (GiftGame, GiftExactGame):
        with pytest.raises(ValueError, match="a purse is never filled"):
            kind(game=make("chicken"), rules=empty)
    GiftGame(game=EscapeRoom(), rules=empty, separate=True)
