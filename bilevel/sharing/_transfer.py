"""Transfers of rewards among agents, and the outer variables that parametrize them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.core import Constraint
from bilevel.sharing._objectives import given_away
from bilevel.sharing._sharing import Sharing, redistribute
from bilevel.sharing._trajectory import Trajectory
from games.wrappers import both_present, check_sharing, share_among_present

Report = dict[str, Tensor]
"""Name -> float [seed], or [seed, ...] (see `matrix_report`): a transfer's part of metrics.csv."""

MOST_NAMED = 16
"""Maximum number of agents for which each entry of a matrix is a metric of its own."""
MAX_NAMED_AGENTS = 64
"""Maximum number of agents for which each agent's value is a metric of its own."""


class Reporting(NamedTuple):
    """Rule for combining metrics of successive blocks of time steps into metrics of whole episodes.

    >>> from bilevel.sharing import combine_reports
    >>> first, second = {"given": torch.tensor([1.0])}, {"given": torch.tensor([2.0])}
    >>> steps = [torch.tensor([8.0]), torch.tensor([8.0])]  # of each seed, in each block
    >>> combine_reports([first, second], steps, Reporting("episodes"))  # gifts of an episode add up
    {'given': tensor([3.])}
    """

    mean_over: Literal["steps", "episodes"]
    """Reports are means over all steps, or sums over an episode's steps, averaged over episodes."""
    interval: int = 1
    """Number of steps of which the first step of a block is a multiple."""


def combine_reports(reports: Sequence[Report], steps: Sequence[Tensor], reporting: Reporting) -> Report:
    """Combine reports of successive blocks of time steps into one of whole episodes.

    Args:
        reports: the report of each block.
        steps: numbers of steps of each block, [seed].
        reporting: the transfer's rule (`Transfer.reporting`).
    Returns:
        A report of the same names.

    >>> from bilevel.sharing import Reporting
    >>> first, second = {"moved": torch.tensor([1.0])}, {"moved": torch.tensor([4.0])}
    >>> steps = [torch.tensor([2.0]), torch.tensor([1.0])]
    >>> [combine_reports([first, second], steps, Reporting(over))["moved"] for over in ("steps", "episodes")]
    [tensor([2.]), tensor([5.])]
    """
    if len(reports) == 1:
        return reports[0]
    stacked = {name: torch.stack([report[name] for report in reports]) for name in reports[0]}
    if reporting.mean_over == "episodes":
        return {name: values.sum(0) for name, values in stacked.items()}
    counts = torch.stack(tuple(steps))
    weights = counts / counts.sum(0)
    return {
        name: (values * weights.reshape(*weights.shape, *[1] * (values.ndim - 2))).sum(0)
        for name, values in stacked.items()
    }


class Transfer(Protocol):
    """The rule that maps the game's rewards to learners' rewards, for given outer variables.

    Nothing goes to or from an agent that has left the game (`Trajectory.present`): the share of a reward
    that would go to it stays with its giver.

    >>> from bilevel.sharing import Trajectory
    >>> class CommonReward(Transfer):
    ...     def rewards(self, trajectory):  # the mean of all rewards, for everybody
    ...         own = trajectory.rewards
    ...         return own.mean(1, keepdim=True).expand_as(own)
    >>> own = torch.tensor([[[[1.0]], [[0.0]]]])  # seed, agent, time, episode
    >>> played = Trajectory(own, own, own, mask=torch.ones(1, 1, 1, 1), cooperated=None)
    >>> CommonReward().rewards(played).flatten(), CommonReward().report(played)
    (tensor([0.5000, 0.5000]), {})
    """

    @property
    def matrix(self) -> Tensor | None:
        """Sharing matrix [seed, giver, receiver], if the transfer consists of one; else None."""
        return None

    def rewards(self, trajectory: Trajectory) -> Tensor:
        """Learners' rewards, [seed, agent, time, episode], 0 after the end."""
        raise NotImplementedError

    def gifts(self, trajectory: Trajectory) -> Tensor:
        """Gifts in reward units, [seed, giver, receiver, time, episode]; the diagonal is kept."""
        own = trajectory.rewards
        return torch.zeros_like(own).unsqueeze(2).expand(-1, -1, own.shape[1], -1, -1)

    def report(self, trajectory: Trajectory | None) -> Report:
        """Metrics of the transfer on sampled episodes (None: values are exact)."""
        return {}

    @property
    def reporting(self) -> Reporting | None:
        """Rule that combines reports of blocks of time steps; None: reports need no observations or graphs.

        With None, evaluation makes a single report of whole episodes without them (`Trajectory.outcome`).
        """
        return None


