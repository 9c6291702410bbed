"""Weights from how fast each loss falls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.outer.loss_weights import Losses
from bilevel.tuning.rules.base import Weighing


class DynamicAverage(Weighing):
    """Dynamic weight average: K softmax(r_k / temperature), r_k = L_k(e - 1) / L_k(e - 2).

    L_k(e) is the mean of loss k over epoch e; what falls slowly gets more. In the first two epochs all
    weights are 1.

    Args:
        names: what the losses are called; they must stay above 0.
        epoch: steps of an epoch, 1 or more.
        temperature: above 0; the larger, the more alike the weights. The paper has 2.

    Raises:
        ValueError: a setting is out of range; in a step, a loss is not above 0.

    Source:
        Liu, Johns and Davison, End-to-end multi-task learning with attention, arXiv 1803.10704.

    >>> DynamicAverage(["a", "b"], epoch=10).as_dict()
    {'a': 1.0, 'b': 1.0}
    """

    sums: Tensor
    past: Tensor
    step: Tensor

    def __init__(self, names: Sequence[str], *, epoch: int, temperature: float = 2.0) -> None:
        super().__init__(names)
        require(isinstance(epoch, int) and epoch >= 1, f"epoch must be 1 step or more, not {epoch}.")
        require(temperature > 0, f"temperature must be above 0, not {temperature}.")
        self.epoch, self.temperature = epoch, temperature
        self.register_buffer("sums", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("past", torch.ones(2, len(self.names), dtype=torch.float64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def weights(self) -> Tensor:
        """From the last two epochs that are over, [loss]."""
        if int(self.step) < 2 * self.epoch:
            return torch.ones(len(self.names))
        rates = self.past[1] / self.past[0]
        return len(self.names) * (rates / self.temperature).softmax(-1)

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        """Descend the weighted sum, and remember the losses."""
        values = self.stacked(losses).detach()
        require(
            bool((values > 0).all()),
            f"Rates of falling need losses above 0, but they are {values.tolist()}.",
        )
        total = super().descend(losses, parameters)
        self.sums += values.to(self.sums)
        return total

    def advance(self) -> None:
        """Count one step; at the end of an epoch its means become the past."""
        self.step += 1
        if int(self.step) % self.epoch == 0:
            self.past.copy_(torch.stack((self.past[1], self.sums / self.epoch)))
            self.sums.zero_()
