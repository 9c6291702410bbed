"""Batched gated recurrent units, each with one flat parameter vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.nn._mlp import sigmoid, tanh
from games.core import require


class GatedWeights(NamedTuple):
    """The weights of a gated cell; rows are those of the reset gate, the update gate and the candidate."""

    inputs: Tensor
    """Of the input, [..., 3 unit, input]."""
    hidden: Tensor
    """Of the hidden state, [..., 3 unit, unit]."""
    inputs_bias: Tensor
    hidden_bias: Tensor
    """Both [..., 3 unit, 1]."""


@dataclass(frozen=True)
class GatedCell:
    """A gated recurrent unit (GRU) as a function of its parameters, for many of them in one call.

    With sigma the logistic function, x the input and h the hidden state,

        r = sigma(W_r x + b_r + U_r h + c_r), z = sigma(W_z x + b_z + U_z h + c_z),
        n = tanh(W_n x + b_n + r (U_n h + c_n)), and h becomes (1 - z) n + z h.

    Its parameters are W, U, b and c, flat, in the order of `torch.nn.GRUCell`, which computes the same.

    Raises:
        ValueError: it has no input or no unit.

    Source:
        Cho et al., Learning phrase representations using RNN encoder-decoder, arXiv 1406.1078; r after the
        product with U_n, as `torch.nn.GRUCell` has it.

    >>> cell = GatedCell(inputs=4, units=3)
    >>> weights = cell.weights(torch.zeros(2, cell.num_parameters))  # two of them
    >>> cell.step(weights, cell.drive(weights, torch.zeros(2, 4, 10)), torch.ones(2, 3, 10)).shape
    torch.Size([2, 3, 10])
    """

    inputs: int
    """Size of the input."""
    units: int
    """Size of the hidden state."""

    def __post_init__(self) -> None:
        require(
            min(self.inputs, self.units) >= 1,
            f"A gated cell has 1 input and 1 unit or more, not {self.inputs} and {self.units}.",
        )

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return 3 * self.units * (self.inputs + self.units + 2)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter]."""
        rows = 3 * self.units
        parts = [
            torch.randn(*batch, rows * fan_in, generator=generator, dtype=torch.float64) / math.sqrt(fan_in)
            for fan_in in (self.inputs, self.units)
        ]
        return torch.cat([*parts, torch.zeros(*batch, 2 * rows, dtype=torch.float64)], -1)

    def weights(self, theta: Tensor) -> GatedWeights:
        """Split parameters [..., parameter] into weights."""
        rows = 3 * self.units
        inputs, hidden, biases = theta.split((rows * self.inputs, rows * self.units, 2 * rows), -1)
        inputs_bias, hidden_bias = biases.unsqueeze(-1).split(rows, -2)
        return GatedWeights(
            inputs.unflatten(-1, (rows, self.inputs)),
            hidden.unflatten(-1, (rows, self.units)),
            inputs_bias,
            hidden_bias,
        )

    def drive(self, weights: GatedWeights, inputs: Tensor) -> Tensor:
        """W x + b of inputs [..., input, sample] for all steps at once: [..., 3 unit, sample]."""
        return weights.inputs @ inputs + weights.inputs_bias

    def step(self, weights: GatedWeights, driven: Tensor, hidden: Tensor) -> Tensor:
        """Update the hidden state, [..., unit, sample], from what `drive` gave, [..., 3 unit, sample]."""
        recurrent = weights.hidden @ hidden + weights.hidden_bias
        reset, update = sigmoid((driven + recurrent)[..., : 2 * self.units, :]).split(self.units, -2)
        new = tanh(driven[..., 2 * self.units :, :] + reset * recurrent[..., 2 * self.units :, :])
        after: Tensor = new + update * (hidden - new)
        return after
