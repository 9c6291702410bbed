"""The losses of the world model on a batch of roll-outs, real and imagined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.tasks.world_model._environment import PixelRollout
from bilevel.tasks.world_model._latents import gumbel, straight_through
from bilevel.tasks.world_model._model import WorldModel
from bilevel.tasks.world_model._settings import WorldModelSettings


class ImaginationNoise(NamedTuple):
    """Noise of imagined roll-outs, [step, roll-out, ...]: of latents, Gumbel for actions and components."""

    action: Tensor
    latent: Tensor
    component: Tensor

    @classmethod
    def draw(cls, model: WorldModel, steps: int, count: int, generator: torch.Generator) -> ImaginationNoise:
        """Draw the noise of `count` roll-outs."""
        shape = (steps, count)
        return cls(
            gumbel((*shape, model.controller.actions), generator),
            model.latents.noise(shape, generator),
            gumbel((*shape, model.dynamics.mixtures), generator),
        )


def imagined_return(
    model: WorldModel, latents: Tensor, hidden: Tensor, noise: ImaginationNoise, discount: float
) -> Tensor:
    """Discounted rewards that the dynamics predict, [roll-out], as a function of the controller.

    sum_k discount^k (probability that the episode goes on until k) x reward, from latents and hidden states
    at the start. Actions pass gradients straight through, latents by reparameterization. Dynamics and value
    head are constants, so that they are not trained to overestimate the controller's returns.

    Source:
        Hafner et al., Dream to control, arXiv 1912.01603, for gradients through imagined latents.
    """
    latents, hidden = latents.detach(), hidden.detach()
    total, continues = torch.zeros(len(latents)), torch.ones(len(latents))
    for step in range(len(noise.action)):
        action = straight_through(model.controller(latents, hidden), noise.action[step])
        hidden, predicted = _constant(model.dynamics, hidden, latents, action)
        total = total + continues * predicted.reward
        continues = continues * discount * (1 - predicted.end_logit.sigmoid())
        latents = predicted.latent.sample(noise.latent[step], noise.component[step])
    if model.value is not None:
        total = total + continues * _constant(model.value, latents, hidden)
    return total


def _constant(module: nn.Module, *inputs: Tensor) -> Any:
    """Call a module whose parameters get no gradient; gradients pass through to its inputs."""
    return functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, inputs)


def advantages_with_values(
    roll_out: PixelRollout, values: Tensor, discount: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimates (arXiv 1506.02438) and value targets, each [time, copy].

    Values, [time + 1, copy], count as 0 after an episode's end, and no advantage extends past a stop.
    """
    after = values[1:] * (1 - roll_out.ended)
    errors = roll_out.rewards + discount * after - values[:-1]
    advantages = _summed_back(errors, discount * gae_lambda, roll_out.stopped)
    return advantages, advantages + values[:-1]


