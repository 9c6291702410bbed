"""Sharing by shares that are not the same in every step."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from torch import Tensor

from bilevel.outer.giving import per_step
from bilevel.outer.transfer import Happened, Report, Reporting, among_present, matrix_report


class VaryingShares(abc.ABC):
    """A transfer that says its shares of every step: r~_j = sum_i T_ij r_i; rows sum to 1.

    So the total of each step is conserved, whatever the shares depend on.
    """

    @abc.abstractmethod
    def stated(self, happened: Happened) -> Tensor:
        """The shares of every step as if nobody had left, [seed, giver, receiver, time, episode]."""

    def shares(self, happened: Happened) -> Tensor:
        """T in every step, among the agents present in it: [seed, giver, receiver, time, episode]."""
        return among_present(self.stated(happened), happened)

    @property
    def matrix(self) -> Tensor | None:
        """None: there is not one for all steps."""
        return None

    def rewards(self, happened: Happened) -> Tensor:
        """See `Transfer.rewards`."""
        return self.gifts(happened).sum(1)

    def gifts(self, happened: Happened) -> Tensor:
        """See `Transfer.gifts`: what one keeps counts as given to oneself."""
        return self.shares(happened) * happened.rewards.unsqueeze(2)

    def report(self, happened: Happened | None) -> Report:
        """The agents' mean share given away, and every share: means over all steps."""
        assert happened is not None
        return matrix_report(per_step(self.shares(happened), happened))

    @property
    def reporting(self) -> Reporting:
        """Shares are means over steps."""
        return Reporting("steps")


@dataclass(frozen=True, eq=False)
class GivenShares(VaryingShares):
    """Sharing by a matrix that is known for each step of what happened.

    >>> GivenShares(torch.full((1, 2, 2, 3, 4), 0.5)).matrix is None  # seed, giver, receiver, time, episode
    True
    """

    given: Tensor
    """[seed, giver, receiver, time, episode]; a giver's shares sum to 1."""

    def stated(self, happened: Happened) -> Tensor:
        """As they were given."""
        return self.given
