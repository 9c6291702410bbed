"""What the outer level wants: losses over the agents' own, extrinsic values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Cost = Callable[[Tensor], Tensor]


def given_away(sharing: Tensor) -> Tensor:
    """The share that each giver does not keep: [..., giver, receiver] -> [..., giver], from 0 to 1.

    >>> given_away(torch.tensor([[0.7, 0.3], [0.0, 1.0]]))
    tensor([0.3000, 0.0000])
    """
    return 1 - sharing.diagonal(dim1=-2, dim2=-1)


def kl_to_keeping(sharing: Tensor) -> Tensor:
    """KL(keep everything || T_i) = -log T_ii for each giver, in nats: [..., giver, receiver] -> [..., giver].

    Infinite where nothing is kept, so under it no giver ever gives everything away.

    Source:
        the regularizer of D3C, Gemp et al., arXiv 2010.00575.

    >>> kl_to_keeping(torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    tensor([0.6931, -0.0000])
    """
    return -sharing.diagonal(dim1=-2, dim2=-1).log()


COSTS: dict[str, Cost] = {"l1": given_away, "kl": kl_to_keeping}


@dataclass(frozen=True)
class Objective:
    """How values and costs become outer losses, and which part of the gradient each giver gets.

    Without costs, the two objectives of one seed with the values 1 and 3:

    >>> values, costs = torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)
    >>> OBJECTIVES["welfare"].losses(values, costs)
    tensor([-4.])
    >>> OBJECTIVES["own-return"].losses(values, costs)
    tensor([[-1.],
            [-3.]])
    """

    summary: str
    """What is maximized, in words."""
    several: bool
    """Whether there is one objective per giver (then losses are [giver, seed]) or one for all ([seed])."""

    def losses(self, values: Tensor, costs: Tensor) -> Tensor:
        """Losses to be minimized.

        Args:
            values: each agent's extrinsic value, [seed, agent], in the game's units.
            costs: what giving costs each giver, [seed, agent], in the same units.

        Returns:
            [seed], or [giver, seed] when `several`.
        """
        net = values - costs
        return -net.T if self.several else -net.sum(-1)

    def own_gradient(self, gradient: Tensor) -> Tensor:
        """Let each giver's row follow its own objective.

        Args:
            gradient: of the sharing logits, [seed, giver, receiver]; with `several`, the objectives first.

        Returns:
            [seed, giver, receiver].
        """
        if not self.several:
            return gradient
        return torch.diagonal(gradient, dim1=0, dim2=2).movedim(-1, 1)


OBJECTIVES: dict[str, Objective] = {
    "welfare": Objective("the sum of all agents' own rewards", several=False),
    "own-return": Objective("each giver's own reward: one meta-gradient per giver", several=True),
}
