"""LOQA's gradient over every outcome of two steps, against differences of exact values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import (
    SURROGATES,
    DiceReturns,
    NStepReturns,
    OpponentQPlay,
    OpponentReturns,
    QTargets,
    Tabular,
    Trajectory,
    action_values_like,
    play_blocks,
)
from games.matrix import RepeatedGame

F64 = torch.float64
GAMMA, TEMPERATURE, COEF = 0.9, 0.6, 1.7
GAME = RepeatedGame(stage=games.make("prisoners-dilemma"), discount=GAMMA, horizon=2)
PAYOFFS = {(0, 0): (-1.0, -1.0), (0, 1): (-3.0, 0.0), (1, 0): (0.0, -3.0), (1, 1): (-2.0, -2.0)}
QUARTERS = torch.tensor([[1, 3, 2, 1, 2], [2, 1, 3, 3, 1]])
"""Probabilities of cooperation by observation, in quarters: each outcome is a whole number of 256."""
JOINT = list(itertools.product((0, 1), repeat=2))
Chances = list[list[float]]
CHANCES: Chances = (QUARTERS / 4).tolist()


def seen_by(agent: int, joint: tuple[int, int] | None) -> int:
    """Observation: 0 at the start, else 1 + the last joint action, own action first."""
    if joint is None:
        return 0
    own, other = joint if agent == 0 else joint[::-1]
    return 1 + 2 * own + other


def chance(chances: Chances, agent: int, last: tuple[int, int] | None, action: int) -> float:
    cooperates = chances[agent][seen_by(agent, last)]
    return cooperates if action == 0 else 1 - cooperates


def both(chances: Chances, last: tuple[int, int] | None, joint: tuple[int, int]) -> float:
    return chance(chances, 0, last, joint[0]) * chance(chances, 1, last, joint[1])


def last_value(chances: Chances, agent: int, last: tuple[int, int]) -> float:
    return sum(both(chances, last, joint) * PAYOFFS[joint][agent] for joint in JOINT)


def value(chances: Chances, agent: int) -> float:
    return sum(
        both(chances, None, joint) * (PAYOFFS[joint][agent] + GAMMA * last_value(chances, agent, joint))
        for joint in JOINT
    )


def action_value(chances: Chances, agent: int, last: tuple[int, int] | None, action: int) -> float:
    total = 0.0
    for other in (0, 1):
        joint = (action, other) if agent == 0 else (other, action)
        later = GAMMA * last_value(chances, agent, joint) if last is None else 0.0
        total += chance(chances, 1 - agent, last, other) * (PAYOFFS[joint][agent] + later)
    return total


def difference(of: Callable[[Chances], float], agent: int, observation: int) -> float:
    """Derivative by an agent's log-odds of cooperation."""
    ends = []
    for step in (1e-5, -1e-5):
        chances = [list(row) for row in CHANCES]
        odds = torch.tensor(chances[agent][observation], dtype=F64).logit() + step
        chances[agent][observation] = float(odds.sigmoid())
        ends.append(of(chances))
    return (ends[0] - ends[1]) / 2e-5


def expected_gradient(agent: int) -> Tensor:
    """Gradient of the own value, and of the other agent's policy, which follows its action values."""
    other, rows = 1 - agent, []
    for observation in range(5):
        total = difference(lambda chances: value(chances, agent), agent, observation)
        for joint in JOINT:  # of the first step: later there is no action left that a value depends on
            weights = [action_value(CHANCES, other, None, action) / TEMPERATURE for action in (0, 1)]
            probability = torch.tensor(weights, dtype=F64).softmax(0)[joint[other]]
            later = GAMMA * last_value(CHANCES, agent, joint)
            advantage = PAYOFFS[joint][agent] + later - value(CHANCES, agent)
            change = difference(lambda c, joint=joint: last_value(c, other, joint), agent, observation)
            slope = (1 - float(probability)) / TEMPERATURE * GAMMA * change
            total += COEF * both(CHANCES, None, joint) * advantage * slope
        rows.append(total)
    return torch.tensor(rows, dtype=F64)


def every_episode() -> Trajectory:
    """256 episodes: each outcome as often as the policies take it."""
    outcomes = []
    for first, second in itertools.product(JOINT, JOINT):
        count = both(CHANCES, None, first) * both(CHANCES, first, second) * 256
        outcomes += [(first, second)] * round(count)
    assert len(outcomes) == 256
    actions = torch.tensor(outcomes).permute(2, 1, 0)[None]  # seed, agent, time, episode
    steps = iter(actions.unbind(2))
    mask = torch.ones(1, 1, 256, dtype=F64)
    (data,) = play_blocks(GAME, lambda step: next(steps), lambda *_: None, mask, torch.Generator(), 2)
    return data


