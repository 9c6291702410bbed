"""Shared rewards in any parallel environment, with agents who leave before the others."""

from __future__ import annotations

import pickle
import warnings
from typing import Any, ClassVar

import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from pettingzoo.test.example_envs import generated_agents_parallel_v0
from pettingzoo.utils.conversions import parallel_to_aec
from pettingzoo.utils.env import ParallelEnv

from games import make
from games.adapters._parallel_env import ParallelView
from games.matrix import EscapeRoom
from games.wrappers import shared
from games.wrappers._shared_environment import SharedParallelEnv

THIRDS = np.full((3, 3), 1 / 3)


class Leaving(ParallelEnv):
    """Three agents; "b" leaves after the first step, the others after the third. Actions are what is paid."""

    metadata: ClassVar[dict[str, Any]] = {"name": "leaving", "render_modes": []}
    possible_agents: ClassVar[list[str]] = ["a", "b", "c"]
    render_mode = None

    def __init__(self, pay_the_absent: bool = False) -> None:
        self.pay_the_absent = pay_the_absent
        self.agents: list[str] = []
        self._spaces = {agent: spaces.Box(0, 10, (2,)) for agent in self.possible_agents}
        self._actions = {agent: spaces.Discrete(10) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Box:
        return self._spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        return self._actions[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.agents, self.time = list(self.possible_agents), 0
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        self.time += 1
        here = self.agents
        over = {agent: self.time == (1 if agent == "b" else 3) for agent in here}
        rewards: dict[str, Any] = {agent: np.float32(actions[agent]) for agent in here}
        if self.pay_the_absent:
            rewards |= {agent: 100 for agent in self.possible_agents if agent not in here}
        seen, never = self._seen(), dict.fromkeys(here, False)
        self.agents = [agent for agent in here if not over[agent]]
        return seen, rewards, over, never, {agent: {"time": self.time} for agent in here}

    def _seen(self) -> dict[str, np.ndarray]:
        return {agent: np.array([1 + self.time, 5], dtype=np.float32) for agent in self.agents}

    def render(self) -> None:
        return None

    def close(self) -> None:
        return None


@pytest.mark.parametrize("pay_the_absent", [False, True])
def test_who_has_left_neither_gives_nor_receives(pay_the_absent: bool) -> None:
    env = shared(Leaving(pay_the_absent), THIRDS)
    env.reset()
    _, rewards, _, _, infos = env.step({"a": 3, "b": 6, "c": 0})
    assert rewards == pytest.approx({"a": 3, "b": 3, "c": 3}, abs=1e-12)
    assert {agent: info["extrinsic_reward"] for agent, info in infos.items()} == {"a": 3, "b": 6, "c": 0}
    assert infos["b"]["time"] == 1
    assert env.agents == ["a", "c"]
    _, rewards, _, _, infos = env.step({"a": 3, "c": 0})
    # What "a" would have given "b" it keeps: two thirds of 3.
    expected = {"a": 2, "c": 1} | ({"b": 100} if pay_the_absent else {})
    assert rewards == pytest.approx(expected, abs=1e-12)
    assert all(type(reward) is float for reward in rewards.values())


@given(
    seed=st.integers(0, 2**32),
    actions=st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=3, max_size=3),
)
@settings(max_examples=50)
def test_the_total_of_those_who_are_there_is_conserved(seed: int, actions: list[tuple[int, ...]]) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(3), size=3)
    env = shared(Leaving(), shares)
    env.reset()
    for joint in actions:
        named = {agent: joint["abc".index(agent)] for agent in env.agents}
        _, rewards, _, _, infos = env.step(named)
        assert sum(rewards.values()) == pytest.approx(sum(named.values()), abs=1e-12)
        assert {agent: info["extrinsic_reward"] for agent, info in infos.items()} == named
    assert env.agents == []


