"""Actor-critics with leaky V-trace whose hyper-parameters are outer variables, and their rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bilevel.agents import chosen, divergence, entropy, leaky_v_trace
from bilevel.nn import Perceptron
from bilevel.tasks.self_tuning._classic import ENVIRONMENTS, Copies
from bilevel.tasks.self_tuning._control_settings import ActorCriticSettings


class Fragment(NamedTuple):
    """The data of an update: a rollout of all copies, samples [seed, time x copy]."""

    observed: Tensor
    """[seed, sample, feature]."""
    following: Tensor
    """Observations after each step, before a finished episode starts anew; like `observed`."""
    actions: Tensor
    """[seed, sample]."""
    rewards: Tensor
    """[seed, time, copy], as all that follow."""
    log_probabilities: Tensor
    """Of the actions, by the policies that acted."""
    continues: Tensor
    """0 where an episode terminated, else 1."""
    connected: Tensor
    """0 where an episode ended in any way, else 1."""


class Terms(NamedTuple):
    """Terms of the loss of one head, [seed] each."""

    policy: Tensor
    value: Tensor
    entropy: Tensor

    def total(
        self, policy_coef: Tensor | float, value_coef: Tensor | float, ent_coef: Tensor | float
    ) -> Tensor:
        """Their weighted sum."""
        return policy_coef * self.policy + value_coef * self.value - ent_coef * self.entropy


class ActorCritic(NamedTuple):
    """A network with several heads, each a policy and a value, and its losses."""

    network: Perceptron
    """Observation -> logits and value of each head; the first head acts."""
    actions: int
    heads: int

    @classmethod
    def of(cls, settings: ActorCriticSettings, heads: int) -> ActorCritic:
        """The network for an environment, with so many heads."""
        dynamics = ENVIRONMENTS[settings.environment]
        sizes = dynamics.features, settings.hidden_size, heads * (dynamics.actions + 1)
        return cls(Perceptron(sizes, "tanh"), dynamics.actions, heads)

    def logits(self, theta: Tensor, observed: Tensor) -> Tensor:
        """Logits of the first head, [seed, sample, action]."""
        return self.network(theta, observed)[..., : self.actions]

    def terms(
        self, own: Tensor, others: Tensor, data: Fragment, traces: Sequence[Sequence[Tensor | float]]
    ) -> list[Terms]:
        """Terms of the heads, each with its discount, lambda and leak.

        Args:
            own: parameters to differentiate, [seed, parameter].
            others: the same parameters, on which targets and advantages depend.
            data: the rollout.
            traces: for each head discount, lambda and leak, numbers or tensors [seed].

        Returns:
            Terms of as many heads as `traces` has.
        """
        shape, width = data.rewards.shape, self.actions + 1
        learned, fixed, following = (
            self.network(theta, observed).split(width, -1)
            for theta, observed in ((own, data.observed), (others, data.observed), (others, data.following))
        )
        found = []
        for head, of_head in enumerate(traces):
            logits, values = learned[head][..., :-1], learned[head][..., -1].reshape(shape)
            log = chosen(logits, data.actions).reshape(shape)
            targets, advantages = _trace(
                data,
                fixed[head][..., -1].reshape(shape),
                following[head][..., -1].reshape(shape),
                chosen(fixed[head][..., :-1], data.actions).reshape(shape) - data.log_probabilities,
                *(_over_steps(each) for each in of_head),
            )
            policy = -(log * advantages).mean((-2, -1))
            value = (targets - values).square().mean((-2, -1)) / 2
            found.append(Terms(policy, value, entropy(logits).mean(-1)))
        return found

    def divergence(self, target: Tensor, theta: Tensor, data: Fragment) -> Tensor:
        """KL divergence of the policies from the target's, mean over the samples: [seed], in nats."""
        return divergence(self.logits(target, data.observed), self.logits(theta, data.observed)).mean(-1)


def _trace(
    data: Fragment,
    values: Tensor,
    following: Tensor,
    log_ratios: Tensor,
    discount: Tensor | float,
    trace_lambda: Tensor | float,
    leak: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Targets and advantages of episodes that end anywhere within a rollout, [seed, time, copy].

    A truncated episode, and the rollout, end with the value that follows; a terminated one with 0.
    """
    inside = data.connected.clone()
    inside[:, -1] = 0
    rewards = data.rewards + discount * following * data.continues * (1 - inside)
    trace = leaky_v_trace(
        rewards, values, log_ratios, discount * inside, trace_lambda=trace_lambda, leak=leak
    )
    return trace.targets, trace.advantages


def _over_steps(value: Tensor | float) -> Tensor | float:
    return value[:, None, None] if isinstance(value, Tensor) else value


class Rollouts:
    """The copies of the environment of each seed, their random streams, and returns of episodes."""

    def __init__(self, settings: ActorCriticSettings, agent: ActorCritic, seeds: Sequence[int]) -> None:
        self.settings, self.agent = settings, agent
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.theta = torch.stack(
            [agent.network.initial(stream, last_layer_scale=0.1).float() for stream in self.streams]
        )
        self.copies = Copies(ENVIRONMENTS[settings.environment], settings.num_envs, seeds)
        self.running = np.zeros((len(seeds), settings.num_envs))
        self.returns: list[NDArray[Any]] = []
        """Sum and number of the returns of episodes that ended in each rollout, [2, seed]."""

    @torch.no_grad()
    def draw(self, theta: Tensor) -> Fragment:
        """Act by the policies, [seed, parameter], for a rollout."""
        settings = self.settings
        shape = settings.rollout_steps, settings.num_envs, self.agent.actions
        uniform = torch.stack([torch.rand(*shape, generator=stream) for stream in self.streams])
        noise = -(-uniform.clamp(min=1e-20).log()).log()
        observed = self._tensor(self.copies.observed)
        columns: list[tuple[Tensor, ...]] = []
        ended = np.zeros((2, len(self.streams)))
        for time in range(settings.rollout_steps):
            logits = self.agent.logits(theta, observed)
            actions = (logits + noise[:, time]).argmax(-1)
            step = self.copies.step(actions.numpy())
            finished = step.terminated | step.truncated
            self.running += step.rewards
            ended += np.stack(((self.running * finished).sum(1), finished.sum(1)))
            self.running[finished] = 0
            masks = (self._tensor(1.0 - mask) for mask in (step.terminated, finished))
            log = chosen(logits, actions)
            following, rewards = self._tensor(step.following), self._tensor(step.rewards)
            columns.append((observed, following, actions, rewards, log, *masks))
            observed = self._tensor(step.observed)
        self.returns.append(ended)
        stacked = [torch.stack(column, 1) for column in zip(*columns, strict=True)]
        return Fragment(*(column.flatten(1, 2) for column in stacked[:3]), *stacked[3:])

    @staticmethod
    def _tensor(numbers: NDArray[Any]) -> Tensor:
        return torch.as_tensor(numbers, dtype=torch.float32)
