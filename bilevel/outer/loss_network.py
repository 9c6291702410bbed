"""A network that combines losses, in which no loss can count below 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bilevel.errors import require
from bilevel.outer.loss_weights import Losses, LossWeights


class LossNetwork(LossWeights):
    """Losses combined by a monotone network: sum_k w_k L_k + v . softplus(U L + b).

    w, U and v are 0 or more (cut off after each outer step), so that the model never gains by a greater loss;
    v starts at 0, so that the sum is the plain one. What one loss counts may depend on the others.

    Args:
        names: what the losses are called.
        hidden: units of the hidden layer, 1 or more.
        generator: draws U at the start, uniformly from 0 to 1.

    Raises:
        ValueError: a name comes twice, or hidden is below 1.

    Source:
        Navon et al., Auxiliary learning by implicit differentiation, arXiv 2007.02693 (there the main loss is
        outside the network; leave it out of the names, and add it, to have that).

    >>> network = LossNetwork(["digit", "pair"], generator=torch.Generator().manual_seed(0))
    >>> network({"digit": torch.tensor(2.0), "pair": torch.tensor(3.0)}).item()
    5.0
    >>> network.as_dict()
    {'digit': 1.0, 'pair': 1.0}
    """

    def __init__(self, names: Sequence[str], hidden: int = 8, *, generator: torch.Generator) -> None:
        super().__init__(names, 1.0, "projected")
        require(isinstance(hidden, int) and hidden >= 1, f"hidden must be 1 or more, not {hidden}.")
        self.inward = nn.Parameter(torch.rand(hidden, len(self.names), generator=generator))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.outward = nn.Parameter(torch.zeros(hidden))

    def forward(self, losses: Losses) -> Tensor:
        """The combined loss.

        Args:
            losses: name -> one number.

        Returns:
            one number.

        Raises:
            ValueError: as of `LossWeights`; or a loss is absent.
        """
        self.check(losses, complete=True)
        total = super().forward(losses)
        stacked = torch.stack([losses[name] for name in self.names])
        inward, shift, outward = (part.to(stacked) for part in (self.inward, self.shift, self.outward))
        combined: Tensor = total + outward @ softplus(inward @ stacked + shift)
        return combined

    def as_dict(self) -> dict[str, float]:
        """Name -> what the loss counts where all losses are 1: the slope there."""
        with torch.no_grad():
            sigmoid = (self.inward.sum(-1) + self.shift).sigmoid()
            slopes = self.values() + (self.outward * sigmoid) @ self.inward
        return dict(zip(self.names, slopes.tolist(), strict=True))

    def project_(self) -> None:
        """Bring what must be 0 or more back there."""
        with torch.no_grad():
            for part in (self.inward, self.outward):
                part.clamp_(min=0)
        super().project_()
