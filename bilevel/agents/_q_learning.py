"""Q-learning with a target network, for all agents of all seeds at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents._distributions import allowed, draw_actions
from bilevel.nn import ActivationName, Perceptron
from games.core import require, uniform


@dataclass(frozen=True)
class QNetwork:
    """The value of each action, from what an agent sees and from what else it is told: a perceptron each.

    Raises:
        ValueError: a layer has no unit, or there is no such activation.

    >>> network = QNetwork(num_features=4, num_told=2, num_actions=3)
    >>> theta = torch.zeros(5, network.network.num_parameters)  # five agents
    >>> network(theta, torch.zeros(5, 10, 4), torch.zeros(5, 10, 2)).shape  # agent, sample, action
    torch.Size([5, 10, 3])
    """

    num_features: int
    """Numbers of an observation."""
    num_told: int
    """Numbers that an agent is told besides."""
    num_actions: int
    """How many actions there are."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer."""
    activation: ActivationName = "relu"
    """Between layers."""

    def __post_init__(self) -> None:
        _ = self.network

    @property
    def network(self) -> Perceptron:
        """What each agent has."""
        return Perceptron(
            (self.num_features + self.num_told, *self.hidden, self.num_actions), self.activation
        )

    def __call__(self, theta: Tensor, seen: Tensor, told: Tensor) -> Tensor:
        """Values of all actions.

        Args:
            theta: [..., agent, parameter].
            seen: [..., agent, sample, feature].
            told: [..., agent, sample, number].

        Returns:
            [..., agent, sample, action], discounted rewards.
        """
        return self.network(theta, torch.cat((seen, told), -1))


def best_value(values: Tensor, legal: Tensor | None = None) -> Tensor:
    """The value of the best legal action: V = max_a Q(a).

    Args:
        values: [..., action].
        legal: boolean, like the values, one or more True in each row; None: all actions are.

    >>> best_value(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    tensor(1.)
    """
    return allowed(values, legal).amax(-1)


def epsilon_greedy(
    values: Tensor, legal: Tensor | None, epsilon: float, generator: torch.Generator
) -> Tensor:
    """The best legal action, or, with probability epsilon, any legal one: [..., action] -> integer [...].

    >>> epsilon_greedy(torch.tensor([[0.0, 2.0, 1.0]]), None, 0.0, torch.Generator())
    tensor([1])
    """
    best = allowed(values, legal).argmax(-1)
    if epsilon == 0:
        return best
    anything = draw_actions(allowed(torch.zeros_like(values), legal), generator)
    explores = uniform(best.shape, generator) < epsilon
    return torch.where(explores, anything, best)


def targets(rewards: Tensor, following: Tensor, continues: Tensor, discount: float) -> Tensor:
    """What Q-learning wants a value to be: y = r + discount V'(s'), V' being 0 after an episode's end.

    Args:
        rewards: those which are learned from, [...].
        following: V' of the next state, by the target network, [...].
        continues: 1 where the episode went on, else 0; broadcasts to `rewards`.
        discount: per step, from 0 to 1.

    Source:
        Watkins and Dayan 1992; the target network: Mnih et al. 2015.

    >>> targets(torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0]), torch.tensor([1.0, 0.0]), 0.5)
    tensor([3., 1.])
    """
    return rewards + discount * continues * following


def squared_errors(values: Tensor, actions: Tensor, wanted: Tensor) -> Tensor:
    """Mean over samples of (Q(a) - y)^2: values [..., sample, action], the others [..., sample] -> [...].

    >>> squared_errors(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), torch.tensor([5.0]))
    tensor(9.)
    """
    taken = values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return (taken - wanted).square().mean(-1)


def soft_update(target: Tensor, online: Tensor, rate: float) -> Tensor:
    """Move target networks a part of the way: target' = (1 - rate) target + rate online.

    Raises:
        ValueError: the rate is not above 0 and at most 1.

    >>> soft_update(torch.tensor([1.0]), torch.tensor([2.0]), 0.25)
    tensor([1.2500])
    """
    require(0 < rate <= 1, f"The rate of a soft update is above 0 and at most 1, not {rate}.")
    return target + rate * (online - target)
