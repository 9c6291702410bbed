"""Self-tuning actor-critics: returns of cut episodes, hypergradients, seeds in one batch, measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bilevel.core import leaves, tree_map
from bilevel.hypergradient import Unrolled
from bilevel.tasks.self_tuning import ActorCriticSettings, ActorCriticTask
from bilevel.tasks.self_tuning._control_agent import ActorCritic, Fragment, _trace
from bilevel.tasks.self_tuning._control_settings import BOUNDS
from bilevel.tasks.self_tuning._control_task import END, SHOWN, TRAINING, TUNINGS, ControlLearning, _trial

SMALL = ActorCriticSettings(
    environment_steps=768, num_envs=4, rollout_steps=8, hidden_size=8, auxiliary_heads=1
)
TUNED = [name for name, tuning in TUNINGS.items() if tuning.learned]


def column(*numbers: float) -> torch.Tensor:
    """[seed, time, copy] of one copy."""
    return torch.tensor(numbers)[None, :, None]


def fragment(continues: torch.Tensor, connected: torch.Tensor) -> Fragment:
    empty = torch.zeros(1, 3, 1)
    return Fragment(empty, empty, empty, column(1, 2, 4), torch.zeros(1, 3, 1), continues, connected)


@pytest.mark.parametrize(
    ("continues", "connected", "expected"),
    [
        ((1, 1, 1), (1, 1, 1), (1 + 0.5 * (2 + 0.5 * (4 + 0.5 * 30)), 2 + 0.5 * (4 + 0.5 * 30), 19.0)),
        ((1, 0, 1), (1, 0, 1), (1 + 0.5 * 2, 2.0, 19.0)),  # terminated: no value follows
        ((1, 1, 1), (1, 0, 1), (1 + 0.5 * (2 + 0.5 * 20), 2 + 0.5 * 20, 19.0)),  # truncated: the value does
        ((1, 1, 0), (1, 1, 0), (1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0)),
    ],
)
def test_targets_of_episodes_that_end_within_a_rollout(continues, connected, expected):
    data = fragment(column(*continues).float(), column(*connected).float())
    values, following = column(7.0, 8.0, 9.0), column(10.0, 20.0, 30.0)
    targets, advantages = _trace(data, values, following, torch.zeros(1, 3, 1), 0.5, 1.0, 1.0)
    torch.testing.assert_close(targets.flatten(), torch.tensor(expected))
    torch.testing.assert_close(advantages, targets - values)


def test_lambda_and_importance_ratios_count():
    data = fragment(torch.ones(1, 3, 1), torch.ones(1, 3, 1))
    values, following = column(7.0, 8.0, 9.0), column(8.0, 9.0, 30.0)
    targets, _ = _trace(data, values, following, torch.zeros(1, 3, 1), 0.5, 0.0, 1.0)
    torch.testing.assert_close(targets.flatten(), torch.tensor([1 + 4.0, 2 + 4.5, 4 + 15.0]))
    twice = torch.full((1, 3, 1), 2.0).log()
    clipped, leaky = (_trace(data, values, following, twice, 0.5, 0.0, leak)[0] for leak in (1.0, 0.5))
    torch.testing.assert_close(leaky - values, 1.5 * (clipped - values))


@pytest.mark.parametrize("weighting", TUNED)
def test_hypergradients_are_finite_differences(weighting):
    """Recorded rollouts in float64: through both epochs, ratios with their kinks, traces and Adam."""
    learning = ControlLearning(SMALL, weighting, [0, 1])
    for _ in range(3):
        learning.update()
    steps = SMALL.update_epochs
    start = learning.theta, learning.opt_state, learning.phi
    recorded = Unrolled()(learning.problem, *start, steps=steps)

    def double(tree):
        return tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree)

    problem = learning.problem.replay(tuple(map(double, recorded.inner_data)), double(recorded.outer_data))
    theta, opt_state, phi = map(double, start)
    estimate = Unrolled()(problem, theta, opt_state, phi, steps=steps)
    gradient, outer = estimate.gradient, estimate.outer_data

    def outer_loss(now):
        """As the learner's, with targets and advantages of the policies at the end as constants."""
        if TUNINGS[weighting].target:
            return problem.outer_loss(now, phi, outer)
        loss = learning._reference_loss(now, estimate.theta, outer.rollout)
        nats = learning.agent.divergence(now, outer.old, outer.rollout)
        return loss + SMALL.kl_coef * nats if TUNINGS[weighting].regularized else loss

    def loss(phi):
        now, state = theta, opt_state
        for data in map(double, recorded.inner_data):
            now, state = problem.step(now, state, phi, data)
        return outer_loss(now).sum()

    random = torch.Generator().manual_seed(0)
    for place, name in enumerate(TUNINGS[weighting].learned):
        direction = torch.zeros_like(phi)
        direction[:, :, place] = torch.randn(phi.shape[:2], dtype=torch.float64, generator=random)
        difference = (loss(phi + 1e-5 * direction) - loss(phi - 1e-5 * direction)) / 2e-5
        estimated = (gradient * direction).sum()
        torch.testing.assert_close(estimated, difference, rtol=1e-3, atol=1e-11, msg=name)
        assert estimated != 0, name


