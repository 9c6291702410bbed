"""Weights from a learned uncertainty of each loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bilevel.outer.loss_weights import Losses
from bilevel.tuning.rules.base import Rule


class Uncertainty(Rule):
    """Uncertainty weighting: descends sum_k exp(-s_k) L_k / 2 + s_k / 2, in the model and in every s_k.

    s_k is the logarithm of what is taken for the variance of loss k, 0 at first. Whatever is hard to fit
    gets a small weight, whether it matters or not.

    Args:
        names: what the losses are called.

    Source:
        Kendall, Gal and Cipolla, Multi-task learning using uncertainty to weigh losses, arXiv 1705.07115.

    >>> Uncertainty(["depth", "class"]).as_dict()
    {'depth': 0.5, 'class': 0.5}
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.log_variance = nn.Parameter(torch.zeros(len(self.names)))

    def as_dict(self) -> dict[str, float]:
        """Name -> exp(-s) / 2."""
        return dict(zip(self.names, ((-self.log_variance.detach()).exp() / 2).tolist(), strict=True))

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        """Gradients for the model and for every s_k."""
        stacked = self.stacked(losses)
        log_variance = self.log_variance.to(stacked.device)
        total = ((-log_variance).exp() * stacked + log_variance).sum() / 2
        total.backward()
        return total.detach()
