"""Batched multilayer perceptrons, each with one flat parameter vector, and their activations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import pad

from games.core import require, require_name, traced

LANES = 32
"""A multiple of twice the width of a CPU's vector instructions, in numbers."""


def sigmoid(values: Tensor) -> Tensor:
    """Sigmoid of each member, bit-for-bit independent of the number of members.

    On a CPU torch computes the entries after the last full vector register by another formula, which may
    round differently; so each member is padded to full registers.

    Args:
        values: [member, ...].

    >>> sigmoid(torch.zeros(2, 3))
    tensor([[0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000]])
    """
    count = values.shape[1:].numel() if values.dim() else 0
    missing = -count % LANES
    if not missing or not values.is_cpu or traced():  # a compiler has rules of its own
        return torch.sigmoid(values)
    whole = torch.sigmoid(pad(values.reshape(len(values), count), (0, missing)))
    return whole[:, :count].contiguous().view(values.shape)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-softmax with the action axis first, bit-for-bit independent of the number of members.

    With few actions, a log-softmax over the last axis would take several times as long. As in `sigmoid`, each
    member is padded to full registers.

    Args:
        logits: [member, ..., action].

    Returns:
        Log-probabilities, [action, member, ...], in nats.

    >>> log_softmax(torch.zeros(3, 2, 4)).shape
    torch.Size([4, 3, 2])
    """
    rows = logits.movedim(-1, 0)
    count = rows.shape[2:].numel()
    missing = -count % LANES
    if rows.dim() < 2 or not missing or not rows.is_cpu or traced():
        return rows.log_softmax(0)
    members = pad(rows.reshape(*rows.shape[:2], count), (0, missing))
    return members.log_softmax(0)[..., :count].reshape(rows.shape)


ActivationName = Literal["tanh", "relu"]
"""Name of an activation, a key of `ACTIVATIONS`."""


def tanh(values: Tensor) -> Tensor:
    """tanh x = 1 - 2 sigmoid(-2 x): off by at most 2e-7 in float32, 4e-16 in float64.

    On the CPU it takes a third of the time of torch's tanh, most of the cost of a small policy.

    >>> tanh(torch.tensor([0.0, 100.0]))
    tensor([0., 1.])
    """
    return torch.rsub(sigmoid(-2 * values), 1, alpha=2)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": tanh, "relu": torch.relu}
"""Name -> activation, elementwise."""

Layers = Sequence[tuple[int, int]]
"""Fan in and fan out of each; flat parameters hold one layer's weights, then its biases, then the next's."""


def num_parameters(layers: Layers) -> int:
    """Weights and biases of all layers."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in layers)


def split_layers(theta: Tensor, layers: Layers) -> tuple[Tensor, ...]:
    """Split [..., parameter] into weights [..., fan in * fan out] and biases [..., fan out] of each layer."""
    parts: tuple[Tensor, ...] = theta.split(
        [size for layer in layers for size in (math.prod(layer), layer[1])], -1
    )
    return parts


def first_layers(layers: Layers, generator: torch.Generator, *batch: int) -> list[Tensor]:
    """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: as `split_layers`, in float64."""
    parts = []
    for fan_in, fan_out in layers:
        weights = torch.randn(*batch, fan_in * fan_out, generator=generator, dtype=torch.float64)
        parts += [weights / math.sqrt(fan_in), torch.zeros(*batch, fan_out, dtype=torch.float64)]
    return parts


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron as a function of its parameters, for many of them in one call.

    Raises:
        ValueError: a layer has no unit, or there is no such activation.

    >>> network = Perceptron((4, 8, 3))
    >>> theta = torch.zeros(2, network.num_parameters)  # two of them
    >>> network(theta, torch.zeros(2, 10, 4)).shape  # network, sample, output
    torch.Size([2, 10, 3])
    """

    sizes: tuple[int, ...]
    """Inputs, units of each hidden layer, outputs."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        require_name(self.activation, ACTIVATIONS, "activation")
        require(
            len(self.sizes) >= 2 and min(self.sizes) >= 1,
            f"Every layer of a network needs 1 unit or more, but they have {self.sizes}.",
        )

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return num_parameters(self._layers)

    def initial(self, generator: torch.Generator, *batch: int, last_layer_scale: float = 1.0) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter].

        The last layer's weights are multiplied by `last_layer_scale`.
        """
        parts = first_layers(self._layers, generator, *batch)
        parts[-2] = parts[-2] * last_layer_scale
        return torch.cat(parts, -1)

    def __call__(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Apply every network [..., parameter] to its own samples [..., sample, input].

        The output is [..., sample, output], samples next to one another in memory.
        """
        core = sigmoid if self.activation == "tanh" else torch.relu
        *hidden, (weights, bias) = self._affine_maps(theta)
        # Samples come last in memory, in every layer and so in every derivative: few actions are multiplied
        # several times as fast as rows, and what is elementwise never meets two memory layouts at once.
        units = inputs.mT
        for hidden_weights, hidden_bias in hidden:
            units = core(_affine(hidden_weights, units, hidden_bias))
        return _affine(weights, units, bias).mT

    def _affine_maps(self, theta: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights [..., fan out, fan in] and biases [..., fan out, 1] of each layer.

        Those of tanh carry its -2 before the sigmoid and its 1 - 2 sigmoid after it (see `tanh`), so that
        no pass over the samples is spent on either.
        """
        flat = split_layers(theta, self._layers)
        maps = []
        for index, layer in enumerate(self._layers):
            weights, bias = flat[2 * index].unflatten(-1, layer), flat[2 * index + 1].unsqueeze(-2)
            if self.activation == "tanh":
                if index > 0:
                    weights, bias = -2 * weights, bias + weights.sum(-2, keepdim=True)
                if index < len(self._layers) - 1:
                    weights, bias = -2 * weights, -2 * bias
            maps.append((weights.mT, bias.mT))
        return maps

    @property
    def _layers(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(self.sizes))


def _affine(weights: Tensor, units: Tensor, bias: Tensor) -> Tensor:
    """weights @ units + bias, of units [..., fan in, sample].

    Few rows are multiplied several times as fast as few columns, so fewer samples than outputs go first.
    """
    if units.shape[-1] < weights.shape[-2]:
        return _product(units.mT, weights.mT, bias.mT).mT
    return _product(weights, units, bias)


def _product(left: Tensor, right: Tensor, bias: Tensor) -> Tensor:
    """left @ right + bias, in one pass where there is one batch axis."""
    if left.dim() == right.dim() == bias.dim() == 3 and len(left) == len(right):
        return torch.baddbmm(bias, left, right)
    return left @ right + bias


def as_vectors(observations: Tensor, like: Tensor, *, one_hot: int = 0, axes: int = 1) -> Tensor:
    """Observations as vectors: one-hot integers, or flattened planes of a grid, which may be bytes.

    Args:
        observations: integers below `one_hot`, [..., sample]; or, if that is 0, [..., sample, *shape].
        like: a tensor of the vectors' dtype.
        one_hot: number of integer observations; 0: observations are not integers.
        axes: number of axes of `shape`.

    Returns:
        Vectors, [..., sample, feature].

    >>> as_vectors(torch.tensor([2, 0]), torch.zeros(()), one_hot=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if one_hot:
        return functional.one_hot(observations, one_hot).to(like.dtype)
    return observations.flatten(-axes).to(like.dtype)
