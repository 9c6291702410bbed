"""The prisoner corridor: steps by hand, the optimum by exhaustive search, and the dilemma of the scripts."""

from __future__ import annotations

import functools
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
from games.grid import PrisonerCorridor
from games.grid._prisoner_corridor import LEFT, RIGHT, STAY, CorridorState
from tests.games.adapters.pettingzoo_contract import check_contract
from tests.games.random_play import episode

FIRST_WINS, SECOND_WINS = [0.9, 0.1], [0.1, 0.9]


def state_at(places: list[int], time: int = 0) -> CorridorState:
    return CorridorState(torch.tensor([places]), torch.tensor([time]))


# The default corridor has 7 cells: goals at 0, 3 and 6, agents start at 2 and 4.
HAND_COMPUTED = [
    # where they stand, what they do, who has priority, rewards, where they are then, ended
    ([2, 4], [LEFT, RIGHT], FIRST_WINS, [-0.01, -0.01], [1, 5], False),
    ([1, 5], [LEFT, RIGHT], FIRST_WINS, [0.99, 0.99], [0, 6], True),
    ([2, 4], [RIGHT, RIGHT], FIRST_WINS, [0.99, -0.01], [3, 5], True),
    ([2, 4], [LEFT, LEFT], FIRST_WINS, [-0.01, 0.99], [1, 3], True),
    ([2, 4], [RIGHT, LEFT], FIRST_WINS, [0.99, -0.01], [3, 4], True),
    ([2, 4], [RIGHT, LEFT], SECOND_WINS, [-0.01, 0.99], [2, 3], True),
    ([2, 4], [STAY, LEFT], FIRST_WINS, [0, 0.99], [2, 3], True),
    ([1, 4], [LEFT, LEFT], FIRST_WINS, [0.99, 0.99], [0, 3], True),
    ([2, 4], [STAY, STAY], FIRST_WINS, [0, 0], [2, 4], False),
    ([1, 4], [RIGHT, RIGHT], FIRST_WINS, [-0.01, -0.01], [2, 5], False),
]


@pytest.mark.parametrize(("places", "actions", "draws", "rewards", "after", "ended"), HAND_COMPUTED)
def test_steps_by_hand(places, actions, draws, rewards, after, ended):
    game = PrisonerCorridor(stay=True)
    state, got, done = game.advance(state_at(places), torch.tensor([actions]), torch.tensor([draws]))
    assert got[0].tolist() == pytest.approx(rewards, abs=1e-7)
    assert state.places[0].tolist() == after
    assert bool(done[0]) == bool(game.ended(state)[0]) == ended


def test_the_start_lies_between_the_goals():
    for near, far in [(1, 2), (2, 5), (3, 4)]:
        game = PrisonerCorridor(near=near, far=far)
        state = game.reset(3, torch.Generator().manual_seed(0))
        first, second = state.places[0].tolist()
        middle = (game.length - 1) // 2
        assert (first, game.length - 1 - second) == (far, far)
        assert (middle - first, second - middle) == (near, near)
        assert torch.equal(state.places, state.places[:1].expand(3, -1))
        assert not game.ended(state).any()


def test_the_horizon_is_not_an_end_by_the_rules():
    game = PrisonerCorridor(horizon=2)
    state, _, done = game.step(state_at([2, 4], time=1), torch.tensor([[LEFT, RIGHT]]), torch.Generator())
    assert done.all()
    assert not game.ended(state).any()


def test_who_wins_the_middle_is_a_fair_draw():
    game, batch = PrisonerCorridor(), 20_000
    generator = torch.Generator().manual_seed(0)
    state = game.reset(batch, generator)
    _, rewards, done = game.step(state, torch.tensor([RIGHT, LEFT]).expand(batch, -1), generator)
    assert done.all()
    won = rewards > 0
    assert (won.sum(-1) == 1).all()
    assert abs(won[:, 0].float().mean().item() - 0.5) < 5 * 0.5 / batch**0.5  # 5 standard errors


def test_observations_by_hand():
    seen = PrisonerCorridor().observe(state_at([1, 4]))[0]
    first, second = [0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0]
    assert seen.tolist() == [first + second, second + first]


def test_cooperating_is_walking_to_ones_own_end():
    game = PrisonerCorridor(stay=True)
    for actions, expected in [((LEFT, RIGHT), [True, True]), ((RIGHT, LEFT), [False, False])]:
        assert game.cooperates(state_at([2, 4]), torch.tensor([actions])).tolist() == [expected]
    assert not game.cooperates(state_at([2, 4]), torch.tensor([[STAY, STAY]])).any()
    assert game.action_names == ("left", "right", "stay")
    assert PrisonerCorridor().action_names == ("left", "right")


variants = st.sampled_from([PrisonerCorridor(), PrisonerCorridor(near=2, far=5, stay=True, horizon=30)])


@settings(max_examples=15)
@given(game=variants, seed=st.integers(0, 2**32))
def test_the_contract_of_drawn_games(game, seed):
    check_game(game, seed=seed, steps=game.horizon)


