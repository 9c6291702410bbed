"""The losses of the whole model: who learns from which, and that copies' losses stand for themselves."""

from __future__ import annotations

import math

import pytest
import torch

from bilevel.tasks.world_model._losses import held_out_loss, losses, of_copies
from bilevel.tasks.world_model._model import PARTS
from bilevel.tasks.world_model._training import phases
from tests.bilevel.tasks.world_model.tiny import a_batch, a_model, reached, tiny

ALL = tiny(contrastive=True)
REACHES = {
    "reconstruction": {"autoencoder"},
    "dynamics": {"autoencoder", "dynamics"},
    "policy": {"autoencoder", "dynamics", "controller"},
    "value": {"autoencoder", "dynamics", "value"},
    "contrastive": {"autoencoder"},
}


@pytest.mark.parametrize("latents", ["gaussian", "categorical"])
@pytest.mark.parametrize("name", list(REACHES))
def test_who_learns_from_which_loss(name, latents):
    settings = tiny(contrastive=True, latents=latents)
    model = a_model(settings)
    losses(model, a_batch(model, settings), settings, [name])[name].backward()
    assert {part for part in PARTS if reached(getattr(model, part))} == REACHES[name]


@pytest.mark.parametrize("gradient", ["real", "imagined", "both"])
def test_every_policy_gradient_reaches_the_controller(gradient):
    settings = tiny(policy_gradient=gradient)
    model = a_model(settings)
    losses(model, a_batch(model, settings), settings, ["policy"])["policy"].backward()
    assert reached(model.controller)
    # What is imagined starts from constants, so pictures' latents learn from real roll-outs alone.
    assert reached(model.autoencoder) == (gradient != "imagined")


def test_both_policy_gradients_are_the_sum_with_one_entropy_bonus():
    model = a_model()
    value = {}
    modes = ("real", "imagined", "both")
    for gradient in modes:
        for ent_coef in (0.0, 0.5):
            settings = tiny(policy_gradient=gradient, ent_coef=ent_coef)
            loss = losses(model, a_batch(model, settings), settings, ["policy"])["policy"]
            value[gradient, ent_coef] = loss.item()
    assert value["both", 0.0] == pytest.approx(value["real", 0.0] + value["imagined", 0.0], rel=1e-5)
    bonus = {
        gradient: value[gradient, 0.0] - value[gradient, 0.5] for gradient in ("real", "imagined", "both")
    }
    assert 0 < bonus["real"] <= 0.5 * math.log(2) + 1e-6
    assert bonus["imagined"] == pytest.approx(bonus["real"], rel=1e-4)
    assert bonus["both"] == pytest.approx(bonus["real"], rel=1e-4)


@pytest.mark.parametrize("way", ["staged", "alternating"])
def test_freezing_freezes(way):
    model = a_model(ALL)
    batch = a_batch(model, ALL)
    for phase in dict.fromkeys(phases(way, 3, ALL.losses)):
        model.train_only(phase.parts)
        model.zero_grad()
        sum(losses(model, batch, ALL, phase.losses).values()).backward()
        assert {part for part in PARTS if reached(getattr(model, part))} == set(phase.parts)
        frozen = set(PARTS) - set(phase.parts)
        assert all(p.grad is None for part in frozen for p in getattr(model, part).parameters())


def test_the_whole_loss_is_the_mean_of_the_halves_where_all_steps_count():
    settings = tiny()
    model = a_model()
    batch = a_batch(model)
    halves = [of_copies(batch, slice(2)), of_copies(batch, slice(2, None))]
    whole = losses(model, batch, settings, ["reconstruction"])["reconstruction"]
    parts = [losses(model, half, settings, ["reconstruction"])["reconstruction"] for half in halves]
    torch.testing.assert_close(whole, sum(parts) / 2)


def test_half_of_the_copies_keep_their_own_dream():
    batch = a_batch(a_model())
    half = of_copies(batch, slice(2, None))
    starts = batch.imagination.latent.unflatten(1, (-1, 4))
    assert torch.equal(half.imagination.latent, starts[:, :, 2:].flatten(1, 2))
    assert torch.equal(half.roll_out.hidden, batch.roll_out.hidden[2:])


def test_truncation_shortens_what_the_policy_teaches_the_recurrent_network():
    def gradient(truncate):
        settings = tiny(bptt_steps=truncate)
        model = a_model(settings)
        losses(model, a_batch(model, settings), settings, ["policy"])["policy"].backward()
        return model.dynamics.cell.weight_hh.grad

    torch.testing.assert_close(gradient(8), gradient(None))
    assert not torch.allclose(gradient(2), gradient(None))


def test_what_weights_are_learned_from_is_the_policys_loss_without_entropy():
    settings = tiny(ent_coef=0.0)
    model = a_model()
    batch = a_batch(model)
    torch.testing.assert_close(
        held_out_loss(model, batch, tiny(ent_coef=0.5)),
        losses(model, batch, settings, ["policy"])["policy"],
    )
