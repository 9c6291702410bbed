"""The recurrent network that predicts the next latent, the reward and the end.

What the next latent may be: a mixture of Gaussians, or categories.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bilevel.tasks.world_model._latents import Categorical, Gaussian, straight_through


class Mixture(NamedTuple):
    """A mixture of Gaussians with diagonal covariances."""

    logits: Tensor
    """Of the components, [..., component]."""
    mean: Tensor
    """[..., component, latent]."""
    log_deviation: Tensor
    """[..., component, latent]."""

    @classmethod
    def of(cls, numbers: Tensor, components: int) -> Mixture:
        """Read from a network's output.

        Args:
            numbers: [..., component x (1 + 2 latent)].
            components: how many.
        """
        logits, rest = numbers.tensor_split([components], -1)
        mean, log_deviation = rest.unflatten(-1, (components, -1)).chunk(2, -1)
        return cls(logits, mean, 3 * torch.tanh(log_deviation / 3))

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the density, [..., latent] -> [...].

        log sum_k softmax(logits)_k prod_d Normal(z_d; mean_kd, deviation_kd).
        """
        scaled = (latents[..., None, :] - self.mean) * (-self.log_deviation).exp()
        each = -(scaled.square() / 2 + self.log_deviation + math.log(2 * math.pi) / 2).sum(-1)
        return (self.logits.log_softmax(-1) + each).logsumexp(-1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A reparameterized sample; the component's choice passes gradients straight through.

        Args:
            noise: standard normal, [..., latent].
            choice: Gumbel noise, [..., component].

        Returns:
            [..., latent].
        """
        chosen = straight_through(self.logits, choice)[..., None]
        return (chosen * (self.mean + self.log_deviation.exp() * noise[..., None, :])).sum(-2)


class Categories(NamedTuple):
    """Logits of categorical latents."""

    logits: Tensor
    """[..., latent]."""
    latents: Categorical
    """What they are logits of."""

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the probability of one-hot latents, [..., latent] -> [...]."""
        log_p = self.latents.grouped(self.logits).log_softmax(-1)
        return (log_p * self.latents.grouped(latents)).sum((-1, -2))

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A straight-through sample, [..., latent]; `choice` is for mixtures."""
        return self.latents.sample(self.logits, noise)


class Prediction(NamedTuple):
    """Of what comes after an action."""

    latent: Mixture | Categories
    """The next latent."""
    reward: Tensor
    """Its mean, [...]."""
    end_logit: Tensor
    """Of the episode's end, [...]."""


class Dynamics(nn.Module):
    """A gated recurrent unit over latents and actions, with a mixture-density head.

    Args:
        latents: the kind of latents.
        actions: how many there are.
        memory: units of the recurrent network.
        mixtures: components of the mixture; categorical latents need none.

    Source:
        Ha and Schmidhuber, World models, arXiv 1803.10122 (which has an LSTM); Bishop, Mixture density
        networks, 1994.
    """

    def __init__(self, latents: Gaussian | Categorical, actions: int, memory: int, mixtures: int) -> None:
        super().__init__()
        self.latents, self.mixtures = latents, mixtures
        self.cell = nn.GRUCell(latents.size + actions, memory)
        gaussian = isinstance(latents, Gaussian)
        self.next_latent = nn.Linear(memory, mixtures * (1 + 2 * latents.size) if gaussian else latents.size)
        self.outcome = nn.Linear(memory, 2)

    def predict(self, memory: Tensor) -> Prediction:
        """What comes next, from the memory after latent and action, [..., unit]."""
        numbers = self.next_latent(memory)
        latent: Mixture | Categories
        if isinstance(self.latents, Categorical):
            latent = Categories(numbers, self.latents)
        else:
            latent = Mixture.of(numbers, self.mixtures)
        return Prediction(latent, *self.outcome(memory).unbind(-1))

    def remember(self, memory: Tensor, latents: Tensor, actions: Tensor) -> Tensor:
        """The memory after a latent and an action, [batch, unit].

        Args:
            memory: before, [batch, unit].
            latents: [batch, latent].
            actions: one-hot, [batch, action].
        """
        after: Tensor = self.cell(torch.cat((latents, actions), -1), memory)
        return after

    def unroll(
        self, memory: Tensor, latents: Tensor, actions: Tensor, first: Tensor, truncate: int | None
    ) -> Tensor:
        """Memories before each latent, and after the last.

        Args:
            memory: before the first latent, [batch, unit].
            latents: [time, batch, latent].
            actions: one-hot, [time, batch, action].
            first: whether a latent is the first of an episode, which starts without memory,
                [time + 1, batch].
            truncate: gradients are cut after so many steps; None: nowhere.

        Returns:
            [time + 1, batch, unit].
        """
        memories = [memory * ~first[0][:, None]]
        for time in range(len(latents)):
            before = memories[-1]
            if truncate is not None and time % truncate == 0:
                before = before.detach()
            after = self.remember(before, latents[time], actions[time])
            memories.append(after * ~first[time + 1][:, None])
        return torch.stack(memories)

    def loss(self, memories: Tensor, after: After) -> Tensor:
        """How unlikely what came was: latent, reward and end; the mean over steps.

        Args:
            memories: after latent and action, [step, unit].
            after: what came, each [step, ...].

        Returns:
            -log density of the latent + squared error of the reward + cross-entropy of the end.
        """
        predicted = self.predict(memories)
        ends = nn.functional.binary_cross_entropy_with_logits(
            predicted.end_logit, after.ended, reduction="none"
        )
        unlikely = -predicted.latent.log_likelihood(after.latent)
        return (unlikely + (predicted.reward - after.reward).square() + ends).mean()

    def forward(self, memory: Tensor, latents: Tensor, actions: Tensor) -> tuple[Tensor, Prediction]:
        """`remember`, then `predict`."""
        after = self.remember(memory, latents, actions)
        return after, self.predict(after)


class After(NamedTuple):
    """What came after a step."""

    latent: Tensor
    """[step, latent]."""
    reward: Tensor
    """[step]."""
    ended: Tensor
    """1 where the episode came to its end, [step]."""
