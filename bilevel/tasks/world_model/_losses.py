"""The losses of the world model on a batch of roll-outs.

Roll-outs that the dynamics imagine, and the gradient of their return in the controller.

Advantages of roll-outs, and REINFORCE with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.tasks.world_model._dynamics import After
from bilevel.tasks.world_model._latents import gumbel, info_nce, straight_through
from bilevel.tasks.world_model._model import WorldModel
from bilevel.tasks.world_model._rollouts import RollOut
from bilevel.tasks.world_model._settings import WorldModelSettings


class Dream(NamedTuple):
    """All chance of imagined roll-outs, drawn beforehand; each [step, roll-out, ...]."""

    action: Tensor
    """Gumbel noise, [step, roll-out, action]."""
    latent: Tensor
    """Of the kind of latents, [step, roll-out, latent]."""
    component: Tensor
    """Gumbel noise, [step, roll-out, component]."""

    @classmethod
    def draw(cls, model: WorldModel, steps: int, count: int, generator: torch.Generator) -> Dream:
        """For so many roll-outs of so many steps."""
        shape = (steps, count)
        return cls(
            gumbel((*shape, model.controller.actions), generator),
            model.latents.noise(shape, generator),
            gumbel((*shape, model.dynamics.mixtures), generator),
        )


def imagined_return(
    model: WorldModel, latents: Tensor, memory: Tensor, dream: Dream, discount: float
) -> Tensor:
    """Discounted rewards that the dynamics predict, as a function of the controller.

    Actions pass gradients straight through, latents by reparameterization. The dynamics and the value head
    are constants here: only the controller learns from what it imagines, else both would learn to flatter.

    Args:
        model: dynamics, controller and, if there is one, the value of where the roll-out stops.
        latents: where roll-outs start, [roll-out, latent].
        memory: where roll-outs start, [roll-out, unit].
        dream: all chance.
        discount: of later rewards, per step.

    Returns:
        one for each roll-out, [roll-out]: sum_k discount^k (chance to be alive then) x reward.

    Source:
        Hafner et al., Dream to control, arXiv 1912.01603, for gradients through imagined latents.
    """
    latents, memory = latents.detach(), memory.detach()
    total, alive = torch.zeros(len(latents)), torch.ones(len(latents))
    for step in range(len(dream.action)):
        action = straight_through(model.controller(latents, memory), dream.action[step])
        memory, predicted = _constant(model.dynamics, memory, latents, action)
        total = total + alive * predicted.reward
        alive = alive * discount * (1 - predicted.end_logit.sigmoid())
        latents = predicted.latent.sample(dream.latent[step], dream.component[step])
    if model.value is not None:
        total = total + alive * _constant(model.value, latents, memory)
    return total


def _constant(module: nn.Module, *inputs: Tensor) -> Any:
    """Call a module whose parameters get no gradient; gradients pass through to its inputs."""
    return functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, inputs)


def advantages_with_values(
    roll_out: RollOut, values: Tensor, discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantages, and what values are trained towards.

    A_t = d_t + discount trace A_{t+1}, d_t = r_t + discount V_{t+1} - V_t; V is 0 after an episode's end, and
    no trace reaches over a stop.

    Args:
        roll_out: rewards, ends and stops.
        values: of each picture, [time + 1, copy].
        discount: of later rewards.
        trace: of later advantages.

    Returns:
        advantages and targets, each [time, copy].

    Source:
        Schulman et al., arXiv 1506.02438.
    """
    after = values[1:] * (1 - roll_out.ended)
    errors = roll_out.rewards + discount * after - values[:-1]
    advantages = _summed_back(errors, discount * trace, roll_out.stopped)
    return advantages, advantages + values[:-1]