@dataclass(frozen=True, eq=False)
class SharedBy:
    """Sharing by one matrix in all steps: r~_j = sum_i T[i, j] r_i; conserves the total.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> SharedBy(torch.tensor([[[0.7, 0.3], [0.0, 1.0]]])).report(None)["given_away"]
    tensor([0.1500])
    """

    matrix: Tensor
    """[seed, giver, receiver]; rows sum to 1."""
    reporting = None

    def own_shares(self, trajectory: Trajectory | None) -> Tensor:
        """The share that each agent keeps, [seed, agent]; if it varies, [seed, agent, time, episode]."""
        return own_shares(self.matrix)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return redistributed(trajectory, self.matrix)

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return among_present(self.matrix[..., None, None], trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: Trajectory | None) -> Report:
        return matrix_report(self.matrix)


def own_shares(matrix: Tensor) -> Tensor:
    """The share that each agent keeps: [..., giver, receiver] -> [..., giver]."""
    return matrix.diagonal(dim1=-2, dim2=-1)


def redistributed(trajectory: Trajectory, matrix: Tensor) -> Tensor:
    """Redistribute a trajectory's rewards by one matrix, among the agents present.

    Args:
        trajectory: the episodes with their individual rewards.
        matrix: shares, [seed, giver, receiver]; each row sums to 1.
    Returns:
        Shared rewards, [seed, agent, time, episode], in the game's units.

    >>> from bilevel.sharing import Trajectory
    >>> own = torch.tensor([[[[1.0]], [[0.0]]]])  # seed, agent, time, episode
    >>> played = Trajectory(own, own, own, mask=torch.ones(1, 1, 1, 1), cooperated=None)
    >>> redistributed(played, torch.tensor([[[0.75, 0.25], [0.0, 1.0]]])).flatten()
    tensor([0.7500, 0.2500])
    """
    own = trajectory.rewards
    if trajectory.present is None:
        return redistribute(own.flatten(-2), matrix).reshape(own.shape)
    return (among_present(matrix[..., None, None], trajectory) * own.unsqueeze(2)).sum(1)


def among_present(shares: Tensor, trajectory: Trajectory) -> Tensor:
    """Return the shares of agents that have left the episode to their givers, in every step.

    Args:
        shares: [seed, giver, receiver, time or 1, episode or 1].
        trajectory: the episodes, with the agents present in each step.
    Returns:
        Shares, [seed, giver, receiver, time, episode]; unchanged if no agent ever leaves. See
        `games.wrappers.share_among_present`.

    >>> from bilevel.sharing import Trajectory
    >>> own = torch.zeros(1, 2, 1, 1)  # seed, agent, time, episode
    >>> present = torch.tensor([True, False]).reshape(1, 2, 1, 1)
    >>> played = Trajectory(own, own, own, torch.ones(1, 1, 1, 1), cooperated=None, present=present)
    >>> among_present(torch.full((1, 2, 2, 1, 1), 0.5), played).squeeze()
    tensor([[1., 0.],
            [0., 1.]])
    """
    if trajectory.present is None:
        return shares
    by_step = shares.permute(0, 3, 4, 1, 2)
    return share_among_present(by_step, trajectory.present.permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)


def only_among_present(amounts: Tensor, trajectory: Trajectory) -> Tensor:
    """Drop amounts to or from agents that have left.

    Args:
        amounts: for instance gifts, [seed, giver, receiver, time, episode].
        trajectory: the episodes, with the agents present in each step.
    Returns:
        Amounts of the same shape.

    >>> from bilevel.sharing import Trajectory
    >>> own = torch.zeros(1, 2, 1, 1)  # seed, agent, time, episode
    >>> present = torch.tensor([True, False]).reshape(1, 2, 1, 1)
    >>> played = Trajectory(own, own, own, torch.ones(1, 1, 1, 1), cooperated=None, present=present)
    >>> only_among_present(torch.full((1, 2, 2, 1, 1), 3.0), played).squeeze()
    tensor([[3., 0.],
            [0., 0.]])
    """
    if trajectory.present is None:
        return amounts
    return amounts * both_present(trajectory.present.permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)


