import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from games.adapters import ForeignGame, from_pettingzoo
from games.adapters._layout import observation_layouts
from tests.games.adapters.foreign_environments import random_actions, seeds, started


def environment(module: str, **settings: Any) -> Callable[[], Any]:
    """A parallel environment's maker; skips where it, or what it draws with, is not installed."""
    reason = f"{module} is part of the extra: pip install '.[environments]'"
    for needed in ("pygame", *(["pymunk"] if "piston" in module else []), module):
        pytest.importorskip(needed, reason=reason)
    return functools.partial(pytest.importorskip(module, reason=reason).parallel_env, **settings)


def check_against_the_environment(
    build: Callable[[], Any], copies: int = 2, **how: Any
) -> tuple[ForeignGame, bool]:
    """Step the game and, beside it, each environment by itself; tell whether some left before others."""
    game, state, generator = started(build, copies, **how)
    singles = [build() for _ in range(copies)]
    shown = [
        single.reset(seed=seed)[0]
        for single, seed in zip(singles, seeds(copies, torch.Generator().manual_seed(0)), strict=True)
    ]
    names = singles[0].possible_agents
    draws = torch.Generator().manual_seed(1)
    done, left_early = torch.zeros(copies, dtype=torch.bool), False
    views = observation_layouts({name: singles[0].observation_space(name) for name in names}, "", False, True)
    for _ in range(game.horizon):
        for copy, single in enumerate(singles):
            for i, name in enumerate(names):
                if name in shown[copy]:
                    expected = torch.as_tensor(views[i].encode(shown[copy][name]))
                    assert torch.equal(game.observe(state)[copy, i], expected)
            assert state.present[copy].tolist() == [name in single.agents for name in names]
        actions = random_actions(game, state, draws)
        state, rewards, done = game.step(state, actions, generator)
        for copy, single in enumerate(singles):
            if not single.agents:
                assert not rewards[copy].any()
                continue
            present = {name: int(actions[copy, i]) for i, name in enumerate(names) if name in single.agents}
            shown[copy], paid, _, _, _ = single.step(present)
            expected = torch.tensor([float(paid.get(name, 0)) for name in names])
            assert torch.equal(rewards[copy], expected)
            assert bool(done[copy]) == (not single.agents)
        left_early |= bool((state.present.any(-1) & ~state.present.all(-1)).any())
    assert done.all()
    return game, left_early


def test_rock_paper_scissors() -> None:
    build = environment("pettingzoo.classic.rps_v2", max_cycles=3, render_mode="rgb_array")
    game, _ = check_against_the_environment(build)
    assert (game.name, game.num_agents, game.horizon) == ("rps_v2", 2, 3)
    assert game.observation_space == spaces.Discrete(4)
    state = game.reset(2, torch.Generator())
    assert state.observations.tolist() == [[3, 3], [3, 3]]  # nothing seen yet
    rock, paper, scissors = range(3)
    state, rewards, _ = game.step(state, torch.tensor([[rock, paper], [rock, scissors]]), torch.Generator())
    assert rewards.tolist() == [[-1, 1], [1, -1]]
    assert state.observations.tolist() == [[paper, rock], [scissors, rock]]
    assert game.render(state).shape[-1] == 3


def test_knights_archers_zombies_whose_agents_die_early() -> None:
    build = environment("pettingzoo.butterfly.knights_archers_zombies_v11", max_cycles=200, spawn_delay=2)
    game, left_early = check_against_the_environment(build)
    assert left_early
    assert (game.num_agents, game.observation_space.shape) == (4, (27, 5))
    assert from_pettingzoo(build, flat=True).observation_space.shape == (135,)


def test_cooperative_pong_is_seen_as_an_image() -> None:
    build = environment("pettingzoo.butterfly.cooperative_pong_v6", max_cycles=3, render_mode="rgb_array")
    height, width, channels = build().observation_space("paddle_0").shape
    game, _ = check_against_the_environment(build, horizon=3)
    assert game.observation_space == spaces.Box(0.0, 1.0, (channels, height, width), dtype=np.float32)


def test_continuous_pistons_move_as_they_are_told() -> None:
    build = environment("pettingzoo.butterfly.pistonball_v6", continuous=True, n_pistons=3, max_cycles=2)
    game, state, generator = started(build, flat=True)
    assert game.action_space == spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
    assert game.action_mask(state) is None
    single = build()
    single.reset(seed=seeds(1, torch.Generator().manual_seed(0))[0])
    actions = torch.tensor([[[0.25], [-1.0], [1.0]]])
    _, rewards, _ = game.step(state, actions, generator)
    told = {agent: actions[0, i].numpy() for i, agent in enumerate(single.possible_agents)}
    paid = single.step(told)[1]
    assert torch.equal(rewards[0], torch.tensor([float(paid[agent]) for agent in single.possible_agents]))


@pytest.mark.parametrize(("name", "features"), [("simple_spread_v3", 18), ("simple_tag_v3", 16)])
def test_particles(name: str, features: int) -> None:
    game, _ = check_against_the_environment(environment(f"mpe2.{name}", max_cycles=10))
    assert (game.name, game.observation_space.shape) == (name, (features,))
    assert int(game.action_space.n) == 5