def advantages_without_values(roll_out: RollOut, discount: float) -> Tensor:
    """Discounted rewards to come within the window, less their mean over the copies at the same time.

    Args:
        roll_out: rewards and stops.
        discount: of later rewards.

    Returns:
        [time, copy].
    """
    to_come = _summed_back(roll_out.rewards, discount, roll_out.stopped)
    counts = roll_out.counts
    mean = (to_come * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    return to_come - mean


def normalized(advantages: Tensor, counts: Tensor) -> Tensor:
    """With mean 0 and standard deviation 1 over what counts, [time, copy]."""
    some = advantages[counts]
    return (advantages - some.mean()) / (some.std(correction=0) + 1e-6)


def reinforce(log_policy: Tensor, before: Tensor, advantages: Tensor, clip_ratio: float) -> Tensor:
    """Minus the mean advantage, each weighed by how much likelier its action has become.

    Where the policy is still the one that acted this is REINFORCE's gradient. The ratio corrects for a policy
    that has moved since, and is cut off where it has moved far.

    Args:
        log_policy: of the actions taken, [step].
        before: the same of the policy that acted, [step].
        advantages: [step].
        clip_ratio: how far from 1 the ratio counts; 0 or more.

    Source:
        Williams 1992; Schulman et al., Proximal policy optimization, arXiv 1707.06347.

    >>> reinforce(torch.zeros(2), torch.zeros(2), torch.tensor([1.0, 3.0]), 0.2)
    tensor(-2.)
    """
    ratio = (log_policy - before).exp()
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def _summed_back(terms: Tensor, factor: float, stopped: Tensor) -> Tensor:
    """s_t = terms_t + factor s_{t+1} unless stopped in t, [time, copy]."""
    sums, later = [], torch.zeros_like(terms[0])
    for term, stop in zip(terms.flip(0), stopped.flip(0), strict=True):
        later = term + factor * later * ~stop
        sums.append(later)
    return torch.stack(sums).flip(0)


class Batch(NamedTuple):
    """Roll-outs, and all that is worked out or drawn before losses are taken, as functions of the model."""

    roll_out: RollOut
    advantages: Tensor
    """Of size one, [time, copy]."""
    targets: Tensor
    """What values are trained towards, [time, copy]."""
    noise: Tensor
    """Of the latents, [time + 1, copy, latent]."""
    dream: Dream
    """Chance of imagined roll-outs, which start in every `imagined_steps`-th step of every copy."""


class Inner(NamedTuple):
    """What pictures become inside the model."""

    statistics: Tensor
    """[time + 1, copy, statistic]."""
    latents: Tensor
    """The likeliest, [time + 1, copy, latent]."""
    memory: Tensor
    """Before each picture, [time + 1, copy, unit]."""


@torch.no_grad()
def prepare(
    model: WorldModel, roll_out: RollOut, settings: WorldModelSettings, generator: torch.Generator
) -> Batch:
    """Advantages by the model as it is, and all noise."""
    if model.value is None:
        advantages = advantages_without_values(roll_out, settings.discount)
        targets = torch.zeros_like(advantages)
    else:
        inner = inside(model, roll_out, None)
        values = model.value(inner.latents, inner.memory)
        advantages, targets = advantages_with_values(roll_out, values, settings.discount, settings.trace)
    time, copies = roll_out.rewards.shape
    starts = len(range(0, time, settings.imagined_steps)) * copies
    return Batch(
        roll_out,
        normalized(advantages, roll_out.counts),
        targets,
        model.latents.noise((time + 1, copies), generator),
        Dream.draw(model, settings.imagined_steps, starts, generator),
    )


def of_copies(batch: Batch, copies: slice) -> Batch:
    """A batch of only these copies."""
    count = batch.roll_out.rewards.shape[1]

    def some(drawn: Tensor) -> Tensor:
        starts: Tensor = drawn.unflatten(1, (-1, count))
        return starts[:, :, copies].flatten(1, 2)

    return Batch(
        batch.roll_out.of_copies(copies),
        batch.advantages[:, copies],
        batch.targets[:, copies],
        batch.noise[:, copies],
        Dream(*map(some, batch.dream)),
    )


def inside(model: WorldModel, roll_out: RollOut, truncate: int | None) -> Inner:
    """Encode the pictures, and run the recurrent network over them."""
    statistics = model.autoencoder(roll_out.pictures)
    latents = model.latents.mode(statistics)
    memory = model.dynamics.unroll(roll_out.memory, latents[:-1], roll_out.actions, roll_out.first, truncate)
    return Inner(statistics, latents, memory)


def losses(
    model: WorldModel, batch: Batch, settings: WorldModelSettings, names: Sequence[str]
) -> dict[str, Tensor]:
    """The losses of these names, each one number, as functions of the model.

    Args:
        model: whose losses.
        batch: on what.
        settings: of the task.
        names: some of the settings' `losses`.
    """
    inner = inside(model, batch.roll_out, settings.truncate)
    known = {
        "reconstruction": _reconstruction,
        "dynamics": _dynamics,
        "policy": _policy,
        "value": _value,
        "contrastive": _contrastive,
    }
    return {name: known[name](model, batch, inner, settings) for name in names}


def held_out_loss(model: WorldModel, batch: Batch, settings: WorldModelSettings) -> Tensor:
    """What learned weights are to lower: minus the return's surrogate on roll-outs not trained on."""
    inner = inside(model, batch.roll_out, None)
    return _real(model, batch, inner, settings, entropy=0.0)


def _reconstruction(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    pictures = batch.roll_out.pictures
    return model.autoencoder.loss(pictures, inner.statistics, batch.noise, settings.divergence)


def _dynamics(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    counts = batch.roll_out.counts
    # The target is a constant: else latents would learn to be easily foretold.
    latents = model.latents.sample(inner.statistics[1:], batch.noise[1:]).detach()
    after = After(latents[counts], batch.roll_out.rewards[counts], batch.roll_out.ended[counts])
    return model.dynamics.loss(inner.memory[1:][counts], after)


def _policy(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    terms = []
    if settings.policy_gradient != "imagined":
        terms.append(_real(model, batch, inner, settings, settings.entropy))
    if settings.policy_gradient != "real":
        starts = (x[: len(batch.roll_out.rewards) : settings.imagined_steps] for x in inner[1:])
        latents, memory = (x.flatten(0, 1) for x in starts)
        imagined = imagined_return(model, latents, memory, batch.dream, settings.discount)
        terms.append(-imagined.mean() / settings.imagined_steps)
    return torch.stack(terms).sum()


def _real(
    model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings, entropy: float
) -> Tensor:
    log_policy: Tensor = model.controller(inner.latents[:-1], inner.memory[:-1]).log_softmax(-1)
    roll_out, counts = batch.roll_out, batch.roll_out.counts
    taken = (log_policy * roll_out.actions).sum(-1)[counts]
    surrogate = reinforce(taken, roll_out.log_policy[counts], batch.advantages[counts], settings.clip_ratio)
    spread = -(log_policy.exp() * log_policy).sum(-1)[counts].mean()
    return surrogate - entropy * spread


def _value(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    assert model.value is not None
    values = model.value(inner.latents[:-1], inner.memory[:-1])
    counts = batch.roll_out.counts
    return model.value.loss(values[counts], batch.targets[counts])


def _contrastive(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    counts = batch.roll_out.counts
    return info_nce(inner.latents[:-1][counts], inner.latents[1:][counts], settings.temperature)
