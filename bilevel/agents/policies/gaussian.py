"""A policy over continuous actions: a network's means beside standard deviations of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents.policies.protocol import Policy


@dataclass(frozen=True)
class Gaussian:
    """Any network that puts out means, and a log standard deviation for each, end to end in one flat vector.

    The standard deviations are parameters that do not depend on what is seen, 1 at first, as is usual for
    policy gradients and PPO. What Gaussians are squashed to, `bilevel.agents.distributions` says.

    Source:
        Schulman et al., Trust region policy optimization, arXiv 1502.05477, for standard deviations beside
        the network.

    >>> from bilevel.agents.policies import MLP
    >>> policy = Gaussian(MLP(num_features=4, num_actions=2), numbers=2)
    >>> theta = torch.zeros(3, policy.num_parameters)  # three agents
    >>> policy.unroll(theta, torch.zeros(3, 5, 10, 4)).shape  # agent, time, episode, mean | log std
    torch.Size([3, 5, 10, 4])
    """

    policy: Policy
    """Puts out the means."""
    numbers: int
    """How many numbers an action has."""

    @property
    def num_parameters(self) -> int:
        """Those of the network, then the log standard deviations."""
        return self.policy.num_parameters + self.numbers

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """The network's first parameters, and standard deviations of 1: float64 [*batch, parameter]."""
        network = self.policy.initial(generator, *batch)
        return torch.cat((network, network.new_zeros(*batch, self.numbers)), -1)

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """The network's; see `Policy.memory`."""
        return self.policy.memory(self._split(theta)[0], samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log standard deviations; see `Policy.step`."""
        network, log_std = self._split(theta)
        means, memory = self.policy.step(network, observations, memory)
        return _beside(means, log_std), memory

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Means and log standard deviations; see `Policy.unroll`."""
        network, log_std = self._split(theta)
        return _beside(self.policy.unroll(network, observations), log_std)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        network, log_std = theta.split((self.policy.num_parameters, self.numbers), -1)
        return network, log_std


def _beside(means: Tensor, log_std: Tensor) -> Tensor:
    """[..., agent, *samples, number] and [..., agent, number] -> [..., agent, *samples, mean | log std]."""
    between = means.ndim - log_std.ndim
    spread = log_std.reshape(*log_std.shape[:-1], *[1] * between, log_std.shape[-1])
    return torch.cat((means, spread.expand_as(means)), -1)
