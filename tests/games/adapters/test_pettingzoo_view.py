"""The PettingZoo view of every game in the catalogue: PettingZoo's own tests, and a stricter contract."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.test.max_cycles_test import max_cycles_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import parallel_to_aec, parallel_to_aec_wrapper
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from games.adapters import ParallelView, env, parallel_env, raw_env
from games.core import Game
from games.grid import StagHuntGrid
from games.matrix import ContinuousCournot, EscapeRoom
from games.matrix._escape_room import DOOR, LEVER, START
from tests.games.adapters.pettingzoo_contract import GAMES, check_contract, draws_nothing, every_game


def ignore(*sentences: str) -> None:
    """Within `warnings.catch_warnings`: let exactly these opinions of PettingZoo's tests pass."""
    for sentence in sentences:
        warnings.filterwarnings("ignore", message=f"{sentence}$", category=UserWarning)


def ignore_opinions(game: Game) -> None:
    """PettingZoo warns about what is unusual, not wrong; each of these belongs to a kind of game."""
    if getattr(game, "time_out", 0) > 0 or isinstance(game, StagHuntGrid):
        # Who is away, or has hunted, sees nothing.
        ignore(r"Observation numpy array is all zeros\.")
    if isinstance(game, ContinuousCournot):
        # Nothing was sold before the first step.
        ignore(r"Observation numpy array is all zeros\.", r"State numpy array is all zeros\.")
    if isinstance(game.observation_space, Discrete):
        # A number says all there is to see, so it is not wrapped in an array.
        ignore("Observation is not a NumPy array", r"State numpy array is all zeros\.")
        if game.num_agents == 1:
            ignore("State is a single number")
        if game.observation_space.n == 1:  # one-shot: there is nothing to see
            ignore("Environment's maximum and minimum state space values are equal")
    elif isinstance(game, EscapeRoom) and game.observe_gifts:
        # What an agent has given has no bounds.
        ignore(
            r"Agent's minimum observation space value is -infinity\. This is probably too low\.",
            r"Agent's maximum observation space value is infinity\. This is probably too high",
            r"Environment's minimum state space value is -infinity\. This is probably too low\.",
            r"Environment's maximum state space value is infinity\. This is probably too high",
        )


@every_game
def test_contract(game: Game):
    check_contract(lambda: ParallelView(game))


@every_game
def test_pettingzoo_parallel(game: Game):
    parallel_api_test(ParallelView(game), num_cycles=25)
    parallel_seed_test(lambda: ParallelView(game), num_cycles=25)


@every_game
def test_pettingzoo_turn_based(game: Game):
    with warnings.catch_warnings():
        ignore_opinions(game)
        api_test(parallel_to_aec(ParallelView(game)), num_cycles=25)
        seed_test(lambda: env(game), num_cycles=25)
        state_test(env(game), ParallelView(game))


def test_pettingzoo_max_cycles():
    def longer(factory):
        return lambda max_cycles: factory("repeated-chicken", max_cycles=max_cycles)

    max_cycles_test(SimpleNamespace(parallel_env=longer(parallel_env), env=longer(env)))


def test_the_catalogue_holds_both_kinds_of_observation_and_both_kinds_of_end():
    """Otherwise the tests above would pass over a branch."""
    kinds = {type(game.observation_space) for game in GAMES.values()}
    assert kinds == {Box, Discrete}
    assert {draws_nothing(game) for game in GAMES.values()} == {True, False}


def test_escape_room_by_hand():
    view = parallel_env("escape-room", render_mode="ansi")
    observations, infos = view.reset(seed=0)
    assert {agent: seen.tolist() for agent, seen in observations.items()} == {
        "agent_0": [0, 1, 0, 0, 1, 0, 0],
        "agent_1": [0, 1, 0, 0, 1, 0, 0],
    }
    assert infos == {"agent_0": {}, "agent_1": {}}
    assert view.render() == "step 0: nobody has acted yet"
    view.step({"agent_0": np.int32(DOOR), "agent_1": np.int64(START)})
    assert view.render() == "step 1: agent_0 door -1, agent_1 start 0"
    observations, rewards, terminations, truncations, infos = view.step({"agent_1": LEVER, "agent_0": DOOR})
    assert observations["agent_1"].tolist() == [1, 0, 0, 0, 0, 1, 0]
    assert view.state().tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert rewards == {"agent_0": 10.0, "agent_1": -1.0}
    assert terminations == {"agent_0": True, "agent_1": True}
    assert truncations == {"agent_0": False, "agent_1": False}
    assert infos == {"agent_0": {"cooperated": False}, "agent_1": {"cooperated": True}}
    assert view.agents == []