def table(entry: Callable[[int, tuple[int, int] | None, int], float]) -> Tensor:
    """Parameters of action values [1, agent, observation * action], in units of a step's reward."""
    rows = [
        [
            entry(agent, last if agent == 0 or last is None else (last[1], last[0]), action)
            for last in (None, *JOINT)
            for action in (0, 1)
        ]
        for agent in (0, 1)
    ]
    return torch.tensor(rows, dtype=F64)[None] / GAME.effective_horizon


EXACT = table(lambda agent, last, action: action_value(CHANCES, agent, last, action))
THETA = (QUARTERS.to(F64) / 4).logit()[None]
POLICY = Tabular(num_observations=5, num_actions=2)


def built(**settings: Any) -> OpponentQPlay:
    return OpponentQPlay(
        GAME, POLICY, SURROGATES["reinforce"], 256, q_function=action_values_like(POLICY), **settings
    )


def ascent(play: OpponentQPlay, theta: Tensor = THETA, data: Trajectory | None = None) -> Tensor:
    theta = theta.clone().requires_grad_()
    losses = play.shaping_losses(theta, EXACT, every_episode() if data is None else data, None)
    (gradient,) = torch.autograd.grad(-losses.sum(), theta)
    return gradient[0]


@pytest.mark.parametrize("returns", [DiceReturns(decay=0.3), DiceReturns(gae_lambda=0.0), NStepReturns()])
def test_the_mean_gradient_is_exact(returns: OpponentReturns) -> None:
    """With the true action values; two steps have one later step, so that no decay counts."""
    play = built(returns=returns, coef=COEF, temperature=TEMPERATURE, estimate="critic")
    expected = torch.stack([expected_gradient(agent) for agent in (0, 1)])
    torch.testing.assert_close(ascent(play), expected, rtol=0, atol=1e-8)
    independent = torch.tensor(
        [[difference(lambda c, i=i: value(c, i), i, seen) for seen in range(5)] for i in (0, 1)], dtype=F64
    )
    torch.testing.assert_close(ascent(built(coef=0.0)), independent, rtol=0, atol=1e-8)
    assert ((expected - independent)[:, 1:].abs() > 1e-3).all()  # later steps, by the other's values


def test_the_mean_gradient_is_exact_with_returns_for_own_advantages() -> None:
    """The agent's own term is unbiased with any lambda; the other's needs TD errors."""
    settings: dict[str, Any] = {"coef": COEF, "temperature": TEMPERATURE, "estimate": "critic"}
    expected = torch.stack([expected_gradient(agent) for agent in (0, 1)])
    separate = built(gae_lambda=1.0, shaping_lambda=0.0, **settings)
    torch.testing.assert_close(ascent(separate), expected, rtol=0, atol=1e-8)
    assert (ascent(built(shaping_lambda=1.0, **settings)) - expected).abs().max() > 0.01


def test_sampled_gradients_approach_the_exact_one() -> None:
    """Means of samples, within standard errors that shrink with episodes."""
    play = built(returns=DiceReturns(), coef=COEF, temperature=TEMPERATURE, estimate="critic")
    expected = torch.stack([expected_gradient(agent) for agent in (0, 1)])
    gradients, weights = [], every_episode()
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        chosen = torch.randint(0, 256, (400,), generator=generator)
        data = weights._make(None if part is None else part[..., chosen] for part in weights)
        gradients.append(ascent(play, data=data))
    found = torch.stack(gradients)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - expected).abs() < 4 * error).all()
    assert (error < 0.02).all()


def test_the_return_estimate_has_the_return_as_its_value() -> None:
    """By plain autodiff of a log-softmax, for one episode and agent 0."""
    data = every_episode().select_episodes(slice(37, 38))
    play = built(returns=DiceReturns(decay=1.0), coef=1.0, temperature=TEMPERATURE, estimate="return")
    theta = THETA.clone().requires_grad_()
    (found,) = torch.autograd.grad(
        -play.shaping_losses(theta, EXACT, data, None)[0, 0]
        + built(coef=0.0).shaping_losses(theta, EXACT, data, None)[0, 0],
        theta,
    )
    tables, total = EXACT[0].reshape(2, 5, 2) * GAME.effective_horizon, torch.zeros((), dtype=F64)
    log = (POLICY.table(theta[0, 0]).log_softmax(-1))[data.observations[0, 0, :, 0], data.actions[0, 0, :, 0]]
    seen, acted = data.observations[0, :, :, 0], data.actions[0, :, :, 0]
    values = (POLICY.probabilities(THETA[0]) * tables).sum(-1)
    rewards = data.rewards[0, :, :, 0]
    for t in range(2):
        value_now, row = values[0, seen[0, t]], tables[1, seen[1, t]]
        following = values[0, seen[0, 1]] if t == 0 else 0.0
        advantage = rewards[0, t] + GAMMA * following - value_now
        later = rewards[1, 1] + (rewards[1, 1] - values[1, seen[1, 1]]) * log[1] if t == 0 else 0.0
        estimate = rewards[1, t] + GAMMA * later
        if t == 0:  # the value is the return; the derivative, that of the other's later advantage
            estimate = estimate - (GAMMA * (rewards[1, 1] - values[1, seen[1, 1]]) * log[1]).detach()
        replaced = torch.stack([estimate if a == acted[1, t] else row[a] for a in (0, 1)]) / TEMPERATURE
        total = total + GAMMA**t * advantage.detach() * replaced.log_softmax(-1)[acted[1, t]]
    (expected,) = torch.autograd.grad(total, theta)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bootstrap", ["sarsa", "expected"])
