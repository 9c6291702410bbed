"""Transfers: rules that turn individual rewards into those that learners see."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.sharing._objectives import given_away
from bilevel.sharing._sharing import redistribute
from games.wrappers import both_present, share_among_present


class TrajectoryLike(Protocol):
    """What a transfer may depend on: some steps of sampled play; see `bilevel.agents.Trajectory`."""

    @property
    def observations(self) -> Tensor:
        """[seed, agent, time, episode, *shape]."""

    @property
    def actions(self) -> Tensor:
        """Integer [seed, agent, time, episode]; meaningless after the end."""

    @property
    def rewards(self) -> Tensor:
        """Own rewards, [seed, agent, time, episode]; 0 after the end."""

    @property
    def mask(self) -> Tensor:
        """1 while the episode runs, [seed, 1, time, episode]."""

    @property
    def neighbours(self) -> Tensor | None:
        """Who may share with whom in each step, boolean [seed, giver, receiver, time, episode].

        None where the game's graph does not change.
        """

    @property
    def present(self) -> Tensor | None:
        """Which agents took part in each step, boolean [seed, agent, time, episode]; None: all always do."""

    @property
    def acting(self) -> Tensor:
        """1 in the steps in which an agent's action counts, [seed, agent or 1, time, episode]."""

    @property
    def legal(self) -> Tensor | None:
        """Which actions are legal, boolean [seed, agent, time, episode, action]; None where all are."""

    def some(self, which: slice) -> TrajectoryLike:
        """Some of the episodes, by their places."""


Report = dict[str, Tensor]
"""Name -> float [seed], or [seed, ...] (see `matrix_report`): what a transfer did, for metrics.csv."""

MOST_NAMED = 16
"""Up to so many agents each entry of a matrix has a name; of more, the matrix has one."""


class Reporting(NamedTuple):
    """How reports of successive blocks of time steps combine into that of the whole episodes."""

    mean_over: Literal["steps", "episodes"]
    """What is reported: means over all steps, or sums over an episode's steps, averaged over episodes."""
    hold: int = 1
    """Blocks begin at multiples of this many steps."""


def combine_reports(reports: Sequence[Report], steps: Sequence[Tensor], reporting: Reporting) -> Report:
    """The report on whole episodes, of reports on successive blocks of their time steps.

    Args:
        reports: one per block.
        steps: how many steps were played in each, over all episodes, [seed].
        reporting: what the reports are means over.

    >>> first, second = {"moved": torch.tensor([1.0])}, {"moved": torch.tensor([4.0])}
    >>> played = [torch.tensor([2.0]), torch.tensor([1.0])]
    >>> [combine_reports([first, second], played, Reporting(over))["moved"] for over in ("steps", "episodes")]
    [tensor([2.]), tensor([5.])]
    """
    if len(reports) == 1:
        return reports[0]
    if reporting.mean_over == "episodes":
        return {name: torch.stack([report[name] for report in reports]).sum(0) for name in reports[0]}
    weights = torch.stack(tuple(steps)) / torch.stack(tuple(steps)).sum(0)

    def mean(values: list[Tensor]) -> Tensor:
        shape = *weights.shape, *[1] * (values[0].ndim - 1)
        return (torch.stack(values) * weights.reshape(shape)).sum(0)

    return {name: mean([report[name] for report in reports]) for name in reports[0]}


class Transfer(Protocol):
    """A rule for the rewards that learners see, of one value of the outer variables.

    Nothing goes to or from an agent that has left the game (`TrajectoryLike.present`): the share of a reward
    that would go to it stays with its giver.
    """

    @property
    def matrix(self) -> Tensor | None:
        """The sharing matrix [seed, giver, receiver] that is all of it; None where it takes more to say."""

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """The rewards that learners see, [seed, agent, time, episode], 0 after the end."""

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """What was given, [seed, giver, receiver, time, episode], in reward units."""

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """What to say of it; None: nothing was sampled, as values are exact."""

    @property
    def reporting(self) -> Reporting | None:
        """How reports of blocks of time steps combine; None: a report depends on no observation or graph.

        Evaluation then asks for one report, on whole episodes without these (`Trajectory.outcome`).
        """


