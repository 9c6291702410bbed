"""In-the-matrix games: steps, beams and payoffs by hand, freezing and new starts, scripts, bad input."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game, make
from games.grid import InTheMatrix
from games.grid._in_the_matrix import FORWARD, INTERACT, LEFT, RIGHT, STAY, MatrixGridState
from games.theory import scripted_schelling
from tests.games.random_play import episode

NORTH, EAST, SOUTH, WEST = range(4)
GAME = InTheMatrix()
SCISSORS = make("running-with-scissors")
SMALL = InTheMatrix(map=("P01P", "    ", "@10P"), freeze=2)
"""Cells are numbered 0 to 3 in the first row."""


def state_of(
    game: InTheMatrix,
    places: list[int],
    orientation: list[int],
    inventories: list[list[int]] | None = None,
    **fields: Any,
) -> MatrixGridState:
    """One copy with all items on the map."""
    state = game.begin(torch.zeros(1, game.start_draws))
    held = state.inventories if inventories is None else torch.tensor([inventories])
    return state._replace(
        places=torch.tensor([places]), orientation=torch.tensor([orientation]), inventories=held, **fields
    )


def step(game: InTheMatrix, state: MatrixGridState, *actions: int, seed: int = 0) -> Any:
    return game.step(state, torch.tensor([actions]), torch.Generator().manual_seed(seed))


def test_turns_walks_and_items_by_hand() -> None:
    state = state_of(SMALL, [0, 7], [EAST, NORTH])
    state, rewards, _ = step(SMALL, state, FORWARD, LEFT)
    assert (state.places.tolist(), state.orientation.tolist()) == ([[1, 7]], [[EAST, WEST]])
    assert state.inventories.tolist() == [[[1, 0], [0, 0]]]
    assert state.items.tolist() == [[-1, -1, 1, -1, -1, -1, -1, -1, -1, 1, 0, -1]]
    assert rewards.tolist() == [[0, 0]]
    state, _, _ = step(SMALL, state, FORWARD, RIGHT)
    assert state.inventories.tolist() == [[[1, 1], [0, 0]]]
    assert state.orientation.tolist() == [[EAST, NORTH]]
    state, _, _ = step(SMALL, state, FORWARD, FORWARD)  # both to cell 3: one gets there
    assert sorted(state.places[0].tolist()) in ([2, 3], [3, 7])
    at_walls = state_of(SMALL, [4, 3], [SOUTH, NORTH])  # a wall, and the border
    state, _, _ = step(SMALL, at_walls, FORWARD, FORWARD)
    assert state.places.tolist() == [[4, 3]]


BEAM = [
    # (row, column) of the other agent, seen from an agent in row 4, column 3 that faces north; is it reached?
    ((3, 3), True),
    ((2, 3), True),
    ((3, 2), True),
    ((3, 4), True),
    ((1, 3), False),
    ((4, 2), False),  # beside the agent
    ((4, 4), False),
    ((2, 2), False),
    ((5, 3), False),
]


@pytest.mark.parametrize(("place", "reached"), BEAM)
def test_the_beam_of_the_source(place: tuple[int, int], reached: bool) -> None:
    other = place[0] * 8 + place[1]
    state = state_of(GAME, [35, other], [NORTH, NORTH], [[1, 0], [0, 1]])
    after, rewards, _ = step(GAME, state, INTERACT, STAY)
    assert rewards.tolist() == ([[0, 5]] if reached else [[0, 0]])
    assert (after.frozen.item() == 5) == reached
    assert after.beams[0].nonzero().flatten().tolist() == [19, 26, 27, 28]


def test_walls_and_the_border_stop_the_beam() -> None:
    game = InTheMatrix(map=("P01 ", "P@ P", "  P "), beam_length=3)
    assert step(game, state_of(game, [4, 7], [EAST, WEST], [[1, 0], [1, 0]]), INTERACT, STAY)[1].sum() == 0
    met = step(game, state_of(game, [4, 7], [EAST, WEST], [[1, 0], [1, 0]]), STAY, INTERACT)[1]
    assert met.sum() == 0
    assert step(game, state_of(game, [8, 11], [EAST, WEST], [[1, 0]] * 2), INTERACT, STAY)[1].sum() == 6


@given(
    first=st.tuples(*[st.integers(0, 5)] * 3).filter(any),
    second=st.tuples(*[st.integers(0, 5)] * 3).filter(any),
)
def test_payoffs_are_those_of_mixed_strategies(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    paid = SCISSORS.payoffs(torch.tensor([first, second]))
    matrix = torch.tensor(SCISSORS.matrix).float()
    one, two = (torch.tensor(held) / sum(held) for held in (first, second))
    expected = [(one @ matrix @ two).item(), (two @ matrix @ one).item()]
    assert paid.tolist() == pytest.approx(expected, abs=1e-5)
    assert paid.sum().item() == pytest.approx(0, abs=1e-5)


def test_nobody_interacts_without_an_item() -> None:
    alone = state_of(GAME, [35, 27], [NORTH, SOUTH], [[3, 0], [0, 0]])
    after, rewards, _ = step(GAME, alone, INTERACT, INTERACT)
    assert (rewards.abs().sum(), after.frozen.item()) == (0, 0)
    game = dataclasses.replace(GAME, start_items=1)
    at_start = state_of(game, [35, 27], [NORTH, SOUTH])
    assert at_start.inventories.tolist() == [[[1, 1], [1, 1]]]
    assert step(game, at_start, INTERACT, INTERACT)[1].abs().sum() == 0
    found = state_of(game, [35, 27], [NORTH, SOUTH], [[1, 2], [1, 2]])
    # v = (1/3, 2/3): 3/9 + 0 + 5 * 2/9 + 4/9
    assert step(game, found, INTERACT, STAY)[1][0].tolist() == pytest.approx([17 / 9] * 2)


def test_after_an_interaction_agents_wait_and_start_anew() -> None:
    state = state_of(SMALL, [4, 5], [EAST, WEST], [[2, 0], [0, 1]])
    state = state._replace(items=torch.full_like(state.items, -1))
    state, rewards, _ = step(SMALL, state, INTERACT, INTERACT)
    assert rewards.tolist() == [[0, 5]]  # once, though both interact
    state, rewards, _ = step(SMALL, state, LEFT, INTERACT)
    assert (state.frozen.item(), state.orientation.tolist()) == (1, [[EAST, WEST]])
    assert rewards.sum() == 0
    assert (state.items < 0).all()
    state, rewards, done = step(SMALL, state, FORWARD, FORWARD)
    assert (state.frozen.item(), state.inventories.sum().item()) == (0, 0)
    assert state.items.equal(SMALL.begin(torch.zeros(1, SMALL.start_draws)).items)
    assert set(state.places[0].tolist()) <= set(SMALL.cells_of("spawn"))
    assert not done.any()
    at_once = dataclasses.replace(SMALL, freeze=0)
    after = step(at_once, state_of(at_once, [4, 5], [EAST, WEST], [[2, 0], [0, 1]]), INTERACT, STAY)[0]
    assert after.inventories.sum() == 0


def test_one_shot_games_end_with_the_interaction() -> None:
    game = dataclasses.replace(SMALL, one_shot=True)
    state, rewards, done = step(game, state_of(game, [4, 5], [EAST, WEST], [[2, 0], [1, 0]]), INTERACT, STAY)
    assert (rewards.tolist(), done.tolist(), game.ended(state).tolist()) == ([[3, 3]], [True], [True])
    assert game.best_welfare == 6
    assert dataclasses.replace(game, matrix=((0, -1), (1, -5))).best_welfare == 0
    assert (SMALL.best_welfare, SCISSORS.best_welfare) == (None, 0)


def test_items_grow_again_where_they_were() -> None:
    game = dataclasses.replace(SMALL, regrowth=1.0)
    bare = state_of(game, [1, 11], [NORTH, NORTH])
    after, _, _ = step(game, bare._replace(items=torch.full_like(bare.items, -1)), STAY, STAY)
    assert after.items.tolist() == [[-1, -1, 1, -1, -1, -1, -1, -1, -1, 1, 0, -1]]  # not under agent 0


def test_what_agents_observe() -> None:
    game = InTheMatrix(map=("P01P", "    ", "@10P"), view=(1, 1, 0, 1), freeze=3)
    state = state_of(game, [4, 5], [EAST, NORTH], [[1, 0], [0, 2]])
    seen = game.observe(state)[0]
    assert seen.shape == (2, 14, 2, 3)
    first = seen[0]  # to the east: the other agent ahead, which faces north: left of it
    assert first[:4].sum() == 1
    assert first[3, 0, 1] == 1
    assert first[4].tolist() == [[1, 0, 0], [0, 0, 0]]  # item 0 in cell 1, ahead to the left
    assert first[5].tolist() == [[0, 0, 1], [0, 0, 0]]  # item 1 in cell 9, ahead to the right
    assert first[6].tolist() == [[1, 1, 1], [1, 1, 0]]  # the wall is to the right
    assert first[8:, 0, 0].tolist() == [0.5, 0, 1, 1, 0, 0]
    second = seen[1]
    assert second[:4].sum() == 1
    assert second[1, 1, 0] == 1  # beside it on the left, and turned to the right
    assert second[8:, 1, 2].tolist() == [0, 1, 1, 1, 0, 0]
    frozen = game.observe(state._replace(frozen=torch.tensor([2])))[0]
    assert frozen[0, 12:, 0, 0].tolist() == [0, 1]


def test_cooperation_is_what_agents_hold_and_take() -> None:
    state = state_of(SMALL, [0, 3], [EAST, WEST], [[0, 0], [0, 0]])
    assert SMALL.cooperates(state, torch.tensor([[FORWARD, FORWARD]])).tolist() == [[True, False]]
    holding = state._replace(inventories=torch.tensor([[[1, 2], [1, 1]]]))
    assert SMALL.cooperates(holding, torch.tensor([[STAY, STAY]])).tolist() == [[False, True]]
    assert SCISSORS.cooperates(state, torch.tensor([[STAY, STAY]])) is None
    assert SCISSORS.scripted(state, torch.ones(1, 2, dtype=torch.bool)) is None


@pytest.mark.parametrize("cooperates", [True, False])
def test_scripted_agents_meet_with_pure_strategies(cooperates: bool) -> None:
    generator, roles = torch.Generator().manual_seed(0), torch.full((50, 2), cooperates)
    state, meetings = GAME.reset(50, generator), torch.zeros(50)
    for _ in range(GAME.horizon):
        actions = GAME.scripted(state, roles)
        state, rewards, _ = GAME.step(state, actions, generator)
        paid = rewards[:, 0]
        assert set(paid.tolist()) <= {0.0, 3.0 if cooperates else 1.0}
        meetings += paid > 0
    assert meetings.min() >= 6


def test_the_dilemma_of_the_scripts() -> None:
    found = scripted_schelling(GAME, torch.Generator().manual_seed(0), episodes=16)
    assert found.better_replies().tolist() == [[1, 1]]
    assert found.cooperator.mean[0, 0] == 0
    assert "a social dilemma by greed and fear" in str(found.verdict())
    hunt = scripted_schelling(make("stag-hunt-in-the-matrix"), torch.Generator().manual_seed(0), episodes=16)
    assert hunt.better_replies().tolist() == [[1, -1]]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_items_are_neither_lost_nor_made(seed: int) -> None:
    """Without interactions, what is not on the map is in the inventories."""
    game = dataclasses.replace(SCISSORS, horizon=60, freeze=1000)
    for before, _, after, _, _ in episode(game, seed, batch=8):
        kinds = torch.arange(3)
        total = (after.items.unsqueeze(-1) == kinds).sum(1) + after.inventories.sum(1)
        assert (total == 4).all()
        assert (before.frozen <= 1000).all()


@pytest.mark.parametrize(
    "game",
    [
        GAME,
        SCISSORS,
        dataclasses.replace(SMALL, one_shot=True),
        dataclasses.replace(SMALL, regrowth=0.3, start_items=1, freeze=0),
    ],
    ids=["default", "scissors", "one shot", "regrowth"],
)
def test_the_contract(game: InTheMatrix) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"matrix": ((1, 2),)}, "matrix must have as many rows as columns, from 2 to 9"),
        ({"matrix": ((1, float("nan")), (0, 0))}, r"matrix\[0\]\[1\] must be a finite number"),
        ({"names": ("dove", "defect")}, "2 words with different first letters; they are"),
        ({"map": ("P0P", "   ")}, "no item of strategy 1: mark a cell with '1'"),
        ({"map": ("P01",)}, "The map has 1 places to start from"),
        ({"map": ("PP012",)}, "The map has '2' in row 0, column 4"),
        ({"freeze": -1}, "freeze must be 0 or more, not -1"),
        ({"regrowth": 2.0}, "regrowth is a probability, from 0 to 1; it is 2.0"),
        ({"beam_length": 0}, "at least 1 cell long; beam_length is 0"),
        ({"view": (1, 1, 1)}, "four numbers of 0 or more"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
        (
            {"matrix": ((0,) * 3,) * 3, "names": ("a", "b", "c"), "map": ("PP012",)},
            "cooperate or defect only if there are 2",
        ),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        InTheMatrix(**setting)


def test_frames_tell_states_apart() -> None:
    states = [state_of(GAME, [0, 7], [EAST, WEST]), state_of(GAME, [0, 7], [EAST, SOUTH])]
    states.append(step(GAME, states[0], FORWARD, INTERACT)[0])
    frames = [GAME.render(state) for state in states]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
