"""Batched convolutional layers, each network with one flat parameter vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.nn._mlp import ACTIVATIONS, ActivationName, first_layers, num_parameters, split_layers
from games.core import require, require_name

PaddingName = Literal["same", "valid"]
"""Padding of planes: zeros around them (same) or none (valid)."""


@dataclass(frozen=True)
class Convolutions:
    """Convolutional layers as a function of their parameters, for many networks in one call.

    Padding "same" surrounds planes with zeros so that ceil(size / stride) rows and columns come out of `size`
    (one zero more below and to the right where both sides cannot have as many); "valid" adds none, and
    floor((size - kernel) / stride) + 1 come out. A layer's parameters are its weights [output, input, row,
    column], flat, then its biases: those of `torch.nn.Conv2d`, which computes the same.

    A layer shifts whole planes and multiplies matrices, whose derivatives of every order are the same few
    operations; torch differentiates a grouped convolution twice by a loop over groups.

    Raises:
        ValueError: sizes, channels, kernel or stride are below 1, there is no layer, a name is unknown, or
            planes become smaller than a kernel without padding (says in which layer).

    >>> network = Convolutions((4, 5, 5), channels=(8, 6), stride=2)
    >>> network.shapes
    ((4, 5, 5), (8, 3, 3), (6, 2, 2))
    >>> theta = torch.zeros(2, network.num_parameters)  # two of them
    >>> network(theta, torch.zeros(2, 10, 4, 5, 5)).shape  # network, sample, channel, row, column
    torch.Size([2, 10, 6, 2, 2])
    """

    planes: tuple[int, int, int]
    """Planes of an input, rows and columns of each."""
    channels: tuple[int, ...]
    """Output planes of each layer, one layer or more."""
    kernel: int = 3
    """Rows and columns of the kernels, in every layer."""
    stride: int = 1
    """Rows and columns between places of the kernel, in every layer."""
    padding: PaddingName = "same"
    """Padding of the planes: zeros around them ("same") or none ("valid")."""
    activation: ActivationName = "tanh"
    """After every layer."""

    def __post_init__(self) -> None:
        require_name(self.activation, ACTIVATIONS, "activation")
        require_name(self.padding, get_args(PaddingName), "padding")
        require(
            min((*self.planes, self.kernel, self.stride)) >= 1,
            f"Planes, kernel and stride are 1 or more, but they are {self.planes}, {self.kernel} and "
            f"{self.stride}.",
        )
        require(
            bool(self.channels) and min(self.channels) >= 1,
            f"Convolutions need 1 layer or more, of 1 channel or more each, but channels is {self.channels}.",
        )
        _ = self.shapes

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Planes, rows and columns of the input and of each layer's output.

        Raises:
            ValueError: planes become smaller than the kernel without padding.
        """
        shapes = [self.planes]
        for layer, channels in enumerate(self.channels):
            _, rows, columns = shapes[-1]
            require(
                self.padding == "same" or min(rows, columns) >= self.kernel,
                f"A kernel of {self.kernel} without padding does not fit into the {rows} x {columns} planes "
                f"that reach layer {layer}: take a smaller kernel or stride, fewer layers, or padding same.",
            )
            shapes.append((channels, self._places(rows), self._places(columns)))
        return tuple(shapes)

    @property
    def num_outputs(self) -> int:
        """Size of the output of a sample."""
        return math.prod(self.shapes[-1])

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return num_parameters(self._layers)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter]."""
        return torch.cat(first_layers(self._layers, generator, *batch), -1)

    def __call__(self, theta: Tensor, planes: Tensor) -> Tensor:
        """Apply every network [..., parameter] to its own samples [..., sample, plane, row, column].

        The output is [..., sample, channel, row, column].
        """
        act = ACTIVATIONS[self.activation]
        parts = split_layers(theta, self._layers)
        units = planes.movedim(-4, -1)  # samples last: planes are shifted in whole rows of them
        for layer, (fan_in, fan_out) in enumerate(self._layers):
            patches = self._patches(units)
            weights = parts[2 * layer].unflatten(-1, (fan_out, fan_in))
            sums = weights @ patches.flatten(-3) + parts[2 * layer + 1].unsqueeze(-1)
            units = act(sums.unflatten(-1, patches.shape[-3:]))
        return units.movedim(-1, -4)

    def _patches(self, planes: Tensor) -> Tensor:
        """The input of each weight in each place, of planes [..., plane, row, column, sample].

        [..., plane * kernel row * kernel column, row, column, sample].
        """
        rows, columns = planes.shape[-3:-1]
        if self.padding == "same":
            planes = functional.pad(planes, (0, 0, *self._around(columns), *self._around(rows)))
        down, right = self._places(rows), self._places(columns)

        def shifted(row: int, column: int) -> Tensor:
            last_row, last_column = row + (down - 1) * self.stride, column + (right - 1) * self.stride
            return planes[..., row : last_row + 1 : self.stride, column : last_column + 1 : self.stride, :]

        shifts = range(self.kernel)
        return torch.stack([shifted(row, column) for row in shifts for column in shifts], -4).flatten(-5, -4)

    def _places(self, size: int) -> int:
        """Number of places of a kernel along rows or columns."""
        return -(-size // self.stride) if self.padding == "same" else 1 + (size - self.kernel) // self.stride

    def _around(self, size: int) -> tuple[int, int]:
        """Zeros before and after."""
        zeros = max(0, (self._places(size) - 1) * self.stride + self.kernel - size)
        return zeros // 2, zeros - zeros // 2

    @property
    def _layers(self) -> list[tuple[int, int]]:
        """Fan in and channels of each layer."""
        inputs = (self.planes[0], *self.channels[:-1])
        return [
            (planes * self.kernel**2, channels)
            for planes, channels in zip(inputs, self.channels, strict=True)
        ]