@pytest.mark.parametrize("td_lambda", [0.0, 0.6, 1.0])
def test_true_action_values_are_a_fixed_point(bootstrap: Any, td_lambda: float) -> None:
    """On average over episodes targets equal the values, so that the losses' gradients vanish."""
    play, data = built(q_targets=QTargets(bootstrap, td_lambda)), every_episode()
    q = EXACT.clone().requires_grad_()
    (slope,) = torch.autograd.grad(play.q_losses(q, play.q_goals(EXACT, THETA, data), data).sum(), q)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
    moved = (EXACT + 0.1).requires_grad_()
    goals = play.q_goals(EXACT, THETA, data)
    (slope,) = torch.autograd.grad(play.q_losses(moved, goals, data).sum(), moved)
    torch.testing.assert_close(slope.sum(-1), torch.full((1, 2), 0.1, dtype=F64))  # each observation's share


def test_the_best_action_is_bootstrapped() -> None:
    data, play = every_episode(), built(q_targets=QTargets("max", 0.0))
    best = EXACT.reshape(1, 2, 5, 2).amax(-1) * GAME.effective_horizon
    second = data.observations[:, :, 1]
    goals = play.q_goals(EXACT, THETA, data)
    torch.testing.assert_close(goals[:, :, 0], data.rewards[:, :, 0] + GAMMA * best.gather(-1, second))
    torch.testing.assert_close(goals[:, :, 1], data.rewards[:, :, 1])


def test_huber_errors_are_in_units_of_a_step() -> None:
    data, far = every_episode(), 5.0
    play = built(q_targets=QTargets(huber_delta=1.0))
    goals = play.action_values(EXACT, data).gather(-1, data.actions.unsqueeze(-1)).squeeze(-1)
    losses = play.q_losses(EXACT + far, goals, data)
    torch.testing.assert_close(losses, torch.full((1, 2), far - 0.5, dtype=F64))
    squared = built().q_losses(EXACT + far, goals, data)
    torch.testing.assert_close(squared, torch.full((1, 2), far**2 / 2, dtype=F64))


def test_truncated_episodes_bootstrap_the_following_value() -> None:
    """Cut after the second step: its reward includes the value of the observation that follows."""
    data = every_episode()
    following = torch.cat((data.observations[:, :, 1:], data.observations[:, :, 1:] * 0 + 2), 2)
    cut = torch.zeros(1, 1, 2, 256, dtype=F64)
    cut[:, :, 1] = 1
    goals = built().q_goals(EXACT, THETA, data._replace(cut=cut, following=following))
    values = (POLICY.probabilities(THETA) * EXACT.reshape(1, 2, 5, 2)).sum(-1) * GAME.effective_horizon
    expected = data.rewards[:, :, 1] + GAMMA * values[:, :, 2, None]
    torch.testing.assert_close(goals[:, :, 1], expected)


def test_an_agents_loss_has_no_gradient_by_the_other_agents_policy() -> None:
    theta, play = THETA.clone().requires_grad_(), built(coef=COEF)
    losses = play.shaping_losses(theta, EXACT, every_episode(), torch.tensor(0.1, dtype=F64))
    (gradient,) = torch.autograd.grad(losses[0, 0], theta)
    assert (gradient[0, 1] == 0).all()
    assert (gradient[0, 0] != 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"coef": -1.0}, "coef must be a finite number of 0 or more"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0"),
        ({"gae_lambda": 2.0}, "gae_lambda must be a finite number from 0 to 1"),
        ({"shaping_lambda": -1.0}, "shaping_lambda must be a finite number from 0 to 1"),
        ({"q_discount": 2.0}, "q_discount must be a finite number from 0 to 1"),
        ({"q_targets": QTargets(td_lambda=2.0)}, "td_lambda must be a finite number from 0 to 1"),
        ({"q_targets": QTargets(bootstrap="mean")}, "bootstrap of action values"),
        ({"estimate": "network"}, "estimate of action values"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**settings)