def test_continuous_actions_by_hand():
    view = parallel_env("cournot-continuous", render_mode="ansi")
    view.reset()
    assert view.action_space("agent_0") == Box(0.0, 45.0, (1,), dtype=np.float32)
    with pytest.raises(ValueError, match=r"agent_1's action must be an array of shape \(1,\) from"):
        view.step({"agent_0": np.array([30.0]), "agent_1": 20.0})
    _, rewards, _, _, infos = view.step({"agent_0": np.array([30.0]), "agent_1": [20]})
    assert rewards == {"agent_0": 1200.0, "agent_1": 800.0}
    assert infos == {"agent_0": {}, "agent_1": {}}
    assert view.render() == "step 1: agent_0 30 1200, agent_1 20 800"


def test_an_end_by_the_rules_in_the_last_cycle_is_no_truncation():
    view = ParallelView(EscapeRoom(), max_cycles=1)
    view.reset()
    _, _, terminations, truncations, _ = view.step({"agent_0": LEVER, "agent_1": DOOR})
    assert (terminations["agent_0"], truncations["agent_0"]) == (True, False)


def test_observations_are_the_callers_own():
    view = ParallelView(EscapeRoom())
    observations, _ = view.reset()
    before = view.state()
    observations["agent_0"][:] = 7
    view.state()[:] = 7
    assert np.array_equal(view.state(), before)
    assert observations["agent_1"].max() == 1


def test_without_a_seed_environments_differ():
    game = EscapeRoom(agents=30, random_start=True)
    assert not np.array_equal(*[_first_state(ParallelView(game), None) for _ in range(2)])
    assert not np.array_equal(*[_first_state(ParallelView(game), seed) for seed in (1, 2)])
    view = ParallelView(game)
    assert not np.array_equal(_first_state(view, 3), _first_state(view, None))


def _first_state(view: ParallelView, seed: int | None) -> np.ndarray:
    view.reset(seed=seed)
    return view.state()


def test_frames_are_the_games():
    game = EscapeRoom()
    view = ParallelView(game, render_mode="rgb_array")
    view.reset()
    first = view.render()
    view.step({"agent_0": LEVER, "agent_1": START})
    assert first.dtype == np.uint8
    assert not np.array_equal(first, view.render())


def test_names_and_modes():
    assert str(parallel_env("escape-room")) == "escape-room"
    assert str(ParallelView(EscapeRoom())) == "EscapeRoom"
    view = parallel_env("escape-room", agents=3, levers=2, max_cycles=2)
    assert (view.game, view.max_cycles) == (EscapeRoom(agents=3, levers=2), 2)
    assert set(view.metadata["render_modes"]) == {"rgb_array", "ansi", "human"}
    assert ParallelView.metadata["name"] == "game"  # naming one view does not name the others


def test_only_env_guards_the_order_of_calls():
    assert isinstance(env("escape-room"), OrderEnforcingWrapper)
    assert type(raw_env("escape-room")) is parallel_to_aec_wrapper


def test_calls_out_of_order_are_refused():
    view = ParallelView(EscapeRoom(), render_mode="ansi")
    for call in (view.state, view.render, lambda: view.step({"agent_0": 0, "agent_1": 0})):
        with pytest.raises(ResetNeeded, match=r"No episode has begun: call reset\(\) first"):
            call()
    view.reset()
    view.step({"agent_0": LEVER, "agent_1": DOOR})
    with pytest.raises(ResetNeeded, match="The episode has ended"):
        view.step({"agent_0": 0, "agent_1": 0})


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="no render mode 'humans'; there are rgb_array, ansi, human, and"):
        ParallelView(EscapeRoom(), render_mode="humans")
    with pytest.raises(ValueError, match="max_cycles is 0"):
        ParallelView(EscapeRoom(), max_cycles=0)
    with pytest.raises(ValueError, match="There is no game 'escape-rom'"):
        parallel_env("escape-rom")
    with pytest.raises(
        ValueError, match=r"Settings \(levers\) need a game's name; EscapeRoom is already made"
    ):
        parallel_env(EscapeRoom(), levers=1)
    view = ParallelView(EscapeRoom())
    view.reset()
    with pytest.raises(ValueError, match=r"render\(\) needs a mode"):
        view.render()
