"""Which matrices of transfers are allowed: mixtures of a few parts, so that linear programmes find them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from games.errors import require


class TransferMatrices(NamedTuple):
    """All T = sum_m x_m parts[m], where within each group the weights x are 0 or more and sum to 1."""

    parts: NDArray[np.float64]
    """Matrices [part, giver, receiver]."""
    groups: NDArray[np.int64]
    """The group of each part, [part], from 0."""
    keeps: NDArray[np.bool_]
    """Which part of its group keeps everything, [part]: one in each group."""

    def matrix(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix the parts: [giver, receiver]; weights [part] are cleaned of rounding first."""
        weights = np.maximum(weights, 0)
        weights = weights / np.bincount(self.groups, weights)[self.groups]
        return np.tensordot(weights, self.parts, 1)

    def kept(self) -> NDArray[np.float64]:
        """How much of each agent's reward each part keeps, [agent, part]."""
        return np.diagonal(self.parts, axis1=1, axis2=2).T

    def lowest(self, costs: NDArray[np.float64], least_share: float) -> float:
        """The smallest sum_ji costs[j, i] T[j, i] of all these T with T_jj >= least_share.

        Within a group that is the part that costs least, once the least share is kept.
        """
        of_part = np.tensordot(self.parts, costs, 2)
        cheapest = np.full(self.groups.max() + 1, np.inf)
        np.minimum.at(cheapest, self.groups, of_part)
        return float(least_share * of_part[self.keeps].sum() + (1 - least_share) * cheapest.sum())


def one_share(neighbours: NDArray[np.bool_]) -> TransferMatrices:
    """Everybody keeps the same share s and divides the rest evenly among its neighbours.

    Args:
        neighbours: who may give to whom, [giver, receiver]; the diagonal does not matter.

    Raises:
        ValueError: an agent has nobody to give to.

    >>> everybody = np.ones((3, 3), dtype=bool)
    >>> one_share(everybody).matrix(np.array([0.6, 0.4]))[0]
    array([0.6, 0.2, 0.2])
    """
    others = neighbours & ~np.eye(len(neighbours), dtype=bool)
    degrees = others.sum(1, keepdims=True)
    alone = np.flatnonzero(degrees == 0)
    require(len(alone) == 0, f"Agent {alone[:1].sum()} has no neighbour to share with.")
    parts = np.stack((np.eye(len(neighbours)), others / np.maximum(degrees, 1)))
    return TransferMatrices(parts, np.zeros(2, dtype=np.int64), np.array([True, False]))


def any_shares(neighbours: NDArray[np.bool_]) -> TransferMatrices:
    """Everybody divides its reward between itself and its neighbours as it likes.

    Args:
        neighbours: who may give to whom, [giver, receiver]; the diagonal does not matter.

    >>> any_shares(np.ones((2, 2), dtype=bool)).matrix(np.array([1.0, 0.0, 0.25, 0.75]))
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """
    givers, receivers = np.nonzero(neighbours | np.eye(len(neighbours), dtype=bool))
    parts = np.zeros((len(givers), *neighbours.shape))
    parts[np.arange(len(givers)), givers, receivers] = 1
    return TransferMatrices(parts, givers, givers == receivers)
