"""The jungle: attacks and moves by hand, conservation, its neighbors, and the dilemma of the scripts."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import check_game
from games.adapters._parallel_env import ParallelView
from games.grid import Jungle
from games.grid._jungle import JungleState
from games.grid._open_ground import distance
from games.wrappers import WrappedGame
from tests.games.adapters.pettingzoo_contract import check_contract
from tests.games.random_play import episode

SMALL = Jungle(agents=3, foods=1, size=4, nearest=1, horizon=10, view=1)
U, D, L, R, S, AU, AD, AL, AR = range(9)
IN_ORDER = [0.9, 0.5, 0.1]


def state_at(places: list[int], foods: list[int], time: int = 0) -> JungleState:
    return JungleState(torch.tensor([places]), torch.tensor([foods]), torch.tensor([time]))


def advance(game: Jungle, state: JungleState, actions: list[int], priority: list[float]):
    return game.advance(state, torch.tensor([actions]), torch.tensor([priority]))


# From the rules in the class's docstring, which are those of arXiv 2112.08702 where it gives them.
# On 4 x 4 cells, a food at 1: agent 0 stands below it at 5, agent 1 on 0's right at 6, agent 2 below 1 at 10.
HAND_COMPUTED = [
    # what they do, rewards, where they are then
    ([AU, S, S], [0.99, 0, 0], [5, 6, 10]),  # eats
    ([AR, S, S], [1.99, -4, 0], [5, 6, 10]),
    ([AR, AL, S], [-2.01, -2.01, 0], [5, 6, 10]),
    ([AR, S, AU], [1.99, -8, 1.99], [5, 6, 10]),
    ([AR, AD, S], [1.99, -2.01, -4], [5, 6, 10]),
    ([AD, S, S], [-0.01, 0, 0], [5, 6, 10]),  # hits nothing
    ([AR, R, S], [1.99, -4, 0], [5, 7, 10]),  # attacks come before moves
    ([R, R, AU], [0, -4, 1.99], [6, 7, 10]),  # and what moves away is hit nevertheless
    ([U, S, S], [0, 0, 0], [5, 6, 10]),  # food bars the way
    ([R, S, S], [0, 0, 0], [5, 6, 10]),  # so does an agent that stays
    ([S, R, U], [0, 0, 0], [5, 7, 6]),
    ([R, L, S], [0, 0, 0], [5, 6, 10]),  # no swaps
    ([D, S, L], [0, 0, 0], [9, 6, 10]),  # both want 9; agent 0 has priority
]


@pytest.mark.parametrize(("actions", "rewards", "after"), HAND_COMPUTED)
def test_steps_by_hand(actions, rewards, after):
    state, got, done = advance(SMALL, state_at([5, 6, 10], [1]), actions, IN_ORDER)
    assert got[0].tolist() == pytest.approx(rewards, abs=1e-6)
    assert state.places[0].tolist() == after
    assert state.foods[0].tolist() == [1]
    assert not done.any()


def test_several_eat_of_one_food_and_nothing_lies_beyond_the_border():
    _, rewards, _ = advance(SMALL, state_at([0, 2, 15], [1]), [AR, AL, AD], IN_ORDER)
    assert rewards[0].tolist() == pytest.approx([0.99, 0.99, -0.01], abs=1e-6)
    _, rewards, _ = advance(SMALL, state_at([4, 3, 15], [1]), [AL, AR, AR], IN_ORDER)
    assert rewards[0].tolist() == pytest.approx(
        [-0.01] * 3, abs=1e-6
    )  # a row's end is not beside the next row


def test_only_the_horizon_ends_an_episode():
    state, _, done = advance(SMALL, state_at([5, 6, 10], [1], time=9), [S, S, S], IN_ORDER)
    assert done.all()
    assert not SMALL.ended(state).any()


def test_observations_by_hand():
    seen = SMALL.observe(state_at([5, 6, 12], [1]))[0]
    ground, foods, others = seen[0]
    assert ground.all()
    assert foods.nonzero().tolist() == [[0, 1]]
    assert others.nonzero().tolist() == [[1, 2]]
    ground, foods, others = seen[2]  # in the corner below on the left
    assert ground.tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert not foods.any()
    assert not others.any()


def test_cooperating_is_attacking_nobody():
    state = state_at([5, 6, 10], [1])
    assert SMALL.cooperates(state, torch.tensor([[AU, AL, AU]])).tolist() == [[True, False, False]]
    assert SMALL.cooperates(state, torch.tensor([[AD, U, S]])).all()
    assert SMALL.action_names[AU:] == ("attack up", "attack down", "attack left", "attack right")


def test_neighbors_by_hand():
    game = Jungle(agents=5, foods=1, size=10, nearest=2)
    state = state_at([0, 1, 3, 9, 13], [99])
    expected = [
        [1, 1, 1, 0, 0],  # 3 at distance 3 comes before 13 at distance 4
        [1, 1, 1, 0, 0],
        [0, 1, 1, 0, 1],
        [0, 0, 1, 1, 1],
        [0, 1, 1, 0, 1],
    ]
    assert game.neighbors_now(state)[0].int().tolist() == expected
    moved = state._replace(places=torch.tensor([[0, 1, 3, 2, 13]]))
    assert game.neighbors_now(moved)[0, 0].int().tolist() == [1, 1, 0, 1, 0]
    assert game.neighbors.all()


def test_of_agents_equally_far_away_the_first_are_neighbors():
    game = Jungle(agents=5, foods=1, size=5, nearest=2)
    near = game.neighbors_now(state_at([12, 17, 13, 11, 7], [0]))
    assert near[0, 0].tolist() == [True, True, True, False, False]


def test_a_game_around_the_jungle_has_its_neighbors():
    game = Jungle(agents=5, foods=1, size=10, nearest=2)
    around = WrappedGame(game=game)
    state = around.reset(4, torch.Generator().manual_seed(0))
    assert torch.equal(around.neighbors_now(state), game.neighbors_now(state))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), nearest=st.integers(1, 5))
def test_nobody_else_is_nearer_than_a_neighbor(seed, nearest):
    game = Jungle(agents=6, foods=2, size=7, nearest=nearest)
    state = game.reset(8, torch.Generator().manual_seed(seed))
    near = game.neighbors_now(state)
    assert (near.sum(-1) == 1 + nearest).all()
    assert near.diagonal(dim1=1, dim2=2).all()
    apart = distance(state.places[:, :, None], state.places[:, None, :], game.size)
    farthest = apart.masked_fill(~near, -1).max(-1).values
    assert (apart.masked_fill(near, 99).min(-1).values >= farthest).all()


variants = st.sampled_from([SMALL, Jungle(agents=6, foods=3, size=4, horizon=12, view=2)])


@settings(max_examples=12)
@given(game=variants, seed=st.integers(0, 2**32))
def test_the_contract_of_drawn_games(game, seed):
    check_game(game, seed=seed, steps=game.horizon)


@settings(max_examples=20)
@given(game=variants, seed=st.integers(0, 2**32))
def test_agents_and_foods_keep_cells_of_their_own(game, seed):
    for before, actions, after, rewards, _ in episode(game, seed, batch=16):
        held = torch.cat((after.places, after.foods), -1).sort(-1).values
        assert (held.diff(dim=-1) > 0).all()
        assert held.min() >= 0
        assert held.max() < game.size**2
        assert torch.equal(after.foods, before.foods)
        assert (distance(before.places, after.places, game.size) <= 1).all()
        assert torch.equal(after.places[actions >= S], before.places[actions >= S])
        # Whoever gains eats, or hits exactly one who is harmed: 1 or 2 - 4 in all, less what attacks cost.
        attacks, hits = (actions >= AU).sum(-1), (~game.cooperates(before, actions)).sum(-1)
        meals = rewards.sum(-1) + game.attack_cost * attacks + (game.harm - game.agent_reward) * hits
        torch.testing.assert_close(meals, meals.round(), atol=1e-4, rtol=0)
        assert ((meals >= -1e-4) & (meals <= attacks - hits + 1e-4)).all()


def test_random_starts_are_uniform():
    cells = 16
    state = SMALL.reset(20_000, torch.Generator().manual_seed(0))
    for places in (*state.places.T, state.foods[:, 0]):
        shares = places.bincount(minlength=cells) / len(places)
        tolerance = 5 * (1 / cells * (1 - 1 / cells) / len(places)) ** 0.5  # 5 standard errors
        assert (shares - 1 / cells).abs().max() < tolerance


def scripted_returns(game: Jungle, cooperators: int, batch: int = 256) -> Tensor:
    """Each agent's return when the first ones cooperate: [batch, agent]."""
    generator = torch.Generator().manual_seed(cooperators)
    state = game.reset(batch, generator)
    team = (torch.arange(game.agents) < cooperators).expand(batch, -1)
    total = torch.zeros(batch, game.agents)
    for _ in range(game.horizon):
        state, rewards, _ = game.step(state, game.scripted(state, team), generator)
        total += rewards
    return total


