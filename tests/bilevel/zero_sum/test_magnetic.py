"""Regularized dynamics: quantal response equilibria, and Nash equilibria by moving magnets."""

from __future__ import annotations

import pytest
import torch

from bilevel.zero_sum import MagneticMirrorDescent, RegularizedNashDynamics, Rule, learn
from games import nash_conv
from tests.bilevel.zero_sum.games_of_theory import EQUILIBRIUM, PERTURBED, random_start, tensors

SCALED = (PERTURBED + 3) / 6

QUANTAL = [
    (0.05, 10_000, [0.1517447, 0.4679478, 0.3803076], 0.024976),
    (0.1, 3000, [0.1734780, 0.4863032, 0.3402187], 0.060072),
    (0.2, 1000, [0.2236449, 0.4779882, 0.2983669], 0.124189),
    (0.5, 300, [0.2981332, 0.4138205, 0.2880464], 0.202118),
]
"""Temperature, steps, and the equilibrium stored with the authors' code, with its NashConv."""


@pytest.mark.parametrize(("temperature", "steps", "equilibrium", "gap"), QUANTAL)
def test_quantal_response_equilibria(
    temperature: float, steps: int, equilibrium: list[float], gap: float
) -> None:
    rule = MagneticMirrorDescent(temperature=temperature, learning_rate=temperature)
    start = random_start(3, 3, seed=0)
    final = learn(SCALED, rule, steps, start=start).state.strategies
    for strategy in final:
        torch.testing.assert_close(strategy, tensors(equilibrium)[0], atol=6e-8, rtol=0)
    assert nash_conv(SCALED, final).item() == pytest.approx(gap, abs=5e-7)
    for agent, values in enumerate((SCALED @ final[1], -final[0] @ SCALED)):  # x ~ exp(u / tau)
        torch.testing.assert_close(final[agent], (values / temperature).softmax(-1), atol=1e-10, rtol=0)


def test_the_rate_is_linear() -> None:
    rule = MagneticMirrorDescent(temperature=0.2, learning_rate=0.2)
    record = range(50, 301, 50)
    history = learn(SCALED, rule, 4000, start=random_start(3, 3, seed=1), record=[*record, 4000])
    errors = torch.stack([(one[:-1] - one[-1]).abs().amax(-1) for one in history.last]).amax(0)
    ratios = errors[1:] / errors[:-1]
    assert errors[-1] < 1e-4 * errors[0]
    assert ratios.max() < (1 / (1 + 0.2 * 0.2)) ** 50 * 1.5  # the bound's rate, and half as much again


def test_a_step_by_hand() -> None:
    # eta = 1, tau = 1, uniform magnet: sqrt(x exp(u)), normalized
    start = tensors([0.8, 0.2], [0.5, 0.5])
    payoffs = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    rule = MagneticMirrorDescent(temperature=1.0, learning_rate=1.0)
    expected = (tensors([0.8, 0.2])[0] * tensors([0.5, 0.0])[0].exp()).sqrt()
    found = rule.step(rule.init(payoffs, start), payoffs)
    torch.testing.assert_close(found.strategies[0], expected / expected.sum())
    moving = MagneticMirrorDescent(temperature=1.0, learning_rate=1.0, magnet_rate=0.5)
    magnet = moving.step(moving.init(payoffs, start), payoffs).memory[1][0].exp()
    torch.testing.assert_close(magnet, expected.sqrt() / expected.sqrt().sum())


@pytest.mark.parametrize(
    "rule",
    [
        MagneticMirrorDescent(temperature=1.0, learning_rate=0.1, magnet_rate=0.05),
        RegularizedNashDynamics(temperature=1.0, learning_rate=0.05, inner_steps=200),
    ],
)
def test_moving_magnets_lead_to_the_nash_equilibrium(rule: Rule) -> None:
    final = learn(PERTURBED, rule, 10_000, start=random_start(3, 3, seed=2)).state.strategies
    for strategy in final:
        torch.testing.assert_close(strategy, EQUILIBRIUM, atol=1e-8, rtol=0)


def test_annealing_approaches_the_nash_equilibrium() -> None:
    rule = MagneticMirrorDescent(temperature=1.0, learning_rate=1.0, anneal=True)
    history = learn(SCALED, rule, 10_000, record=(10, 100, 1000, 10_000))
    gaps = nash_conv(SCALED, history.last)
    assert (gaps[1:] < 0.6 * gaps[:-1]).all()
    assert gaps[-1] < 0.01


def test_the_inner_fixed_point_is_the_regularized_equilibrium() -> None:
    # the first magnet is uniform, so the first round ends in the quantal response equilibrium
    rule = RegularizedNashDynamics(temperature=0.6, learning_rate=0.2, inner_steps=1000)
    final = learn(PERTURBED, rule, 1000).state.strategies[0]  # payoffs and temperature times 6
    torch.testing.assert_close(final, tensors(QUANTAL[1][2])[0], atol=6e-8, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"magnet_rate": 1.5}, "magnet_rate must be from 0 to 1, not 1.5"),
    ],
)
def test_bad_settings_of_magnetic_mirror_descent(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MagneticMirrorDescent(**settings)


def test_bad_settings_of_regularized_nash_dynamics() -> None:
    with pytest.raises(ValueError, match=r"must be below 1 / temperature = 0\.5, not 0\.5"):
        RegularizedNashDynamics(temperature=2.0, learning_rate=0.5)
    with pytest.raises(ValueError, match="inner_steps must be 1 or more, not 0"):
        RegularizedNashDynamics(inner_steps=0)


@pytest.mark.parametrize("rule", [MagneticMirrorDescent(), RegularizedNashDynamics()])
def test_pure_starts_are_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="start from positive probabilities"):
        rule.init(PERTURBED, tensors([1.0, 0.0, 0.0], [0.2, 0.3, 0.5]))
