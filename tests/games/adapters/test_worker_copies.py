import functools
import gc
import multiprocessing
import os
from collections.abc import Iterator

import pytest
import torch
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from games import make
from games.adapters import ForeignGame, from_pettingzoo, parallel_env
from games.core import CopyError
from tests.games.adapters.foreign_environments import random_actions, started


def episode(game: ForeignGame) -> Iterator[torch.Tensor]:
    """Everything that comes out of a few steps with restarts."""
    generator, draws = torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)
    state = game.reset(3, generator)
    for _ in range(7):
        yield game.observe(state)
        state, rewards, done = game.step(state, random_actions(game, state, draws), generator)
        yield rewards
        yield done
        state = game.restart(state, done, generator)
    yield torch.from_numpy(game.render(state, index=2))


def test_workers_change_nothing_and_leave_when_told() -> None:
    build = functools.partial(
        parallel_env, make("escape-room", random_start=True, horizon=3), render_mode="rgb_array"
    )
    children = set(multiprocessing.active_children())
    with from_pettingzoo(build, workers=2) as game:
        alone = from_pettingzoo(build)
        for mine, theirs in zip(episode(game), episode(alone), strict=True):
            assert torch.equal(mine, theirs)
        assert len(set(multiprocessing.active_children()) - children) == 2
    assert set(multiprocessing.active_children()) == children
    game.close()  # a second time does nothing


def fragile() -> ParallelEnv:
    """An environment defined where no worker can import it, which fails in two ways."""

    class Fragile(ParallelEnv):
        metadata = {"name": "fragile_v0"}  # noqa: RUF012
        possible_agents = ["a"]  # noqa: RUF012
        max_cycles = 9
        observation_space = action_space = lambda self, agent: spaces.Discrete(3)

        def reset(self, seed=None, options=None):
            self.agents, self.sound = ["a"], seed == 0  # with which environments are tried
            return {"a": 0}, {"a": {}}

        def step(self, actions):
            action = 0 if self.sound else actions["a"]
            if action == 2:
                os._exit(7)
            return {"a": 0}, {"a": 1 / (1 - action)}, {"a": False}, {"a": False}, {"a": {}}

    return Fragile()


def test_a_failure_names_the_copy_even_if_its_process_is_gone() -> None:
    children = set(multiprocessing.active_children())
    game, state, generator = started(lambda: fragile(), copies=3, workers=2)
    with pytest.raises(CopyError, match="Copy 1 failed: ZeroDivisionError"):
        game.step(state, torch.tensor([[0], [1], [0]]), generator)
    with pytest.raises(ValueError, match="not the latest state of fragile_v0"):
        game.step(state, torch.tensor([[0], [0], [0]]), generator)
    state = game.reset(3, generator)  # the processes live on
    with pytest.raises(CopyError, match=r"Copy 2 .* worker process of copies 2 to 2 \(exit code 7\)"):
        game.step(state, torch.tensor([[0], [0], [2]]), generator)
    with pytest.raises(CopyError, match=r"copies 2 to 2"):
        game.reset(3, generator)
    del game, state
    gc.collect()
    assert set(multiprocessing.active_children()) == children


def test_a_failure_in_this_process_names_the_copy_too() -> None:
    game, state, generator = started(fragile, copies=2)
    with pytest.raises(CopyError, match="Copy 1 failed: ZeroDivisionError: division by zero") as failure:
        game.step(state, torch.tensor([[0], [1]]), generator)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)