def test_schelling_a_dilemma():
    """Each does better by attacking, whatever the others do; all do better if nobody attacks."""
    game = Jungle(agents=4, foods=4, size=8, horizon=40)
    returns = [scripted_returns(game, n) for n in range(5)]
    cooperator = [None, *(returns[n][:, :n].mean() for n in range(1, 5))]
    defector = [returns[n][:, n:].mean() for n in range(4)]
    assert all(defector[n] > cooperator[n + 1] for n in range(4))
    assert cooperator[4] > 0 > defector[0]
    welfare = [total.sum(-1).mean() for total in returns]
    assert all(more > less for less, more in itertools.pairwise(welfare))


def test_scripts_find_food_and_prey_in_the_full_game():
    game = Jungle(horizon=60)
    fed, hunted = scripted_returns(game, 20, batch=8), scripted_returns(game, 0, batch=8)
    assert fed.mean() > 0.5 * 60 * 0.99  # more than half of the time everybody eats
    assert hunted.mean() < 0


def test_scripts_by_hand():
    state = state_at([5, 6, 10], [1])
    everybody, nobody = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.bool)
    # Agent 0 eats. 1 goes up, to the place on the food's right; 2's way there is barred by 1: it goes round.
    assert SMALL.scripted(state, everybody)[0].tolist() == [AU, U, L]
    assert SMALL.scripted(state, nobody)[0].tolist() == [AR, AL, AU]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "at least 2 agents; agents is 1"),
        ({"foods": 0}, "at least 1 food; foods is 0"),
        ({"size": 1}, "at least 2 cells a side; size is 1"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
        ({"harm": -1.0}, "harm must be 0 or more, not -1.0"),
        ({"attack_cost": -1.0}, "attack_cost must be 0 or more, not -1.0"),
        ({"view": -1}, "view must be 0 or more, not -1"),
        ({"nearest": 0}, "nearest must be from 1 to 19, as 20 agents play, not 0"),
        ({"agents": 3, "nearest": 3}, "nearest must be from 1 to 2, as 3 agents play, not 3"),
        ({"size": 5}, "20 agents and 12 foods do not fit on 25 cells"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Jungle(**setting)


def test_frames_tell_states_apart():
    states = [state_at([5, 6, 10], [1]), state_at([6, 5, 10], [1]), state_at([5, 6, 10], [2])]
    frames = [SMALL.render(state) for state in states]
    assert all(frame.dtype == np.uint8 and frame.shape == (192 + 2 * 26, 192, 3) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle():
    assert pickle.loads(pickle.dumps(SMALL)) == SMALL


def test_the_pettingzoo_contract():
    check_contract(lambda: ParallelView(SMALL))