@pytest.mark.parametrize("weighting", TUNINGS)
def test_a_seed_in_a_batch_is_that_seed_alone(weighting):
    def run(seeds):
        return ActorCriticTask().run_many(SMALL, weighting, seeds, lambda fraction: None)

    together, (alone,) = run([5, 6, 7]), run([6])
    assert alone.curves == together[1].curves


def test_tuned_hyperparameters_begin_at_the_settings():
    for weighting in TUNED:
        learning = ControlLearning(SMALL, weighting, [0])
        values = learning.values(learning.phi)
        assert len(values) == (2 if weighting == "stacx" else 1)
        for head in values:
            for name in BOUNDS:
                assert float(head[name]) == pytest.approx(getattr(SMALL, name), rel=1e-5)


def test_auxiliary_heads_change_only_what_is_shared():
    """The losses of auxiliary heads have no gradient in the last layer of the head that acts."""
    agent = ActorCritic.of(SMALL, heads=2)
    learning = ControlLearning(SMALL, "stacx", [0])
    rollout = learning.rollouts.draw(learning.theta)
    theta = learning.theta.clone().requires_grad_()
    traces = [[0.9, 0.9, 1.0]] * 2
    _, auxiliary = agent.terms(theta, theta.detach(), rollout, traces)
    (slope,) = torch.autograd.grad(auxiliary.total(1.0, 1.0, 1.0).sum(), theta)
    first, outputs = (4 + 1) * 8, 2 * 3
    last = slope[0, first : first + 8 * outputs].reshape(8, outputs)
    assert (last[:, :3] == 0).all()
    assert (last[:, 3:] != 0).any()
    assert (slope[0, :first] != 0).any()


def test_an_outer_step_of_bootstrapped_goes_on_from_all_its_rollouts():
    learning = ControlLearning(SMALL, "bootstrapped", [0])
    assert learning.update() == 3
    assert len(learning.rollouts.returns) == 3
    (steps,) = {int(leaf) for leaf in leaves(learning.opt_state) if not leaf.is_floating_point()}
    assert steps == 3 * SMALL.update_epochs - 1  # the last one leads to the target only


def test_measures_of_returns_that_are_known():
    returns = np.stack((np.repeat([10.0, 0.0, 60.0], [50, 40, 10]), np.repeat([1.0, 0.0, 2.0], [50, 40, 10])))
    settings = ActorCriticSettings()
    trial = _trial(settings, returns, np.ones((100, len(SHOWN))), range(100))
    assert trial.measures[END] == 30
    assert trial.measures[TRAINING] == pytest.approx(0.9 * 10 + 0.1 * 30)
    assert trial.curves["return"][0] == 10
    assert len(trial.curves["return"]) == len(trial.curves["return at"])
    nothing = _trial(settings, np.zeros((2, 5)), np.ones((5, len(SHOWN))), range(5))
    assert np.isnan(nothing.measures[END])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"environment": "pong"}, "There is no environment 'pong'"),
        ({"discount": 1.0}, "discount must be above 0 and below 1, not 1.0"),
        ({"policy_coef": 2.5}, "policy_coef must be above 0 and below 2, not 2.5"),
        ({"update_epochs": 0}, "update_epochs must be 1 or more, not 0"),
        ({"environment_steps": 100}, "environment_steps must be 384 or more, not 100"),
    ],
)
def test_bad_settings(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ActorCriticSettings(**wrong)
