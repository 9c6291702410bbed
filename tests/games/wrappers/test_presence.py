"""Agents that have left are paid nothing: what would go to them stays with its giver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.grid import StagHuntGrid
from games.grid._stag_hunt import HUNT, StagHuntState
from games.wrappers import share_among_present, shared, zero_sum


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Games pay in the default type: laws are tested to rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


HUNTED = StagHuntGrid(agents=3, stags=1, hares=3, hunters=2, size=2, horizon=8)


def matrix(agents: int, seed: int) -> Tensor:
    draws = torch.rand(agents, agents, generator=torch.Generator().manual_seed(seed)) + 0.01
    return draws / draws.sum(-1, keepdim=True)


@given(seed=st.integers(0, 2**32), agents=st.integers(1, 5), batch=st.integers(0, 3))
@settings(max_examples=50)
def test_rows_keep_their_sums_and_nothing_crosses_to_those_who_left(
    seed: int, agents: int, batch: int
) -> None:
    draws = torch.Generator().manual_seed(seed)
    shares = torch.rand(*[2] * batch, agents, agents, generator=draws)
    present = torch.rand(*[2] * batch, agents, generator=draws) < 0.6
    kept = share_among_present(shares, present)
    torch.testing.assert_close(kept.sum(-1), shares.sum(-1), rtol=0, atol=1e-12)
    others = ~torch.eye(agents, dtype=torch.bool)
    gone = ~present.unsqueeze(-1) | ~present.unsqueeze(-2)
    assert (kept[gone & others] == 0).all()
    assert torch.equal(kept[~gone & others], shares[~gone & others])
    assert torch.equal(share_among_present(shares, torch.ones_like(present)), shares)


def test_the_share_of_a_hunter_who_left_stays_with_its_giver() -> None:
    """Agent 0 takes a hare and leaves; agent 1 then takes one, of which it would give a half to agent 0."""
    game = shared(HUNTED, [[1, 0, 0], [0.5, 0.25, 0.25], [0, 0, 1]])
    generator = torch.Generator().manual_seed(0)
    state = game.reset(1, generator)
    places, prey = torch.tensor([[1, 2, 0]]), torch.tensor([[0, 1, 2, 3]])
    state = state._replace(game=StagHuntState(places, prey, torch.tensor([0])))
    stay = HUNT - 1
    state, rewards, _ = game.step(state, torch.tensor([[HUNT, stay, stay]]), generator)
    assert rewards.tolist() == [[1, 0, 0]]
    present = game.present(state)
    assert present is not None
    assert present.tolist() == [[False, True, True]]
    state, rewards, _ = game.step(state, torch.tensor([[HUNT, HUNT, stay]]), generator)
    assert rewards.tolist() == [[0, 0.75, 0.25]]
    assert state.given[0].tolist() == [[0, 0, 0], [0, 0.75, 0.25], [0, 0, 0]]


def some_play(game: object, seed: int, batch: int = 6) -> Iterator[tuple[Tensor, object, Tensor]]:
    """Who takes part in a step, the state after it, and what it paid."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(batch, generator)
    for _ in range(game.horizon):
        present = game.present(state)
        actions = torch.randint(int(game.action_space.n), (batch, game.num_agents), generator=generator)
        state, rewards, _ = game.step(state, actions, generator)
        yield present, state, rewards


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_sharing_conserves_the_total_among_the_agents_present(seed: int) -> None:
    for present, state, rewards in some_play(shared(HUNTED, matrix(3, seed)), seed):
        assert (rewards[~present] == 0).all()
        total = (rewards * present).sum(-1)
        torch.testing.assert_close(total, state.extrinsic.sum(-1), rtol=0, atol=1e-12)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_incentives_reach_the_agents_present_alone(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    gifts = torch.rand(3, 3, generator=draws)
    game = shared(HUNTED, lambda seen, actions: gifts.expand(len(seen), 3, 3), givers_pay=True)
    for present, state, rewards in some_play(game, seed):
        assert (rewards[~present] == 0).all()
        torch.testing.assert_close(rewards.sum(-1), state.extrinsic.sum(-1), rtol=0, atol=1e-12)


def test_wrappers_pass_on_who_is_present() -> None:
    generator = torch.Generator().manual_seed(0)
    hunt, still = shared(HUNTED, matrix(3, 0)), make("escape-room")
    present = hunt.present(hunt.reset(2, generator))
    assert present is not None
    assert present.all()
    assert still.present(still.reset(2, generator)) is None
    against = zero_sum(HUNTED)  # what others earn counts to the end
    assert against.present(against.reset(2, generator)) is None
