"""Differentiable games: each agent descends a loss of all agents' parameters, without actions or samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from games.core import cached_constants, constant, require


@dataclass(frozen=True, kw_only=True)
class DifferentiableGame:
    """N agents, each with parameters of its own and a loss that depends on all agents' parameters.

    It has no states, actions or rewards, so it is not a `Game`: a learner descends `losses`, in the form that
    `inner_step_per_agent` takes: `lambda own, others, phi, data: game.losses(own, others)`.

    Raises:
        ValueError: there is no agent; from `losses` and `gradients`, parameters or losses do not have one
            entry per agent.
    Source:
        Balduzzi et al., The Mechanics of n-Player Differentiable Games, arXiv 1802.05642.

    >>> from games.matrix import TANDEM
    >>> TANDEM.gradients(torch.tensor([[0.5], [0.5]]))  # stationary on the line x + y = 1
    tensor([[0.],
            [0.]])
    """

    num_agents: int
    """Number of agents; at least 1."""
    loss: Callable[[Tensor], Tensor]
    """From all agents' parameters, [..., agent, dimension], to the losses they minimize, [..., agent]."""

    def __post_init__(self) -> None:
        require(self.num_agents >= 1, f"A game needs at least 1 agent; num_agents is {self.num_agents}.")

    def losses(self, own: Tensor, others: Tensor) -> Tensor:
        """Each agent's loss, with its own parameters and those of the other agents as separate arguments.

        With own = others these are the game's losses. The gradient of their sum by `own` stacks each agent's
        gradient of its own loss; its derivative by `others` is the dependence on the other agents.

        Args:
            own: [..., agent, dimension]; loss i depends on entry i alone.
            others: [..., agent, dimension]; loss i depends on every entry but i.
        Returns:
            Losses, [..., agent].
        """
        agents = self.num_agents
        require(
            own.ndim >= 2 and own.shape[-2] == agents and others.shape == own.shape,
            f"Parameters need the shape [..., agent, dimension] with {agents} agents, the same for own and "
            f"others; they have {tuple(own.shape)} and {tuple(others.shape)}.",
        )
        own_row = torch.eye(agents, dtype=torch.bool, device=own.device).unsqueeze(-1)
        profiles = torch.where(own_row, own.unsqueeze(-3), others.unsqueeze(-3))  # [..., learner, agent, dim]
        losses = self.loss(profiles)
        require(
            losses.shape == profiles.shape[:-1],
            f"A loss must turn parameters [..., agent, dimension] into losses [..., agent]; it turned "
            f"{tuple(profiles.shape)} into {tuple(losses.shape)}.",
        )
        return losses.diagonal(dim1=-2, dim2=-1)

    def gradients(self, theta: Tensor) -> Tensor:
        """Each agent's gradient of its own loss by its own parameters, [..., agent, dimension]."""

        def total(own: Tensor, others: Tensor) -> Tensor:
            return self.losses(own, others).sum()

        gradients: Tensor = torch.func.grad(total)(theta, theta)
        return gradients


def tandem_loss(theta: Tensor) -> Tensor:
    """L_i = (sum_j x_j)^2 - 2 x_i, [..., agent], where x_i is the sum of agent i's entries."""
    own = theta.sum(-1)
    return own.sum(-1, keepdim=True) ** 2 - 2 * own


TANDEM = DifferentiableGame(num_agents=2, loss=tandem_loss)
"""The tandem game: L1 = (x + y)^2 - 2x, L2 = (x + y)^2 - 2y; naive learners stop anywhere on x + y = 1.

Source: Letcher et al., Stable Opponent Shaping in Differentiable Games, arXiv 1811.08469.
"""


@dataclass(frozen=True, kw_only=True)
class BilinearLoss:
    """L1 = x' A y = -L2; see `bilinear`.

    Raises:
        ValueError: A is not square, or holds a number that is not finite.
    """

    matrix: tuple[tuple[float, ...], ...]
    """A, row by row: [dimension, dimension], finite numbers."""

    def __post_init__(self) -> None:
        size = len(self.matrix)
        require(
            size >= 1 and all(len(row) == size for row in self.matrix),
            f"The matrix of a bilinear game must be square; its {size} rows have "
            f"{', '.join(str(len(row)) for row in self.matrix)} entries.",
        )
        finite = all(math.isfinite(entry) for row in self.matrix for entry in row)
        require(finite, "The matrix of a bilinear game must hold finite numbers; one of them is not.")

    def __call__(self, theta: Tensor) -> Tensor:
        x, y = theta.unbind(-2)
        matrix = _matrix(self.matrix, theta.dtype, theta.device)
        value = (x.unsqueeze(-1) * matrix * y.unsqueeze(-2)).sum((-2, -1))
        return torch.stack((value, -value), -1)


def bilinear(matrix: tuple[tuple[float, ...], ...] = ((1.0,),)) -> DifferentiableGame:
    """Build the bilinear zero-sum game, L1 = x' A y = -L2: gradients rotate around the equilibrium at 0.

    With A = 1 and steps of size a, simultaneous gradient descent multiplies the distance from 0 by
    sqrt(1 + a^2), alternating descent keeps it bounded (a < 2), and extragradient shrinks it for a < 1.

    Args:
        matrix: A, square.
    Raises:
        ValueError: the matrix is not square, or not finite.
    Source:
        Mescheder et al., The Numerics of GANs, arXiv 1705.10461; Korpelevich, The extragradient method for
        finding saddle points and other problems, Matecon 12, 1976.

    >>> bilinear().gradients(torch.tensor([[3.0], [2.0]]))
    tensor([[ 2.],
            [-3.]])
    """
    return DifferentiableGame(num_agents=2, loss=BilinearLoss(matrix=matrix))


@cached_constants
def _matrix(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return constant(rows, dtype, device)
