"""What cleanup and harvest have in common, by hand in one room: walking, eating, fining, seeing."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from games.grid import Harvest
from games.grid._social_state import SocialState
from games.grid._tables import EAST, NORTH, OFFSETS, SOUTH, WEST

ROOM = (
    "@@@@@@@",
    "@A    @",
    "@     @",
    "@ PPP @",
    "@     @",
    "@     @",
    "@@@@@@@",
)
WIDTH = len(ROOM[0])


def cell(row: int, column: int) -> int:
    return WIDTH * row + column


MIDDLE, APPLE = cell(3, 3), cell(1, 1)


def room(**settings: Any) -> Harvest:
    """Nothing grows in it, and one sees two cells far."""
    settings = {"agents": 2, "horizon": 9, "regrowth": (0.0, 0.0, 0.0, 0.0), "view": (2, 2, 2, 2)} | settings
    return Harvest(map=ROOM, **settings)


def lay(game: Harvest, places: list[int], faces: list[int] | None = None) -> SocialState:
    """One copy with agents here, facing north unless it is said, and the apple in its corner."""
    state = game.begin(torch.zeros(1, game.start_draws))
    return state._replace(
        places=torch.tensor([places]), orientation=torch.tensor([faces or [NORTH] * len(places)])
    )


def act(
    game: Harvest, state: SocialState, *names: str, draws: Tensor | None = None
) -> tuple[SocialState, list[float], bool]:
    actions = torch.tensor([[game.action_names.index(name) for name in names]])
    draws = torch.zeros(1, game.step_draws) if draws is None else draws
    state, rewards, done = game.advance(state, actions, draws)
    return state, rewards[0].tolist(), bool(done)


@pytest.mark.parametrize("face", [NORTH, EAST, SOUTH, WEST])
@pytest.mark.parametrize(("name", "quarter"), [("forward", 0), ("right", 1), ("back", 2), ("left", 3)])
def test_walks_are_relative_to_where_one_faces(face: int, name: str, quarter: int) -> None:
    game = room(agents=1)
    state, _, _ = act(game, lay(game, [MIDDLE], [face]), name)
    down, right = OFFSETS[(face + quarter) % 4]
    assert state.places.tolist() == [[cell(3 + down, 3 + right)]]
    assert state.orientation.tolist() == [[face]]


@pytest.mark.parametrize(("name", "faces"), [("turn right", [1, 2, 3, 0]), ("turn left", [3, 0, 1, 2])])
def test_turns(name: str, faces: list[int]) -> None:
    game = room(agents=1)
    for face, after in enumerate(faces):
        state, _, _ = act(game, lay(game, [MIDDLE], [face]), name)
        assert (state.orientation.item(), state.places.item()) == (after, MIDDLE)


def test_without_turning_everybody_faces_north_and_walks_have_other_names() -> None:
    game = room(turning=False)
    assert game.action_names == ("left", "right", "up", "down", "stay", "fine")
    state = game.begin(torch.rand(8, game.start_draws))
    assert state.orientation.count_nonzero() == 0
    assert act(game, lay(game, [MIDDLE, APPLE]), "up", "down")[0].places.tolist() == [
        [cell(2, 3), cell(2, 1)]
    ]


def test_walls_hold_back() -> None:
    game = room(agents=1)
    assert act(game, lay(game, [cell(1, 4)]), "forward")[0].places.item() == cell(1, 4)


def test_whoever_gets_there_eats() -> None:
    game = room()
    for winner in (0, 1):
        draws = torch.zeros(1, game.step_draws)
        draws[0, winner] = 0.5
        state = lay(game, [cell(1, 2), cell(2, 1)])
        state, rewards, _ = act(game, state, "left", "forward", draws=draws)
        assert rewards == [float(winner == 0), float(winner == 1)]
        assert not state.apples.any()
        assert state.places[0, winner] == APPLE


def test_a_beam_costs_and_hits_the_first_in_its_ray() -> None:
    game = room(agents=3, fine_cost=1.0, fine=50.0)
    state, rewards, _ = act(game, lay(game, [cell(5, 3), cell(3, 3), cell(2, 3)]), "fine", "stay", "stay")
    assert rewards == [-1.0, -50.0, 0.0]
    hit = {cell(row, 2) for row in (5, 4, 3, 2, 1)} | {cell(row, 4) for row in (5, 4, 3, 2, 1)}
    hit |= {cell(4, 3), cell(3, 3)}
    assert set(state.beams[0].nonzero().flatten().tolist()) == hit
    state, _, _ = act(game, state, "stay", "stay", "stay")
    assert not state.beams.any()


def test_a_beam_hits_beside_but_not_behind() -> None:
    game = room(agents=3, fine_cost=0.0, fine=2.0)
    places = [MIDDLE, cell(4, 3), cell(3, 4)]
    assert act(game, lay(game, places, [EAST, NORTH, NORTH]), "fine", "stay", "stay")[1] == [0.0, -2.0, -2.0]
    assert act(game, lay(game, places), "fine", "stay", "stay")[1] == [0.0, 0.0, -2.0]


def test_everybody_fires_after_walking_and_at_once() -> None:
    game = room(fine_cost=0.0, fine=1.0, time_out=3)
    state, rewards, _ = act(game, lay(game, [cell(4, 3), cell(2, 3)], [NORTH, SOUTH]), "fine", "fine")
    assert rewards == [-1.0, -1.0]
    assert state.places.tolist() == [[-1, -1]]
    walked = lay(game, [cell(4, 3), cell(2, 5)], [NORTH, NORTH])
    assert act(game, walked, "fine", "left")[1] == [0.0, -1.0]


def test_a_beam_is_shorter_if_it_is_said() -> None:
    for length, times in ((3, 0.0), (4, 1.0)):
        game = room(fine_cost=0.0, fine=1.0, beam_length=length)
        assert act(game, lay(game, [cell(5, 3), cell(1, 3)]), "fine", "stay")[1][1] == -times


def test_who_is_hit_misses_so_many_steps_and_comes_back_to_a_free_place() -> None:
    game = room(time_out=2, fine=0.0, fine_cost=0.0)
    state, _, _ = act(game, lay(game, [cell(5, 3), cell(4, 3)]), "fine", "stay")
    assert (state.places[0, 1], state.away[0, 1]) == (-1, 2)
    assert game.observe(state)[0, 1].count_nonzero() == 0
    state, rewards, _ = act(game, state, "forward", "fine")
    assert (state.places[0].tolist(), state.away[0, 1], rewards) == ([cell(4, 3), -1], 1, [0.0, 0.0])
    assert not state.beams.any()
    draws = torch.zeros(1, game.step_draws)
    draws[0, 2:5] = torch.tensor([0.1, 0.9, 0.5])  # a rank for each place; the best one is where agent 0 goes
    state, _, _ = act(game, state, "forward", "stay", draws=draws)
    assert (state.places[0].tolist(), state.away[0, 1]) == ([MIDDLE, cell(3, 4)], 0)
    state, _, _ = act(game, state, "stay", "right")
    assert state.places[0, 1] == cell(3, 5)


def test_several_come_back_to_different_places() -> None:
    game = room(agents=3, time_out=1)
    state = lay(game, [-1, -1, -1])._replace(away=torch.ones(1, 3, dtype=torch.int64))
    for _ in range(20):
        after, _, _ = act(game, state, "stay", "stay", "stay", draws=torch.rand(1, game.step_draws))
        assert sorted(after.places[0].tolist()) == [cell(3, 2), cell(3, 3), cell(3, 4)]


def test_a_beam_needs_time_to_cool() -> None:
    game = room(agents=1, cooldown=3)
    state, costs = lay(game, [MIDDLE]), []
    for _ in range(7):
        state, rewards, _ = act(game, state, "fine")
        costs.append(rewards[0])
    assert costs == [-1.0, 0.0, 0.0, -1.0, 0.0, 0.0, -1.0]


def test_what_one_sees_by_hand() -> None:
    game = room()
    seen = game.observe(lay(game, [cell(2, 2), MIDDLE], [NORTH, EAST]))[0]
    oneself, others, walls, apples, beams = seen[0].tolist()
    assert np.argwhere(oneself).tolist() == [[2, 2]]
    assert np.argwhere(others).tolist() == [[3, 3]]
    assert np.argwhere(apples).tolist() == [[1, 1]]
    assert walls == [[1, 1, 1, 1, 1]] + [[1, 0, 0, 0, 0]] * 4
    assert not np.any(beams)
    # From the middle, facing east, the north-west is behind on the left.
    assert np.argwhere(seen[1, 1].numpy()).tolist() == [[3, 1]]
    assert np.argwhere(seen[1, 3].numpy()).tolist() == [[4, 0]]


def test_outside_the_map_is_wall() -> None:
    game = room(agents=1, view=(4, 0, 0, 0))
    assert game.observe(lay(game, [cell(1, 5)]))[0, 0, 2].flatten().tolist() == [1, 1, 1, 1, 0]


def test_beams_are_seen_in_the_next_step() -> None:
    game = room()
    state, _, _ = act(game, lay(game, [MIDDLE, cell(5, 5)], [EAST, NORTH]), "fine", "stay")
    assert np.argwhere(game.observe(state)[0, 0, 4].numpy()).tolist() == [
        [0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3], [2, 1], [2, 3]
    ]  # fmt: skip


def test_an_episode_ends_at_the_horizon_and_not_by_the_rules() -> None:
    game = room(horizon=2)
    state, _, done = act(game, lay(game, [MIDDLE, APPLE]), "stay", "stay")
    assert not done
    state, _, done = act(game, state, "stay", "stay")
    assert done
    assert not game.ended(state).any()


def test_starts_are_different_places_all_alike() -> None:
    game = room()
    places = game.reset(6000, torch.Generator().manual_seed(0)).places
    assert (places[:, 0] != places[:, 1]).all()
    for agent in (0, 1):
        assert (
            places[:, agent].bincount()[cell(3, 2) :] / 6000 - 1 / 3
        ).abs().max() < 0.03  # 5 standard errors


def test_fixed_starts_are_taken_from_below() -> None:
    game = room(random_spawn=False)
    assert game.reset(3, torch.Generator()).places.tolist() == [[cell(3, 4), cell(3, 3)]] * 3


def test_restart_leaves_the_others_alone() -> None:
    game = room()
    draws = torch.Generator().manual_seed(0)
    state = game.reset(3, draws)
    state, _, _ = game.step(state, torch.full((3, 2), 2), draws)
    after = game.restart(state, torch.tensor([False, True, False]), draws)
    for old, new in zip(state, after, strict=True):
        assert torch.equal(old[[0, 2]], new[[0, 2]])
    assert after.time.tolist() == [1, 0, 1]


def test_frames_tell_states_apart() -> None:
    game = room()
    states = [
        lay(game, [MIDDLE, cell(5, 5)]),
        lay(game, [MIDDLE, cell(5, 5)], [EAST, NORTH]),
        lay(game, [cell(5, 5), MIDDLE]),
        act(game, lay(game, [MIDDLE, cell(5, 5)]), "fine", "stay")[0],
        lay(game, [MIDDLE, -1]),
        lay(game, [MIDDLE, cell(5, 5)])._replace(apples=torch.zeros(1, 49, dtype=torch.bool)),
    ]
    frames = [game.render(state) for state in states]
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle_and_keep_their_map() -> None:
    game = room(agents=3)
    assert pickle.loads(pickle.dumps(game)) == game
    assert dataclasses.replace(game, agents=1).map == ROOM


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"agents": 0}, "agents is 0"),
        ({"agents": 4}, "3 places to start from"),
        ({"horizon": 0}, "horizon is 0"),
        ({"view": (1, 1, -1, 1)}, "four numbers of 0 or more"),
        ({"view": (1, 1, 1)}, "four numbers of 0 or more"),
        ({"beam_length": 0}, "beam_length is 0"),
        ({"cooldown": 0}, "cooldown must be at least 1 step, not 0"),
        ({"time_out": -1}, "time_out must be 0 or more, but it is -1"),
        ({"fine": -1.0}, "fine must be 0 or more, but it is -1.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        room(**settings)
