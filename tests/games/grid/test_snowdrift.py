"""Snowdrift: removals by hand, conservation, the group optimum, and the dilemma of the scripts."""

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
from games.grid import Snowdrift
from games.grid._snowdrift import SnowdriftState
from tests.games.adapters.pettingzoo_contract import check_contract
from tests.games.random_play import episode

U, D, L, R, S, X = range(6)  # up, down, left, right, stay, remove
DRIFTS = [0, 9, 18, 27, 36, 63]


def state_at(places: list[int], drifts: list[int] | None = None, time: int = 0) -> SnowdriftState:
    """One copy of the default game, most drifts on the diagonal."""
    return SnowdriftState(torch.tensor([places]), torch.tensor([drifts or DRIFTS]), torch.tensor([time]))


def step(game: Snowdrift, state: SnowdriftState, actions: list[int]):
    return game.step(state, torch.tensor([actions]), torch.Generator())


# From the rules in the class's docstring, which are those of arXiv 2410.07863 where it gives them.
HAND_COMPUTED = [
    # where they stand, what they do, rewards, where they are then
    ([9, 1, 1, 1], [X, S, S, S], [2, 6, 6, 6], [9, 1, 1, 1]),
    ([9, 9, 1, 1], [X, X, S, S], [4, 4, 6, 6], [9, 9, 1, 1]),
    ([9, 9, 9, 9], [X, X, X, X], [5] * 4, [9] * 4),
    ([9, 9, 1, 1], [X, S, S, S], [2, 6, 6, 6], [9, 9, 1, 1]),  # looking on is free
    ([9, 18, 1, 1], [X, X, S, S], [8, 8, 12, 12], [9, 18, 1, 1]),
    ([9, 18, 9, 63], [X, X, X, X], [16, 14, 16, 14], [9, 18, 9, 63]),
    ([8, 9, 1, 1], [R, S, S, S], [0] * 4, [9, 9, 1, 1]),  # arriving removes nothing
    ([1, 10, 55, 62], [X, X, X, X], [0] * 4, [1, 10, 55, 62]),  # nothing there to remove
    ([0, 7, 56, 63], [L, R, D, D], [0] * 4, [0, 7, 56, 63]),  # the border
    ([0, 7, 56, 63], [D, L, U, U], [0] * 4, [8, 6, 48, 55]),
]


@pytest.mark.parametrize(("places", "actions", "rewards", "after"), HAND_COMPUTED)
def test_removals_by_hand(places, actions, rewards, after):
    state, got, done = step(Snowdrift(), state_at(places), actions)
    assert got[0].tolist() == rewards
    assert state.places[0].tolist() == after
    assert not done.any()


def test_each_pays_in_full_unless_the_cost_is_shared():
    game = Snowdrift(shared_cost=False)
    _, rewards, _ = step(game, state_at([9, 9, 18, 1]), [X, X, X, S])
    assert rewards[0].tolist() == [8, 8, 8, 12]


def test_what_is_removed_is_gone_and_the_last_drift_ends_the_episode():
    game = Snowdrift()
    state, rewards, done = step(game, state_at([9, 1, 1, 1], drifts=[-1, 9, -1, -1, 63, -1]), [X, S, S, S])
    assert state.drifts[0].tolist() == [-1, -1, -1, -1, 63, -1]
    assert not done.any()
    state, rewards, done = step(game, state, [X, S, S, S])
    assert rewards.count_nonzero() == 0
    state, rewards, done = step(game, state._replace(places=torch.tensor([[9, 63, 1, 1]])), [X, X, S, S])
    assert rewards[0].tolist() == [6, 2, 6, 6]
    assert done.all()
    assert game.ended(state).all()


def test_the_horizon_is_not_an_end_by_the_rules():
    game = Snowdrift()
    state, _, done = step(game, state_at([1] * 4, time=49), [S] * 4)
    assert done.all()
    assert not game.ended(state).any()


def test_observations_by_hand():
    game = Snowdrift()
    seen = game.observe(state_at([0, 1, 18, 63]))[0]
    assert seen.shape == (4, 5, 5, 5)
    ground, drifts, *others = seen[0]
    assert ground.nonzero().tolist() == [[row, column] for row in (2, 3, 4) for column in (2, 3, 4)]
    assert drifts.nonzero().tolist() == [[2, 2], [3, 3], [4, 4]]
    assert [other.nonzero().tolist() for other in others] == [[[2, 3]], [[4, 4]], []]
    ground, drifts, *others = seen[2]
    assert ground.all()
    assert drifts.nonzero().tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]
    assert [other.nonzero().tolist() for other in others] == [[[0, 0]], [[0, 1]], []]


def test_cooperating_is_removing_a_drift():
    state = state_at([9, 9, 1, 63], drifts=[-1, 9, -1, -1, -1, -1])
    cooperates = Snowdrift().cooperates(state, torch.tensor([[X, S, X, X]]))
    assert cooperates.tolist() == [[True, False, False, False]]


variants = st.sampled_from(
    [Snowdrift(horizon=20), Snowdrift(agents=3, drifts=4, size=3, horizon=15, shared_cost=False, view=1)]
)


@settings(max_examples=10)
@given(game=variants, seed=st.integers(0, 2**32))
def test_the_contract_of_drawn_games(game, seed):
    check_game(game, seed=seed, steps=game.horizon)


