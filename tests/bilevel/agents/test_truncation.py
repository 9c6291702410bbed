"""What is cut off would have gone on: critics value it, and do not value what follows an end by the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import GRU, MLP, CriticPlay, Policy, PolicyWithCritic, Reinforce, Trajectory
from bilevel.agents._rollout import rollout
from bilevel.methods import ActorCritic, MLPPolicy, Placement, Selfish
from bilevel.methods._ltos_transitions import transitions_of
from bilevel.sharing import MatrixSequence, ObservationEncoder, SharedBy
from games.core import Game, stream

F64 = torch.float64
STEPS = 3
KEEP = SharedBy(torch.ones(1, 1, 1, dtype=F64))


class Walk(NamedTuple):
    time: Tensor
    copy: Tensor


@dataclass(frozen=True, kw_only=True)
class Walks(Game):
    """Copy 0 is cut off after a step, copy 1 ends by the rules after two, the others go on to the horizon."""

    cuts: bool = True
    flat: bool = False

    num_agents = property(lambda self: 1)
    horizon = property(lambda self: STEPS)
    discount = property(lambda self: 0.9)
    action_space = property(lambda self: spaces.Discrete(2))
    observation_space = property(lambda self: spaces.Box(0, 9, (2,), dtype=np.float32))
    truncates = property(lambda self: self.cuts)

    def reset(self, batch, generator):
        return Walk(torch.zeros(batch, dtype=torch.int64), torch.arange(batch))

    def observe(self, state):
        shown = torch.stack((state.time, state.copy), -1).float().unsqueeze(1)
        return torch.zeros_like(shown) if self.flat else shown

    def step(self, state, actions, generator):
        after = state._replace(time=state.time + 1)
        lengths = torch.full_like(state.copy, STEPS)
        if not self.flat:
            lengths[:2] = torch.tensor([1, 2])
        return after, torch.ones(len(state.copy), 1), after.time >= lengths

    def ended(self, state):
        return (state.copy == 1) & (not self.flat)

    def render(self, state, index=0, scale=1.0):
        return np.zeros((2, 2, 3), dtype=np.uint8)


def played(game: Walks, policy: Policy) -> tuple[Tensor, Trajectory]:
    theta = policy.initial(stream(0), 1, 1)
    return theta, rollout(game, policy, theta, KEEP, 3, stream(1))


def test_episodes_say_what_was_cut_off_and_what_was_seen_then() -> None:
    _, episodes = played(Walks(), MLP(2, 2))
    assert episodes.cut is not None
    assert episodes.following is not None
    assert episodes.mask[0, 0].T.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert episodes.cut[0, 0].T.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    times = episodes.following[0, 0, :, :, 0]
    assert times.T.tolist() == [[1, 0, 0], [1, 0, 0], [1, 2, 3]]
    assert episodes.select_episodes(slice(1, 3)).cut[0, 0].T.tolist() == [[0, 0, 0], [0, 0, 1]]
    _, ruled = played(Walks(cuts=False), MLP(2, 2))
    assert ruled.cut is None
    assert ruled.following is None


@pytest.mark.parametrize("network", [MLP(2, 2, (4,)), GRU(2, 2, (4,), 3)], ids=["mlp", "gru"])
def test_the_last_reward_has_the_value_of_what_would_have_come(network: Policy) -> None:
    policy = PolicyWithCritic.of(network)
    theta, episodes = played(Walks(), policy)
    theta = theta * 3
    play = CriticPlay(Walks(), policy, Reinforce(gae_lambda=0.5), 3, gae_lambda=0.5)
    (batch,) = play.batches(theta, KEEP, episodes)
    bonus = (batch.rewards - episodes.rewards)[0, 0].T
    for copy, length in ((0, 1), (2, 3)):  # a critic that has seen all of the episode, and the step after it
        shown = torch.tensor([[float(time), float(copy)] for time in range(length + 1)], dtype=F64)
        value = policy.values(theta, shown.reshape(1, 1, length + 1, 1, 2))[0, 0, -1, 0]
        torch.testing.assert_close(bonus[copy, length - 1], 0.9 * value)
        assert value != 0
    assert bonus.count_nonzero() == 2


@pytest.mark.parametrize(("cuts", "value"), [(True, 10.0), (False, 2.5)])
def test_critics_learn_the_closed_form(cuts: bool, value: float) -> None:
    """Rewards of 1 without end are worth 1 / (1 - 0.9).

    If the third step is the last, TD(0) averages over three steps that look alike: V = 1 + 2/3 x 0.9 V.
    """
    method = Selfish(
        policy=MLPPolicy(hidden_size=(2,)),
        inner=ActorCritic(gae_lambda=0.0, vf_coef=1.0, learning_rate=0.2, episodes=2, steps=50),
    )
    learner = method.build(Walks(cuts=cuts, flat=True), Placement(seeds=1, dtype=F64))
    state = learner.init(seed=0)
    for _ in range(6):
        state, _ = learner.update(state)
    policy = learner.play.policy
    assert isinstance(policy, PolicyWithCritic)
    found = policy.values(state["theta"], torch.zeros(1, 1, 1, 1, 2, dtype=F64))
    assert found.item() == pytest.approx(value, rel=1e-3)


def test_values_of_actions_go_on_where_an_episode_was_cut_off() -> None:
    game = Walks()
    _, episodes = played(game, MLP(2, 2))
    shares = torch.ones(1, 1, 1, STEPS, 3, dtype=F64)
    encoder = ObservationEncoder(game.observation_space, 1, 2)
    steps, trajectory = transitions_of(episodes, MatrixSequence(shares), encoder)
    assert trajectory.reshape(STEPS, 3).T.tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    continues, times = (part.reshape(STEPS, 3, -1)[..., 0].T for part in (steps.continues, steps.following))
    assert continues.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert times[0, 0] == 1
    assert times[2].tolist() == [1, 2, 3]
