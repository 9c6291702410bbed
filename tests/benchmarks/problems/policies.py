"""Problem 2: N agents' networks, 8-32-32-4, that learn by Adam from shared rewards on data sampled before.

Step k sees observations [agent, sample, feature], actions [agent, sample] and rewards [agent, sample];
agent i descends - mean over samples of log pi_i(action) x (softmax(phi)' rewards)_i. The outer loss is the
same with everybody's rewards added up, on data of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bilevel.agents import MLP
from tests.benchmarks.case import Case
from tests.benchmarks.problems.setting import Modules, Optimizer, Setting, tensor, with_values

FEATURES, HIDDEN, ACTIONS, SAMPLES = 8, (32, 32), 4, 64
POLICY = MLP(num_features=FEATURES, num_actions=ACTIONS, hidden=HIDDEN, last_layer_scale=1.0)
OPTIMIZER = Optimizer("adam", 0.01, epsilon=1e-5)
SIZES = [(FEATURES, 32), (32, 32), (32, ACTIONS)]

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def start(case: Case) -> tuple[np.ndarray, np.ndarray, list[Batch]]:
    """Draw theta [agent, parameter], phi [giver, receiver] and K + 1 batches, the last for the outer loss."""
    generator, agents = np.random.default_rng(0), case.size
    layers = [
        part.reshape(agents, -1)
        for inputs, outputs in SIZES
        for part in (
            generator.normal(size=(agents, inputs, outputs)) / np.sqrt(inputs),
            0.1 * generator.normal(size=(agents, outputs)),
        )
    ]
    batches = [
        (
            generator.normal(size=(agents, SAMPLES, FEATURES)),
            generator.integers(ACTIONS, size=(agents, SAMPLES)),
            generator.normal(size=(agents, SAMPLES)),
        )
        for _ in range(case.steps + 1)
    ]
    return np.concatenate(layers, 1), generator.normal(size=(agents, agents)), batches


def chosen(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities of the actions taken."""
    return logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def setting(case: Case) -> Setting:
    """Build the problem as functions of one stacked tensor: no agent's data depend on another's theta."""
    theta, phi, arrays = start(case)
    batches = [tuple(tensor(part, case) for part in batch) for batch in arrays]

    def loss(own: Tensor, others: Tensor, phi: Tensor, data: tuple[Tensor, ...]) -> Tensor:
        observations, actions, rewards = data
        shared = phi.softmax(-1).mT @ rewards
        return -(chosen(POLICY.logits(own, observations), actions) * shared).mean(-1)

    def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        observations, actions, rewards = batches[-1]
        return -(chosen(POLICY.logits(theta, observations), actions) * rewards.sum(0)).mean(-1)

    return Setting(tensor(theta, case), tensor(phi, case), batches[:-1], loss, outer_loss, OPTIMIZER)


class Network(nn.Sequential):
    """One agent's policy."""

    def __init__(self) -> None:
        layers = [nn.Linear(inputs, outputs) for inputs, outputs in SIZES]
        super().__init__(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def layers_of(theta: Tensor) -> list[Tensor]:
    """Split one agent's parameters as `nn.Linear` wants them: weights [output, input], biases."""
    sizes = [size for inputs, outputs in SIZES for size in (inputs * outputs, outputs)]
    parts = theta.split(sizes)
    weights = [part.view(shape).T for part, shape in zip(parts[::2], SIZES, strict=True)]
    return [part for pair in zip(weights, parts[1::2], strict=True) for part in pair]


def modules(case: Case) -> Modules:
    """Build the problem as one module for each agent."""
    theta, phi, arrays = start(case)
    agents = [with_values(Network(), layers_of(tensor(row, case))) for row in theta]
    batches = [tuple(tensor(part, case) for part in batch) for batch in arrays]

    def by_agent(agents: Sequence[nn.Module], batch: tuple[Tensor, ...]) -> list[Tensor]:
        observations, actions, rewards = batch
        return [
            -(chosen(agent(seen), taken) * reward).mean()
            for agent, seen, taken, reward in zip(agents, observations, actions, rewards, strict=True)
        ]

    def losses(agents: Sequence[nn.Module], phi: Tensor, k: int) -> Sequence[Tensor]:
        observations, actions, rewards = batches[k]
        return by_agent(agents, (observations, actions, phi.softmax(-1).mT @ rewards))

    def outer_loss(agents: Sequence[nn.Module], phi: Tensor) -> Tensor:
        observations, actions, rewards = batches[-1]
        everybody = rewards.sum(0).expand_as(rewards)
        return torch.stack(by_agent(agents, (observations, actions, everybody))).sum()

    return Modules(agents, tensor(phi, case), losses, outer_loss, OPTIMIZER)


class Stack(nn.Module):
    """All agents' policies as one module with one parameter [agent, parameter]."""

    def __init__(self, agents: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(agents, POLICY.num_parameters))

    def forward(self, observations: Tensor) -> Tensor:
        return POLICY.logits(self.theta, observations)


def stacked_modules(case: Case) -> Modules:
    """Build the problem as one module that holds all agents, with one optimizer."""
    theta, phi, arrays = start(case)
    stack = with_values(Stack(case.size), [tensor(theta, case)])
    batches = [tuple(tensor(part, case) for part in batch) for batch in arrays]

    def losses(learners: Sequence[nn.Module], phi: Tensor, k: int) -> Sequence[Tensor]:
        observations, actions, rewards = batches[k]
        shared = phi.softmax(-1).mT @ rewards
        return [-(chosen(learners[0](observations), actions) * shared).mean(-1).sum()]

    def outer_loss(learners: Sequence[nn.Module], phi: Tensor) -> Tensor:
        observations, actions, rewards = batches[-1]
        return -(chosen(learners[0](observations), actions) * rewards.sum(0)).mean(-1).sum()

    return Modules([stack], tensor(phi, case), losses, outer_loss, OPTIMIZER)