@settings(max_examples=15)
@given(game=variants, seed=st.integers(0, 2**32))
def test_an_episode_pays_its_goals_and_its_moves(game, seed):
    """Agents keep their sides and their distance, so at most two goals are ever paid."""
    going = torch.ones(16, dtype=torch.bool)
    goals = torch.zeros(16)
    for before, actions, after, rewards, done in episode(game, seed, batch=16):
        moves = (actions != STAY).sum(-1)
        reached = ((rewards + game.move_cost * (actions != STAY)) > 0.5).sum(-1)
        torch.testing.assert_close(rewards.sum(-1), game.goal_reward * reached - game.move_cost * moves)
        assert (after.places[:, 0] < after.places[:, 1])[going].all()
        assert ((after.places - before.places).abs() <= 1)[going].all()
        assert torch.equal(reached[going] > 0, game.ended(after)[going])
        goals += reached * going
        going = going & ~done
    assert goals.max() <= 2


def best_by_search(game: PrisonerCorridor) -> float:
    """The best expected sum of rewards, over all ways to act in each joint place at each time."""
    joint = list(itertools.product(range(int(game.action_space.n)), repeat=2))
    actions = torch.tensor(joint).repeat_interleave(2, 0)
    draws = torch.tensor([FIRST_WINS, SECOND_WINS]).repeat(len(joint), 1)

    @functools.cache
    def best(places: tuple[int, ...], time: int) -> float:
        states = CorridorState(
            torch.tensor([places]).expand(len(actions), -1), torch.full((len(actions),), time)
        )
        after, rewards, done = game.advance(states, actions, draws)
        totals = [
            total if over else total + best(tuple(where), time + 1)
            for where, total, over in zip(
                after.places.tolist(), rewards.double().sum(-1).tolist(), done.tolist(), strict=True
            )
        ]
        return max((one + other) / 2 for one, other in zip(totals[::2], totals[1::2], strict=True))

    return best(tuple(game.reset(1, torch.Generator()).places[0].tolist()), 0)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"stay": True},
        {"near": 2, "far": 4},
        {"near": 2, "far": 5, "stay": True},
        {"move_cost": 0.7},  # the ends are not worth their way
        {"move_cost": 0.7, "stay": True},
        {"move_cost": 1.5, "stay": True},  # nothing is
        {"move_cost": 1.5},
        {"goal_reward": 3.0, "move_cost": 0.0},
    ],
)
def test_best_welfare_is_the_optimum_of_exhaustive_search(setting):
    game = PrisonerCorridor(**setting, horizon=setting.get("far", 2) + 2)
    assert game.best_welfare == pytest.approx(best_by_search(game), abs=1e-6)


def scripted_returns(game: PrisonerCorridor, team: list[bool], batch: int = 20_000) -> Tensor:
    """Each agent's mean return."""
    generator = torch.Generator().manual_seed(0)
    state, total, going = game.reset(batch, generator), torch.zeros(batch, 2), torch.ones(batch, 1)
    for _ in range(game.horizon):
        actions = game.scripted(state, torch.tensor(team).expand(batch, -1))
        state, rewards, done = game.step(state, actions, generator)
        total += going * rewards
        going = going * ~done[:, None]
    return total.double().mean(0)


def test_schelling_a_prisoners_dilemma():
    game = PrisonerCorridor()
    both, none = scripted_returns(game, [True, True]), scripted_returns(game, [False, False])
    first, second = scripted_returns(game, [True, False]), scripted_returns(game, [False, True])
    assert both.tolist() == pytest.approx([0.98, 0.98], abs=1e-6)
    assert first.tolist() == pytest.approx([-0.01, 0.99], abs=1e-6)
    assert second.tolist() == pytest.approx([0.99, -0.01], abs=1e-6)
    assert none.tolist() == pytest.approx([0.49, 0.49], abs=5 * 0.5 / 20_000**0.5)  # 5 standard errors
    assert none.sum().item() == pytest.approx(game.defection_welfare, abs=1e-6)
    assert both.sum().item() == pytest.approx(game.best_welfare, abs=1e-6)
    reward, sucker, temptation, punishment = both[0], first[0], second[0], none[0]
    assert temptation > reward > punishment > sucker
    assert 2 * reward > temptation + sucker


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"near": 0}, "near is 0"),
        ({"near": 2, "far": 2}, "far must be above 2, but is 2"),
        ({"far": 5, "horizon": 4}, "5 steps; horizon is 4"),
        ({"goal_reward": 0.0}, "goal_reward must be above 0, not 0.0"),
        ({"move_cost": -0.1}, "move_cost must be 0 or more, not -0.1"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        PrisonerCorridor(**setting)


def test_frames_tell_states_apart():
    game = PrisonerCorridor()
    frames = [game.render(state_at(places)) for places in ([2, 4], [1, 4], [4, 2])]
    assert all(frame.dtype == np.uint8 and frame.shape == (48 + 26, 7 * 48, 3) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle():
    game = PrisonerCorridor(near=2, far=3, stay=True)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize("stay", [False, True])
def test_the_pettingzoo_contract(stay):
    check_contract(lambda: ParallelView(PrisonerCorridor(stay=stay)))
