"""Who plays, and that illegal actions are never played, by anybody, nor learned from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import (
    SampledPlay,
    Tabular,
    allowed,
    chosen,
    entropy,
    learned_actor,
    random_actor,
    scripted_actor,
)
from bilevel.agents._distributions import ILLEGAL
from bilevel.agents._rollout import rollout
from bilevel.agents._surrogates import dice
from bilevel.sharing import SharedBy
from games.matrix import MatrixState, NormalForm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masked(NormalForm):
    """A game of three actions of which agent 0 may not take the last and agent 1 not the first."""

    def action_mask(self, state: MatrixState) -> Tensor:
        legal = torch.tensor([[True, True, False], [False, True, True]])
        return legal.expand(len(state.time), -1, -1)


TABLE = tuple(tuple((float(i - j), float(2 * j)) for j in range(3)) for i in range(3))
GAME = Masked(table=TABLE)
POLICY = Tabular(num_observations=1, num_actions=3)


def test_random_agents_take_every_legal_action_and_no_other() -> None:
    generator = torch.Generator().manual_seed(0)
    actions = random_actor(GAME)(GAME.reset(3000, generator), generator)[0]
    counts = torch.stack([torch.bincount(column, minlength=3) for column in actions.T]) / 3000
    assert counts.numpy() == pytest.approx(np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]]), abs=0.05)


def test_learned_policies_play_as_in_training_and_never_illegally() -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor([[0.0, 0.0], [5.0, 0.0]])  # agent 1 would love its illegal first action
    actions = learned_actor(GAME, POLICY, theta)(GAME.reset(3000, generator), generator)[0]
    assert set(actions[:, 0].tolist()) == {0, 1}
    assert set(actions[:, 1].tolist()) == {1, 2}
    episodes = rollout(GAME, POLICY, theta[None], SharedBy(torch.eye(2)[None]), 3000, generator)
    assert episodes.legal is not None
    assert episodes.legal.shape == (1, 2, 1, 3000, 3)
    assert episodes.legal.gather(-1, episodes.actions[..., None]).all()


def test_losses_know_what_was_legal() -> None:
    """The surrogate's gradient is that of the game restricted to what is legal, and leaves the rest alone."""
    play = SampledPlay(GAME, POLICY, dice, episodes=20_000)
    theta = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    sharing = torch.eye(2, dtype=torch.float64)[None]
    data = play.sample(theta, SharedBy(sharing), torch.Generator().manual_seed(0))
    losses = play.losses(theta, theta, SharedBy(sharing), data, torch.tensor(0.1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(losses.sum(), theta)
    assert gradient[0, 1, 0] == 0
    assert losses.isfinite().all()
    # Agent 0 mixes actions 0 and 1 evenly: d(value)/d(logit of 0) = (value of 0 - value of 1) / 4 = -1/4.
    assert float(gradient[0, 0, 0]) == pytest.approx(0.25, abs=0.02)


def test_illegal_logits_have_no_probability_no_entropy_and_no_gradient() -> None:
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    policy = allowed(logits, torch.tensor([True, False, True]))
    assert policy.softmax(-1).tolist() == [0.5, 0.0, 0.5]
    assert entropy(policy).item() == pytest.approx(np.log(2))
    (gradient,) = torch.autograd.grad(entropy(policy) + chosen(policy, torch.tensor(0)), logits)
    assert gradient.isfinite().all()
    assert gradient[1] == 0
    assert allowed(logits, None) is logits
    assert ILLEGAL < -1e6


def test_wrapped_games_pass_the_mask_on() -> None:
    state = GAME.reset(2, torch.Generator())
    assert games.make("coin-game").action_mask(None) is None
    shared = games.zero_sum(games.make("jungle"))
    assert shared.action_mask(shared.reset(1, torch.Generator())) is None
    assert GAME.action_mask(state).shape == (2, 2, 3)


def test_nobody_follows_a_script_that_is_not_there() -> None:
    soccer, generator = games.make("soccer"), torch.Generator()
    act = scripted_actor(soccer, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="Soccer has no scripted policy"):
        act(soccer.reset(1, generator), generator)
