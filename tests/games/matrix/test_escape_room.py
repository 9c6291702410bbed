"""Escape Room: rewards by hand, the group optimum by exhaustive search, and the contract of a batch."""

from __future__ import annotations

import functools
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.matrix import EscapeRoom
from games.matrix._escape_room import DOOR, LEVER, START, EscapeRoomState


@functools.cache
def generator() -> torch.Generator:
    """For games that draw nothing in `step`."""
    return torch.Generator().manual_seed(0)


def state_at(places: list[int], time: int = 0) -> EscapeRoomState:
    """One copy with its agents at these places."""
    agents = len(places)
    return EscapeRoomState(torch.tensor([places]), torch.zeros(1, agents, agents), torch.tensor([time]))


def play(game: EscapeRoom, places: list[int], actions: list[int], time: int = 0):
    """Rewards, whether the episode is done, and whether the rules ended it, after one step."""
    state, rewards, done = game.step(state_at(places, time), torch.tensor([actions]), generator())
    return rewards[0].tolist(), bool(done[0]), bool(game.ended(state)[0])


# Worked out by hand from the rules in section 4 of arXiv 2006.06051.
HAND_COMPUTED = [
    # N, M, where they stand, what they choose, rewards, ended
    (2, 1, [START, START], [LEVER, DOOR], [-1, 10], True),
    (2, 1, [START, START], [DOOR, DOOR], [-1, -1], False),
    (2, 1, [START, START], [START, START], [0, 0], False),
    (2, 1, [START, START], [LEVER, START], [-1, 0], False),  # open, but nobody goes through
    (2, 1, [LEVER, DOOR], [LEVER, DOOR], [0, 10], True),  # the lever, once reached, costs nothing more
    (2, 1, [LEVER, START], [START, DOOR], [-1, -1], False),  # having stood at the lever does not count
    (2, 1, [DOOR, DOOR], [LEVER, DOOR], [-1, 10], True),
    (2, 1, [DOOR, DOOR], [DOOR, DOOR], [0, 0], False),
    (3, 2, [START, START, START], [LEVER, START, DOOR], [-1, 0, -1], False),  # one lever puller too few
    (3, 2, [START, START, START], [LEVER, LEVER, DOOR], [-1, -1, 10], True),
    (3, 1, [START, START, START], [LEVER, DOOR, DOOR], [-1, 10, 10], True),
    (3, 1, [START, START, START], [LEVER, LEVER, LEVER], [-1, -1, -1], False),
    (5, 3, [START] * 5, [LEVER, LEVER, LEVER, DOOR, DOOR], [-1, -1, -1, 10, 10], True),
]


@pytest.mark.parametrize(("agents", "levers", "places", "actions", "rewards", "ended"), HAND_COMPUTED)
def test_rewards_and_ends_by_hand(agents, levers, places, actions, rewards, ended):
    game = EscapeRoom(agents=agents, levers=levers)
    assert play(game, places, actions) == (rewards, ended, ended)


def test_the_horizon_is_not_an_end_by_the_rules():
    game = EscapeRoom(horizon=3)
    assert play(game, [START, START], [START, START], time=1) == ([0, 0], False, False)
    assert play(game, [START, START], [START, START], time=2) == ([0, 0], True, False)
    assert play(game, [START, START], [LEVER, DOOR], time=2) == ([-1, 10], True, True)


def best_by_search(game: EscapeRoom, start: tuple[int, ...]) -> float:
    """The best sum of rewards from these places, over all sequences of joint actions."""
    joint = list(itertools.product(range(3), repeat=game.agents))
    actions = torch.tensor(joint)

    @functools.cache
    def best(places: tuple[int, ...], time: int) -> float:
        one = state_at(list(places), time)
        states = EscapeRoomState(*(field.expand(len(joint), *field.shape[1:]) for field in one))
        _, rewards, done = game.step(states, actions, generator())
        return max(
            total if over else total + best(action, time + 1)
            for action, total, over in zip(joint, rewards.sum(-1).tolist(), done.tolist(), strict=True)
        )

    return best(start, 0)


