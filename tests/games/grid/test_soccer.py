"""Soccer: moves by hand, and every state, pair of actions and order against the paper's rules one by one."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games.grid import Soccer
from games.grid._soccer import SoccerState

NORTH, EAST, SOUTH, WEST, STAND = range(5)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))
FIRST = (0.25, 0.75)
"""A draw that lets agent 0 or agent 1 move first."""
NO_DRAW = 0.5


def state_of(places: Tensor, ball: Tensor) -> SoccerState:
    return SoccerState(places, ball, torch.zeros_like(ball, dtype=torch.bool), torch.zeros_like(ball))


def play(places: tuple[int, int], ball: int, actions: tuple[int, int], first: int) -> tuple:
    """Places, ball, agent 0's reward, and whether it is over, after one step without a draw."""
    draws = torch.tensor([[FIRST[first], NO_DRAW]])
    state = state_of(torch.tensor([places]), torch.tensor([ball]))
    after, rewards, done = Soccer().advance(state, torch.tensor([actions]), draws)
    assert rewards[0].sum() == 0
    assert bool(done[0]) == bool(after.over[0])
    return tuple(after.places[0].tolist()), int(after.ball[0]), rewards[0, 0].item(), bool(done[0])


# Cells are numbered row by row, five in a row. By hand from section 6.1 of the paper.
BY_HAND = {
    "both move": ((13, 6), 0, (WEST, EAST), 0, ((12, 7), 0, 0, False)),
    "into the other, ball lost": ((7, 6), 0, (WEST, STAND), 0, ((7, 6), 1, 0, False)),
    "into the other, who keeps the ball": ((7, 6), 1, (WEST, STAND), 0, ((7, 6), 1, 0, False)),
    "out of the way first": ((7, 6), 0, (WEST, NORTH), 1, ((6, 1), 0, 0, False)),
    "out of the way too late": ((7, 6), 0, (WEST, NORTH), 0, ((7, 1), 1, 0, False)),
    "against each other, 0 first": ((7, 6), 0, (WEST, EAST), 0, ((7, 6), 0, 0, False)),
    "against each other, 1 first": ((7, 6), 0, (WEST, EAST), 1, ((7, 6), 1, 0, False)),
    "goal to the left": ((5, 13), 0, (WEST, STAND), 0, ((5, 13), 0, 1, True)),
    "goal to the right": ((13, 14), 1, (STAND, EAST), 0, ((13, 14), 1, -1, True)),
    "no goal without the ball": ((5, 13), 1, (WEST, STAND), 0, ((5, 13), 1, 0, False)),
    "no goal in the corners": ((0, 13), 0, (WEST, STAND), 0, ((0, 13), 0, 0, False)),
    "no own goal": ((9, 13), 0, (EAST, STAND), 0, ((9, 13), 0, 0, False)),
    "no way off the board": ((17, 2), 0, (SOUTH, NORTH), 0, ((17, 2), 0, 0, False)),
    "nothing is moved after a goal": ((5, 6), 0, (WEST, EAST), 0, ((5, 6), 0, 1, True)),
    "a goal by the second move": ((5, 6), 0, (WEST, EAST), 1, ((5, 7), 0, 1, True)),
    "caught, and scored": ((5, 6), 1, (WEST, WEST), 1, ((5, 6), 0, 1, True)),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_moves_by_hand(case: str) -> None:
    places, ball, actions, first, expected = BY_HAND[case]
    assert play(places, ball, actions, first) == expected


def by_the_paper(places: tuple[int, int], ball: int, actions: tuple[int, int], first: int) -> tuple:
    """The rules in plain Python: places, ball, agent 0's reward."""
    at = [divmod(cell, 5) for cell in places]
    for mover in (first, 1 - first):
        row, column = (a + b for a, b in zip(at[mover], MOVES[actions[mover]], strict=True))
        if ball == mover and row in (1, 2) and column == (-1, 5)[mover]:
            return tuple(r * 5 + c for r, c in at), ball, (1, -1)[mover]
        if (row, column) == at[1 - mover]:
            ball = 1 - mover
        elif 0 <= row < 4 and 0 <= column < 5:
            at[mover] = (row, column)
    return tuple(r * 5 + c for r, c in at), ball, 0


def everything() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every legal state with every pair of actions in either order: places, ball, actions, first."""
    apart = [pair for pair in itertools.product(range(20), repeat=2) if pair[0] != pair[1]]
    rows = itertools.product(apart, range(2), itertools.product(range(5), repeat=2), range(2))
    places, ball, actions, first = (torch.tensor(column) for column in zip(*rows, strict=True))
    return places, ball, actions, first


def advance(places: Tensor, ball: Tensor, actions: Tensor, first: Tensor) -> tuple[SoccerState, Tensor]:
    draws = torch.stack((torch.tensor(FIRST)[first], torch.full(first.shape, NO_DRAW)), -1)
    after, rewards, _ = Soccer().advance(state_of(places, ball), actions, draws)
    return after, rewards


def test_every_move_follows_the_paper() -> None:
    places, ball, actions, first = everything()
    after, rewards = advance(places, ball, actions, first)
    found = zip(after.places.tolist(), after.ball.tolist(), rewards[:, 0].tolist(), strict=True)
    rows = zip(places.tolist(), ball.tolist(), actions.tolist(), first.tolist(), strict=True)
    for (cells, owner, reward), row in zip(found, rows, strict=True):
        assert (tuple(cells), owner, reward) == by_the_paper(*row)
    assert rewards.sum(-1).eq(0).all()
    assert after.over.equal(rewards[:, 0] != 0)


def test_the_board_turned_around_with_the_agents_swapped_is_the_same_game() -> None:
    places, ball, actions, first = everything()
    turned = torch.tensor([SOUTH, WEST, NORTH, EAST, STAND])[actions].flip(1)
    plain, rewards = advance(places, ball, actions, first)
    other, swapped = advance(19 - places.flip(1), 1 - ball, turned, 1 - first)
    assert other.places.equal(19 - plain.places.flip(1))
    assert other.ball.equal(1 - plain.ball)
    assert swapped.equal(rewards.flip(1))
    start = Soccer().begin(torch.tensor([[0.0]])).places
    assert start.equal(19 - start.flip(1))


@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_a_batch_equals_its_members(seed: int) -> None:
    game, generator = Soccer(), torch.Generator().manual_seed(seed)
    starts = torch.rand(5, game.start_draws, generator=generator)
    together, alone = game.begin(starts), [game.begin(row[None]) for row in starts]
    for _ in range(12):
        actions = torch.randint(5, (5, 2), generator=generator)
        draws = torch.rand(5, game.step_draws, generator=generator)
        together, rewards, done = game.advance(together, actions, draws)
        steps = [game.advance(state, actions[i : i + 1], draws[i : i + 1]) for i, state in enumerate(alone)]
        alone = [state for state, _, _ in steps]
        assert rewards.equal(torch.cat([reward for _, reward, _ in steps]))
        assert done.equal(torch.cat([over for _, _, over in steps]))
        assert game.observe(together).equal(torch.cat([game.observe(state) for state in alone]))
        assert (together.places[:, 0] != together.places[:, 1]).all()
        together = game.begin(starts) if done.any() else together
        alone = [game.begin(row[None]) for row in starts] if done.any() else alone


def test_a_draw_ends_the_game_for_nothing() -> None:
    game = Soccer(draw=0.3)
    state = game.begin(torch.zeros(3, 1))
    stand = torch.full((3, 2), STAND)
    draws = torch.tensor([[0.0, 0.29], [0.0, 0.31], [0.0, 0.0]])
    after, rewards, done = game.advance(state, stand, draws)
    assert done.tolist() == game.ended(after).tolist() == [True, False, True]
    assert rewards.eq(0).all()
    never, _, _ = Soccer(draw=0).advance(state, stand, draws)
    assert not never.over.any()
    assert (game.discount, Soccer(draw=0).discount) == (1, 0.9)


def test_the_horizon_ends_it_too_but_not_by_the_rules() -> None:
    game, generator = Soccer(draw=0, horizon=2), torch.Generator().manual_seed(0)
    state, stand = game.reset(2, generator), torch.full((2, 2), STAND)
    state, _, done = game.step(state, stand, generator)
    assert not done.any()
    state, _, done = game.step(state, stand, generator)
    assert done.all()
    assert not game.ended(state).any()


def test_the_ball_is_given_at_random_and_a_restart_leaves_the_others_alone() -> None:
    game, generator = Soccer(), torch.Generator().manual_seed(0)
    state = game.reset(10_000, generator)
    assert abs(state.ball.double().mean().item() - 0.5) < 5 * 0.5 / 100
    state, _, _ = game.step(state, torch.full((10_000, 2), NORTH), generator)
    done = torch.arange(10_000) % 2 == 0
    after = game.restart(state, done, generator)
    assert after.places[1::2].equal(state.places[1::2])
    assert after.ball[1::2].equal(state.ball[1::2])
    assert after.places[::2].eq(torch.tensor([13, 6])).all()
    assert after.time.tolist() == [0, 1] * 5000


def test_observations_are_three_planes() -> None:
    game = Soccer()
    state = state_of(torch.tensor([[13, 6]]), torch.tensor([1]))
    seen = game.observe(state)
    assert seen.shape == (1, 2, 3, 4, 5)
    assert seen.flatten(-2).argmax(-1).tolist() == [[[13, 6, 6], [6, 13, 6]]]
    assert seen.sum((-1, -2)).eq(1).all()
    assert game.observation_space.contains(seen[0, 0].numpy())
    assert game.action_space.n == len(game.action_names) == 5
    assert game.best_welfare == 0


def test_render_shows_who_has_the_ball() -> None:
    game = Soccer()
    frames = [game.render(state_of(torch.tensor([[13, 6]]), torch.tensor([ball]))) for ball in (0, 1)]
    assert frames[0].dtype == np.uint8
    assert frames[0].shape[1] % 7 == 0
    assert not np.array_equal(*frames)


def test_pickling() -> None:
    assert pickle.loads(pickle.dumps(Soccer(draw=0.2))) == Soccer(draw=0.2)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"draw": 1.0}, r"must lie in \[0, 1\); it is 1.0"),
        ({"draw": -0.1}, "it is -0.1"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Soccer(**settings_)
