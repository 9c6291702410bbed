"""LOLA-DiCE: exact gradients against autodiff and the literature's, samples against exact ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import Purpose
from bilevel.methods import LOLADiCE, Placement, Selfish
from games.core import Game
from games.matrix import FiniteRepeatedGame
from tests.bilevel.methods.configured import configured

F64 = torch.float64
REPEATED = games.make("repeated-prisoners-dilemma")
FINITE = FiniteRepeatedGame(horizon=3, discount=0.9)
LOGITS = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5], [-0.5, 0.4, -0.3, 0.2, -0.1]], dtype=F64)
NAIVE = torch.tensor(
    [[0.190437, 1.137197, 1.091629, 1.082833, 1.020105], [0.306524, 1.963637, 1.905690, 1.940723, 1.873083]],
    dtype=F64,
)
LOLA = torch.tensor(  # of a learning rate of 0.1
    [[0.191434, 0.717242, 1.685637, 0.540127, 1.410918], [0.307321, 1.418814, 2.336033, 1.521335, 2.408143]],
    dtype=F64,
)
"""Directions of losses in unnormalized values, from an independent program."""


def built(game: Game = REPEATED, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 1)
    return configured(LOLADiCE, **settings).build(game, Placement(seeds=seeds))


def direction(learner: Any, theta: Tensor) -> Tensor:
    state = learner.init(0)
    generator = learner.streams(state, Purpose.TRAINING)
    found: Tensor = learner.direction(theta, state["phi"], generator, learner.inputs(state))
    return found


def by_hand(game: Any, logits: Tensor, learner: int, steps: int, rate: float) -> Tensor:
    """One agent's direction by plain autodiff: the other agent ascends its own value `steps` times."""

    def values(first: Tensor, second: Tensor) -> Tensor:
        chances = torch.stack((first, second)).sigmoid()
        found: Tensor = game.values(torch.stack((chances, 1 - chances), -1)) * game.effective_horizon
        return found

    own = logits[learner].clone().requires_grad_()
    other = logits[1 - learner].clone().requires_grad_()
    for _ in range(steps):
        pair = (own, other) if learner == 0 else (other, own)
        (gradient,) = torch.autograd.grad(values(*pair)[1 - learner], other, create_graph=True)
        other = other + rate * gradient
    pair = (own, other) if learner == 0 else (other, own)
    (found,) = torch.autograd.grad(-values(*pair)[learner], own)
    return found


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("game", [REPEATED, FINITE], ids=["endless", "3"])
def test_exact_directions_equal_plain_autodiff(game: Game, steps: int) -> None:
    learner = built(game, inner__exact=True, look_ahead__steps=steps, look_ahead__learning_rate=0.4)
    width = learner.init(0)["theta"].shape[-1]
    logits = torch.linspace(-1, 1, 2 * width, dtype=F64).reshape(2, width)
    expected = torch.stack([by_hand(game, logits, agent, steps, 0.4) for agent in (0, 1)])
    torch.testing.assert_close(direction(learner, logits[None])[0], expected, rtol=0, atol=1e-10)


