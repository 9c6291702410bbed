"""What every game of draws must keep to: `check_drawn(game, seed)` plays it at random and looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from games.core import DrawnGame


def check_drawn(game: DrawnGame, seed: int, batch: int = 4) -> None:
    """Run every check below."""
    check_a_batch_equals_its_members(game, seed, batch)
    check_every_step(game, seed, batch)
    check_restarts(game, seed, batch)


def random_actions(game: DrawnGame, batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(int(game.action_space.n), (batch, game.num_agents), generator=generator)


def episode(game: DrawnGame, seed: int, batch: int) -> Iterator[tuple[Any, Tensor, Any, Tensor, Tensor]]:
    """State, actions, next state, rewards and done of each step up to the horizon, at random.

    What a copy does after its end has no meaning: look at it only as long as it is not done.
    """
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(batch, generator)
    for _ in range(game.horizon):
        actions = random_actions(game, batch, generator)
        after, rewards, done = game.step(state, actions, generator)
        yield state, actions, after, rewards, done
        state = after


def check_a_batch_equals_its_members(game: DrawnGame, seed: int, batch: int) -> None:
    """Bit for bit, each copy being played alone on its own row of the draws."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(batch, game.start_draws, generator=generator)
    state, members = game.begin(draws), [game.begin(draws[i : i + 1]) for i in range(batch)]
    for _ in range(game.horizon):
        draws = torch.rand(batch, game.step_draws, generator=generator)
        actions = random_actions(game, batch, generator)
        state, rewards, done = game.advance(state, actions, draws)
        seen = game.observe(state)
        for i in range(batch):
            row = slice(i, i + 1)
            members[i], own, over = game.advance(members[i], actions[row], draws[row])
            pairs = [*zip(members[i], state, strict=True), (own, rewards), (over, done)]
            assert all(torch.equal(mine[0], whole[i]) for mine, whole in pairs)
            assert torch.equal(game.observe(members[i])[0], seen[i])


def check_every_step(game: DrawnGame, seed: int, batch: int) -> None:
    """Shapes and types, observations inside their space, nothing changed in place, an end at the horizon."""
    shape, space = (batch, game.num_agents), game.observation_space
    generator = torch.Generator().manual_seed(seed)
    state, going = game.reset(batch, generator), torch.ones(batch, dtype=torch.bool)
    for time in range(1, game.horizon + 1):
        copies = [field.clone() for field in state]
        actions = random_actions(game, batch, generator)
        cooperates = game.cooperates(state, actions)
        script = game.scripted(state, torch.rand(shape, generator=generator) < 0.5)
        after, rewards, done = game.step(state, actions, generator)
        assert cooperates is not None
        assert script is not None
        assert (cooperates.dtype, cooperates.shape) == (torch.bool, shape)
        assert (script.dtype, script.shape) == (torch.int64, shape)
        assert ((script >= 0) & (script < game.action_space.n)).all()
        assert (rewards.dtype, rewards.shape) == (torch.float32, shape)
        assert (done.dtype, done.shape) == (torch.bool, (batch,))
        assert torch.equal(done[going], (game.ended(after) | (time == game.horizon))[going])
        for each in (state, after):
            assert all(space.contains(agent) for copy in game.observe(each).numpy() for agent in copy)
        assert all(torch.equal(field, old) for field, old in zip(state, copies, strict=True))
        state, going = after, going & ~done
    assert not going.any()


def check_restarts(game: DrawnGame, seed: int, batch: int) -> None:
    """Done copies start anew; the others stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(batch, generator)
    state, *_ = game.step(state, random_actions(game, batch, generator), generator)
    done = torch.arange(batch) % 2 == 0
    stream = generator.clone_state()
    restarted, fresh = game.restart(state, done, generator), game.reset(batch, stream)
    for new, start, old in zip(restarted, fresh, state, strict=True):
        assert torch.equal(new[done], start[done])
        assert torch.equal(new[~done], old[~done])
