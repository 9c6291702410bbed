"""The stag hunt grid: hunts by hand, conservation, the group optimum, and the dilemma of the scripts."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import check_game
from games.adapters._parallel_env import ParallelView
from games.grid import StagHuntGrid
from games.grid._stag_hunt import StagHuntState
from tests.games.adapters.pettingzoo_contract import check_contract
from tests.games.random_play import episode

U, D, L, R, S, H = range(6)  # up, down, left, right, stay, hunt
STAGS, HARES = [12, 24], [0, 4, 20, 22]


def state_at(places: list[int], prey: list[int] | None = None, time: int = 0) -> StagHuntState:
    """One copy of the default game, prey in the middle and in the corners."""
    return StagHuntState(torch.tensor([places]), torch.tensor([prey or STAGS + HARES]), torch.tensor([time]))


def step(game: StagHuntGrid, state: StagHuntState, actions: list[int]):
    return game.step(state, torch.tensor([actions]), torch.Generator())


# From the rules in the class's docstring, which are those of arXiv 2410.07863 where it gives them.
HAND_COMPUTED = [
    # where they stand, what they do, rewards, where they are then
    ([12, 12, 1, 7], [H, H, S, S], [5, 5, 0, 0], [-1, -1, 1, 7]),
    ([12, 12, 12, 7], [H, H, H, S], [10 / 3, 10 / 3, 10 / 3, 0], [-1, -1, -1, 7]),
    ([12, 12, 12, 12], [H, H, H, H], [2.5] * 4, [-1] * 4),
    ([12, 7, 7, 7], [H, S, S, S], [0] * 4, [12, 7, 7, 7]),  # alone at a stag: nothing
    ([12, 12, 7, 7], [H, S, S, S], [0] * 4, [12, 12, 7, 7]),  # company that does not hunt
    ([12, 11, 7, 7], [H, R, S, S], [0] * 4, [12, 12, 7, 7]),  # company that only arrives
    ([12, 24, 7, 7], [H, H, S, S], [0] * 4, [12, 24, 7, 7]),  # at two stags
    ([0, 7, 7, 7], [H, S, S, S], [1, 0, 0, 0], [-1, 7, 7, 7]),
    ([0, 0, 7, 7], [H, H, S, S], [0.5, 0.5, 0, 0], [-1, -1, 7, 7]),
    ([0, 0, 7, 7], [H, S, S, S], [1, 0, 0, 0], [-1, 0, 7, 7]),
    ([0, 4, 20, 22], [H, H, H, H], [1] * 4, [-1] * 4),
    ([12, 12, 24, 24], [H, H, H, H], [5] * 4, [-1] * 4),
    ([-1, 12, 12, 0], [H, H, H, S], [0, 5, 5, 0], [-1, -1, -1, 0]),  # who has left does nothing
    ([-1, 12, 3, 3], [H, H, S, S], [0] * 4, [-1, 12, 3, 3]),
    ([13, 7, 7, 7], [H, U, D, L], [0] * 4, [13, 2, 12, 6]),  # nothing there to hunt
    ([2, 4, 20, 22], [U, R, L, D], [0] * 4, [2, 4, 20, 22]),  # the border
]


@pytest.mark.parametrize(("places", "actions", "rewards", "after"), HAND_COMPUTED)
def test_hunts_by_hand(places, actions, rewards, after):
    game = StagHuntGrid()
    state, got, done = step(game, state_at(places), actions)
    assert got[0].tolist() == pytest.approx(rewards, abs=1e-6)
    assert state.places[0].tolist() == after
    assert bool(done[0]) == bool(game.ended(state)[0]) == (after == [-1] * 4)


def test_what_is_hunted_is_gone_and_the_rest_lies_where_it_was():
    state, *_ = step(StagHuntGrid(), state_at([12, 12, 4, 7]), [H, H, H, S])
    assert state.prey[0].tolist() == [-1, 24, 0, -1, 20, 22]
    state, rewards, _ = step(StagHuntGrid(), state._replace(places=torch.tensor([[12, 12, 4, 4]])), [H] * 4)
    assert rewards.count_nonzero() == 0


def test_an_episode_ends_without_prey_too():
    game = StagHuntGrid(stags=1, hares=0)
    state, _, done = step(game, state_at([12, 12, 7, 7], prey=[12]), [H, H, S, S])
    assert done.all()
    assert game.ended(state).all()


def test_the_horizon_is_not_an_end_by_the_rules():
    game = StagHuntGrid()
    state, _, done = step(game, state_at([7] * 4, time=29), [S] * 4)
    assert done.all()
    assert not game.ended(state).any()


def test_without_a_hunting_action_whoever_is_there_hunts():
    game = StagHuntGrid(hunt_action=False)
    assert game.action_names == ("up", "down", "left", "right", "stay")
    state, rewards, _ = step(game, state_at([11, 13, 3, 24]), [R, L, R, S])
    assert rewards[0].tolist() == [5, 5, 1, 0]
    assert state.places[0].tolist() == [-1, -1, -1, 24]
    assert (game.best_welfare, game.defection_welfare) == (None, None)  # they depend on the start


def test_a_stag_may_take_more_than_two():
    game = StagHuntGrid(hunters=3)
    _, rewards, _ = step(game, state_at([12, 12, 24, 24]), [H] * 4)
    assert rewards.count_nonzero() == 0
    _, rewards, _ = step(game, state_at([12, 12, 12, 24]), [H] * 4)
    assert rewards[0].tolist() == pytest.approx([10 / 3] * 3 + [0], abs=1e-6)


def test_observations_by_hand():
    game = StagHuntGrid()
    seen = game.observe(state_at([0, 1, -1, 12]))[0]
    assert seen.shape == (4, 6, 5, 5)
    ground, stags, hares, *others = seen[0]
    assert ground.nonzero().tolist() == [[row, column] for row in (2, 3, 4) for column in (2, 3, 4)]
    assert stags.nonzero().tolist() == [[4, 4]]
    assert hares.nonzero().tolist() == [[2, 2]]  # under its feet; the next one is out of sight
    assert [other.nonzero().tolist() for other in others] == [[[2, 3]], [], [[4, 4]]]
    assert seen[2].count_nonzero() == 0  # has left
    ground, stags, hares, *others = seen[3]
    assert ground.all()
    assert stags.nonzero().tolist() == [[2, 2], [4, 4]]
    assert hares.nonzero().tolist() == [[0, 0], [0, 4], [4, 0], [4, 2]]
    assert [other.nonzero().tolist() for other in others] == [[[0, 0]], [[0, 1]], []]


def test_cooperating_is_hunting_at_a_stag():
    game = StagHuntGrid()
    state = state_at([12, 12, 0, 24])
    assert game.cooperates(state, torch.tensor([[H, S, H, H]])).tolist() == [[True, False, False, True]]
    assert game.cooperates(state_at([-1] * 4), torch.full((1, 4), H)).any().item() is False
    standing = StagHuntGrid(hunt_action=False)
    actions = torch.tensor([[S, R, S, S]])
    assert standing.cooperates(state, actions).tolist() == [[True, False, False, True]]


variants = st.sampled_from(
    [
        StagHuntGrid(),
        StagHuntGrid(hunt_action=False),
        StagHuntGrid(agents=5, hunters=3, hares=0, size=3, view=1),
    ]
)


@settings(max_examples=12)
@given(game=variants, seed=st.integers(0, 2**32))
def test_the_contract_of_drawn_games(game, seed):
    check_game(game, seed=seed, steps=game.horizon)


@settings(max_examples=20)
@given(game=variants, seed=st.integers(0, 2**32))
def test_nothing_is_created_or_lost_but_by_a_hunt(game, seed):
    worth = torch.tensor([game.stag_reward] * game.stags + [game.hare_reward] * game.hares)
    needed = torch.tensor([game.hunters] * game.stags + [1] * game.hares)
    going = torch.ones(16, dtype=torch.bool)
    for before, _, after, rewards, done in episode(game, seed, batch=16):
        taken = (before.prey >= 0) & (after.prey < 0)
        left = (before.places >= 0) & (after.places < 0)
        torch.testing.assert_close(rewards.sum(-1), (taken * worth).sum(-1))
        assert torch.equal(rewards > 0, left)
        assert (left.sum(-1) >= (taken * needed).sum(-1)).all()
        assert torch.equal(after.prey[~taken], before.prey[~taken])
        assert (after.places[before.places < 0] == -1).all()
        apart = (after.places // game.size - before.places // game.size).abs()
        apart = apart + (after.places % game.size - before.places % game.size).abs()
        assert (apart[after.places >= 0] <= 1).all()
        going = going & ~done
    assert not going.any()


def test_prey_starts_on_cells_of_its_own():
    game = StagHuntGrid(stags=10, hares=15)
    prey = game.reset(100, torch.Generator().manual_seed(0)).prey
    assert torch.equal(prey.sort(-1).values, torch.arange(25).expand(100, -1))


def scripted_returns(game: StagHuntGrid, cooperators: int, batch: int = 256) -> Tensor:
    """Each agent's return when the first ones cooperate: [batch, agent]."""
    generator = torch.Generator().manual_seed(cooperators)
    state = game.reset(batch, generator)
    team = (torch.arange(game.agents) < cooperators).expand(batch, -1)
    total = torch.zeros(batch, game.agents)
    going = torch.ones(batch, 1)
    for _ in range(game.horizon):
        state, rewards, done = game.step(state, game.scripted(state, team), generator)
        total += going * rewards
        going = going * ~done[:, None]
    return total


