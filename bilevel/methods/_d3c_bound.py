"""Mixed losses, a bound on the local price of anarchy, and mirror descent on the mixing weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bilevel.sharing import (
    Report,
    Sharing,
    Trajectory,
    Transfer,
    among_present,
    matrix_report,
    redistributed,
)
from games.core import Game, require
from games.matrix import CountedFamily, MatrixGame, RepeatedGame, count_array, payoff_array


@dataclass(frozen=True, eq=False)
class Mixing:
    """Mixing weights: agent i's row A_i is a softmax over its neighbors' losses.

    Each receiver's row sums to 1, not each giver's as with sharing: an agent learns from a mean of rewards,
    but the total is not conserved.

    Source:
        Gemp et al., D3C: Reducing the Price of Anarchy in Multi-Agent Learning, arXiv 2010.00575.
    """

    neighbors: Tensor
    """Neighbor graph, boolean [giver, receiver], True on the diagonal."""
    own_weight: float = 0.99
    exact = True

    def __post_init__(self) -> None:
        self.rows  # noqa: B018 - refuses bad settings

    @property
    def rows(self) -> Sharing:
        """Parametrization of the softmax rows, one for each receiver."""
        return Sharing(self.neighbors.mT, self.own_weight)

    @property
    def agents(self) -> int:
        return len(self.neighbors)

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.rows.initial().expand(seeds, -1, -1)

    def weights(self, phi: Tensor) -> Tensor:
        """A, [seed, receiver, giver]: rows sum to 1; exactly 0 without an edge."""
        return self.rows.matrix(phi)

    def transfer(self, phi: Tensor) -> MixedBy:
        return MixedBy(self.weights(phi))


@dataclass(frozen=True, eq=False)
class MixedBy(Transfer):
    """Rewards mixed by weights: r~_i = sum_j A[i, j] r_j; does not conserve the total."""

    weights: Tensor
    """A, [seed, receiver, giver]; rows sum to 1."""

    @property
    def matrix(self) -> Tensor:
        return self.weights.mT

    def rewards(self, trajectory: Trajectory) -> Tensor:
        """See `Transfer.rewards`; the weight of agents that have left goes to the own reward."""
        if trajectory.present is None:
            return redistributed(trajectory, self.matrix)
        weights = among_present(self.weights[..., None, None], trajectory)
        return (weights * trajectory.rewards.unsqueeze(1)).sum(2)

    def report(self, trajectory: Trajectory | None) -> Report:
        """Report weights as share_<giver>_<receiver>; given_away, the mean weight of the other agents'
        rewards.

        imbalance is the mean distance of columns' sums from 1: 0 where the total is conserved.
        """
        imbalance = (self.weights.sum(-2) - 1).abs().mean(-1)
        return {**matrix_report(self.matrix), "imbalance": imbalance}


class AnarchyBound(NamedTuple):
    """Bound at given policies, and its slope."""

    bound: Tensor
    """rho_i, 1 or more, [seed, agent]; the price is at most the largest of them."""
    slope: Tensor
    """d rho_i / d A_ij, weights as free parameters, [seed, receiver, giver]."""


def anarchy_bound(weights: Tensor, losses: Tensor, jacobian: Tensor) -> AnarchyBound:
    """Bound on the local price of anarchy: the increase of each loss along the other agents' gradient flow.

    Mixed losses f_i^A = sum_j A_ij f_j descend by d theta_m / dt = -g_m, g_m = d f_m^A / d theta_m. Then

        rho_i = 1 + relu(d/dt log f_i^A + |g_i|^2 / f_i^A) = 1 + relu(sum_j A_ij h_ij / f_i^A),

    as |g_i|^2 cancels the gain by i's own step, which leaves h_ij = -sum_{m != i} (d f_j / d theta_m) . g_m,
    the rate at which the other agents' steps raise f_j. It does not depend on row i, so with e_i the sum over
    j of A_ij h_ij / f_i^A the slope, where e_i > 0, is (h_ij - e_i f_j) / f_i^A; else it is 0: win, stay;
    lose, shift. Time is in units of the flow; any other unit scales rho_i - 1.

    Args:
        weights: A, [seed, receiver, giver]; rows sum to 1.
        losses: f, above 0, [seed, agent], in any unit.
        jacobian: d f_j / d theta_m, [seed, j, m, parameter].

    Returns:
        The bound rho, [seed, agent], and its slope d rho_i / d A_ij, [seed, receiver, giver].

    Source:
        Gemp et al., D3C, arXiv 2010.00575; the rule is from memory, not checked (see `D3C`).

    Two agents with one parameter each, f = (2, 4), each loss moved by both; agent 0 loses through agent 1:

    >>> jacobian = torch.tensor([[[[1.0], [-2.0]], [[0.5], [3.0]]]])
    >>> result = anarchy_bound(torch.eye(2)[None], torch.tensor([[2.0, 4.0]]), jacobian)
    >>> result.bound  # agent 0: h = -(-2) 3 = 6, over f = 2; agent 1: -0.5 x 1 is a gain
    tensor([[4., 1.]])
    >>> result.slope[0, 0]  # (6 - 3 x 2) / 2; (-3 x 3 - 3 x 4) / 2
    tensor([  0.0000, -10.5000])
    """
    steps = (weights[..., None, None] * jacobian.unsqueeze(1)).sum(2).diagonal(dim1=1, dim2=2).movedim(-1, 1)
    along = (jacobian * steps.unsqueeze(1)).sum(-1)  # [seed, j, m]: the rate at which m's step lowers f_j
    harm = along.mT - along.sum(-1, keepdim=True).mT  # [seed, i, j]: sum over m != i
    mixed = (weights * losses.unsqueeze(-2)).sum(-1)
    growth = (weights * harm).sum(-1) / mixed
    slope = (harm - growth.unsqueeze(-1) * losses.unsqueeze(-2)) / mixed.unsqueeze(-1)
    return AnarchyBound(1 + growth.clamp(min=0), slope * (growth > 0).unsqueeze(-1))


def identity_slope(weights: Tensor) -> Tensor:
    """d KL(e_i || A_i) / d A_ij = -1 / A_ii for j = i, else 0: [..., receiver, giver]."""
    return (-1 / weights.diagonal(dim1=-2, dim2=-1)).diag_embed()


def mirror_step(log_weights: Tensor, slope: Tensor, rate: float, floor: float) -> Tensor:
    """Exponentiated gradient descent of rows of log-weights [..., receiver, giver], with a floor.

    A log-weight of minus infinity, a weight of 0, becomes the floor. Rows are log-softmax before the floor.
    """
    return (log_weights - rate * slope).log_softmax(-1).clamp(min=floor)


def loss_bound(game: Game, requested: float | None) -> float:
    """Upper bound of values that defines losses: loss = bound - value, in the game's units of value.

    The default, of a payoff table, is 0 if all payoffs are below 0, so that losses are costs, and else the
    greatest payoff plus the range of payoffs.

    Args:
        game: the game.
        requested: the bound; None: the default.

    Raises:
        ValueError: no bound is requested and there is no payoff table, or a payoff reaches the bound.

    >>> import games
    >>> [loss_bound(games.make(name), None) for name in ("braess", "repeated-prisoners-dilemma")]
    [0.0, 3.0]
    """
    stage = game.stage if isinstance(game, RepeatedGame) else game
    if not isinstance(stage, MatrixGame):
        require(
            requested is not None,
            f"Losses are bound - value and must stay above 0, and the greatest value is unknown "
            f"in {type(game).__name__}: set a number above it, --method.loss-bound (in compare: --set "
            "d3c.loss-bound=NUMBER).",
        )
        assert requested is not None
        return requested
    payoffs = count_array(stage) if isinstance(stage, CountedFamily) else payoff_array(stage)
    greatest, least = float(payoffs.max()), float(payoffs.min())
    require(
        requested is None or requested > greatest,
        f"Losses are loss_bound - value and must stay above 0, but an agent of {type(game).__name__} can get "
        f"{greatest:g}, and loss_bound is {requested}: choose one above that, or none for the game's own.",
    )
    if requested is not None:
        return requested
    return 0.0 if greatest < 0 else greatest + (greatest - least or 1.0)


def positive_losses(values: Tensor, bound: float) -> Tensor:
    """Turn values [seed, agent] into losses, or raise FloatingPointError unless all are above 0."""
    losses = bound - values
    bad = ~(losses > 0)
    if bad.any():
        seed, agent = bad.nonzero()[0].tolist()
        raise FloatingPointError(
            f"Losses are loss_bound - value and must stay above 0, but agent {agent} of seed {seed} got "
            f"{float(values[seed, agent]):g}, and loss_bound is {bound:g}: choose one above every value, "
            "--method.loss-bound."
        )
    return losses
