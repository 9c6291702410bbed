"""Gifts as actions: the laws of each budget, and the published effect on a stag hunt."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.adapters._parallel_env import ParallelView
from games.core import Game
from games.grid import CoinGame
from games.matrix import EscapeRoom, MatrixGame, payoff_array
from games.matrix._escape_room import DOOR, LEVER, START
from games.wrappers import GiftGame, GiftRules, gift_actions
from games.wrappers._gifts import LARGEST_TABLE, GiftMatrixGame, GiftState
from tests.games.adapters.pettingzoo_contract import check_contract

GIFT = 3
"""What to add to an action of Escape Room to make it come with a gift."""


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Games pay in the default type: laws are tested to rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def play(game: GiftGame, joint: list[list[int]]) -> list[tuple[list[float], list[float]]]:
    """Rewards and purses after each step of one copy."""
    generator = torch.Generator()
    state, seen = game.reset(1, generator), []
    for actions in joint:
        state, rewards, _ = game.step(state, torch.tensor([actions]), generator)
        seen.append((rewards[0].tolist(), state.purse[0].tolist()))
    return seen


def some_play(game: GiftGame, seed: int) -> Iterator[tuple[GiftState, GiftState, Tensor, Tensor]]:
    """The state before and after, actions and rewards of random play to the horizon."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(4, generator)
    for _ in range(game.horizon):
        actions = torch.randint(int(game.action_space.n), (4, game.num_agents), generator=generator)
        before = state
        state, rewards, _ = game.step(state, actions, generator)
        yield before, state, actions, rewards


def room(agents: int = 3, **settings: object) -> EscapeRoom:
    return EscapeRoom(agents=agents, levers=1, random_start=True, **settings)


# Three agents at the start; agent 0 pulls the lever and agent 2 leaves, which pays -1, 0 and 10.
HAND_COMPUTED = {
    "zero-sum": [([-1 + 1, 0 + 1, 10 - 2], [0, 0, 0]), ([0 + 1, -1 + 1, 10 - 2], [0, 0, 0])],
    "fixed": [([-1 + 1, 0 + 1, 10], [3, 3, 1]), ([0.5, -0.5, 10], [3, 3, 0])],
    "replenishable": [([-1 + 1, 0 + 1, 10], [3, 3, 11]), ([0 + 1, -1 + 1, 10], [3, 3, 19])],
}


@pytest.mark.parametrize("budget", HAND_COMPUTED)
def test_rewards_and_purses_by_hand(budget: str) -> None:
    game = gift_actions(EscapeRoom(agents=3), 2.0, budget, purse=0.0 if budget == "zero-sum" else 3.0)
    assert play(game, [[LEVER, START, DOOR + GIFT], [LEVER, LEVER, DOOR + GIFT]]) == HAND_COMPUTED[budget]


def test_an_empty_purse_is_filled_by_what_the_game_pays_and_by_nothing_else() -> None:
    game = gift_actions(EscapeRoom(), 4.0, "replenishable")
    steps = play(game, [[LEVER + GIFT, DOOR + GIFT], [LEVER + GIFT, DOOR + GIFT]])
    assert steps == [([-1, 10], [0, 10]), ([4, 10], [0, 16])]