@pytest.mark.parametrize(
    ("setting", "cooperators", "best"),
    [
        ({}, 4, 20),  # published: the group optimum of LASE's game
        ({"agents": 5, "stags": 1}, 2, 13),  # a stag for two, a hare for each of the others
        ({"agents": 7, "stags": 3, "hares": 1, "size": 6}, 6, 31),
        ({"agents": 6, "hunters": 3, "hares": 0}, 6, 20),
        ({"stag_reward": 1.5}, 0, 4),  # hares pay better
        ({"agents": 3, "hunters": 3, "stags": 1, "hares": 2, "stag_reward": 2}, 3, 2),
    ],
)
def test_a_scripted_team_reaches_the_group_optimum_from_every_start(setting, cooperators, best):
    game = StagHuntGrid(**setting)
    assert game.best_welfare == best
    welfare = scripted_returns(game, cooperators).sum(-1)
    torch.testing.assert_close(welfare, torch.full_like(welfare, best))


def test_no_random_play_beats_the_group_optimum():
    game = StagHuntGrid()
    total, going = torch.zeros(4096), torch.ones(4096)
    for _, _, _, rewards, done in episode(game, seed=0, batch=4096):
        total += going * rewards.sum(-1)
        going = going * ~done
    assert 4 < total.max() <= game.best_welfare + 1e-4


