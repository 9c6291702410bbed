"""Problem 1: exact repeated prisoner's dilemma, two memory-one agents, sharing logits, seeds in one batch.

theta [seed, agent, observation] are the log-odds of cooperating; the rows of softmax(phi) [seed, giver,
receiver] say who gets which part of whose discounted return; each agent descends minus what it gets by SGD;
the outer loss is minus the welfare. With `damping` each agent also pays damping / 2 |theta_i|^2, so that
learning comes to rest (for implicit differentiation).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

import games
from bilevel.agents import Tabular
from games.matrix import RepeatedGame, payoff_array
from tests.benchmarks.case import Case
from tests.benchmarks.problems.setting import Modules, Optimizer, Setting, tensor, with_values

GAME = cast(RepeatedGame, games.make("repeated-prisoners-dilemma"))
PAYOFFS = payoff_array(GAME.stage).reshape(4, 2)
"""[joint action, agent]; CC, CD, DC, DD."""
SEEN_BY_SECOND = [0, 1, 3, 2, 4]
"""The second agent's observation in each state: it sees CD where the first sees DC."""
RATE = 0.1
DAMPING = 3.0

Values = Callable[[Tensor], Tensor]
"""Log-odds [..., agent, observation] -> values per step [..., agent]."""


def start(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Draw theta and phi."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(case.size, 2, 5)), generator.normal(size=(case.size, 2, 2))


def values_of_game(theta: Tensor) -> Tensor:
    """Exact values as this toolkit's game gives them: the 4 x 4 solve is written out."""
    return GAME.values(Tabular(num_observations=5, num_actions=2).probabilities(theta))


def values_by_solve(theta: Tensor) -> Tensor:
    """Exact values as the published code on this game computes them: one batched `torch.linalg.solve`."""
    first, second = theta.sigmoid().unbind(-2)
    second = second[..., SEEN_BY_SECOND]
    joint = torch.stack(
        (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)), -1
    )
    system = torch.eye(4, dtype=theta.dtype) - GAME.discount * joint[..., 1:, :]
    shares = torch.linalg.solve(system.mT, joint[..., 0, :])
    values: Tensor = (1 - GAME.discount) * shares @ tensor_of_payoffs(theta.dtype)
    return values


@functools.cache
def tensor_of_payoffs(dtype: torch.dtype) -> Tensor:
    """PAYOFFS as a tensor."""
    return torch.tensor(PAYOFFS, dtype=dtype)


VALUES: dict[str, Values] = {"written out": values_of_game, "solve": values_by_solve}


def setting(case: Case, *, damping: float = 0.0, values: str = "written out") -> Setting:
    """Build the problem as functions of tensors; each learner takes the policies to be own and others'."""
    theta, phi = start(case)
    value = VALUES[values]
    itself = torch.eye(2, dtype=torch.bool).unsqueeze(-1)

    def loss(own: Tensor, others: Tensor, phi: Tensor, data: None) -> Tensor:
        profiles = torch.where(itself, own.unsqueeze(-3), others.unsqueeze(-3))
        returns = value(profiles) * GAME.effective_horizon
        shared = (returns * phi.softmax(-1).mT).sum(-1)
        return 0.5 * damping * own.square().sum(-1) - shared if damping else -shared

    def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return -value(theta).sum(-1)

    return Setting(tensor(theta, case), tensor(phi, case), [None], loss, outer_loss, Optimizer("sgd", RATE))


class Agent(nn.Module):
    """One agent's log-odds [seed, observation]."""

    def __init__(self, seeds: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(seeds, 5))

    def forward(self) -> Tensor:
        return self.logits


def modules(case: Case, *, values: str = "written out") -> Modules:
    """Build the problem as one module for each agent; both losses come from one evaluation of the game."""
    theta, phi = start(case)
    value = VALUES[values]
    agents = [with_values(Agent(case.size), [tensor(theta[:, agent], case)]) for agent in range(2)]

    def losses(agents: Sequence[nn.Module], phi: Tensor, k: int) -> Sequence[Tensor]:
        returns = value(torch.stack([agent() for agent in agents], -2)) * GAME.effective_horizon
        shared = returns.unsqueeze(-2) @ phi.softmax(-1)
        return [-shared[..., agent].sum() for agent in range(2)]

    def outer_loss(agents: Sequence[nn.Module], phi: Tensor) -> Tensor:
        return -value(torch.stack([agent() for agent in agents], -2)).sum()

    return Modules(agents, tensor(phi, case), losses, outer_loss, Optimizer("sgd", RATE))