@given(amount=st.floats(0.01, 100), agents=st.integers(2, 5), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_zero_sum_gifts_conserve_the_total(amount: float, agents: int, seed: int) -> None:
    game = gift_actions(room(agents), amount)
    for _, after, actions, rewards in some_play(game, seed):
        torch.testing.assert_close(rewards.sum(-1), after.extrinsic.sum(-1), rtol=0, atol=1e-11)
        torch.testing.assert_close(after.given.sum(-1), amount * (actions >= GIFT), rtol=1e-12, atol=0)


@given(amount=st.floats(0.01, 10), purse=st.floats(0.01, 10), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_fixed_budgets_are_never_exceeded(amount: float, purse: float, seed: int) -> None:
    total = torch.zeros(4, 3)
    for before, after, _, rewards in some_play(gift_actions(room(), amount, "fixed", purse=purse), seed):
        given_now = after.given.sum(-1)
        total += given_now
        assert (after.purse >= 0).all()
        torch.testing.assert_close(before.purse - given_now, after.purse, rtol=0, atol=1e-12)
        torch.testing.assert_close(rewards, after.extrinsic + after.given.sum(-2), rtol=0, atol=1e-12)
    assert (total <= purse + 1e-12).all()


@given(amount=st.floats(0.01, 30), purse=st.floats(0, 5), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_replenishable_budgets_give_no_more_than_was_there_and_earned(
    amount: float, purse: float, seed: int
) -> None:
    total, earned = torch.zeros(4, 3), torch.full((4, 3), purse)
    for _, after, _, rewards in some_play(gift_actions(room(), amount, "replenishable", purse=purse), seed):
        total += after.given.sum(-1)
        assert (total <= earned + 1e-12).all()  # of what was earned before this step
        earned += after.extrinsic.clamp_min(0)
        torch.testing.assert_close(after.purse, earned - total, rtol=0, atol=1e-11)
        torch.testing.assert_close(rewards, after.extrinsic + after.given.sum(-2), rtol=0, atol=1e-11)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_without_gifts_the_game_is_as_it_was(seed: int) -> None:
    plain = CoinGame(horizon=20)
    game = gift_actions(plain, 5.0)
    one, other = (torch.Generator().manual_seed(seed) for _ in range(2))
    state, expected = game.reset(3, one), plain.reset(3, other)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(plain.horizon):
        actions = torch.randint(4, (3, 2), generator=draws)
        assert torch.equal(game.observe(state), plain.observe(expected))
        assert torch.equal(game.cooperates(state, actions + 4), plain.cooperates(expected, actions))
        state, rewards, done = game.step(state, actions, one)
        expected, own, over = plain.step(expected, actions, other)
        assert torch.equal(rewards, own)
        assert torch.equal(done, over)


def test_the_purse_stands_behind_a_vector() -> None:
    game = gift_actions(EscapeRoom(observe_gifts=False), 4.0, "fixed", purse=6.0, observe_purse=True)
    generator = torch.Generator()
    state = game.reset(1, generator)
    assert game.observe(state)[0, 0].tolist() == [0, 1, 0, 0, 1, 0, 6]
    state, *_ = game.step(state, torch.tensor([[START + GIFT, START]]), generator)
    assert game.observe(state)[0, :, -1].tolist() == [2, 6]
    assert game.observation_space.high.tolist() == [1] * 6 + [6]
    assert game.observation_space.contains(game.observe(state)[0, 1].numpy())


def test_the_purse_is_a_plane_behind_planes() -> None:
    game = gift_actions(CoinGame(), 1.0, "replenishable", purse=2.0, observe_purse=True)
    seen = game.observe(game.reset(3, torch.Generator().manual_seed(0)))
    assert seen.shape[2:] == game.observation_space.shape == (5, 3, 3)
    assert (seen[:, :, 4] == 2).all()
    assert np.isinf(game.observation_space.high[4]).all()
    assert game.observation_space.high[:4].max() == 1


def test_gifts_go_to_neighbors_or_to_everybody() -> None:
    tycoon = make("tycoon-prisoners-dilemma", agents=4)
    cpu = torch.device("cpu")
    to_neighbors = GiftRules(amount=1.0).split(tycoon, torch.float64, cpu)
    torch.testing.assert_close(to_neighbors[0], torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]), rtol=0, atol=1e-15)
    assert to_neighbors[2].tolist() == [1, 0, 0, 0]
    everybody = GiftRules(amount=1.0, receivers="everybody").split(tycoon, torch.float64, cpu)
    torch.testing.assert_close(everybody, (1 - torch.eye(4)) / 3, rtol=0, atol=1e-15)


class Hermits(EscapeRoom):
    """Nobody has a neighbor."""

    @property
    def neighbors(self) -> Tensor:
        return torch.eye(self.agents, dtype=torch.bool)


def test_who_has_nobody_to_give_to_gives_and_pays_nothing() -> None:
    assert play(gift_actions(Hermits(), 4.0), [[LEVER + GIFT, DOOR]]) == [([-1, 10], [0, 0])]
    assert play(gift_actions(Hermits(), 4.0, "fixed", purse=5.0), [[LEVER + GIFT, DOOR]])[0][1] == [5, 5]


RULES = [
    GiftRules(amount=1.5),
    GiftRules(amount=1.5, budget="fixed", purse=1.0),
    GiftRules(amount=1.5, budget="replenishable", purse=4.0),
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.budget)
@pytest.mark.parametrize("name", ["chicken", "tycoon-prisoners-dilemma", "rock-paper-scissors"])
def test_the_table_of_a_matrix_game_pays_what_its_steps_pay(name: str, rules: GiftRules) -> None:
    plain = make(name)
    assert isinstance(plain, MatrixGame)
    table, stepped = GiftMatrixGame(game=plain, rules=rules), GiftGame(game=plain, rules=rules)
    assert table.action_space == stepped.action_space
    assert table.action_names == stepped.action_names
    joint = torch.tensor(list(itertools.product(range(int(table.action_space.n)), repeat=plain.num_agents)))
    generator = torch.Generator()
    state = stepped.reset(len(joint), generator)
    _, rewards, _ = stepped.step(state, joint, generator)
    torch.testing.assert_close(rewards, table.payoffs().flatten(0, -2), rtol=0, atol=1e-12)
    cooperates, expected = (
        table.cooperates(table.reset(1, generator), joint),
        stepped.cooperates(state, joint),
    )
    assert (cooperates is None) == (expected is None)
    assert cooperates is None or torch.equal(cooperates, expected)


def test_the_table_keeps_the_welfare_of_zero_sum_gifts() -> None:
    plain = make("symmetrical-stag-hunt")
    game = gift_actions(plain, 7.0)
    assert isinstance(game, GiftMatrixGame)
    assert game.best_welfare == pytest.approx(plain.best_welfare, abs=1e-12)
    assert game.defection_welfare == plain.defection_welfare
    assert gift_actions(EscapeRoom(), 1.0).best_welfare == 9
    assert gift_actions(EscapeRoom(), 1.0, "fixed", purse=1.0).best_welfare is None
    policies = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(3, 1, 4)
    torch.testing.assert_close(game.cooperation(policies), torch.full((3,), 0.4), rtol=0, atol=1e-12)


def test_a_table_that_would_be_too_large_is_not_made() -> None:
    large = make("public-goods", agents=11)
    assert LARGEST_TABLE < 4**11
    assert isinstance(gift_actions(large, 1.0), GiftGame)
    with pytest.raises(ValueError, match=rf"at most {LARGEST_TABLE} joint actions; this one needs 4\^11"):
        GiftMatrixGame(game=large, rules=GiftRules(amount=1.0))


def share_of_stag_hunters(payoffs: np.ndarray, starts: int, steps: int) -> float:
    """How many starts of softmax policy gradient, step 1, end where both hunt.

    The logit of foraging without a gift starts at 0, the others in U[-3, 3]; all of them learn.
    """
    actions = len(payoffs)
    logits = np.random.default_rng(0).uniform(-3, 3, (2, actions, starts))
    logits[:, 1] = 0
    own = np.stack((payoffs[..., 0], payoffs[..., 1].T))  # [agent, own action, the other's action]
    for _ in range(steps):
        weights = np.exp(logits)
        policies = weights / weights.sum(1, keepdims=True)
        advantages = np.einsum("iab,ibs->ias", own, policies[::-1])
        advantages -= (policies * advantages).sum(1, keepdims=True)
        logits = logits + policies * advantages
    hunting = policies[:, ::2].sum(1)
    return float((hunting > 0.5).all(0).mean())


@pytest.mark.parametrize(("amount", "share"), [(None, 0.224), (2.0, 0.239), (10.0, 0.312)])
def test_gifts_widen_the_basin_of_the_stag(amount: float | None, share: float) -> None:
    """Derived by Monte Carlo, 100 000 starts, +-.003, with the payoffs (2, -2, 1, 1) of arXiv 2105.06593."""
    plain = make("stag-hunt-gifting")
    game = plain if amount is None else gift_actions(plain, amount)
    assert isinstance(game, MatrixGame)
    starts = 10_000
    error = 4 * (share * (1 - share) / starts) ** 0.5 + 0.003
    assert share_of_stag_hunters(payoff_array(game), starts, steps=400) == pytest.approx(share, abs=error)


def test_restart_leaves_the_others_alone() -> None:
    game = gift_actions(EscapeRoom(), 2.0, "fixed", purse=5.0)
    generator = torch.Generator()
    before, *_ = game.step(game.reset(2, generator), torch.tensor([[LEVER, DOOR + GIFT]] * 2), generator)
    after = game.restart(before, torch.tensor([True, False]), generator)
    assert after.purse.tolist() == [[5, 5], [5, 3]]
    assert after.extrinsic.tolist() == [[0, 0], [-1, 10]]
    assert after.game.time.tolist() == [0, 1]
    assert torch.equal(after.given[1], before.given[1])
    assert not after.given[0].any()


def test_the_game_is_told_of_gifts() -> None:
    game = gift_actions(EscapeRoom(), 2.0)
    generator = torch.Generator()
    state, *_ = game.step(game.reset(1, generator), torch.tensor([[START, START + GIFT]]), generator)
    assert game.observe(state)[0, :, -1].tolist() == [0, 2]
    assert game.observe(game.give(state, torch.ones(1, 2, 2)))[0, :, -1].tolist() == [1, 3]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.budget)
