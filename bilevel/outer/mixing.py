"""Mixing: each agent chooses whose losses it feels, by a row of weights of its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bilevel.outer.giving import no_gifts
from bilevel.outer.sharing import Sharing
from bilevel.outer.transfer import Happened, Report, among_present, matrix_report, redistributed


@dataclass(frozen=True, eq=False)
class Mixing:
    """Weights by receiver: agent i's row A_i is a softmax over the agents whose rewards reach it.

    Sharing turned round: there each giver's row sums to 1, here each receiver's does. So what an agent feels
    is a mean of rewards, but the total is not conserved: a reward may be felt by all, or by nobody.

    Raises:
        ValueError: the graph is none, or the own weight is not above 0 and below 1.

    Source:
        Gemp et al., D3C: Reducing the Price of Anarchy in Multi-Agent Learning, arXiv 2010.00575.

    >>> mixing = Mixing(torch.ones(2, 2, dtype=torch.bool), own_weight=0.9)
    >>> mixing.weights(mixing.initial(seed=0, seeds=1))[0, 0]
    tensor([0.9000, 0.1000], dtype=torch.float64)
    """

    neighbours: Tensor
    """Whose rewards reach whom: boolean [giver, receiver], True on the diagonal."""
    own_weight: float = 0.99
    """The weight of one's own reward at the start, above 0 and below 1; the others' are equal."""

    def __post_init__(self) -> None:
        _ = self.rows

    @property
    def rows(self) -> Sharing:
        """The same softmax rows that givers have, one for each receiver."""
        return Sharing(self.neighbours.mT, self.own_weight)

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.neighbours)

    @property
    def exact(self) -> bool:
        """It does: it is a matrix."""
        return True

    def initial(self, seed: int, seeds: int) -> Tensor:
        """The same logits for all repetitions: float64 [seed, receiver, giver]."""
        return self.rows.initial().expand(seeds, -1, -1)

    def weights(self, phi: Tensor) -> Tensor:
        """A, [seed, receiver, giver]: rows sum to 1; exactly 0 where no reward reaches."""
        return self.rows.matrix(phi)

    def transfer(self, phi: Tensor) -> MixedBy:
        """Rewards mixed by these weights."""
        return MixedBy(self.weights(phi))


@dataclass(frozen=True, eq=False)
class MixedBy:
    """Everybody feels a weighted mean of rewards: r~_i = sum_j A[i, j] r_j; nothing changes hands.

    >>> report = MixedBy(torch.tensor([[[0.75, 0.25], [0.5, 0.5]]])).report(None)
    >>> report["share_0_1"], report["imbalance"]  # of agent 0's reward agent 1 feels a half: 1.25 in all
    (tensor([0.5000]), tensor([0.2500]))
    """

    weights: Tensor
    """A, [seed, receiver, giver]; rows sum to 1."""

    @property
    def matrix(self) -> Tensor:
        """[seed, giver, receiver], as others have it: its columns sum to 1, its rows need not."""
        return self.weights.mT

    def rewards(self, happened: Happened) -> Tensor:
        """See `Transfer.rewards`; the total is not conserved.

        Of agents that have left no reward is felt, and they feel none: their weight goes to one's own reward,
        so that each row still sums to 1.
        """
        if happened.present is None:
            return redistributed(happened, self.matrix)
        weights = among_present(self.weights[..., None, None], happened)
        return (weights * happened.rewards.unsqueeze(1)).sum(2)

    def gifts(self, happened: Happened) -> Tensor:
        """Nobody gives anything: zeros."""
        return no_gifts(happened)

    def report(self, happened: Happened | None) -> Report:
        """Every weight as share_<giver>_<receiver>; how much weight others have; what is not conserved.

        given_away is the mean weight of the others' rewards; imbalance the mean over givers of how far what
        all feel of a unit of its reward is from that unit: 0 where the total is conserved.
        """
        imbalance = (self.weights.sum(-2) - 1).abs().mean(-1)
        return {**matrix_report(self.matrix), "imbalance": imbalance}

    @property
    def reporting(self) -> None:
        """The weights say it all."""
