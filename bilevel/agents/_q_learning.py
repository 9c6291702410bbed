"""Q-learning with target networks and replay buffers, for all agents of all seeds at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents._distributions import allowed, draw_actions
from bilevel.core import Tree, leaves, tree_map
from bilevel.nn import ActivationName, Perceptron
from games.core import require, uniform


@dataclass(frozen=True)
class QNetwork:
    """Action values: a perceptron per agent of its observation and of extra features.

    Raises:
        ValueError: a layer has no units, or the activation is unknown.

    >>> network = QNetwork(num_features=4, num_extra=2, num_actions=3)
    >>> theta = torch.zeros(5, network.network.num_parameters)  # five agents
    >>> network(theta, torch.zeros(5, 10, 4), torch.zeros(5, 10, 2)).shape  # agent, sample, action
    torch.Size([5, 10, 3])
    """

    num_features: int
    """Number of features of an observation."""
    num_extra: int
    """Number of extra features."""
    num_actions: int
    """Number of actions."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer."""
    activation: ActivationName = "relu"
    """Activation between layers."""

    def __post_init__(self) -> None:
        _ = self.network

    @property
    def network(self) -> Perceptron:
        return Perceptron(
            (self.num_features + self.num_extra, *self.hidden, self.num_actions), self.activation
        )

    def __call__(self, theta: Tensor, features: Tensor, extra: Tensor) -> Tensor:
        """Compute action values [..., agent, sample, action] of inputs [..., agent, sample, feature]."""
        return self.network(theta, torch.cat((features, extra), -1))


def best_value(values: Tensor, legal: Tensor | None = None) -> Tensor:
    """Value of the best legal action: V = max_a Q(a).

    Args:
        values: action values, [..., action].
        legal: legal actions, boolean [..., action]; None: all.

    >>> best_value(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    tensor(1.)
    """
    return allowed(values, legal).amax(-1)


def epsilon_greedy(
    values: Tensor, legal: Tensor | None, epsilon: float, generator: torch.Generator
) -> Tensor:
    """Choose the best legal action, or a random one with probability epsilon.

    Args:
        values: action values, [..., action].
        legal: legal actions, boolean [..., action]; None: all.
        epsilon: probability of a random action, from 0 to 1.
        generator: source of all random draws.

    Returns:
        Actions, integer [...].

    >>> epsilon_greedy(torch.tensor([[0.0, 2.0, 1.0]]), None, 0.0, torch.Generator())
    tensor([1])
    """
    best = allowed(values, legal).argmax(-1)
    if epsilon == 0:
        return best
    explored = draw_actions(allowed(torch.zeros_like(values), legal), generator)
    explores = uniform(best.shape, generator) < epsilon
    return torch.where(explores, explored, best)


def targets(rewards: Tensor, following: Tensor, continues: Tensor, discount: float) -> Tensor:
    """Targets of Q-learning: y = r + discount V'(s'), V' of the target network, 0 at termination.

    Args:
        rewards: r, [...].
        following: values V' of the next states, [...].
        continues: 0 at termination, else 1, [...].
        discount: per step, from 0 to 1.

    Source:
        Watkins and Dayan 1992; the target network: Mnih et al., Human-level control through deep
        reinforcement learning, Nature 2015.

    >>> targets(torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0]), torch.tensor([1.0, 0.0]), 0.5)
    tensor([3., 1.])
    """
    return rewards + discount * continues * following


def squared_errors(values: Tensor, actions: Tensor, goals: Tensor) -> Tensor:
    """Mean over samples of the squared errors of action values, (Q(a) - y)^2.

    Args:
        values: action values Q, [..., sample, action].
        actions: actions taken, integer [..., sample].
        goals: targets y, [..., sample].

    Returns:
        [...], in squared units of value.

    >>> squared_errors(torch.tensor([[1.0, 3.0]]), torch.tensor([1]), torch.tensor([1.0]))
    tensor(4.)
    """
    taken = values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return (taken - goals).square().mean(-1)


def soft_update(target: Tensor, online: Tensor, rate: float) -> Tensor:
    """Soft update of target networks: target' = (1 - rate) target + rate online.

    Args:
        target: parameters of the target networks, [...].
        online: parameters of the networks that learn, [...].
        rate: above 0 and at most 1.

    Raises:
        ValueError: the rate is out of range.

    Source:
        Lillicrap et al., Continuous control with deep reinforcement learning, arXiv 1509.02971.

    >>> soft_update(torch.tensor([1.0]), torch.tensor([2.0]), 0.25)
    tensor([1.2500])
    """
    require(0 < rate <= 1, f"The rate of a soft update is above 0 and at most 1, not {rate}.")
    return target + rate * (online - target)