def test_sharing_a_view_is_viewing_a_shared_game() -> None:
    game = EscapeRoom(agents=3, levers=1, random_start=True, observe_gifts=False)
    shares = ((0.6, 0.2, 0.2), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5))
    one, other = shared(ParallelView(game), shares), ParallelView(shared(game, shares))
    draws = np.random.default_rng(0)
    for seed in (3, None):
        assert str(one.reset(seed=seed)) == str(other.reset(seed=seed))
        while one.agents:
            actions = {agent: int(draws.integers(3)) for agent in one.agents}
            mine, theirs = one.step(actions), other.step(actions)
            assert mine[1] == pytest.approx(theirs[1], abs=1e-6)
            assert mine[2:4] == theirs[2:4]
            assert all(mine[4][agent] == pytest.approx(theirs[4][agent], abs=1e-6) for agent in mine[4])
            assert all(np.array_equal(mine[0][agent], theirs[0][agent]) for agent in mine[0])
        assert not other.agents


def test_pettingzoo_accepts_it() -> None:
    parallel_api_test(shared(Leaving(), THIRDS), num_cycles=10)
    parallel_seed_test(lambda: shared(Leaving(), THIRDS), num_cycles=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend agents to be named", category=UserWarning)
        api_test(parallel_to_aec(shared(Leaving(), THIRDS)), num_cycles=10)


def test_it_is_the_environment_in_all_else() -> None:
    env = shared(ParallelView(make("chicken"), render_mode="rgb_array"), np.eye(2))
    env.reset(seed=0)
    assert env.unwrapped is env.env
    assert env.render().dtype == np.uint8
    assert (env.render_mode, env.possible_agents) == ("rgb_array", ["agent_0", "agent_1"])
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step({"agent_0": 0, "agent_1": 1})[1] == env.step({"agent_0": 0, "agent_1": 1})[1]
    env.close()


def test_an_environment_of_pettingzoo() -> None:
    pytest.importorskip("pygame", reason="PettingZoo's own environments need pygame: pip install pygame")
    env = shared(pettingzoo.make("parallel", "classic/rps_v2", max_cycles=3), [[0.75, 0.25], [0.5, 0.5]])
    first, second = env.possible_agents
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step({first: 1, second: 0})  # paper covers rock
    assert infos[first]["extrinsic_reward"] == 1
    assert rewards == {first: 0.75 - 0.5, second: 0.25 - 0.5}
    parallel_api_test(env, num_cycles=10)


def generous(seen: Any, actions: Any) -> dict[str, dict[str, float]]:
    """ "a" gives 2 to "b" and to itself; everybody gives "c" what they saw."""
    return {"a": {"a": 2, "b": 2, "c": seen["a"][0]}, "b": {"c": seen["b"][0] if "b" in seen else 50}}


@pytest.mark.parametrize("givers_pay", [False, True])
def test_incentives_by_hand(givers_pay: bool) -> None:
    env = SharedParallelEnv(Leaving(), generous, givers_pay=givers_pay)
    env.reset()
    _, rewards, _, _, infos = env.step({"a": 3, "b": 6, "c": 0})
    cost = {"a": 3, "b": 1, "c": 0} if givers_pay else dict.fromkeys("abc", 0)
    assert rewards == {"a": 3 - cost["a"], "b": 8 - cost["b"], "c": 2}
    assert infos["b"]["extrinsic_reward"] == 6
    _, rewards, *_ = env.step({"a": 3, "c": 0})
    # What was seen last is 2; "b" is gone, with what it was to give and to get.
    assert rewards == {"a": 3 - 2 * givers_pay, "c": 2}


def test_bad_environments_and_incentives_are_refused() -> None:
    with pytest.raises(ValueError, match="generated_agents_parallel_v0 does not list its possible_agents"):
        shared(generated_agents_parallel_v0.parallel_env(), THIRDS)
    with pytest.raises(ValueError, match=r"misses 1 by -0\.5"):
        shared(Leaving(), np.diag([1, 1, 0.5]))
    with pytest.raises(ValueError, match="givers pay in any case"):
        shared(Leaving(), THIRDS, givers_pay=True)
    env = shared(Leaving(), lambda seen, actions: {"a": {"z": 1.0}})
    env.reset()
    with pytest.raises(ValueError, match="no agent 'z' among the possible_agents a, b, c"):
        env.step({"a": 0, "b": 0, "c": 0})