def test_one_small_step_is_the_first_order_rule() -> None:
    """LOLA's correction is the derivative of the direction by the imagined learning rate, at 0."""
    small = 1e-5
    at_zero, near = (
        direction(built(inner__exact=True, look_ahead__steps=1, look_ahead__learning_rate=rate), LOGITS[None])
        for rate in (0.0, small)
    )
    torch.testing.assert_close(at_zero[0], NAIVE, rtol=0, atol=1e-6)
    slope = (near - at_zero)[0] / small
    torch.testing.assert_close(slope, (LOLA - NAIVE) / 0.1, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("surrogate", ["dice", "loaded-dice"])
def test_sampled_directions_are_exact_ones_within_standard_errors(surrogate: str) -> None:
    """Of many samples; with a small imagined rate their bias of order rate^2 / episodes is far below."""
    game, seeds = FINITE, 600
    settings: dict[str, Any] = {"look_ahead__steps": 2, "look_ahead__learning_rate": 0.2}
    exact = built(game, inner__exact=True, **settings)
    logits = torch.linspace(-1, 1, exact.init(0)["theta"].numel(), dtype=F64).reshape(1, 2, -1)
    expected = direction(exact, logits)[0]
    independent = direction(built(game, inner__exact=True, look_ahead__learning_rate=0.0), logits)[0]
    sampled = built(
        game, seeds=seeds, inner__surrogate=surrogate, inner__exact=False, inner__episodes=100, **settings
    )
    found = direction(sampled, logits.expand(seeds, -1, -1))
    error = found.std(0) / seeds**0.5
    assert ((found.mean(0) - expected).abs() < 4 * error + 1e-12).all()
    # the effect of shaping is far above the errors, so that learners without it would fail
    assert ((independent - expected).abs() > 8 * error).any()


def test_without_imagined_learning_agents_are_selfish() -> None:
    ours = built(seeds=2, inner__exact=True, look_ahead__learning_rate=0.0)
    selfish: Any = Selfish().build(REPEATED, Placement(seeds=2))
    left, right = ours.init(0), selfish.init(0)
    for _ in range(3):
        left, right = ours.update(left)[0], selfish.update(right)[0]
    torch.testing.assert_close(left["theta"], right["theta"], rtol=0, atol=1e-9)


def test_three_agents_each_shape_two() -> None:
    """Public goods: an agent's own world has its own policy, and moves both others."""
    game = games.make("public-goods", agents=3, k=1.5)
    learner = built(game, inner__exact=True, look_ahead__steps=1, look_ahead__learning_rate=0.5)
    logits = torch.tensor([[0.3], [-0.2], [0.7]], dtype=F64)

    def values(parts: list[Tensor]) -> Tensor:
        chances = torch.stack(parts).sigmoid()
        found: Tensor = learner.game.values(torch.stack((chances, 1 - chances), -1))
        return found

    expected = []
    for agent in range(3):
        parts = [row.clone().requires_grad_() for row in logits]
        moved = list(parts)
        for other in {0, 1, 2} - {agent}:
            (slope,) = torch.autograd.grad(values(parts)[other], parts[other], create_graph=True)
            moved[other] = parts[other] + 0.5 * slope
        expected.append(torch.autograd.grad(-values(moved)[agent], parts[agent])[0])
    torch.testing.assert_close(direction(learner, logits[None])[0], torch.stack(expected), rtol=0, atol=1e-12)


def test_a_learning_rate_schedule_scales_the_step() -> None:
    constant = built(inner__exact=True, inner__learning_rate=0.5)
    scheduled = built(inner__exact=True, inner__learning_rate="0:0.5, 1:0.1")
    state = constant.init(3)
    one, other = constant.update(state)[0], scheduled.update(scheduled.init(3))[0]
    torch.testing.assert_close(one["theta"], other["theta"], rtol=0, atol=1e-12)
    before, after = other["theta"], scheduled.update(other)[0]["theta"]
    faster = constant.update(one)[0]["theta"]
    torch.testing.assert_close(after - before, (faster - before) / 5, rtol=0, atol=1e-9)


def test_sampled_networks_with_memory_take_finite_steps() -> None:
    game = games.make("repeated-prisoners-dilemma", horizon=4)
    learner = built(
        game, seeds=2, policy="gru", policy__hidden_size=(3,), inner__exact=False, inner__episodes=4
    )
    state = learner.init(0)
    after, _ = learner.update(state)
    assert after["theta"].isfinite().all()
    assert (after["theta"] != state["theta"]).any(-1).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.surrogate": "reinforce"}, "choose dice or loaded-dice"),
        ({"policy": "mlp", "policy.share_parameters": True}, "leave share_parameters off"),
        ({"look_ahead.steps": 0}, "look_ahead.steps must be a whole number, 1 or more"),
        ({"look_ahead.learning_rate": -0.1}, "look_ahead.learning_rate must be a finite number of 0 or more"),
        ({"policy": "tabular", "policy.initial_scale": -1.0}, "policy.initial_scale must be"),
        ({"inner": "ppo"}, "inner"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**settings)
