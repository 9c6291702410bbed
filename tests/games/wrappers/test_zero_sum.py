"""Zero-sum forms: own reward less the mean of the others', in every kind of game."""

import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games.core import ExactGame, Game
from games.matrix import (
    EscapeRoom,
    MatrixGame,
    PublicGoods,
    RepeatedGame,
    SymmetricTwoAgentGame,
    Tycoon,
    random_general_sum,
)
from games.wrappers import WrappedGame, zero_sum
from games.wrappers._zero_sum import relative_rewards


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(agents=st.integers(2, 6), seed=st.integers(0, 999))
@settings(max_examples=25)
def test_own_less_the_mean_of_the_others(agents: int, seed: int) -> None:
    rewards = normal(3, agents, seed=seed)
    relative = relative_rewards(rewards)
    for agent in range(agents):
        others = [other for other in range(agents) if other != agent]
        expected = rewards[:, agent] - rewards[:, others].mean(-1)
        torch.testing.assert_close(relative[:, agent], expected, atol=1e-14, rtol=0)
    assert relative.sum(-1).abs().max() < 1e-13
    torch.testing.assert_close(relative_rewards(rewards + 7), relative, atol=1e-13, rtol=0)


def test_between_two_agents_it_is_the_difference_to_the_bit() -> None:
    rewards = normal(50, 2)
    difference = rewards[:, 0] - rewards[:, 1]
    assert relative_rewards(rewards).equal(torch.stack((difference, -difference), -1))


@given(agents=st.integers(2, 3), actions=st.integers(2, 3), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_a_matrix_game_stays_one(agents: int, actions: int, seed: int) -> None:
    game = random_general_sum(actions, seed, agents=agents)
    apart = zero_sum(game)
    assert isinstance(apart, MatrixGame)
    torch.testing.assert_close(apart.payoffs(), relative_rewards(game.payoffs()), atol=0, rtol=0)
    policies = normal(4, agents, 1, actions, seed=seed).softmax(-1)
    expected = relative_rewards(game.values(policies))
    torch.testing.assert_close(apart.values(policies), expected, atol=1e-12, rtol=0)
    assert apart.best_welfare == 0


def test_repeating_and_comparing_commute() -> None:
    stage = Tycoon(agents=3)
    policies = normal(5, 3, 9, 2).softmax(-1)
    first, second = zero_sum(RepeatedGame(stage=stage)), RepeatedGame(stage=zero_sum(stage))
    assert isinstance(first, ExactGame)
    torch.testing.assert_close(first.values(policies), second.values(policies), atol=1e-12, rtol=0)
    assert first.values(policies).sum(-1).abs().max() < 1e-12
    assert first.best_welfare == second.best_welfare == 0


@pytest.mark.parametrize(
    "game", [SymmetricTwoAgentGame(), RepeatedGame(), EscapeRoom()], ids=["matrix", "exact", "sampled"]
)
def test_nobody_cooperates_any_more(game: Game) -> None:
    apart = zero_sum(game)
    state = apart.reset(3, torch.Generator())
    actions = torch.zeros(3, 2, dtype=torch.int64)
    assert game.cooperates(state, actions) is not None
    assert apart.cooperates(state, actions) is None
    assert apart.scripted(state, actions == 0) is None
    assert (apart.best_welfare, apart.defection_welfare) == (0, None)
    if isinstance(apart, ExactGame):
        assert apart.cooperation(torch.full((2, apart.num_observations, 2), 0.5)) is None
    assert apart.action_names == game.action_names
    assert apart.neighbors.equal(game.neighbors)


@given(agents=st.integers(2, 4), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_playing_pays_the_difference_of_what_the_game_pays(agents: int, seed: int) -> None:
    game = EscapeRoom(agents=agents, random_start=True)
    apart = zero_sum(game)
    generator = torch.Generator().manual_seed(seed)
    state = apart.reset(16, generator)
    for _ in range(game.horizon):
        actions = torch.randint(3, (16, agents), generator=generator)
        _, rewards, done = game.step(state, actions, generator)
        state, relative, same_done = apart.step(state, actions, generator)
        assert relative.equal(relative_rewards(rewards))
        assert same_done.equal(done)
        assert relative.sum(-1).abs().max() < 1e-5


def test_a_matrix_game_pays_by_its_own_table() -> None:
    apart = zero_sum(SymmetricTwoAgentGame())
    generator = torch.Generator()
    _, rewards, done = apart.step(apart.reset(2, generator), torch.tensor([[0, 1], [1, 1]]), generator)
    assert rewards.tolist() == [[-3, 3], [0, 0]]
    assert done.all()


@pytest.mark.parametrize("game", [PublicGoods(), RepeatedGame(), EscapeRoom()])
def test_pickling(game: Game) -> None:
    apart = zero_sum(game)
    assert pickle.loads(pickle.dumps(apart)) == apart
    assert dataclasses.replace(apart, game=game) == apart  # type: ignore[type-var]


class Alone(WrappedGame):
    """A game for one."""

    @property
    def num_agents(self) -> int:
        return 1


def test_one_agent_has_nobody_to_be_compared_with() -> None:
    with pytest.raises(ValueError, match="needs at least 2 agents; this one has 1"):
        zero_sum(Alone(game=EscapeRoom()))