@pytest.mark.parametrize(
    ("agents", "levers", "optimum"), [(2, 1, 9), (3, 2, 8), (3, 1, 19), (4, 2, 18), (5, 3, 17)]
)
def test_best_welfare_is_the_optimum_of_exhaustive_search(agents, levers, optimum):
    game = EscapeRoom(agents=agents, levers=levers)
    assert best_by_search(game, (START,) * agents) == optimum
    assert game.best_welfare == optimum == 10 * (agents - levers) - levers


@pytest.mark.parametrize(("agents", "levers"), [(2, 1), (3, 1), (3, 2), (4, 3)])
def test_best_welfare_with_random_starts_is_the_mean_over_starts(agents, levers):
    game = EscapeRoom(agents=agents, levers=levers, horizon=2, random_start=True)
    starts = list(itertools.product(range(3), repeat=agents))
    mean = sum(best_by_search(game, start) for start in starts) / len(starts)
    assert game.best_welfare == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("agents", [2, 3])
def test_defection_welfare_is_the_best_without_the_lever(agents):
    """Search over one step without the lever; after it, whoever is off the lever can stay for nothing."""
    for random_start in (False, True):
        game = EscapeRoom(agents=agents, random_start=random_start)
        starts = list(itertools.product(range(3), repeat=agents)) if random_start else [(START,) * agents]
        choices = torch.tensor(list(itertools.product((START, DOOR), repeat=agents)))
        totals = []
        for start in starts:
            one = state_at(list(start))
            states = EscapeRoomState(*(field.expand(len(choices), *field.shape[1:]) for field in one))
            _, rewards, _ = game.step(states, choices, generator())
            totals.append(rewards.sum(-1).max().item())
        assert game.defection_welfare == pytest.approx(sum(totals) / len(totals), abs=1e-12)


def test_observation_is_own_place_then_others_then_gifts():
    game = EscapeRoom(agents=3, levers=2)
    state = state_at([LEVER, START, DOOR])
    state = game.give(state, torch.tensor([[[9.0, 0.5, 0.25], [1.5, 9.0, 0.0], [-2.0, 0.125, 9.0]]]))
    state = game.give(state, torch.tensor([[[9.0, 1.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]]))
    lever, start, door = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    expected = [
        [*lever, *start, *door, 1.5, 0.25],
        [*start, *lever, *door, 1.5, 0.0],
        [*door, *lever, *start, -2.0, 0.125],
    ]
    assert game.observe(state)[0].tolist() == expected
    without = EscapeRoom(agents=3, levers=2, observe_gifts=False)
    assert without.observe(state)[0].tolist() == [row[:9] for row in expected]


def test_gifts_are_data_and_start_at_zero():
    game = EscapeRoom()
    state = game.reset(4, generator())
    assert state.given.count_nonzero() == 0
    gifts = torch.full((4, 2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    given = game.give(state, gifts)
    assert not given.given.requires_grad
    assert game.observe(given).dtype == torch.float32
    assert state.given.count_nonzero() == 0
    fresh = game.restart(given, torch.tensor([True, False, True, False]), generator())
    assert fresh.given.sum((1, 2)).tolist() == [0, 2, 0, 2]


def test_cooperating_is_choosing_the_lever():
    game = EscapeRoom(agents=3, levers=2)
    actions = torch.tensor([[LEVER, START, DOOR]])
    assert game.cooperates(state_at([START] * 3), actions).tolist() == [[True, False, False]]
    assert game.action_names == ("lever", "start", "door")
    assert game.action_space.n == 3


sizes = st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1)))


def random_step(game: EscapeRoom, state: EscapeRoomState, draws: torch.Generator):
    """A step with random actions, then random gifts."""
    shape = tuple(state.places.shape)
    after, rewards, done = game.step(state, torch.randint(3, shape, generator=draws), draws)
    return game.give(after, torch.rand(*shape, game.agents, generator=draws)), rewards, done


