"""A batch of drawn games equals its members bit for bit, and a generator decides everything."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make, names
from games.core import DrawnGame, State
from tests.games.random_play import random_actions

GAMES = {name: game for name in names() if isinstance(game := make(name), DrawnGame)}
every_drawn_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def rows(tensors: tuple[Tensor, ...], index: int) -> tuple[Tensor, ...]:
    return tuple(tensor[index : index + 1] for tensor in tensors)


def everything(game: DrawnGame, state: State, actions: Tensor) -> tuple[Tensor, ...]:
    """The state and what can be read off it."""
    cooperative = actions % 2 == 0
    told = game.scripted(state, cooperative), game.cooperates(state, actions)
    return (*state, game.observe(state), *(answer for answer in told if answer is not None))


def assert_same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


@every_drawn_game
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32), batch=st.integers(2, 20))
def test_a_batch_equals_its_members(game: DrawnGame, seed: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(batch, game.start_draws, generator=generator)
    one = int(torch.randint(batch, (), generator=generator))
    state, member = game.begin(draws), game.begin(draws[one : one + 1])
    for _ in range(min(game.horizon, 12)):
        actions = random_actions(game, batch, generator)
        draws = torch.rand(batch, game.step_draws, generator=generator)
        copies = [tensor.clone() for tensor in state]
        whole, alone = everything(game, state, actions), everything(game, member, actions[one : one + 1])
        assert_same(rows(whole, one), alone)
        after, rewards, done = game.advance(state, actions, draws)
        assert_same(tuple(copies), tuple(state))  # nothing is changed in place
        member, own, over = game.advance(member, actions[one : one + 1], draws[one : one + 1])
        assert_same(rows((*after, rewards, done), one), (*member, own, over))
        state = after


@every_drawn_game
def test_the_generator_decides_everything(game: DrawnGame) -> None:
    runs: list[list[tuple[Tensor, ...]]] = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(5)
        state = game.reset(3, generator)
        runs.append([tuple(state)])
        for _ in range(5):
            actions = random_actions(game, 3, generator)
            state, rewards, _ = game.step(state, actions, generator)
            runs[-1].append((*state, rewards))
    for one, other in zip(*runs, strict=True):
        assert_same(one, other)


@every_drawn_game
def test_a_restart_leaves_the_others_alone(game: DrawnGame) -> None:
    generator = torch.Generator().manual_seed(1)
    state = game.reset(3, generator)
    for _ in range(3):
        actions = random_actions(game, 3, generator)
        state, _, _ = game.step(state, actions, generator)
    twin = torch.Generator()
    twin.set_state(generator.get_state())
    after, fresh = game.restart(state, torch.tensor([False, True, False]), generator), game.reset(3, twin)
    assert_same(tuple(tensor[[0, 2]] for tensor in state), tuple(tensor[[0, 2]] for tensor in after))
    assert_same(rows(fresh, 1), rows(after, 1))


@every_drawn_game
def test_scripted_actions_are_legal(game: DrawnGame) -> None:
    generator = torch.Generator().manual_seed(2)
    state = game.reset(4, generator)
    for _ in range(min(game.horizon, 10)):
        actions = game.scripted(state, torch.rand(4, game.num_agents, generator=generator) < 0.5)
        if actions is None:
            return
        assert actions.shape == (4, game.num_agents)
        assert ((actions >= 0) & (actions < game.action_space.n)).all()
        state, _, _ = game.step(state, actions, generator)


def test_a_stream_of_draws_is_the_same_however_it_is_taken() -> None:
    """`step` is `advance` with a row of fresh draws for each copy."""
    game: Any = dataclasses.replace(GAMES["coin-game"])
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    state = game.reset(4, first)
    assert_same(tuple(state), tuple(game.begin(torch.rand(4, game.start_draws, generator=second))))
    actions = torch.zeros(4, 2, dtype=torch.int64)
    stepped = game.step(state, actions, first)
    advanced = game.advance(state, actions, torch.rand(4, game.step_draws, generator=second))
    assert_same((*stepped[0], *stepped[1:]), (*advanced[0], *advanced[1:]))
