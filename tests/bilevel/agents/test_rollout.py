"""Episodes: what a copy does after its end is not seen, gifts reach the game, broken games are told."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import MLP, StepObservation, Tabular, step_gifts
from bilevel.agents._distributions import draw_actions
from bilevel.agents._rollout import rollout
from bilevel.sharing import SharedBy, Sharing, SharingNetwork
from games.core import Game
from games.matrix import EscapeRoom, RepeatedGame


class Count(NamedTuple):
    time: Tensor
    given: Tensor


@dataclasses.dataclass(frozen=True)
class CountDown(Game):
    """Copy c of two agents ends after 1 + c % 3 steps; from then on it shows and pays NaN.

    While it runs, agent i gets 10 i + the step, and both see the gifts of the last step.
    """

    broken_at: int = -1
    num_agents: int = 2
    horizon: int = 4
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-np.inf, np.inf, (5,))

    def reset(self, batch: int, generator: torch.Generator) -> Count:
        return Count(torch.zeros(batch), torch.zeros(batch, 2, 2))

    def over(self, state: Count) -> Tensor:
        return state.time >= 1 + torch.arange(len(state.time)) % 3

    def observe(self, state: Count) -> Tensor:
        seen = torch.cat((state.time[:, None], state.given.flatten(1)), -1)
        seen = seen.masked_fill(self.over(state)[:, None], math.nan)
        return seen.unsqueeze(1).expand(-1, 2, -1)

    def step(self, state: Count, actions: Tensor, generator: torch.Generator) -> tuple[Count, Tensor, Tensor]:
        rewards = torch.tensor([0.0, 10.0]) + state.time[:, None]
        rewards = rewards.masked_fill(self.over(state)[:, None], math.nan)
        rewards[:, 1] = rewards[:, 1].masked_fill(state.time == self.broken_at, math.inf)
        state = state._replace(time=state.time + 1)
        return state, rewards, self.over(state)

    def give(self, state: Count, gifts: Tensor) -> Count:
        return state._replace(given=gifts.float())

    def render(self, state: Count, index: int = 0) -> np.ndarray:
        return np.zeros((1, 1, 3), dtype=np.uint8)


SHARING = torch.tensor([[[0.75, 0.25], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]], dtype=torch.float64)


def play_countdown(**settings: int):
    policy = MLP(5, 2, (3,))
    theta = torch.zeros(2, 2, policy.num_parameters, dtype=torch.float64)
    return rollout(
        CountDown(**settings), policy, theta, SharedBy(SHARING), 6, torch.Generator().manual_seed(0)
    )


def test_episodes_end_when_they_are_done() -> None:
    episodes = play_countdown()
    lengths = episodes.mask.sum(-2)
    assert episodes.mask.shape == (2, 1, 4, 6)
    assert lengths.tolist() == [[[1.0, 2.0, 3.0] * 2]] * 2
    assert (episodes.mask.diff(dim=-2) <= 0).all()


def test_nothing_is_seen_or_paid_after_the_end() -> None:
    episodes = play_countdown()
    over = episodes.mask[:, 0] == 0  # [seed, time, episode]
    for agent in range(2):
        assert not episodes.rewards[:, agent][over].any()
        assert not episodes.observations[:, agent][over].any()
    time = torch.arange(4.0).double()[:, None].expand(4, 6)
    expected = torch.stack((time, time + 10)) * episodes.mask[0]
    assert torch.equal(episodes.rewards, expected.expand(2, 2, 4, 6))


def test_the_game_is_told_what_was_given() -> None:
    """T[i, j] r_i of the last step, for each seed's own sharing; nothing in the first step."""
    episodes = play_countdown()
    given = episodes.observations[:, 0, :, :, 1:].unflatten(-1, (2, 2))
    assert not given[:, :, 0].any()
    for seed in range(2):
        for time in (1, 2):
            rewards = torch.tensor([time - 1.0, 10.0 + time - 1.0], dtype=torch.float64)
            expected = SHARING[seed] * rewards[:, None]
            torch.testing.assert_close(given[seed, time, 2], expected, rtol=0, atol=1e-6)  # game: float32


def test_a_transfer_sees_what_was_legal_in_the_step() -> None:
    class Looks(SharedBy):
        def gifts(self, trajectory):
            assert torch.equal(trajectory.legal.squeeze(2), legal)
            return super().gifts(trajectory)

    draws = torch.Generator().manual_seed(0)
    legal = torch.rand(3, 2, 4, 5, generator=draws) < 0.5  # seed, agent, episode, action
    rewards = torch.rand(3, 2, 4, generator=draws)
    nothing = torch.zeros(3, 2, 4)
    seen = StepObservation(nothing, legal=legal)
    told = step_gifts(Looks(torch.eye(2).expand(3, 2, 2)), seen, nothing.long(), rewards, nothing)
    assert torch.equal(told.diagonal(dim1=1, dim2=2), rewards.movedim(1, -1).flatten(0, 1))


def test_a_reward_that_is_no_number_is_told_by_agent_step_and_seed() -> None:
    with pytest.raises(
        FloatingPointError, match=r"agent 1 the reward inf in step 2 of an episode of seed 0;"
    ):
        play_countdown(broken_at=2)


