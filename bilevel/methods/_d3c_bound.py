"""Mixing: each agent chooses whose losses it feels, by a row of weights of its own.

A bound on the local price of anarchy, and how agents' weights on losses descend it.

Rewards as losses above 0: what no value comes up to, and refusals where one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bilevel.sharing import (
    Report,
    Sharing,
    TrajectoryLike,
    among_present,
    matrix_report,
    no_gifts,
    redistributed,
)
from games.core import Game, require
from games.matrix import CountedFamily, MatrixGame, RepeatedGame, count_array, payoff_array


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

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`; the total is not conserved.

        Of agents that have left no reward is felt, and they feel none: their weight goes to one's own reward,
        so that each row still sums to 1.
        """
        if trajectory.present is None:
            return redistributed(trajectory, self.matrix)
        weights = among_present(self.weights[..., None, None], trajectory)
        return (weights * trajectory.rewards.unsqueeze(1)).sum(2)

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """Nobody gives anything: zeros."""
        return no_gifts(trajectory)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """Every weight as share_<giver>_<receiver>; how much weight others have; what is not conserved.

        given_away is the mean weight of the others' rewards; imbalance the mean over givers of how far what
        all feel of a unit of its reward is from that unit: 0 where the total is conserved.
        """
        imbalance = (self.weights.sum(-2) - 1).abs().mean(-1)
        return {**matrix_report(self.matrix), "imbalance": imbalance}

    @property
    def reporting(self) -> None:
        """The weights say it all."""


class AnarchyBound(NamedTuple):
    """The bound at some policies, and its slope."""

    bound: Tensor
    """rho_i, 1 or more, [seed, agent]; the price is at most the greatest of them."""
    slope: Tensor
    """d rho_i / d A_ij, weights as free numbers, [seed, receiver, giver]."""


def anarchy_bound(weights: Tensor, losses: Tensor, jacobian: Tensor) -> AnarchyBound:
    """How much learning, by plain gradient flow on mixed losses, makes each agent lose through the others.

    Mixed losses f_i^A = sum_j A_ij f_j descend by d theta_m / dt = -g_m, g_m = d f_m^A / d theta_m. Then

        rho_i = 1 + relu(d/dt log f_i^A + |g_i|^2 / f_i^A) = 1 + relu(sum_j A_ij h_ij / f_i^A),

    as |g_i|^2 takes out what i's own step gains, and what is left is h_ij = -sum_{m != i} (d f_j / d theta_m)
    . g_m: how fast the others' steps raise f_j. They do not depend on row i, so with e_i = sum_j A_ij h_ij /
    f_i^A the slope, where e_i > 0, is (h_ij - e_i f_j) / f_i^A; else it is 0: win, stay; lose, shift. Time is
    counted in units of the flow; any other unit scales rho_i - 1.

    Args:
        weights: A, [seed, receiver, giver]; rows sum to 1.
        losses: f, above 0, [seed, agent], in any unit.
        jacobian: d f_j / d theta_m, [seed, j, m, parameter].

    Source:
        Gemp et al., D3C, arXiv 2010.00575; the rule as recalled, see `bilevel.methods._d3c`.

    Two agents with one parameter each, f = (2, 4), each loss moved by both; agent 0 loses through agent 1:

    >>> jacobian = torch.tensor([[[[1.0], [-2.0]], [[0.5], [3.0]]]])
    >>> found = anarchy_bound(torch.eye(2)[None], torch.tensor([[2.0, 4.0]]), jacobian)
    >>> found.bound  # agent 0: h = -(-2) 3 = 6, over f = 2; agent 1: -0.5 x 1 is a gain
    tensor([[4., 1.]])
    >>> found.slope[0, 0]  # (6 - 3 x 2) / 2; (-3 x 3 - 3 x 4) / 2
    tensor([  0.0000, -10.5000])
    """
    steps = (weights[..., None, None] * jacobian.unsqueeze(1)).sum(2).diagonal(dim1=1, dim2=2).movedim(-1, 1)
    along = (jacobian * steps.unsqueeze(1)).sum(-1)  # [seed, j, m]: how fast m's step lowers f_j
    harm = along.mT - along.sum(-1, keepdim=True).mT  # [seed, i, j]: by all but i
    mixed = (weights * losses.unsqueeze(-2)).sum(-1)
    growth = (weights * harm).sum(-1) / mixed
    slope = (harm - growth.unsqueeze(-1) * losses.unsqueeze(-2)) / mixed.unsqueeze(-1)
    return AnarchyBound(1 + growth.clamp(min=0), slope * (growth > 0).unsqueeze(-1))


