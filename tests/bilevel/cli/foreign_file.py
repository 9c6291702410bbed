"""A file for --load: environments of others, each registered in one line."""

import importlib.util

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

import games
from games.adapters import env


class Meeting(ParallelEnv):
    """Two unlike agents on a windy line are paid for being near; "b", who sees less, may leave early."""

    metadata = {"name": "meeting_v0", "render_modes": ["ansi"]}  # noqa: RUF012
    possible_agents = ["a", "b"]  # noqa: RUF012

    def __init__(self, wind: float = 0.5, max_cycles: int = 3, render_mode: str | None = None):
        if wind < 0:
            raise ValueError("a wind below 0\nblows nowhere")
        self.wind, self.max_cycles, self.render_mode = wind, max_cycles, render_mode

    def observation_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (3 if agent == "a" else 1,), dtype=np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3 if agent == "a" else 2)

    def reset(self, seed=None, options=None):
        self.draws = np.random.default_rng(seed)
        self.places, self.time = self.draws.normal(size=2), 0
        self.agents = list(self.possible_agents)
        return self._shown(), {agent: {} for agent in self.agents}

    def step(self, actions):
        if self.wind > 90 and self.time:
            raise OSError("the wind\nhas taken the boat")
        self.time += 1
        for agent, action in actions.items():
            self.places["ab".index(agent)] += action - 1 + self.wind * self.draws.normal()
        paid = -abs(self.places[0] - self.places[1])
        acted, late = self.agents, self.time >= self.max_cycles
        leaves = {agent: agent == "b" and self.draws.random() < 0.3 for agent in acted}
        shown, infos = self._shown(), {agent: {} for agent in acted}
        self.agents = [] if late else [agent for agent in acted if not leaves[agent]]
        return shown, dict.fromkeys(acted, paid), leaves, dict.fromkeys(acted, late), infos

    def render(self):
        return f"time {self.time}: {self.places.round(2).tolist()}"

    def _shown(self):
        here = {"a": [*self.places, self.time], "b": [self.places[1]]}
        return {agent: np.array(here[agent], dtype=np.float32) for agent in self.agents}


def parallel_env(**settings):
    """As PettingZoo's modules write it."""
    return Meeting(**settings)


class Aim(gymnasium.Env):
    """One shot at a target that is shown: the reward is minus the squared miss."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
    action_space = spaces.Box(-2.0, 2.0, (1,), dtype=np.float32)

    def __init__(self, steps: int = 1):
        self.steps = steps

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.target, self.time = self.np_random.uniform(-1, 1, 1).astype(np.float32), 0
        return self.target, {}

    def step(self, action):
        self.time += 1
        return (
            self.target,
            -float((action - self.target) @ (action - self.target)),
            self.time >= self.steps,
            False,
            {},
        )


games.register("meeting", games.from_pettingzoo(parallel_env))
games.register("in-turn", games.from_pettingzoo(env, game="prisoners-dilemma"))
games.register("pole", games.from_gymnasium("CartPole-v1", max_episode_steps=4))
games.register("aim", games.from_gymnasium(Aim, horizon=1))
if importlib.util.find_spec("pyspiel"):
    games.register("tic-tac-toe", games.from_openspiel("tic_tac_toe"))
