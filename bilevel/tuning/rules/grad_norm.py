"""Weights that make the losses' gradients alike in length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from bilevel.errors import require
from bilevel.outer.loss_weights import Losses
from bilevel.tuning.rules.base import Weighing


class GradNorm(Weighing):
    """GradNorm: the weighted gradient of each loss is to be as long as its pace of training asks for.

    With G_k = |w_k grad L_k| in the shared parameters and r_k = (L_k / L_k(0)) relative to its mean, the
    weights descend sum_k |G_k - mean(G) r_k^asymmetry|, the targets taken as constants, and are then scaled
    to sum to the number of losses. They are parameters of this rule: give them an optimiser (`Trainer`'s
    `rule_optimiser`).

    Args:
        names: what the losses are called; they must stay above 0.
        shared: the parameters in which gradients are compared; the paper takes the last shared layer's.
        asymmetry: 0 or more; how much more the slow ones get. The paper has 1.5.

    Raises:
        ValueError: a setting is out of range; in a step, a loss is not above 0.

    Source:
        Chen et al., GradNorm, arXiv 1711.02257.

    >>> GradNorm(["a", "b"], list(nn.Linear(2, 2).parameters())).as_dict()
    {'a': 1.0, 'b': 1.0}
    """

    first: Tensor

    def __init__(
        self, names: Sequence[str], shared: Iterable[nn.Parameter], *, asymmetry: float = 1.5
    ) -> None:
        super().__init__(names)
        self.shared = tuple(shared)
        require(len(self.shared) > 0, "GradNorm compares gradients in shared parameters, and there are none.")
        require(asymmetry >= 0, f"asymmetry must be 0 or more, not {asymmetry}.")
        self.asymmetry = asymmetry
        self.free = nn.Parameter(torch.ones(len(self.names)))
        self.register_buffer("first", torch.zeros(len(self.names)))

    def weights(self) -> Tensor:
        """As they are now, [loss]."""
        return self.free

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        """Gradients for the model by the weighted sum, and for the weights by the lengths."""
        stacked = self.stacked(losses)
        values = stacked.detach().to(self.first)
        require(
            bool((values > 0).all()),
            f"Paces of training need losses above 0, but they are {values.tolist()}.",
        )
        if not self.first.any():
            self.first.copy_(values)
        lengths = torch.stack([self._length(loss) for loss in stacked]).to(self.free)
        total = super().descend(losses, parameters)
        paces = values / self.first
        weighted = self.free * lengths
        target = (weighted.mean() * (paces / paces.mean()) ** self.asymmetry).detach()
        (self.free.grad,) = torch.autograd.grad((weighted - target).abs().sum(), self.free)
        return total

    def project_(self) -> None:
        """Scale the weights to sum to their number; none falls below 0."""
        with torch.no_grad():
            self.free.clamp_(min=0)
            self.free.mul_(len(self.names) / self.free.sum().clamp(min=torch.finfo(self.free.dtype).tiny))

    def _length(self, loss: Tensor) -> Tensor:
        gradients = torch.autograd.grad(loss, self.shared, retain_graph=True, allow_unused=True)
        squares = [g.square().sum() for g in gradients if g is not None]
        return torch.stack(squares).sum().sqrt() if squares else loss.new_zeros(())