@dataclass(frozen=True, eq=False)
class SharedBy:
    """Everybody gets its part of everybody's reward, by a matrix: r~_j = sum_i T[i, j] r_i.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> SharedBy(torch.tensor([[[0.7, 0.3], [0.0, 1.0]]])).report(None)["given_away"]
    tensor([0.1500])
    """

    matrix: Tensor
    """[seed, giver, receiver]; rows sum to 1."""

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`; the total is conserved."""
        return redistributed(trajectory, self.matrix)

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.gifts`: what one keeps counts as given to oneself."""
        return among_present(self.matrix[..., None, None], trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """The agents' mean share given away, and every share."""
        return matrix_report(self.matrix)

    @property
    def reporting(self) -> None:
        """The matrix says it all."""


def redistributed(trajectory: TrajectoryLike, matrix: Tensor) -> Tensor:
    """Own rewards by one matrix [seed, giver, receiver] for all steps, among the agents present in each.

    Returns:
        [seed, agent, time, episode].
    """
    own = trajectory.rewards
    if trajectory.present is None:
        return redistribute(own.flatten(-2), matrix).reshape(own.shape)
    return (among_present(matrix[..., None, None], trajectory) * own.unsqueeze(2)).sum(1)


def among_present(shares: Tensor, trajectory: TrajectoryLike) -> Tensor:
    """Keep the shares of agents that have left with their givers; see `share_among_present`.

    Args:
        shares: [seed, giver, receiver, time or 1, episode or 1].
        trajectory: says who was present.

    Returns:
        [seed, giver, receiver, time, episode]; the shares as they are where all always are.
    """
    if trajectory.present is None:
        return shares
    by_step = shares.permute(0, 3, 4, 1, 2)
    return share_among_present(by_step, trajectory.present.permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)


def only_among_present(amounts: Tensor, trajectory: TrajectoryLike) -> Tensor:
    """Drop what would go to or from agents that have left: [seed, giver, receiver, time, episode]."""
    if trajectory.present is None:
        return amounts
    return amounts * both_present(trajectory.present.permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)


def matrix_report(matrix: Tensor) -> Report:
    """The agents' mean share given away, and every share, of matrices [seed, giver, receiver].

    Of more than `MOST_NAMED` agents the shares are one entry, "share", [seed, giver, receiver].

    >>> list(matrix_report(torch.eye(2)[None]))
    ['given_away', 'share_0_0', 'share_0_1', 'share_1_0', 'share_1_1']
    >>> {name: list(values.shape) for name, values in matrix_report(torch.eye(17)[None]).items()}
    {'given_away': [1], 'share': [1, 17, 17]}
    """
    agents = range(matrix.shape[-1])
    if len(agents) > MOST_NAMED:
        shares = {"share": matrix}
    else:
        shares = {f"share_{giver}_{taker}": values for giver, taker, values in entries(matrix)}
    return {"given_away": given_away(matrix).mean(-1), **shares}


def entries(matrix: Tensor) -> list[tuple[int, int, Tensor]]:
    """Rows, columns and entries of square matrices [seed, row, column], cut in one call.

    >>> [(row, column, int(entry)) for row, column, entry in entries(torch.tensor([[[1, 2], [3, 4]]]))]
    [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4)]
    """
    places = itertools.product(range(matrix.shape[-1]), repeat=2)
    cut = matrix.flatten(1).unbind(1)
    return [(row, column, entry) for (row, column), entry in zip(places, cut, strict=True)]


def given_report(given: Tensor) -> Report:
    """What agents give, of [seed, giver, receiver] in reward units: on average, and each to each other.

    Of more than `MOST_NAMED` agents what they give is one entry, "incentive", [seed, giver, receiver].

    >>> given_report(torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]))
    {'given': tensor([2.]), 'incentive_0_1': tensor([3.]), 'incentive_1_0': tensor([1.])}
    """
    agents = range(given.shape[-1])
    if len(agents) > MOST_NAMED:
        named = {"incentive": given}
    else:
        named = {f"incentive_{i}_{j}": values for i, j, values in entries(given) if i != j}
    return {"given": given.sum(-1).mean(-1), **named}
