"""Learning on the two-color grid: seeds in one batch, gradients, and measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bilevel.core import tree_map
from bilevel.hypergradient import Unrolled
from bilevel.tasks import BatchTask, make_task
from bilevel.tasks.self_tuning import TwoColorGrid, TwoColorSettings
from bilevel.tasks.self_tuning._grid_task import ADAPTATION, BEFORE, TOTAL, Learning, _trial

SMALL = TwoColorSettings(
    environment_steps=2048, swap_steps=512, num_envs=16, rollout_steps=2, hidden_size=8, inner_steps=3
)


def run(weighting: str, seeds: list[int]) -> list:
    return TwoColorGrid().run_many(SMALL, weighting, seeds, lambda fraction: None)


@pytest.mark.parametrize("weighting", TwoColorGrid.weightings)
def test_a_seed_in_a_batch_is_that_seed_alone(weighting):
    together = run(weighting, [0, 1, 2])
    for seed in (0, 2):
        (alone,) = run(weighting, [seed])
        assert alone.measures == together[seed].measures
        assert alone.curves == together[seed].curves


@pytest.mark.parametrize("weighting", ["mgrl", "bootstrapped"])
def test_gradients_are_finite_differences(weighting):
    """The rollouts of an outer step, taken again as constants in float64, at shifted outer variables."""
    learning = Learning(SMALL, weighting, [0, 1])
    for _ in range(3):
        learning.update()
    start, steps = (learning.theta, learning.opt_state, learning.phi), 3
    estimate = Unrolled()(learning.problem, *start, steps=steps)

    def double(tree):
        return tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree)

    inner = tuple(map(double, estimate.inner_data))
    problem = learning.problem.replay(inner, double(estimate.outer_data))

    def loss(shift):
        theta, opt_state, phi = map(double, start)
        for data in inner:
            theta, opt_state = problem.step(theta, opt_state, phi + shift, data)
        return problem.outer_loss(theta, phi, problem.outer_data(theta, phi)).sum()

    direction = torch.randn(
        learning.phi.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    difference = (loss(1e-4 * direction) - loss(-1e-4 * direction)) / 2e-4
    estimated = (estimate.gradient.double() * direction).sum()
    torch.testing.assert_close(estimated, difference, rtol=1e-3, atol=1e-9)
    assert difference.abs() > 1e-9


def test_the_rollout_drawn_ahead_is_the_next_to_learn_from():
    learning = Learning(SMALL, "mgrl", [0])
    learning.update()
    ahead = learning.experience.ahead
    steps = len(learning.experience.sums)
    assert steps == SMALL.mgrl_steps + 1
    learning.update()
    assert len(learning.experience.sums) == steps + SMALL.mgrl_steps
    assert ahead is not None
    torch.testing.assert_close(ahead.recent[:, -1], learning.experience.sums[steps - 1] / SMALL.update_steps)


def test_tuned_weights_begin_near_the_initial_one():
    learning = Learning(SMALL, "bootstrapped", [0])
    rollout = learning.experience.draw(learning.theta)
    weight = learning.experience.agents.entropy_weight(learning.phi, rollout)
    torch.testing.assert_close(weight, torch.tensor([SMALL.initial_ent_coef]), rtol=0.3, atol=0)


def test_measures_of_rewards_that_are_known():
    """After a swap half of the time earns 0, the rest 0.2; the time before the first swap does not count."""
    settings = TwoColorSettings(environment_steps=4000, swap_steps=1000, num_envs=1, rollout_steps=1)
    rewards = np.tile(np.repeat([0.0, 0.2], 500), 4)
    rewards[:1000] = 7
    trial = _trial(settings, rewards, np.linspace(0, 1, 4000))
    assert trial.measures[TOTAL] == pytest.approx(7 + 0.3)
    assert trial.measures[ADAPTATION] == pytest.approx(0.52)
    assert trial.measures[BEFORE] == pytest.approx(0.2)
    assert trial.curves[f"{TOTAL} at"][-1] == 4000
    assert np.mean(trial.curves["reward per step"]) == pytest.approx(0.1)


def test_measures_are_undefined_before_a_swap():
    settings = TwoColorSettings(environment_steps=4000, num_envs=8)
    trial = _trial(settings, np.ones(125), np.ones(125))
    assert np.isnan(trial.measures[ADAPTATION])
    assert trial.measures[TOTAL] == 4


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_envs": 0}, "num_envs must be 1 or more, not 0"),
        ({"ent_coef": 1.5}, "ent_coef must be"),
        ({"initial_ent_coef": 1.0}, "initial_ent_coef must be above 0 and below 1, not 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"environment_steps": 100}, "environment_steps must be 1920 or more, not 100"),
    ],
)
def test_bad_settings(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        TwoColorSettings(**wrong)


def test_a_rate_that_is_too_large_is_a_sentence():
    settings = TwoColorSettings(
        environment_steps=1024, num_envs=4, rollout_steps=2, hidden_size=4, value_learning_rate=1e20
    )
    with pytest.raises(FloatingPointError, match="try a smaller learning rate"):
        TwoColorGrid().run(settings, "fixed", 0, lambda fraction: None)


def test_it_runs_seeds_in_one_batch():
    assert isinstance(make_task("two-color-grid"), BatchTask)