def test_a_reward_that_is_no_number_after_the_end_does_not_matter() -> None:
    assert torch.equal(play_countdown(broken_at=3).rewards, play_countdown().rewards)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("one_hot", [False, True])
def test_shapes_and_types(dtype: torch.dtype, one_hot: bool) -> None:
    game = RepeatedGame(horizon=5)
    policy = MLP(5, 2, (3,), one_hot=True) if one_hot else Tabular(5, 2)
    theta = torch.zeros(4, 2, policy.num_parameters, dtype=dtype)
    sharing = torch.eye(2, dtype=dtype).expand(4, 2, 2)
    episodes = rollout(game, policy, theta, SharedBy(sharing), 3, torch.Generator().manual_seed(0))
    for values in (episodes.observations, episodes.actions, episodes.rewards, episodes.cooperated):
        assert values.shape == (4, 2, 5, 3)
    assert episodes.mask.shape == (4, 1, 5, 3)
    assert episodes.mask.all()
    assert {episodes.rewards.dtype, episodes.mask.dtype, episodes.cooperated.dtype} == {dtype}
    assert torch.equal(episodes.cooperated, (episodes.actions == 0).to(dtype))
    first, then = episodes.observations[:, :, 0], episodes.observations[:, :, 1:]
    assert not first.any()
    own, other = episodes.actions[:, :, :-1], episodes.actions.flip(1)[:, :, :-1]
    assert torch.equal(then, 1 + 2 * own + other)  # agents and episodes are where they belong


def test_a_game_without_cooperation_has_none() -> None:
    game = games.make("rock-paper-scissors")
    theta, sharing = torch.zeros(1, 2, 2), torch.eye(2).expand(1, 2, 2)
    assert rollout(game, Tabular(1, 3), theta, SharedBy(sharing), 2, torch.Generator()).cooperated is None


def test_the_generator_decides_everything() -> None:
    game, policy = EscapeRoom(agents=3, random_start=True), MLP(11, 3, (4,))
    theta = torch.randn(2, 3, policy.num_parameters, generator=torch.Generator().manual_seed(1))
    sharing = torch.full((2, 3, 3), 1 / 3)

    def actions(seed: int) -> Tensor:
        torch.manual_seed(seed + 100)  # the global stream has no part in it
        return rollout(
            game, policy, theta, SharedBy(sharing), 8, torch.Generator().manual_seed(seed % 2)
        ).actions

    assert torch.equal(actions(0), actions(2))
    assert not torch.equal(actions(0), actions(1))


def test_actions_are_drawn_from_the_softmax() -> None:
    """Frequencies of 40 000 draws: within 4.5 standard errors."""
    logits = torch.tensor([1.0, -1.0, 0.0, 3.0], dtype=torch.float64)
    actions = draw_actions(logits.expand(40_000, 4), torch.Generator().manual_seed(0))
    expected = logits.softmax(-1)
    frequencies = torch.bincount(actions, minlength=4) / 40_000
    error = (expected * (1 - expected) / 40_000).sqrt()
    assert float(((frequencies - expected) / error).abs().max()) < 4.5


@dataclasses.dataclass(frozen=True)
class Turning(CountDown):
    """Agent 0 may give to agent 1 in every other step, one half of the copies after the other."""

    def neighbors_now(self, state: Count) -> Tensor:
        graph = torch.eye(2, dtype=torch.bool).repeat(len(state.time), 1, 1)
        graph[:, 0, 1] = (state.time + torch.arange(len(state.time))) % 2 == 1
        return graph


def test_the_graph_of_every_step_is_recorded() -> None:
    policy = MLP(5, 2, (3,))
    theta = torch.zeros(2, 2, policy.num_parameters, dtype=torch.float64)
    episodes = rollout(Turning(), policy, theta, SharedBy(SHARING), 5, torch.Generator())
    graph = episodes.neighbors
    assert graph is not None
    assert graph.shape == (2, 2, 2, 4, 5)
    copy = torch.arange(10).reshape(2, 1, 5)
    assert torch.equal(graph[:, 0, 1], (torch.arange(4)[:, None] + copy) % 2 == 1)
    assert graph[:, 0, 0].all()
    assert not graph[:, 1, 0].any()
    assert play_countdown().neighbors is None


def test_what_is_given_follows_the_graph() -> None:
    """A network of zeros halves agent 0's reward where it has a neighbor; the game hears of that."""
    policy, box = MLP(5, 2, (3,)), CountDown.observation_space
    theta = torch.zeros(1, 2, policy.num_parameters, dtype=torch.float64)
    variable = SharingNetwork(Sharing(torch.ones(2, 2, dtype=torch.bool)), box)
    transfer = variable.transfer(torch.zeros_like(variable.initial(0, 1)))
    episodes = rollout(Turning(), policy, theta, transfer, 3, torch.Generator())
    heard = episodes.observations[0, 0, 1:, 2, 2]  # in copy 2 the edge is there in step 1
    assert heard.tolist() == [0.0, 0.5, 0.0]
    own = episodes.rewards[0, 0, :, 2]
    gifts = transfer.gifts(episodes)[0, 0, 1, :, 2]
    assert own.tolist() == [0.0, 1.0, 2.0, 0.0]
    assert gifts.tolist() == [0.0, 0.5, 0.0, 0.0]
