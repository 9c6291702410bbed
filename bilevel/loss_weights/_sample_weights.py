"""Weights of samples, by a small network that reads each sample's loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bilevel.loss_weights._weights import Learned
from bilevel.nn import Perceptron
from games.core import require


class SampleWeights(Learned):
    """Meta-Weight-Net: the weight of a sample is a network of its loss, sigmoid(MLP(L_i)).

    Called with the losses of a batch it gives their weighted mean, sum_i w_i L_i / n; or, normalized,
    sum_i w_i L_i / sum_i w_i, as the paper's code does. The network stays on the device where it is, and is
    evaluated on the losses'.

    Args:
        hidden: units of each hidden layer; the paper has one layer of 100.
        init: the weight of every sample at first, strictly between 0 and 1.
        normalize: whether the weights of a batch sum to 1. Weights then only say which samples matter more,
            and not how fast to learn.

    Raises:
        ValueError: a layer has no unit, or init is out of range.

    Source:
        Shu et al., Meta-Weight-Net, arXiv 1902.07379.

    >>> weights = SampleWeights(init=0.5)
    >>> losses = torch.tensor([0.0, 1.0, 5.0])
    >>> weights.values(losses)
    tensor([0.5000, 0.5000, 0.5000], grad_fn=<SigmoidBackward0>)
    >>> weights(losses).item()
    2.0
    """

    def __init__(
        self, hidden: tuple[int, ...] = (100,), *, init: float = 0.5, normalize: bool = True
    ) -> None:
        super().__init__()
        require(0 < init < 1, f"A sample's first weight lies strictly between 0 and 1, and init is {init}.")
        self.network, self.normalize = Perceptron((1, *hidden, 1), "relu"), normalize
        first = self.network.initial(torch.default_generator, last_layer_scale=0.0)
        first[-1] = math.log(init / (1 - init))
        self.theta = nn.Parameter(first.to(torch.get_default_dtype()))

    def values(self, losses: Tensor) -> Tensor:
        """The weight of each sample, [..., sample]; losses are taken as they are, not differentiated.

        Args:
            losses: [..., sample].
        """
        read = losses.detach().unsqueeze(-1).to(self.theta.dtype)
        return self.network(self.theta.to(losses.device), read).squeeze(-1).sigmoid()

    def forward(self, losses: Tensor) -> Tensor:
        """The weighted mean of a batch.

        Args:
            losses: one for each sample, [..., sample]: no mean is taken yet (reduction="none").

        Returns:
            [...].

        Raises:
            ValueError: the losses are one number, or a dictionary.
        """
        require(
            isinstance(losses, Tensor),
            f"Samples are weighted one by one, but the losses are a {type(losses).__name__}: use "
            "torch.cat(list(losses.values())), whatever the size of each task's batch.",
        )
        require(
            losses.ndim >= 1,
            'Samples are weighted one by one, but the loss is one number: use reduction="none".',
        )
        weights = self.values(losses).to(losses.dtype)
        if self.normalize:
            return (weights * losses).sum(-1) / weights.sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)
        return (weights * losses).mean(-1)
