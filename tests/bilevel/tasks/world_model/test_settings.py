"""Settings out of range are refused in one sentence."""

from __future__ import annotations

import pytest

from bilevel.tasks.world_model import WorldModelSettings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"latents": "gausian"}, "Did you mean 'gaussian'"),
        ({"policy_gradient": "dreamt"}, "policy gradient"),
        ({"num_envs": 5}, "num_envs must be an even number, not 5"),
        ({"environment_steps": 2000}, "num_envs x rollout_steps x evaluations = 4096 or more, not 2000"),
        (
            {"rollout_steps": 1},
            "rollout_steps must be 2 or more, not 1: the step that restarts an episode trains nothing",
        ),
        ({"bptt_steps": 0}, "bptt_steps must be 1 step or more, or None"),
        ({"evaluations": 6}, "evaluations must be a multiple of 4, not 6"),
        ({"crop": (0, 100, 0, 600)}, "its sides multiples of downsample, 15"),
        ({"crop": (30, 0, 0, 600)}, "crop is"),
        ({"discount": 1.5}, "discount must be a finite number from 0 to 1, not 1.5"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0, not 0"),
        ({"ent_coef": -1.0}, "ent_coef must be a finite number of 0 or more, not -1"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number above 0, not inf"),
        ({"max_norm": 0.0}, "max_norm must be above 0, or None"),
        ({"controller_hidden_size": -1}, "controller_hidden_size must be 0"),
    ],
)
def test_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        WorldModelSettings(**change)


def test_losses_follow_the_options():
    assert WorldModelSettings(value_head=False).losses == ("reconstruction", "dynamics", "policy")
    assert WorldModelSettings(contrastive=True).losses[3:] == ("value", "contrastive")


def test_a_return_scale_is_that_of_the_discount_or_of_the_window():
    assert WorldModelSettings(discount=0.9).return_scale == pytest.approx(10)
    assert WorldModelSettings(discount=1.0, rollout_steps=16).return_scale == 16
