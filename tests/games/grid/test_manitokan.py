"""Manitokan: the key and the doors by hand, what agents observe, scripts, bad input."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game
from games.grid import Manitokan
from games.grid._manitokan import DROP, FORWARD, LEFT, OPEN, PICK_UP, RIGHT, ManitokanState
from games.theory import scripted_schelling
from tests.games.random_play import episode

NORTH, EAST, SOUTH, WEST = range(4)
GAME = Manitokan()
"""Cells are numbered 0 to 3 in the first row."""


def state_of(
    places: list[int],
    faces: list[int],
    doors: list[int],
    key: int = -1,
    holder: int = -1,
) -> ManitokanState:
    """One copy; without a key on the ground the holder has it."""
    return ManitokanState(
        torch.tensor([places]),
        torch.tensor([faces]),
        torch.tensor([doors]),
        torch.tensor([key]),
        torch.tensor([[agent == holder for agent in range(len(places))]]),
        torch.tensor([0]),
    )


def step(state: ManitokanState, *actions: int, game: Manitokan = GAME, seed: int = 0) -> Any:
    return game.step(state, torch.tensor([actions]), torch.Generator().manual_seed(seed))


def test_a_whole_episode_by_hand() -> None:
    """Agent 0 takes the key, opens its door, and drops the key in its place; agent 1 opens the other."""
    state = state_of([0, 9], [EAST, NORTH], [4, 8], key=1)
    script = [
        ((PICK_UP, LEFT), [0, 0]),
        ((RIGHT, LEFT), [0, 0]),  # agent 0 faces its door below; agent 1 faces south
        ((OPEN, RIGHT), [0.5, 0]),
        ((DROP, RIGHT), [0, 0]),  # into cell 4, where the door was
        ((LEFT, FORWARD), [0, 0]),  # agent 1 faces north: to cell 5
        ((LEFT, LEFT), [0, 0]),
        ((LEFT, PICK_UP), [0, 0]),  # out of cell 4
        ((LEFT, FORWARD), [0, 0]),  # to cell 4
        ((LEFT, LEFT), [0, 0]),
        ((LEFT, OPEN), [1.0, 1.5]),
    ]
    for actions, expected in script:
        state, rewards, done = step(state, *actions)
        assert rewards[0].tolist() == expected, actions
        assert done.item() == (expected == [1.0, 1.5])
    assert GAME.ended(state).all()
    assert state.doors.tolist() == [[-1, -1]]
    assert state.holds.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("place", "face", "after"),
    [
        (5, EAST, 6),
        (4, WEST, 4),  # the border
        (6, NORTH, 6),  # the own door, in cell 2
        (7, NORTH, 7),  # the other's door, in cell 3
        (8, SOUTH, 8),  # the key, in cell 12
        (8, NORTH, 4),  # another agent is not in the way
    ],
)
def test_walks(place: int, face: int, after: int) -> None:
    state = step(state_of([place, 4], [face, NORTH], [2, 3], key=12), FORWARD, LEFT)[0]
    assert state.places[0].tolist() == [after, 4]


def test_only_the_holder_opens_its_own_door() -> None:
    both = state_of([5, 6], [NORTH, NORTH], [1, 2], holder=0)
    assert step(both, OPEN, OPEN)[1].tolist() == [[0.5, 0]]
    other_door = state_of([6, 5], [NORTH, NORTH], [1, 2], holder=0)
    assert step(other_door, OPEN, OPEN)[1].tolist() == [[0, 0]]
    assert step(state_of([5, 6], [NORTH, NORTH], [1, 2], key=12), OPEN, OPEN)[1].tolist() == [[0, 0]]


def test_the_key_is_dropped_on_free_ground_only() -> None:
    at_door = step(state_of([5, 9], [NORTH, NORTH], [1, 2], holder=0), DROP, LEFT)[0]
    assert (at_door.key.item(), at_door.holds[0].tolist()) == (-1, [True, False])
    at_border = step(state_of([0, 9], [NORTH, NORTH], [1, 2], holder=0), DROP, LEFT)[0]
    assert at_border.key.item() == -1
    on_agent = step(state_of([5, 6], [EAST, NORTH], [1, 2], holder=0), DROP, LEFT)[0]
    assert (on_agent.key.item(), on_agent.holds.any().item()) == (6, False)
    nobody = step(state_of([5, 9], [EAST, NORTH], [1, 2], key=15), DROP, DROP)[0]
    assert nobody.key.item() == 15


def test_one_of_two_gets_the_key() -> None:
    state = state_of([4, 6], [EAST, WEST], [1, 2], key=5)
    winners = {tuple(step(state, PICK_UP, PICK_UP, seed=seed)[0].holds[0].tolist()) for seed in range(20)}
    assert winners == {(True, False), (False, True)}
    after = step(state, PICK_UP, LEFT)[0]
    assert (after.key.item(), after.holds[0].tolist()) == (-1, [True, False])
    assert step(state_of([4, 6], [NORTH, WEST], [1, 2], key=5), PICK_UP, LEFT)[0].key.item() == 5


def test_what_agents_observe() -> None:
    """Rows from two cells ahead to the own one; agent 0 faces east in cell 5, agent 1 west in cell 4."""
    game = Manitokan(observe_door=True)
    state = state_of([5, 4], [EAST, WEST], [7, -1], key=11)
    seen = game.observe(state)[0]
    ground, own, others, key, holds, opened = seen[0]
    assert ground.tolist() == [[1] * 3] * 3
    assert own.nonzero().tolist() == [[0, 1]]  # cell 7, straight ahead
    assert others.sum() == 0
    assert key.nonzero().tolist() == [[0, 2]]  # cell 11, ahead to the right
    assert (holds.sum(), opened.sum()) == (0, 0)
    ground, own, others, _, holds, opened = seen[1]
    assert ground.tolist() == [[0] * 3, [0] * 3, [1] * 3]
    assert (others.sum(), holds.sum(), opened.sum()) == (0, 0, 9)
    holder = GAME.observe(state_of([5, 9], [EAST, NORTH], [15, 6], holder=0))[0]
    assert holder.shape == (2, 5, 3, 3)
    assert holder[0, 2].nonzero().tolist() == [[1, 1]]
    assert holder[:, 4, 0, 0].tolist() == [1, 0]


def test_the_gift_is_hidden() -> None:
    """Where agent 1 does not look, it observes the same, whether the key was dropped or is held."""
    before = state_of([0, 15], [EAST, NORTH], [-1, 11], holder=0)
    dropped, kept = (step(before, action, LEFT)[0] for action in (DROP, LEFT))
    assert torch.equal(GAME.observe(dropped)[0, 1], GAME.observe(kept)[0, 1])


def test_scripts() -> None:
    holding = state_of([5, 9], [NORTH, EAST], [-1, 2], holder=0)
    cooperates = torch.tensor([[True, True]])
    assert GAME.scripted(holding, cooperates)[0, 0] == DROP
    assert GAME.scripted(holding, ~cooperates)[0, 0] == LEFT
    assert GAME.cooperates(holding, torch.tensor([[DROP, LEFT]])).tolist() == [[True, True]]
    assert GAME.cooperates(holding, torch.tensor([[LEFT, LEFT]])).tolist() == [[False, True]]


@pytest.mark.parametrize("game", [GAME, Manitokan(agents=3, size=5)], ids=["two", "three"])
def test_all_doors_open_if_all_drop_the_key(game: Manitokan) -> None:
    """Except in the few starts in which an agent is blocked in."""
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=100)
    assert found.average.mean[-1] == pytest.approx(1.5, abs=0.05)
    assert found.average.mean[0] == pytest.approx(0.5 / game.agents, abs=0.02)
    assert found.better_replies()[0, -1] == -1  # who keeps the key forgoes its own share of the reward


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), agents=st.integers(2, 4))
def test_there_is_one_key(seed: int, agents: int) -> None:
    game = Manitokan(agents=agents, horizon=60)
    over = torch.zeros(16, dtype=torch.bool)
    for before, _, after, rewards, done in episode(game, seed, batch=16):
        assert ((after.key >= 0).long() + after.holds.sum(1) == 1).all()
        opened = (before.doors >= 0).sum(1) - (after.doors >= 0).sum(1)
        collective = agents * 1.0 * (after.doors < 0).all(1)
        assert torch.equal(rewards.sum(1)[~over], (0.5 * opened + collective)[~over])
        on_door = (after.places.unsqueeze(2) == after.doors.unsqueeze(1)).any()
        assert not on_door
        over = over | done


@pytest.mark.parametrize(
    "game", [GAME, Manitokan(agents=3, size=3, view=5, observe_door=True, horizon=20)], ids=["two", "three"]
)
def test_the_contract(game: Manitokan) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "agents must be a whole number, 2 or more; it is 1"),
        ({"size": 2}, "their doors and the key need 5 cells; 2 x 2 are too few"),
        ({"door_reward": -1.0}, "door_reward must be 0 or more, not -1.0"),
        ({"collective_reward": float("nan")}, "collective_reward must be a finite number"),
        ({"view": 4}, "an odd number of 1 or more; it is 4"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(GAME, **setting)


def test_frames_tell_states_apart() -> None:
    states = [
        state_of([5, 9], [NORTH, EAST], [1, 2], key=0),
        state_of([5, 9], [NORTH, EAST], [1, 2], holder=0),
        state_of([5, 9], [NORTH, EAST], [-1, 2], holder=0),
    ]
    frames = [GAME.render(state) for state in states]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