def matrix_report(matrix: Tensor) -> Report:
    """Report the mean share given away, and every share.

    Args:
        matrix: shares, [seed, giver, receiver].
    Returns:
        "given_away", [seed], and each share as "share_giver_receiver", [seed]; of more than 16 agents all
        shares as "share", [seed, giver, receiver].

    >>> list(matrix_report(torch.eye(2)[None]))
    ['given_away', 'share_0_0', 'share_0_1', 'share_1_0', 'share_1_1']
    >>> {name: list(values.shape) for name, values in matrix_report(torch.eye(17)[None]).items()}
    {'given_away': [1], 'share': [1, 17, 17]}
    """
    return {"given_away": given_away(own_shares(matrix)).mean(-1), **_entries("share", matrix)}


def agent_report(name: str, values: Tensor) -> Report:
    """Report a value of each agent.

    Args:
        name: name of the metric.
        values: [seed, agent].
    Returns:
        Each agent's value as "name_agent", [seed]; of more than 64 agents all values as "name", [seed,
        agent].

    >>> agent_report("paid", torch.tensor([[0.0, 3.0]]))
    {'paid_0': tensor([0.]), 'paid_1': tensor([3.])}
    >>> agent_report("paid", torch.zeros(1, 65))["paid"].shape
    torch.Size([1, 65])
    """
    if values.shape[1] > MAX_NAMED_AGENTS:
        return {name: values}
    return {f"{name}_{agent}": each for agent, each in enumerate(values.unbind(1))}


def agent_values(report: Report, name: str, agents: int) -> Tensor:
    """All agents' values in metrics that `agent_report` named: [seed, agent].

    >>> agent_values({"paid_0": torch.tensor([0.0]), "paid_1": torch.tensor([3.0])}, "paid", agents=2)
    tensor([[0., 3.]])
    """
    if name in report:
        return report[name]
    return torch.stack([report[f"{name}_{agent}"] for agent in range(agents)], 1)


def gift_report(gifts: Tensor) -> Report:
    """Report the agents' mean gift, and every gift.

    Args:
        gifts: in reward units, [seed, giver, receiver].
    Returns:
        "given", [seed], and each gift as "incentive_giver_receiver", [seed]; of more than 16 agents all gifts
        as "incentive", [seed, giver, receiver].

    >>> gift_report(torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]))
    {'given': tensor([2.]), 'incentive_0_1': tensor([3.]), 'incentive_1_0': tensor([1.])}
    """
    named = _entries("incentive", gifts)
    own = {f"incentive_{agent}_{agent}" for agent in range(gifts.shape[-1])}
    return {
        "given": gifts.sum(-1).mean(-1),
        **{name: values for name, values in named.items() if name not in own},
    }


def _entries(name: str, matrix: Tensor) -> Report:
    """Entries of matrices [seed, row, column] by name; of more than `MOST_NAMED` agents, the matrix."""
    agents = range(matrix.shape[-1])
    if len(agents) > MOST_NAMED:
        return {name: matrix}
    places, entries = itertools.product(agents, agents), matrix.flatten(1).unbind(1)
    return {f"{name}_{row}_{column}": each for (row, column), each in zip(places, entries, strict=True)}


class OuterVariable(Protocol):
    """Parametrization of a transfer between agents, learned or fixed: a matrix, incentive networks, ...

    >>> from bilevel.sharing import SharedBy
    >>> class OneShare:  # both agents give away the same learned share
    ...     agents, exact = 2, True
    ...     def initial(self, seed, seeds):
    ...         return torch.full((seeds,), 0.25, dtype=torch.float64)
    ...     def transfer(self, phi):
    ...         return SharedBy(torch.stack((1 - phi, phi, phi, 1 - phi), -1).unflatten(-1, (2, 2)))
    >>> variable: OuterVariable = OneShare()
    >>> variable.transfer(variable.initial(seed=0, seeds=1)).matrix
    tensor([[[0.7500, 0.2500],
             [0.2500, 0.7500]]], dtype=torch.float64)
    """

    @property
    def agents(self) -> int:
        """Number of agents."""

    @property
    def exact(self) -> bool:
        """True if it applies to exact values, like a sharing matrix."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw the initial value, float64 [seed, ...], on the CPU; a repetition depends on its seed alone."""

    def transfer(self, phi: Tensor) -> Transfer:
        """Build the transfer at a value [seed, ...], differentiable in it."""