def identity_slope(weights: Tensor) -> Tensor:
    """d KL(e_i || A_i) / d A_ij = -1 / A_ii for j = i, else 0: [..., receiver, giver], of the same shape.

    >>> identity_slope(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    tensor([[-2.0000,  0.0000],
            [ 0.0000, -1.2500]])
    """
    return (-1 / weights.diagonal(dim1=-2, dim2=-1)).diag_embed()


def mirror_step(log_weights: Tensor, slope: Tensor, rate: float, least: float) -> Tensor:
    """Exponentiated gradient descent of rows of weights, and a floor under them.

    Args:
        log_weights: [..., receiver, giver], up to a constant in each row; minus infinity is
            a weight of 0, and counts for nothing but comes back as the floor.
        slope: of what is to descend, by weights, of the same shape.
        rate: above 0.
        least: the floor of log-weights, below 0, in nats.

    Returns:
        log-weights of the same shape, each row's a log-softmax but for the floor.

    >>> mirror_step(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.0, 9.0]]), rate=1.0, least=-4.0)
    tensor([[-1.2337e-04, -4.0000e+00]])
    """
    return (log_weights - rate * slope).log_softmax(-1).clamp(min=least)


def loss_bound(game: Game, asked: float | None) -> float:
    """What an agent's loss is counted from: loss = bound - value, in the game's units of value.

    Where payoffs are laid out in a table and nothing is asked, it is 0 if they are all below 0, so that costs
    are losses as they are, and else the greatest payoff plus the range of payoffs.

    Args:
        game: what is played.
        asked: the bound that was asked for; None: the game's own.

    Raises:
        ValueError: nothing was asked and the payoffs are in no table, or a payoff comes up to what was asked.

    >>> import games
    >>> [loss_bound(games.make(name), None) for name in ("braess", "repeated-prisoners-dilemma")]
    [0.0, 3.0]
    """
    stage = game.stage if isinstance(game, RepeatedGame) else game
    if not isinstance(stage, MatrixGame):
        require(
            asked is not None,
            f"Losses are bound - value and must stay above 0, and nobody knows what value an agent can reach "
            f"in {type(game).__name__}: say a number above it, --method.loss-bound (in compare: --set "
            "d3c.loss-bound=NUMBER).",
        )
        assert asked is not None
        return asked
    payoffs = count_array(stage) if isinstance(stage, CountedFamily) else payoff_array(stage)
    greatest, least = float(payoffs.max()), float(payoffs.min())
    require(
        asked is None or asked > greatest,
        f"Losses are loss_bound - value and must stay above 0, but an agent of {type(game).__name__} can get "
        f"{greatest:g}, and loss_bound is {asked}: choose one above that, or none for the game's own.",
    )
    if asked is not None:
        return asked
    return 0.0 if greatest < 0 else greatest + (greatest - least or 1.0)


def positive_losses(values: Tensor, bound: float) -> Tensor:
    """Turn values into losses.

    Args:
        values: [seed, agent], in the game's units.
        bound: from `loss_bound`.

    Returns:
        [seed, agent], all above 0.

    Raises:
        FloatingPointError: a value comes up to the bound (names the first seed and agent).
    """
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