class ReplayBuffer(NamedTuple):
    """Ring buffer of the latest items of each seed.

    Source:
        Lin, Self-improving reactive agents based on reinforcement learning, planning and teaching, Machine
        Learning 1992.

    >>> from bilevel.agents import add, empty_replay_buffer
    >>> buffer = empty_replay_buffer(torch.zeros(1, 1), capacity=3)  # one seed; items are numbers
    >>> add(buffer, torch.tensor([[5.0, 6.0]]), keep=torch.tensor([[True, True]]))
    ReplayBuffer(items=tensor([[5., 6., 0., 0.]]), written=tensor([2]))
    """

    items: Tree
    """A nest of tensors [seed, capacity + 1, ...]; the last slot takes zeros for skipped items."""
    written: Tensor
    """Number of items ever added, int64 [seed]."""


def empty_replay_buffer(example: Tree, capacity: int) -> ReplayBuffer:
    """Make an empty replay buffer.

    Args:
        example: items like those that it will hold, a nest of tensors [seed, sample, ...].
        capacity: items per seed, 1 or more.

    Raises:
        ValueError: the capacity is below 1.

    >>> empty_replay_buffer(torch.zeros(2, 5, 3), capacity=4).items.shape
    torch.Size([2, 5, 3])
    """
    require(capacity >= 1, f"A replay buffer holds 1 item or more, not {capacity}.")
    first = leaves(example)[0]
    items = tree_map(lambda leaf: leaf.new_zeros(leaf.shape[0], capacity + 1, *leaf.shape[2:]), example)
    return ReplayBuffer(items, torch.zeros(len(first), dtype=torch.int64, device=first.device))


def capacity_of(buffer: ReplayBuffer) -> int:
    """Capacity of a buffer: items per seed."""
    return int(leaves(buffer.items)[0].shape[1]) - 1


def add(buffer: ReplayBuffer, items: Tree, keep: Tensor) -> ReplayBuffer:
    """Add items to a replay buffer, in order, and return the new one; the buffer passed in is not changed.

    Args:
        buffer: the buffer.
        items: a nest of tensors [seed, sample, ...].
        keep: items to add, boolean [seed, sample].

    Raises:
        ValueError: there are more samples than the buffer holds.

    >>> from bilevel.agents import empty_replay_buffer
    >>> keep = torch.tensor([[True, False, True], [True, True, True]])
    >>> items = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> buffer = add(empty_replay_buffer(torch.zeros(2, 1), 3), items, keep)
    >>> buffer.items[:, :-1].tolist(), buffer.written.tolist()
    ([[1.0, 3.0, 0.0], [4.0, 5.0, 6.0]], [2, 3])
    """
    capacity, samples = capacity_of(buffer), keep.shape[1]
    require(samples <= capacity, f"A replay buffer of {capacity} items cannot take {samples} at once.")
    slot = (buffer.written[:, None] + keep.long().cumsum(1) - 1) % capacity
    slot = torch.where(keep, slot, capacity)
    seed = torch.arange(len(keep), device=keep.device)[:, None]

    def put(old: Tensor, new: Tensor) -> Tensor:
        mask = keep.reshape(*keep.shape, *[1] * (new.ndim - 2))
        return old.index_put((seed, slot), torch.where(mask, new, torch.zeros_like(new)))

    return ReplayBuffer(tree_map(put, buffer.items, items), buffer.written + keep.sum(1))


def draw(buffer: ReplayBuffer, samples: int, generator: torch.Generator) -> Tree:
    """Draw items of a replay buffer uniformly, with replacement.

    Args:
        buffer: a buffer with at least one item of each seed.
        samples: items per seed.
        generator: source of all random draws.

    Returns:
        A nest of tensors [seed, sample, ...].

    >>> from bilevel.agents import add, empty_replay_buffer
    >>> buffer = add(empty_replay_buffer(torch.zeros(1, 1), 8), torch.tensor([[7.0]]), torch.tensor([[True]]))
    >>> draw(buffer, 3, torch.Generator())
    tensor([[7., 7., 7.]])
    """
    stored = buffer.written.clamp(max=capacity_of(buffer))[:, None]
    size = (len(buffer.written), samples)
    slot = (uniform(size, generator, torch.float64) * stored).long().minimum(stored - 1)
    seed = torch.arange(size[0], device=stored.device)[:, None]
    return tree_map(lambda leaf: leaf[seed, slot], buffer.items)


def split(items: Tree, size: int) -> Iterator[Tree]:
    """Split items into batches.

    Args:
        items: a nest of tensors [seed, sample, ...].
        size: samples of a batch; the last one may have fewer.

    Yields:
        Batches, nests of the same form.

    >>> [batch.tolist() for batch in split(torch.arange(4)[None], 2)]
    [[[0, 1]], [[2, 3]]]
    """
    for start in range(0, leaves(items)[0].shape[1], size):
        yield tree_map(lambda leaf, start=start: leaf[:, start : start + size], items)
