"""A PettingZoo environment to bring in, and what tests of such games share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from games.adapters import ForeignGame, from_pettingzoo
from games.adapters._foreign_game import SEEDS

UNIT = spaces.Box(0.0, 1.0, (1,), dtype=np.float32)


class StandIn(ParallelEnv):
    """Agents "a" and "b" see a number that grows, are paid their actions, and leave after so many steps."""

    metadata = {"name": "stand_in_v0", "render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(
        self,
        observed: dict[str, spaces.Space] | None = None,
        acting: dict[str, spaces.Space] | None = None,
        show: Callable[[str, float], Any] = lambda agent, time: [time],
        lives: dict[str, int] | None = None,
        info: dict[str, Any] | None = None,
        truncates: bool = False,
        max_cycles: int | None = 4,
        render_mode: str | None = "ansi",
    ) -> None:
        everybody = {"a": UNIT, "b": UNIT}
        self.observed = observed or everybody
        self.acting = acting or {agent: spaces.Discrete(3) for agent in self.observed}
        self.possible_agents = list(self.observed)
        self.show, self.lives, self.info, self.truncates = show, lives or {}, info or {}, truncates
        self.max_cycles, self.render_mode = max_cycles, render_mode

    def observation_space(self, agent):
        return self.observed[agent]

    def action_space(self, agent):
        return self.acting[agent]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.time, self.first = 0, np.random.default_rng(seed).random() / 2
        return self._shown(), self._infos()

    def step(self, actions):
        assert list(actions) == self.agents
        self.time += 1
        acted, shown, infos = self.agents, self._shown(), self._infos()
        leaving = {agent: self.time >= self.lives.get(agent, 4) for agent in acted}
        self.agents = [agent for agent in acted if not leaving[agent]]
        nobody = dict.fromkeys(acted, False)
        flags = (nobody, leaving) if self.truncates else (leaving, nobody)
        return shown, {agent: float(actions[agent]) for agent in acted}, *flags, infos

    def render(self):
        return f"time {self.time}\n{len(self.agents)} agents"

    def _shown(self):
        return {agent: self.show(agent, self.first + self.time / 8) for agent in self.agents}

    def _infos(self):
        return {agent: dict(self.info) for agent in self.agents}


def started(
    make_env: Callable[[], Any], copies: int = 1, **how: Any
) -> tuple[ForeignGame, Any, torch.Generator]:
    game = from_pettingzoo(make_env, **how)
    generator = torch.Generator().manual_seed(0)
    return game, game.reset(copies, generator), generator


def seeds(copies: int, generator: torch.Generator) -> list[int]:
    """What a game opened in so many copies draws from this generator."""
    return torch.randint(SEEDS, (copies,), generator=generator).tolist()


def random_actions(game: ForeignGame, state: Any, generator: torch.Generator) -> torch.Tensor:
    allowed = game.action_mask(state).float().flatten(0, 1)
    return torch.multinomial(allowed, 1, generator=generator).reshape(-1, game.num_agents)
