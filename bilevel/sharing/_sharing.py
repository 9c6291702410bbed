"""Sharing matrices: each giver's row of shares for its receivers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from games.core import require
from games.wrappers import check_sharing


def redistribute(rewards: Tensor, sharing: Tensor) -> Tensor:
    """`share` without its checks, for rewards of samples, [..., giver, sample]."""
    return sharing.mT @ rewards


def share(rewards: Tensor, sharing: Tensor) -> Tensor:
    """Redistribute each agent's reward by its row of the sharing matrix.

    r~_j = sum_i T[i, j] r_i: the total is conserved whatever T is.

    Args:
        rewards: individual rewards, [..., giver], in the game's units.
        sharing: shares, [..., giver, receiver]; each row sums to 1.

    Returns:
        Shared rewards, [..., receiver].

    Raises:
        ValueError: a share is negative, or a row does not sum to 1 (names it, and its sum), or a shape or
            dtype is wrong.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> share(torch.tensor([1.0, 0.0]), torch.tensor([[0.7, 0.3], [0.0, 1.0]]))
    tensor([0.7000, 0.3000])
    """
    require(rewards.ndim >= 1, "Rewards must have shape [..., giver], but they are a single number.")
    check_sharing(sharing, agents=rewards.shape[-1])
    require(
        rewards.dtype == sharing.dtype,
        f"Rewards and sharing matrix must be of one dtype, but they are {rewards.dtype} and {sharing.dtype}.",
    )
    return redistribute(rewards.unsqueeze(-1), sharing).squeeze(-1)


def identity_sharing(agents: int) -> Tensor:
    """Identity sharing matrix, by which each agent keeps its reward.

    Args:
        agents: number of agents.
    Returns:
        Shares, float64 [giver, receiver].

    >>> identity_sharing(2)
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    return torch.eye(agents, dtype=torch.float64)


def self_interest_sharing(neighbors: Tensor, self_interest: float) -> Tensor:
    """Reward-transfer rule: each agent keeps a share s and splits the rest evenly among its neighbors.

    T_ii = s, and T_ij = (1 - s) / (k_i - 1) for the other neighbors, where i has k_i neighbors, itself
    included. s = 1 is selfish; s = 1 / N on a complete graph is the common reward. An agent without other
    neighbors keeps everything.

    Args:
        neighbors: graph, boolean [giver, receiver], True on the diagonal.
        self_interest: s, from 0 to 1.

    Returns:
        Shares, float64 [giver, receiver].

    Raises:
        ValueError: s is outside [0, 1], or the graph is not square or lacks its diagonal.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> self_interest_sharing(torch.ones(3, 3, dtype=torch.bool), 0.6)[0]
    tensor([0.6000, 0.2000, 0.2000], dtype=torch.float64)
    """
    require(0 <= self_interest <= 1, f"Self-interest is a share from 0 to 1, not {self_interest:g}.")
    return keep_and_split(check_neighbors(neighbors).double(), self_interest)


def keep_and_split(graphs: Tensor, self_interest: float | Tensor) -> Tensor:
    """`self_interest_sharing` without its checks, on many graphs.

    Args:
        graphs: 1 for neighbors, 1 on the diagonal, else 0; floating [..., giver, receiver].
        self_interest: s, from 0 to 1; a number, or [..., 1, 1].
    Returns:
        Shares, of the graphs' shape and dtype.
    """
    own = torch.eye(graphs.shape[-1], dtype=graphs.dtype, device=graphs.device)
    others = graphs - own
    degree = others.sum(-1, keepdim=True)
    to_others = (1 - self_interest) * others / degree.clamp(min=1)
    return to_others + own * (1 - to_others.sum(-1, keepdim=True))


def check_neighbors(neighbors: Tensor) -> Tensor:
    """Check a sharing graph.

    Args:
        neighbors: graph, boolean [giver, receiver], True on the diagonal.

    Returns:
        The graph.

    Raises:
        ValueError: it is not boolean or not square, or the diagonal is not True.

    >>> check_neighbors(torch.zeros(2, 2, dtype=torch.bool))
    Traceback (most recent call last):
    ValueError: Every agent may keep its own reward: the diagonal of a sharing graph is True, but it is not
    for agent 0.
    """
    size = neighbors.shape[0] if neighbors.ndim else 1
    require(
        neighbors.dtype == torch.bool and tuple(neighbors.shape) == (size, size),
        f"A sharing graph of {size} agents is boolean [{size}, {size}] (giver, receiver), "
        f"but this one is {neighbors.dtype} {list(neighbors.shape)}.",
    )
    require(
        bool(neighbors.diagonal().all()),
        "Every agent may keep its own reward: the diagonal of a sharing graph is True, but it is not for "
        f"agent {int((~neighbors.diagonal()).int().argmax())}.",
    )
    return neighbors


def check_own_share(own_share: float | None) -> None:
    """Check the own share of a softmax row.

    Args:
        own_share: above 0 and below 1; None: equal shares for all neighbors.

    Raises:
        ValueError: it is out of range.

    >>> check_own_share(1.0)
    Traceback (most recent call last):
    ValueError: own_share is above 0 and below 1 (None: equal shares for all neighbors), not 1.0.
    """
    require(
        own_share is None or 0 < own_share < 1,
        f"own_share is above 0 and below 1 (None: equal shares for all neighbors), not {own_share}.",
    )


@dataclass(frozen=True, eq=False)
class Sharing:
    """Parametrization of a sharing matrix: logits, masked by the neighbor graph, softmax over each row.

    Rows sum to 1 whatever the logits are, so the total is conserved. Without an edge the share is exactly 0
    and the logit has no gradient; an agent without neighbors keeps everything.

    Raises:
        ValueError: the graph is not square and boolean, lacks its diagonal, or the own share is out of range.

    >>> sharing = Sharing(torch.ones(3, 3, dtype=torch.bool), own_share=0.8)
    >>> sharing.matrix(sharing.initial())[0]
    tensor([0.8000, 0.1000, 0.1000], dtype=torch.float64)

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702: there the
        initial own share is .8.
    """

    neighbors: Tensor
    """Neighbor graph, boolean [giver, receiver], True on the diagonal."""
    own_share: float | None = None
    """Initial own share, above 0 and below 1; None: equal shares for all neighbors."""

    def __post_init__(self) -> None:
        check_neighbors(self.neighbors)
        check_own_share(self.own_share)

    def initial(self) -> Tensor:
        """Initial logits, float64 [giver, receiver]: `start` on the fixed graph."""
        return self.start(self.neighbors)

    def start(self, graph: Tensor) -> Tensor:
        """Initial logits, float64, of own share rho: log(rho / (1 - rho) (k - 1)) on the diagonal, else 0.

        k counts the giver's neighbors on a graph, boolean [..., giver, receiver], itself included.
        """
        if self.own_share is None:
            return torch.zeros(graph.shape, dtype=torch.float64, device=graph.device)
        others = (graph.sum(-1) - 1).clamp(min=1).double()
        odds = self.own_share / (1 - self.own_share)
        return torch.diag_embed(math.log(odds) + others.log())

    def matrix(self, logits: Tensor, graph: Tensor | None = None) -> Tensor:
        """Shares of logits [..., giver, receiver], exactly 0 without an edge; graph None: the fixed one."""
        graph = self.neighbors.to(logits.device) if graph is None else graph
        return logits.masked_fill(~graph, -math.inf).softmax(-1)
