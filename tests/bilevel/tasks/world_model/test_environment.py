"""Pictures: CartPole's own to the last bit, any other environment's by its renderer."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from bilevel.tasks.world_model import WorldModelSettings
from bilevel.tasks.world_model._environment import DECAY, CartPolePicture, PixelEnvironment, darkness
from tests.bilevel.tasks.world_model.tiny import tiny

WHOLE = WorldModelSettings(crop=(0, 400, 0, 600), downsample=20)


@pytest.mark.parametrize(
    "settings", [WorldModelSettings(), WHOLE, WorldModelSettings(crop=(200, 320, 90, 450))]
)
def test_cart_poles_picture_is_gymnasiums_to_the_last_bit(settings):
    environment = gymnasium.make("CartPole-v1", render_mode="rgb_array").unwrapped
    environment.reset(seed=0)
    draw, generator = CartPolePicture(settings), np.random.default_rng(0)
    for position, angle in generator.uniform((-2.6, -0.5), (2.6, 0.5), (200, 2)):
        environment.state = np.array([position, 0.0, angle, 0.0])
        ours = draw(position, angle)
        assert np.array_equal(ours, darkness(environment.render(), settings))
        assert 0 <= ours.min() < ours.max() <= 1
    environment.close()


def test_white_is_none_and_black_is_one():
    settings = tiny(crop=(0, 4, 0, 6), downsample=2)
    frame = np.full((4, 6, 3), 255, np.uint8)
    frame[:2, 2:4] = 0
    assert darkness(frame, settings).tolist() == [0, 1, 0, 0, 0, 0]


def test_a_picture_smaller_than_the_crop_is_refused():
    with pytest.raises(ValueError, match="crop reaches to row 290 and column 600, but pictures are 8 by 9"):
        darkness(np.zeros((8, 9, 3), np.uint8), WorldModelSettings())


def test_the_second_half_is_the_difference_from_a_fading_memory():
    settings = dataclasses.replace(WHOLE, contrast=2.0)
    environment = PixelEnvironment(settings, 2, seed=0)
    now, change = environment.reset().chunk(2, -1)
    assert not change.any()
    trail = now
    for _ in range(5):
        now, change = environment.step(torch.tensor([0, 1])).picture.chunk(2, -1)
        torch.testing.assert_close(change, now - trail)
        trail = trail + DECAY * (now - trail)
    assert change.abs().max() > 0.1
    environment.close()


def test_a_finished_episode_starts_again_a_step_later():
    environment = PixelEnvironment(tiny(), 2, seed=0)
    environment.reset()
    for _ in range(60):
        seen = environment.step(torch.tensor([1, 1]))
        if seen.stopped.any():
            break
    assert seen.ended.any()
    over = seen.stopped.clone()
    after = environment.step(torch.tensor([1, 1]))
    assert torch.equal(after.first, over)
    assert after.reward.tolist() == [float(not here) for here in over]
    assert not after.picture[over].chunk(2, -1)[1].any()
    environment.close()


def test_another_environment_is_seen_by_its_own_renderer():
    settings = tiny(environment="Acrobot-v1", crop=(0, 500, 0, 500), downsample=50)
    environment = PixelEnvironment(settings, 2, seed=0)
    first = environment.reset()
    seen = environment.step(torch.tensor([0, 2]))
    assert first.shape == seen.picture.shape == (2, 200)
    assert first.abs().sum() > 0
    assert environment.actions == 3
    environment.close()


def test_unknown_and_unfit_environments_are_refused():
    with pytest.raises(ValueError, match="Gymnasium cannot make the environment 'CartPool-v1'"):
        PixelEnvironment(tiny(environment="CartPool-v1"), 2, seed=0)
    with pytest.raises(ValueError, match="discrete actions, but Pendulum-v1 has Box"):
        PixelEnvironment(tiny(environment="Pendulum-v1"), 2, seed=0)