@dataclass(frozen=True, eq=False)
class FixedMatrix:
    """A fixed sharing matrix: an outer variable that is not learned.

    Raises:
        ValueError: it is not square, a row does not sum to 1, or an entry is negative.

    >>> from bilevel.sharing import identity_sharing
    >>> selfish = FixedMatrix(identity_sharing(2))
    >>> selfish.transfer(selfish.initial(seed=0, seeds=3)).matrix.shape  # seed, giver, receiver
    torch.Size([3, 2, 2])
    """

    sharing: Tensor
    """float64 [giver, receiver]."""
    exact = True

    def __post_init__(self) -> None:
        check_sharing(self.sharing, agents=len(self.sharing))

    @property
    def agents(self) -> int:
        return len(self.sharing)

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.sharing.expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(phi)


@dataclass(frozen=True, eq=False)
class CommonReward:
    """The common reward of all agents, without a matrix: r~_j = sum_i r_i / N, or N times that, the sum.

    An outer variable without parameters, [seed, 0].

    >>> variable = CommonReward(agents=4)
    >>> variable.transfer(variable.initial(seed=0, seeds=1)).report(None)["given_away"]
    tensor([0.7500], dtype=torch.float64)
    """

    agents: int
    """Number of agents, N."""
    common_reward: Literal["mean", "sum"] = "mean"
    exact = True

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> SharedByAll:
        return SharedByAll(self, phi)


@dataclass(frozen=True, eq=False)
class SharedByAll(Transfer):
    """Sharing by the common reward.

    The mean conserves the total, and the share for an agent that has left stays with its giver.
    """

    variable: CommonReward
    phi: Tensor
    """[seed, 0]: the number of seeds, the dtype and the device."""

    @property
    def share(self) -> float:
        """Share of each agent's reward that each agent gets."""
        return 1 / self.variable.agents if self.variable.common_reward == "mean" else 1.0

    @property
    def matrix(self) -> Tensor:
        agents = self.variable.agents
        return self.phi.new_full((len(self.phi), agents, agents), self.share)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        own = trajectory.rewards
        total = (own.sum(1, keepdim=True) * self.share).expand_as(own)
        if trajectory.present is None:
            return total
        absent = (~trajectory.present).sum(1, keepdim=True) if self.variable.common_reward == "mean" else 0
        return (total + own * self.share * absent) * trajectory.present

    def report(self, trajectory: Trajectory | None) -> Report:
        if self.variable.common_reward == "sum":
            return {}
        return {"given_away": self.phi.new_full((len(self.phi),), 1 - self.share)}


@dataclass(frozen=True, eq=False)
class LearnedMatrix:
    """A learned static sharing matrix: logits [seed, giver, receiver], initially equal for all seeds.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> from bilevel.sharing import Sharing
    >>> variable = LearnedMatrix(Sharing(torch.ones(2, 2, dtype=torch.bool), own_share=0.75))
    >>> logits = variable.initial(seed=0, seeds=1).clone().requires_grad_()
    >>> matrix = variable.transfer(logits).matrix
    >>> matrix
    tensor([[[0.7500, 0.2500],
             [0.2500, 0.7500]]], dtype=torch.float64, grad_fn=<...>)
    """

    sharing: Sharing
    """The graph, and the initial own share."""
    exact = True

    @property
    def agents(self) -> int:
        return len(self.sharing.neighbors)

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.sharing.initial().expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(self.sharing.matrix(phi))


TERMS = ("policy", "value", "entropy")
"""Terms of a loss whose weights can be learned, in the order of `LossTerms`."""


def loss_weight_factors(free: Tensor, max_factor: float) -> Tensor:
    """Factors on the weights of `TERMS`: max_factor^(2 sigmoid(x) - 1), exactly 1 at x = 0.

    Args:
        free: learned numbers x, of any shape.
        max_factor: bound of the factors, above 1.
    Returns:
        Factors between 1 / max_factor and max_factor, of the same shape.

    >>> loss_weight_factors(torch.zeros(3), 10.0)
    tensor([1., 1., 1.])
    """
    bound = math.log(max_factor)
    return Constraint("bounded", (-bound, bound)).values(free).exp()
