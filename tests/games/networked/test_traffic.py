"""Traffic: conservation of vehicles, steps road by road, spill-back, stability by its closed form."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game
from games.adapters import ParallelView
from games.networked import Traffic
from games.networked._traffic import PHASES, SIDES, TURNS, TrafficState
from tests.games.adapters.pettingzoo_contract import check_contract

NORTH, EAST, SOUTH, WEST = range(4)
LEFT, STRAIGHT, RIGHT = range(3)
SMALL = Traffic(rows=2, columns=3, horizon=40)
JAMMED = Traffic(rows=2, columns=2, demand=0.6, capacity=8.0, turning=(0.3, 0.3, 0.4), horizon=40)
ONE = Traffic(rows=1, columns=1, horizon=40)
GAMES = [SMALL, JAMMED, ONE, Traffic(rows=1, columns=4, yellow=0.0, horizon=20)]


def empty(game: Traffic) -> TrafficState:
    return game.reset(1, torch.Generator())


def vehicles(state: TrafficState) -> torch.Tensor:
    return state.queues.double().sum((1, 2, 3)) + state.outside.double().sum((1, 2))


@settings(max_examples=30)
@given(game=st.sampled_from(GAMES), seed=st.integers(0, 2**31))
def test_vehicles_are_conserved_and_roads_hold_their_capacity(game: Traffic, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(6, generator)
    for _ in range(20):
        actions = torch.randint(4, (6, game.num_agents), generator=generator)
        draws = torch.rand(6, game.step_draws, generator=generator)
        after, rewards, _ = game.advance(state, actions, draws)
        border = torch.tensor([
            [agent < game.columns, (agent + 1) % game.columns == 0,
             agent >= game.num_agents - game.columns, agent % game.columns == 0]
            for agent in range(game.num_agents)
        ])  # fmt: skip
        arrived = 2 * game.demand * game.interval * (draws.double() * border.flatten()).sum(-1)
        change = vehicles(after) - vehicles(state) + (after.left - state.left)
        torch.testing.assert_close(change, arrived, rtol=0, atol=1e-3)
        assert (after.queues >= -1e-5).all()
        assert (after.queues.sum(-1) <= game.capacity + 1e-3).all()
        assert not after.outside[:, ~border].any()
        waiting = after.queues.sum((2, 3)) + after.outside.sum(2)
        torch.testing.assert_close(rewards, -0.25 * waiting)
        state = after


def reference_step(game: Traffic, state: TrafficState, actions: list[int], draws: list[float]) -> dict:
    """Queues and vehicles outside after a step of one copy, road by road."""
    ways = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}
    agents = range(game.num_agents)
    roads = [(agent, side) for agent in agents for side in range(4)]

    def neighbor(agent: int, side: int) -> int | None:
        row, column = agent // game.columns + ways[side][0], agent % game.columns + ways[side][1]
        return row * game.columns + column if 0 <= row < game.rows and 0 <= column < game.columns else None

    exits = {  # (from, turn) -> to, as a driver sees it
        (NORTH, LEFT): EAST, (NORTH, STRAIGHT): SOUTH, (NORTH, RIGHT): WEST,
        (EAST, LEFT): SOUTH, (EAST, STRAIGHT): WEST, (EAST, RIGHT): NORTH,
        (SOUTH, LEFT): WEST, (SOUTH, STRAIGHT): NORTH, (SOUTH, RIGHT): EAST,
        (WEST, LEFT): NORTH, (WEST, STRAIGHT): EAST, (WEST, RIGHT): SOUTH,
    }  # fmt: skip
    queues = {(*road, turn): float(state.queues[0, *road, turn]) for road in roads for turn in range(3)}
    outside = {road: float(state.outside[0, *road]) for road in roads}
    ready, target = {}, {}
    for (agent, side, turn), waiting in queues.items():
        vertical, left = side in (NORTH, SOUTH), turn == LEFT
        green = actions[agent] == (0 if vertical else 2) + left
        seconds = game.interval - game.yellow * (actions[agent] != int(state.phases[0, agent]))
        ready[agent, side, turn] = min(waiting, game.saturation * seconds) if green else 0.0
        to = exits[side, turn]
        ahead = neighbor(agent, to)
        target[agent, side, turn] = None if ahead is None else (ahead, (to + 2) % 4)
    new_queues, new_outside, left_grid = dict(queues), dict(outside), 0.0
    room = {road: max(0.0, game.capacity - sum(queues[*road, turn] for turn in range(3))) for road in roads}
    joining = dict.fromkeys(roads, 0.0)
    for road in [*roads, None]:
        lanes = [lane for lane in ready if target[lane] == road]
        wanted = sum(ready[lane] for lane in lanes)
        factor = 1.0 if road is None or wanted <= room[road] else room[road] / wanted
        for lane in lanes:
            new_queues[lane] -= factor * ready[lane]
        if road is None:
            left_grid = wanted
        else:
            joining[road] += factor * wanted
    for number, road in enumerate(roads):
        if neighbor(*road) is None:
            waiting = outside[road] + 2 * game.demand * game.interval * draws[number]
            entering = min(waiting, room[road])
            joining[road] += entering
            new_outside[road] = waiting - entering
        for turn in range(3):
            new_queues[*road, turn] += joining[road] * game.turning[turn]
    return {"queues": new_queues, "outside": new_outside, "left": left_grid}


@settings(max_examples=20)
@given(game=st.sampled_from(GAMES), seed=st.integers(0, 2**31))
def test_a_step_is_that_of_roads_one_by_one(game: Traffic, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(1, generator)
    for _ in range(12):
        actions = torch.randint(4, (1, game.num_agents), generator=generator)
        draws = torch.rand(1, game.step_draws, generator=generator)
        after, _, _ = game.advance(state, actions, draws)
        expected = reference_step(game, state, actions[0].tolist(), draws[0].tolist())
        assert after.queues.flatten().tolist() == pytest.approx(list(expected["queues"].values()), abs=1e-4)
        assert after.outside.flatten().tolist() == pytest.approx(list(expected["outside"].values()), abs=1e-4)
        assert float(after.left - state.left) == pytest.approx(expected["left"], abs=1e-3)
        state = after


def test_a_change_of_phase_costs_half_a_step() -> None:
    state = empty(ONE)
    state.queues[0, 0, NORTH, STRAIGHT] = state.queues[0, 0, WEST, STRAIGHT] = 6.0
    draws = torch.zeros(1, ONE.step_draws)
    stay, _, _ = ONE.advance(state, torch.tensor([[0]]), draws)
    change, _, _ = ONE.advance(state, torch.tensor([[2]]), draws)
    assert (float(stay.left), float(change.left)) == (5.0, 2.5)
    assert stay.passed.tolist() == [[5.0]]
    wait, _, _ = ONE.advance(state, torch.tensor([[1]]), draws)
    assert float(wait.left) == 0


def test_a_full_road_holds_vehicles_back() -> None:
    game = Traffic(rows=1, columns=2, demand=0.0, capacity=10.0, turning=(0.0, 1.0, 0.0))
    state = empty(game)
    state.queues[0, 0, WEST, STRAIGHT] = 8.0
    state.queues[0, 1, WEST, STRAIGHT] = 8.0
    draws = torch.zeros(1, game.step_draws)
    state = state._replace(phases=torch.tensor([[2, 0]]))
    after, _, _ = game.advance(state, torch.tensor([[2, 0]]), draws)
    assert after.queues[0, :, WEST, STRAIGHT].tolist() == [6.0, 10.0]
    # The pressures of signal 0 are -10, -10, 6 - 10 and 0: only left turns avoid the full road.
    assert game.max_pressure(after).tolist() == [[3, 2]]


@pytest.mark.parametrize(("load", "stable"), [(0.9, True), (1.1, False)])
def test_one_signal_is_stable_if_its_loads_sum_to_less_than_one(load: float, stable: bool) -> None:
    """All vehicles go straight: the loads of both pairs of sides, demand over saturation, sum to `load`."""
    game = Traffic(
        rows=1, columns=1, demand=load / 2 * 0.5, turning=(0.0, 1.0, 0.0), yellow=0.0, capacity=1e6
    )
    generator = torch.Generator().manual_seed(0)
    state, history = game.reset(32, generator), []
    for _ in range(2000):
        state, _, _ = game.step(state, game.max_pressure(state), generator)
        history.append(float(vehicles(state).mean()))
    growth = (history[-1] - history[999]) / 1000
    excess = 4 * game.demand * game.interval - 2 * game.saturation * game.interval
    assert growth == pytest.approx(max(excess, 0.0), abs=0.05)
    assert (excess < 0) == stable


def test_max_pressure_beats_fixed_times_and_both_beat_chance() -> None:
    welfare = []
    for script in ("max_pressure", "fixed_time", "chance"):
        game = Traffic(rows=3, columns=3, horizon=200)
        generator = torch.Generator().manual_seed(0)
        state, total = game.reset(16, generator), torch.zeros(16)
        for _ in range(game.horizon):
            chance = torch.randint(4, (16, 9), generator=generator)
            actions = chance if script == "chance" else getattr(game, script)(state)
            state, rewards, done = game.step(state, actions, generator)
            total += rewards.sum(-1)
        assert done.all()
        welfare.append(total.mean().item())
    assert welfare[0] > welfare[1] > 1.3 * welfare[2]


def test_fixed_times_cycle_through_the_phases() -> None:
    state = empty(SMALL)
    shown = [SMALL.fixed_time(state._replace(time=torch.tensor([time])), steps=3)[0] for time in range(14)]
    assert [int(phases[0]) for phases in shown] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0]
    assert all((phases == phases[0]).all() for phases in shown)


def test_signals_see_their_roads_and_share_with_adjacent_ones() -> None:
    state = empty(SMALL)
    state.queues[0, 0, EAST, RIGHT] = 20.0
    state.outside[0, 5, SOUTH] = 80.0
    seen = SMALL.observe(state)[0]
    queues, outside, outgoing, phase, joined = seen.split((12, 4, 4, 4, 4), -1)
    assert queues[0].reshape(4, 3)[EAST].tolist() == [0, 0, 0.5]
    assert outside[5].tolist() == [0, 0, 1, 0]  # twice the capacity, and no more is shown
    assert outgoing[1].tolist() == [0, 0, 0, 0.5]  # the road from 1 to 0 comes to 0 from the east
    assert phase.argmax(-1).tolist() == [0] * 6
    assert joined[0].tolist() == [0, 1, 1, 0]
    assert SMALL.neighbors[0].tolist() == [True, True, False, True, False, False]
    assert len(SIDES) * len(TURNS) == 12
    assert SMALL.num_actions == len(PHASES)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_the_contract(game: Traffic) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"rows": 0}, "1 to 100 rows, not 0"),
        ({"columns": 101}, "1 to 100 columns, not 101"),
        ({"saturation": 0.0}, "saturation must be above 0, not 0.0"),
        ({"capacity": -1.0}, "capacity must be above 0, not -1.0"),
        ({"demand": -1.0}, "demand must be 0 or more, not -1.0"),
        ({"turning": (0.5, 0.5, 0.5)}, r"sum to 1; it is \(0.5, 0.5, 0.5\)"),
        ({"turning": (1.5, -0.5, 0.0)}, r"sum to 1; it is \(1.5, -0.5, 0.0\)"),
        ({"yellow": 11.0}, "from 0 to the interval, 10.0, not 11.0"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Traffic(**setting)


def test_frames_tell_states_apart() -> None:
    state = empty(SMALL)
    other = dataclasses.replace(SMALL, demand=1.0)
    after, _, _ = other.step(state, torch.full((1, 6), 3), torch.Generator().manual_seed(0))
    assert SMALL.render(state).tobytes() != SMALL.render(after).tobytes()
    assert SMALL.render(state).shape == SMALL.render(after).shape


def test_the_pettingzoo_contract() -> None:
    check_contract(lambda: ParallelView(Traffic(rows=1, columns=2, horizon=5)))