def advantages_without_values(roll_out: PixelRollout, discount: float) -> Tensor:
    """Discounted rewards-to-go within the window, minus their mean over the copies, [time, copy]."""
    rewards_to_go = _summed_back(roll_out.rewards, discount, roll_out.stopped)
    counts = roll_out.counts
    mean = (rewards_to_go * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    return rewards_to_go - mean


def normalized(advantages: Tensor, counts: Tensor) -> Tensor:
    """Scale to mean 0 and standard deviation 1 over the steps that count, [time, copy]."""
    counted = advantages[counts]
    return (advantages - counted.mean()) / (counted.std(correction=0) + 1e-6)


def clipped_surrogate(log_policy: Tensor, before: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
    """PPO's surrogate (arXiv 1707.06347): minus the mean advantage weighted by the clipped ratio, [step].

    Where the policy is still the one that acted, `before`, its gradient is REINFORCE's (Williams 1992).
    """
    ratio = (log_policy - before).exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def _summed_back(terms: Tensor, factor: float, stopped: Tensor) -> Tensor:
    """s_t = terms_t + factor s_{t+1} unless stopped in t, [time, copy]."""
    sums, later = [], torch.zeros_like(terms[0])
    for term, stop in zip(terms.flip(0), stopped.flip(0), strict=True):
        later = term + factor * later * ~stop
        sums.append(later)
    return torch.stack(sums).flip(0)


class WorldModelBatch(NamedTuple):
    """Roll-outs, their advantages and all noise: the data of the losses."""

    roll_out: PixelRollout
    advantages: Tensor  # Normalized, [time, copy]
    targets: Tensor  # value targets, [time, copy]
    noise: Tensor  # latent noise, [time + 1, copy, latent]
    imagination: ImaginationNoise  # imagined roll-outs start in every `imagined_steps`-th step of every copy


class Encoding(NamedTuple):
    """Encoded pictures, [time + 1, copy, ...]: the likeliest latents, and recurrent states before each."""

    statistics: Tensor
    latents: Tensor
    hidden: Tensor


@torch.no_grad()
def prepare(
    model: WorldModel, roll_out: PixelRollout, settings: WorldModelSettings, generator: torch.Generator
) -> WorldModelBatch:
    """Compute advantages with the current model, and draw all noise."""
    if model.value is None:
        advantages = advantages_without_values(roll_out, settings.discount)
        targets = torch.zeros_like(advantages)
    else:
        encoding = encode(model, roll_out, None)
        values = model.value(encoding.latents, encoding.hidden)
        advantages, targets = advantages_with_values(roll_out, values, settings.discount, settings.gae_lambda)
    time, copies = roll_out.rewards.shape
    starts = len(range(0, time, settings.imagined_steps)) * copies
    return WorldModelBatch(
        roll_out,
        normalized(advantages, roll_out.counts),
        targets,
        model.latents.noise((time + 1, copies), generator),
        ImaginationNoise.draw(model, settings.imagined_steps, starts, generator),
    )


def of_copies(batch: WorldModelBatch, copies: slice) -> WorldModelBatch:
    """The batch of select copies."""
    count = batch.roll_out.rewards.shape[1]

    def select(drawn: Tensor) -> Tensor:
        starts: Tensor = drawn.unflatten(1, (-1, count))
        return starts[:, :, copies].flatten(1, 2)

    return WorldModelBatch(
        batch.roll_out.of_copies(copies),
        batch.advantages[:, copies],
        batch.targets[:, copies],
        batch.noise[:, copies],
        ImaginationNoise(*map(select, batch.imagination)),
    )


def encode(model: WorldModel, roll_out: PixelRollout, truncate: int | None) -> Encoding:
    """Encode the pictures, and run the recurrent network over them."""
    statistics = model.autoencoder(roll_out.pictures)
    latents = model.latents.mode(statistics)
    hidden = model.dynamics.unroll(roll_out.hidden, latents[:-1], roll_out.actions, roll_out.first, truncate)
    return Encoding(statistics, latents, hidden)


def losses(
    model: WorldModel, batch: WorldModelBatch, settings: WorldModelSettings, names: Sequence[str]
) -> dict[str, Tensor]:
    """The named losses, each one number."""
    roll_out, counts = batch.roll_out, batch.roll_out.counts
    encoding = encode(model, roll_out, settings.bptt_steps)
    latents, hidden = encoding.latents, encoding.hidden

    def reconstruction() -> Tensor:
        return model.autoencoder.loss(roll_out.pictures, encoding.statistics, batch.noise, settings.kl_coef)

    def dynamics() -> Tensor:
        # a constant target: otherwise latents would learn to be predictable
        targets = model.latents.sample(encoding.statistics[1:], batch.noise[1:]).detach()
        rewards, ended = roll_out.rewards[counts], roll_out.ended[counts]
        return model.dynamics.loss(hidden[1:][counts], targets[counts], rewards, ended)

    def policy() -> Tensor:
        terms = []
        if settings.policy_gradient != "imagined":
            terms.append(_policy_loss(model, batch, encoding, settings.clip_coef, settings.ent_coef))
        if settings.policy_gradient != "real":
            every = slice(0, len(roll_out.rewards), settings.imagined_steps)
            starts = latents[every].flatten(0, 1), hidden[every].flatten(0, 1)
            returns = imagined_return(model, *starts, batch.imagination, settings.discount)
            terms.append(-returns.mean() / settings.imagined_steps)
        if settings.policy_gradient == "imagined":
            log_policy = model.controller(latents[:-1].detach(), hidden[:-1].detach()).log_softmax(-1)
            terms.append(-settings.ent_coef * _entropy(log_policy[counts]))
        return torch.stack(terms).sum()

    def value() -> Tensor:
        assert model.value is not None
        return model.value.loss(model.value(latents[:-1], hidden[:-1])[counts], batch.targets[counts])

    def contrastive() -> Tensor:
        return info_nce(latents[:-1][counts], latents[1:][counts], settings.temperature)

    known = {each.__name__: each for each in (reconstruction, dynamics, policy, value, contrastive)}
    return {name: known[name]() for name in names}


def held_out_loss(model: WorldModel, batch: WorldModelBatch, settings: WorldModelSettings) -> Tensor:
    """The validation loss of learned weights: the policy's surrogate on held-out rollouts."""
    encoding = encode(model, batch.roll_out, None)
    return _policy_loss(model, batch, encoding, settings.clip_coef, ent_coef=0.0)


def _policy_loss(
    model: WorldModel, batch: WorldModelBatch, encoding: Encoding, clip_coef: float, ent_coef: float
) -> Tensor:
    roll_out, counts = batch.roll_out, batch.roll_out.counts
    log_policy: Tensor = model.controller(encoding.latents[:-1], encoding.hidden[:-1]).log_softmax(-1)
    taken = (log_policy * roll_out.actions).sum(-1)[counts]
    advantages = batch.advantages[counts]
    surrogate = clipped_surrogate(taken, roll_out.log_policy[counts], advantages, clip_coef)
    return surrogate - ent_coef * _entropy(log_policy[counts])


def _entropy(log_policy: Tensor) -> Tensor:
    """Mean entropy of the policy, in nats, from log probabilities, [step, action]."""
    return -(log_policy.exp() * log_policy).sum(-1).mean()


def info_nce(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al., arXiv 1807.03748) of pairs, [pair, number], in nats.

    -mean_i log [exp(s_ii / temperature) / sum_j exp(s_ij / temperature)], s the cosine similarity.
    """
    unit = [nn.functional.normalize(vectors, dim=-1) for vectors in (anchors, positives)]
    similar = unit[0] @ unit[1].T / temperature
    return nn.functional.cross_entropy(similar, torch.arange(len(similar)))