def test_too_short_an_episode_has_no_known_optimum():
    assert StagHuntGrid(horizon=9).best_welfare == 20
    assert (StagHuntGrid(horizon=8).best_welfare, StagHuntGrid(horizon=8).defection_welfare) == (None, None)


def test_schelling_a_stag_hunt():
    """Whoever hunts the stag alone loses, whoever joins others gains: fear, but no greed."""
    game = StagHuntGrid()
    returns = [scripted_returns(game, n) for n in range(5)]
    cooperator = [None, *(returns[n][:, :n] for n in range(1, 5))]
    defector = [returns[n][:, n:] for n in range(4)]
    for n, expected in {1: 0, 2: 5, 3: 10 / 3, 4: 5}.items():
        torch.testing.assert_close(cooperator[n], torch.full_like(cooperator[n], expected))
    for n in range(4):
        torch.testing.assert_close(defector[n], torch.full_like(defector[n], 1.0))
    assert returns[0].sum(-1).mean() == game.defection_welfare == 4
    reward, sucker = cooperator[4].mean(), cooperator[1].mean()
    temptation, punishment = defector[3].mean(), defector[0].mean()
    assert reward > punishment > sucker
    assert reward > temptation
    assert all(cooperator[n + 1].mean() > defector[n].mean() for n in (1, 2, 3))


def test_scripts_without_a_hunting_action_keep_off_what_they_do_not_want():
    game = StagHuntGrid(hunt_action=False, hares=2)
    returns = scripted_returns(game, 4)
    assert returns.sum(-1).mean() > 18  # some start on a hare, or with one in the only way


def test_a_script_without_its_prey():
    game = StagHuntGrid()
    cooperative = torch.tensor([[True, True, False, False]])
    no_stags = state_at([0, 7, 22, -1], prey=[-1, -1, 0, -1, 20, 22])
    assert game.scripted(no_stags, cooperative)[0, 0] == H  # a hare, then
    no_hares = state_at([12, 12, 12, 12], prey=[12, 24, -1, -1, -1, -1])
    assert game.scripted(no_hares, cooperative).tolist() == [[H, H, S, S]]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"hunters": 1}, "at least 2 hunters; hunters is 1"),
        ({"agents": 2, "hunters": 3}, "at least 3; agents is 2"),
        ({"stags": 0}, "at least 1 stag; stags is 0"),
        ({"hares": -1}, "hares must be 0 or more, not -1"),
        ({"stag_reward": -1.0}, "stag_reward must be 0 or more, not -1.0"),
        ({"hare_reward": -1.0}, "hare_reward must be 0 or more, not -1.0"),
        ({"view": -1}, "view must be 0 or more, not -1"),
        ({"size": 1}, "at least 2 cells a side; size is 1"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
        ({"hares": 24}, "26 stags and hares do not fit on 25 cells"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        StagHuntGrid(**setting)


def test_frames_tell_states_apart():
    game = StagHuntGrid()
    states = [
        state_at([12, 7, 0, 1]),
        state_at([12, 7, 0, 2]),
        state_at([12, 7, -1, 1]),
        state_at([12, 7, 0, 1], prey=[-1, 24, *HARES]),
        state_at([12, 7, 0, 1], prey=[22, 24, 0, 4, 20, 12]),
    ]
    frames = [game.render(state) for state in states]
    assert all(frame.dtype == np.uint8 and frame.shape == (240 + 2 * 26, 240, 3) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle():
    game = StagHuntGrid(agents=5, hunters=3)
    assert pickle.loads(pickle.dumps(game)) == game


def test_the_pettingzoo_contract():
    check_contract(lambda: ParallelView(StagHuntGrid()))