@settings(max_examples=40)
@given(size=sizes, random_start=st.booleans(), observe_gifts=st.booleans(), seed=st.integers(0, 2**32))
def test_every_step_keeps_the_contract(size, random_start, observe_gifts, seed):
    game = EscapeRoom(agents=size[0], levers=size[1], random_start=random_start, observe_gifts=observe_gifts)
    space = game.observation_space
    draws = torch.Generator().manual_seed(seed)
    state = game.reset(6, draws)
    for time in range(1, game.horizon + 1):
        copies = [field.clone() for field in state]
        after, rewards, done = random_step(game, state, draws)
        assert all(torch.equal(mine, old) for mine, old in zip(state, copies, strict=True))
        assert set(rewards.unique().tolist()) <= {10.0, 0.0, -1.0}
        assert rewards.shape == (6, game.agents)
        assert torch.equal(done, game.ended(after) | (time == game.horizon))
        assert torch.equal((rewards == 10).any(-1), game.ended(after))
        assert all(space.contains(seen) for copy in game.observe(after).numpy() for seen in copy)
        state = after


@settings(max_examples=25)
@given(size=sizes, random_start=st.booleans(), seed=st.integers(0, 2**32))
def test_the_generator_decides_everything(size, random_start, seed):
    game = EscapeRoom(agents=size[0], levers=size[1], random_start=random_start)
    draws = [torch.Generator().manual_seed(seed) for _ in range(2)]
    states = [game.reset(6, one) for one in draws]
    for _ in range(game.horizon):
        played = [random_step(game, state, one) for state, one in zip(states, draws, strict=True)]
        states = [state for state, _, _ in played]
        assert all(torch.equal(mine, other) for mine, other in zip(*states, strict=True))
        assert torch.equal(played[0][1], played[1][1])


@settings(max_examples=25)
@given(size=sizes, seed=st.integers(0, 2**32))
def test_a_batch_equals_its_members(size, seed):
    game = EscapeRoom(agents=size[0], levers=size[1])
    draws = torch.Generator().manual_seed(seed)
    actions = torch.randint(3, (game.horizon, 4, size[0]), generator=draws)
    state = game.reset(4, generator())
    members = [game.reset(1, generator()) for _ in range(4)]
    for joint in actions:
        state, rewards, done = game.step(state, joint, generator())
        for i in range(4):
            members[i], own, over = game.step(members[i], joint[i : i + 1], generator())
            assert torch.equal(own[0], rewards[i])
            assert over[0] == done[i]
            assert torch.equal(game.observe(members[i])[0], game.observe(state)[i])


def test_random_starts_are_uniform_and_follow_the_generator():
    game = EscapeRoom(random_start=True)
    places = game.reset(30_000, torch.Generator().manual_seed(1)).places
    shares = places.flatten().bincount(minlength=3) / places.numel()
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)  # 5 standard errors
    assert torch.equal(places, game.reset(30_000, torch.Generator().manual_seed(1)).places)
    assert not torch.equal(places, game.reset(30_000, torch.Generator().manual_seed(2)).places)


def test_a_random_start_does_not_open_the_door():
    game = EscapeRoom(random_start=True)
    assert not game.ended(state_at([LEVER, DOOR]))
    assert game.ended(state_at([LEVER, DOOR], time=1))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "at least 2 agents; agents is 1"),
        ({"levers": 0}, "at least 1 agent; levers is 0"),
        ({"agents": 3, "levers": 3}, "must be below agents = 3, but it is 3"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        EscapeRoom(**setting)


def test_gifts_of_another_shape_are_refused():
    game = EscapeRoom()
    with pytest.raises(ValueError, match=r"= \(4, 2, 2\), not \(2, 2\)"):
        game.give(game.reset(4, generator()), torch.zeros(2, 2))


def test_frames_tell_states_apart():
    game = EscapeRoom(agents=3, levers=2)
    frames = [
        game.render(state_at(places, time))
        for places, time in [
            ([START, START, START], 0),
            ([LEVER, START, DOOR], 1),
            ([LEVER, LEVER, DOOR], 1),
            ([LEVER, DOOR, LEVER], 1),
            ([LEVER, LEVER, DOOR], 0),  # a random start: the door is still shut
        ]
    ]
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_settings_pickle():
    game = EscapeRoom(agents=4, levers=2, random_start=True)
    assert pickle.loads(pickle.dumps(game)) == game
