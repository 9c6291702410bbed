"""Batched CartPole and Acrobot against Gymnasium's, and the ends of episodes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from bilevel.tasks.self_tuning._classic import ENVIRONMENTS, Copies, step_acrobot, step_cart_pole


def test_cart_pole_is_gymnasiums_bit_for_bit():
    environment = gymnasium.make_vec("CartPole-v1", 8)
    environment.reset(seed=0)
    random, plain = np.random.default_rng(0), environment.unwrapped
    ends = 0
    for _ in range(300):
        state, restarted = plain.state.copy(), plain.prev_done.copy()
        actions = random.integers(0, 2, 8)
        after, rewards, terminated = step_cart_pole(state, actions)
        observed, their_rewards, their_end, _, _ = environment.step(actions)
        own = ~restarted  # a finished copy restarts instead of stepping
        np.testing.assert_array_equal(after[:, own], plain.state[:, own])
        np.testing.assert_array_equal(terminated[own], their_end[own])
        np.testing.assert_array_equal(rewards[own], their_rewards[own])
        ours = ENVIRONMENTS["cart-pole"].observe(after).astype(np.float32)
        np.testing.assert_array_equal(ours[own], observed[own])
        ends += their_end.sum()
    assert ends > 50


def test_acrobot_is_gymnasiums_up_to_rounding():
    environment = gymnasium.make("Acrobot-v1").unwrapped
    environment.reset(seed=0)
    random, ends = np.random.default_rng(0), 0
    for _ in range(400):
        state = random.uniform([-np.pi, -np.pi, -12, -28], [np.pi, np.pi, 12, 28])
        action = int(random.integers(3))
        environment.state = state.copy()
        observed, reward, terminated, _, _ = environment.step(action)
        after, our_reward, end = step_acrobot(state, np.array(action))
        apart = np.abs(after - environment.state)
        apart[:2] = np.minimum(apart[:2], 2 * np.pi - apart[:2])
        assert apart.max() < 1e-9
        assert (float(our_reward), bool(end)) == (reward, terminated)
        np.testing.assert_allclose(ENVIRONMENTS["acrobot"].observe(after), observed, atol=1e-6)
        ends += terminated
    assert ends > 20


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_limits_and_starts_are_gymnasiums(name):
    spec = gymnasium.spec({"cart-pole": "CartPole-v1", "acrobot": "Acrobot-v1"}[name])
    environment, dynamics = spec.make(), ENVIRONMENTS[name]
    assert spec.max_episode_steps == dynamics.limit
    assert environment.observation_space.shape == (dynamics.features,)
    assert environment.action_space.n == dynamics.actions
    starts = np.array([environment.reset(seed=seed) and environment.unwrapped.state for seed in range(200)])
    assert dynamics.start * 0.95 < np.abs(starts).max() <= dynamics.start


def test_an_episode_that_reaches_the_limit_is_truncated_and_not_terminated():
    copies = Copies(ENVIRONMENTS["acrobot"], 1, [0])
    for time in range(500):
        step = copies.step(np.ones((1, 1), np.int64))  # no torque: it never gets up
        assert not step.terminated.any()
        assert step.truncated.all() == (time == 499)
    assert not np.array_equal(step.following, step.observed)
    np.testing.assert_array_equal(step.observed, copies.observed)
    assert not copies.step(np.ones((1, 1), np.int64)).truncated.any()


def test_a_terminated_episode_starts_anew_in_the_same_step():
    copies = Copies(ENVIRONMENTS["cart-pole"], 3, [0, 1])
    for _ in range(20):
        step = copies.step(np.ones((2, 3), np.int64))  # always right: the pole falls
        if step.terminated.any():
            break
    end = step.terminated
    assert (np.abs(step.following[end][:, 2]) > 0.2).all()
    assert (np.abs(step.observed[end]) <= 0.05).all()
    np.testing.assert_array_equal(step.observed[~end], step.following[~end])


def test_a_seed_starts_its_episodes_as_if_alone():
    both, alone = (Copies(ENVIRONMENTS["cart-pole"], 2, seeds) for seeds in ([3, 4], [4]))
    for _ in range(60):
        step, own = both.step(np.ones((2, 2), np.int64)), alone.step(np.ones((1, 2), np.int64))
        np.testing.assert_array_equal(step.observed[1:], own.observed)