@settings(max_examples=20)
@given(game=variants, seed=st.integers(0, 2**32))
def test_nothing_is_created_or_lost_but_by_a_removal(game, seed):
    for before, actions, after, rewards, _ in episode(game, seed, batch=16):
        removed = ((before.drifts >= 0) & (after.drifts < 0)).sum(-1)
        payers = game.cooperates(before, actions).sum(-1)
        paid = game.cost * (removed if game.shared_cost else payers)
        torch.testing.assert_close(rewards.sum(-1), game.agents * game.benefit * removed - paid)
        assert (payers >= removed).all()
        assert torch.equal(payers > 0, removed > 0)
        kept = after.drifts >= 0
        assert torch.equal(after.drifts[kept], before.drifts[kept])


def test_drifts_start_on_cells_of_their_own():
    game = Snowdrift(drifts=64)
    drifts = game.reset(50, torch.Generator().manual_seed(0)).drifts
    assert torch.equal(drifts.sort(-1).values, torch.arange(64).expand(50, -1))


def scripted_returns(game: Snowdrift, cooperators: int, batch: int = 256) -> Tensor:
    """Each agent's return when the first ones cooperate: [batch, agent]."""
    generator = torch.Generator().manual_seed(cooperators)
    state = game.reset(batch, generator)
    team = (torch.arange(game.agents) < cooperators).expand(batch, -1)
    total, going = torch.zeros(batch, game.agents), torch.ones(batch, 1)
    for _ in range(game.horizon):
        state, rewards, done = game.step(state, game.scripted(state, team), generator)
        total += going * rewards
        going = going * ~done[:, None]
    return total


@pytest.mark.parametrize(
    ("setting", "cooperators", "best"),
    [
        ({}, 4, 120),  # published: full cooperation in LASE's game
        ({}, 2, 120),
        ({"shared_cost": False}, 4, 120),
        ({"agents": 2, "drifts": 2, "size": 3, "horizon": 5}, 2, 16),
        ({"agents": 3, "cost": 30.0}, 0, 0),  # not worth it even for all together
    ],
)
def test_a_scripted_team_reaches_the_group_optimum_from_every_start(setting, cooperators, best):
    game = Snowdrift(**setting)
    assert game.best_welfare == best
    welfare = scripted_returns(game, cooperators).sum(-1)
    torch.testing.assert_close(welfare, torch.full_like(welfare, best))


def test_no_random_play_beats_the_group_optimum():
    game = Snowdrift(size=4, agents=3, drifts=3)
    total, going = torch.zeros(4096), torch.ones(4096)
    for _, _, _, rewards, done in episode(game, seed=0, batch=4096):
        total += going * rewards.sum(-1)
        going = going * ~done
    assert game.best_welfare == 3 * (3 * 6 - 4)
    assert total.max() == pytest.approx(game.best_welfare, abs=1e-4)  # random walks find all three


def test_too_short_an_episode_has_no_known_optimum():
    assert Snowdrift(horizon=30).best_welfare == 120  # two crossings of 15 steps
    assert Snowdrift(horizon=29).best_welfare is None


def test_schelling_a_snowdrift():
    """Whoever cooperates alone gains, whoever leaves it to others gains more: greed, but no fear."""
    game = Snowdrift()
    returns = [scripted_returns(game, n) for n in range(5)]
    cooperator = [None, *(returns[n][:, :n].mean() for n in range(1, 5))]
    defector = [returns[n][:, n:].mean() for n in range(4)]
    for n in (2, 3, 4):
        assert cooperator[n] == pytest.approx(36 - 24 / n, abs=1e-4)
    for n in (2, 3):
        assert defector[n] == pytest.approx(36, abs=1e-4)
    assert defector[0] == game.defection_welfare == 0
    assert 0.9 * 12 < cooperator[1] <= 12 + 1e-4  # a few starts leave a lone remover too little time
    reward, sucker, temptation, punishment = cooperator[4], cooperator[1], defector[3], defector[0]
    assert temptation > reward > sucker > punishment
    assert all(defector[n] > cooperator[n + 1] for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 0}, "agents is 0"),
        ({"drifts": 0}, "at least 1 drift; drifts is 0"),
        ({"benefit": -1.0}, "benefit must be 0 or more, not -1.0"),
        ({"cost": -1.0}, "cost must be 0 or more, not -1.0"),
        ({"view": -1}, "view must be 0 or more, not -1"),
        ({"size": 1}, "at least 2 cells a side; size is 1"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
        ({"drifts": 65}, "65 do not fit on 64 cells"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Snowdrift(**setting)


def test_frames_tell_states_apart():
    game = Snowdrift()
    states = [
        state_at([1, 2, 3, 4]),
        state_at([1, 2, 3, 5]),
        state_at([1, 2, 3, 4], drifts=[-1, *DRIFTS[1:]]),
    ]
    frames = [game.render(state) for state in states]
    assert all(frame.dtype == np.uint8 and frame.shape == (384 + 26, 384, 3) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle():
    game = Snowdrift(agents=3, shared_cost=False)
    assert pickle.loads(pickle.dumps(game)) == game


def test_the_pettingzoo_contract():
    check_contract(lambda: ParallelView(Snowdrift()))