def test_views_keep_the_contract(rules: GiftRules) -> None:
    watched = rules.source.limited
    games: list[Game] = [
        GiftGame(game=room(observe_gifts=False), rules=rules, observe_purse=watched),
        GiftMatrixGame(game=make("public-goods"), rules=rules),
    ]
    for game in games:
        assert pickle.loads(pickle.dumps(game)) == game
        check_contract(lambda game=game: ParallelView(game))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"amount": 0.0}, "amount must be above 0, not 0.0"),
        ({"amount": float("inf")}, "amount must be a finite number"),
        ({"amount": 1.0, "budget": "fix"}, "no budget 'fix'. Did you mean 'fixed'"),
        ({"amount": 1.0, "budget": "fixed"}, "purse must be above 0, but it is 0.0"),
        ({"amount": 1.0, "budget": "replenishable", "purse": -1.0}, "purse is -1.0"),
        ({"amount": 1.0, "purse": 1.0}, "there is no purse; purse is 1.0"),
        ({"amount": 1.0, "receivers": "friends"}, "no kind of receivers 'friends'"),
        ({"amount": 1.0, "observe_purse": True}, "no purse to observe"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        gift_actions(EscapeRoom(), **settings)


def test_purses_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"agents observe Discrete\(5\)"):
        gift_actions(make("repeated-chicken"), 1.0, "fixed", purse=1.0, observe_purse=True)
    with pytest.raises(ValueError, match="In a game of one step a purse is never filled"):
        gift_actions(make("chicken"), 1.0, "replenishable")
