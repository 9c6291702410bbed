"""Modules of outer parameters: loss weights, sample weights, hyper-parameters, a loss network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bilevel.core import Bounds, Constraint
from bilevel.nn import Perceptron
from games.core import require, require_name


class Learned(nn.Module):
    """A module whose parameters an outer optimizer updates."""

    def as_dict(self) -> dict[str, float]:
        return {}

    def project_(self) -> None:
        """Project parameters onto their allowed set, in place; called after each outer step."""

    def advance(self) -> None:
        """Count one step of the inner loop; called after it."""


Losses = Mapping[str, Tensor]  # name -> a loss, [*batch]: a single number for one learner


class LossWeights(Learned):
    """Weighted sum of losses, sum_k lambda_k L_k, with learned weights lambda.

    Weights stay on their device; their values are moved to the losses' device. The weight of a loss that is
    absent from a batch is left out of the sum, and a tuner does not update it.

    Args:
        names: names of the losses.
        init: initial weights: one for all, or one for each name.
        constraint: softplus (above 0), projected (0 or more), simplex (above 0, sum 1), bounded, or free.
        bounds: with bounded: the minimum and the maximum weight.
        batch: leading axes, for a batch of learners, such as seeds.
        fixed: names of losses that keep their initial weight, such as the main loss beside auxiliary ones.
            Without it the scale of all weights is learned, too, which acts as a learning rate.

    Raises:
        ValueError: a name comes twice; init is for other names, or not allowed under the constraint; fixed
            has another name, all names, or a weight on the simplex.

    >>> weights = LossWeights(["label", "contour"], {"label": 1.0, "contour": 0.5}, "projected")
    >>> weights({"label": torch.tensor(2.0), "contour": torch.tensor(10.0)}).item()
    7.0
    >>> weights.as_dict()
    {'label': 1.0, 'contour': 0.5}
    """

    def __init__(
        self,
        names: Sequence[str],
        init: float | Mapping[str, float] = 1.0,
        constraint: str = "softplus",
        *,
        bounds: Bounds | None = None,
        batch: tuple[int, ...] = (),
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__()
        require(not isinstance(names, str), f"names is a list of names, not one: write [{names!r}].")
        self.names = tuple(names)
        require(len(self.names) > 0, "Weights need at least one loss: names is empty.")
        for name in self.names:
            require(self.names.count(name) == 1, f"Every loss has one weight, but {name!r} comes twice.")
        self.constraint = Constraint(constraint, bounds)
        given = init if isinstance(init, Mapping) else dict.fromkeys(self.names, init)
        require(
            set(given) == set(self.names),
            f"init is for {_listed(given)}, but the losses are {_listed(self.names)}.",
        )
        first = torch.tensor([float(given[name]) for name in self.names], dtype=torch.float64)
        free = self.constraint.free(first).to(torch.get_default_dtype())
        self.free = nn.Parameter(free.expand(*batch, -1).clone())
        self.fixed = tuple(fixed)
        self._check_fixed()
        # Constants and no buffers: pure steps accept weights without buffers only.
        self._start, self._is_fixed = first, torch.tensor([name in self.fixed for name in self.names])

    def values(self) -> Tensor:
        """Current weights, [*batch, loss]."""
        learned = self.constraint.values(self.free)
        if not self.fixed:
            return learned
        return torch.where(self._is_fixed.to(learned.device), self._start.to(learned), learned)

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading axes of the weights: the shape of every loss."""
        return tuple(self.free.shape[:-1])

    def as_dict(self) -> dict[str, float]:
        """Name -> current weight; for a batch of learners, their mean."""
        means = self.values().detach().reshape(-1, len(self.names)).mean(0)
        return dict(zip(self.names, means.tolist(), strict=True))

    def forward(self, losses: Losses) -> Tensor:
        """Weighted sum of name -> loss, all [*batch]; absent losses are left out.

        Raises:
            ValueError: there is no loss, or one without a weight; or a loss has another shape.
        """
        self.check(losses)
        present = [index for index, name in enumerate(self.names) if name in losses]
        stacked = torch.stack([losses[self.names[index]] for index in present], -1)
        values = self.values() if len(present) == len(self.names) else self.values()[..., present]
        return (stacked * values.to(stacked)).sum(-1)

    def check(self, losses: Losses, *, complete: bool = False) -> None:
        """Raise ValueError unless these are losses for `forward` and, if `complete`, one for each weight."""
        require(
            isinstance(losses, Mapping),
            f"Losses are a dictionary, name -> loss, for {_listed(self.names)}; these are a "
            f"{type(losses).__name__}.",
        )
        known, given = set(self.names), set(losses)
        require(
            len(given) > 0 and given <= known and (given == known or not complete),
            f"There are weights for {_listed(self.names)}, but losses for {_listed(losses)}: each loss needs "
            f"a weight, and {'each weight a loss' if complete else 'there must be a loss'}.",
        )
        for name in losses:
            require(
                tuple(losses[name].shape) == self.batch,
                f"The loss {name!r} must have the shape {list(self.batch)}, but it has "
                f"{list(losses[name].shape)}: take its mean.",
            )

    def project_(self) -> None:
        self.constraint.project_(self.free)

    def _check_fixed(self) -> None:
        """Raise ValueError unless some weights are fixed and others learned, or all are learned."""
        for name in self.fixed:
            require_name(name, self.names, "loss to keep fixed")
        require(
            len(set(self.fixed)) < len(self.names),
            "fixed holds every loss, so that no weight is learned: leave out those to learn.",
        )
        require(
            not self.fixed or self.constraint.name != "simplex",
            "Weights on the simplex sum to 1, so that none is fixed: leave out fixed, or choose another "
            "constraint.",
        )


class ScheduledLossWeights(LossWeights):
    """Loss weights on a learned schedule: learned at knots, linearly interpolated in between.

    Args:
        names: names of the losses.
        knots: steps of the inner loop, increasing from 0; weights are constant after the last.
        init: as in `LossWeights`, at every knot.
        constraint: as in `LossWeights`.
        bounds: as in `LossWeights`.

    Raises:
        ValueError: as for `LossWeights`; or knots are not increasing from 0.

    >>> weights = ScheduledLossWeights(["policy"], knots=(0, 100), constraint="free", init=0.0)
    >>> with torch.no_grad():
    ...     _ = weights.free.copy_(torch.tensor([[0.0], [1.0]]))
    ...     _ = weights.step.fill_(25)
    >>> weights.as_dict()
    {'policy': 0.25}
    """

    step: Tensor

    def __init__(
        self,
        names: Sequence[str],
        knots: Sequence[int],
        init: float | Mapping[str, float] = 1.0,
        constraint: str = "softplus",
        *,
        bounds: Bounds | None = None,
    ) -> None:
        require(
            len(knots) >= 2 and knots[0] == 0 and all(a < b for a, b in itertools.pairwise(knots)),
            f"Knots are two steps or more, increasing from 0, not {tuple(knots)}.",
        )
        super().__init__(names, init, constraint, bounds=bounds, batch=(len(knots),))
        self.knots = tuple(knots)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def values(self) -> Tensor:
        place = min(max(sum(knot <= int(self.step) for knot in self.knots) - 1, 0), len(self.knots) - 2)
        low, high = self.knots[place], self.knots[place + 1]
        part = min((int(self.step) - low) / (high - low), 1.0)
        return self.constraint.values(torch.lerp(self.free[place], self.free[place + 1], part))

    @property
    def batch(self) -> tuple[int, ...]:
        """No batch axis: the axis of knots is not one of the losses."""
        return ()

    def advance(self) -> None:
        self.step += 1


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


class HyperParameter(Learned):
    """A learned number that losses depend on differentiably; call it to read it.

    Args:
        name: its name in a history.
        init: initial value.
        constraint: softplus (above 0), projected (0 or more), bounded, or free.
        bounds: with bounded: the minimum and the maximum value.

    Raises:
        ValueError: init is not allowed under the constraint.

    >>> temperature = HyperParameter("temperature", 2.0, "free")
    >>> (torch.tensor([4.0]) / temperature()).item()
    2.0
    """

    def __init__(
        self, name: str, init: float, constraint: str = "softplus", *, bounds: Bounds | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.constraint = Constraint(constraint, bounds)
        free = self.constraint.free(torch.tensor(init, dtype=torch.float64))
        self.free = nn.Parameter(free.to(torch.get_default_dtype()))

    def forward(self) -> Tensor:
        """Current value, a scalar."""
        return self.constraint.values(self.free)

    def as_dict(self) -> dict[str, float]:
        return {self.name: float(self().detach())}

    def project_(self) -> None:
        self.constraint.project_(self.free)


class LossNetwork(LossWeights):
    """Losses combined by a monotone network: sum_k w_k L_k + v . softplus(U L + b).

    w, U and v are 0 or more (projected after each outer step), so that a greater loss never improves the
    total; v starts at 0, which gives the plain sum. The effect of one loss may depend on the other losses.

    Args:
        names: names of the losses.
        hidden: units of the hidden layer, 1 or more.
        generator: draws the initial U, uniformly from 0 to 1.

    Raises:
        ValueError: a name comes twice, or hidden is below 1.

    Source:
        Navon et al., Auxiliary learning by implicit differentiation, arXiv 2007.02693 (there the main loss is
        outside the network: to do so, leave it out of the names and add it).

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
        """Combined loss, one number, of all names' losses; raises ValueError as `LossWeights`."""
        self.check(losses, complete=True)
        total = super().forward(losses)
        stacked = torch.stack([losses[name] for name in self.names])
        inward, shift, outward = (part.to(stacked) for part in (self.inward, self.shift, self.outward))
        combined: Tensor = total + outward @ softplus(inward @ stacked + shift)
        return combined

    def as_dict(self) -> dict[str, float]:
        """Name -> derivative in the loss where all losses are 1."""
        with torch.no_grad():
            sigmoid = (self.inward.sum(-1) + self.shift).sigmoid()
            slopes = self.values() + (self.outward * sigmoid) @ self.inward
        return dict(zip(self.names, slopes.tolist(), strict=True))

    def project_(self) -> None:
        """Clamp w, U and v to 0 or more."""
        with torch.no_grad():
            for part in (self.inward, self.outward):
                part.clamp_(min=0)
        super().project_()


class SampleWeights(Learned):
    """Meta-Weight-Net: the weight of a sample is a network of its loss, sigmoid(MLP(L_i)).

    The losses of a batch become their weighted mean, sum_i w_i L_i / n; or, normalized, sum_i w_i L_i / sum_i
    w_i, as in the paper's code. The network stays on its device, and is evaluated on the losses' device.

    Args:
        hidden: units of each hidden layer; the paper has one layer of 100.
        init: initial weight of every sample, strictly between 0 and 1.
        normalize: scale the weights of a batch to sum to 1: relative importance without an effect on speed.

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
        """Weight of each sample, not differentiated in its loss, both [..., sample]."""
        read = losses.detach().unsqueeze(-1).to(self.theta.dtype)
        return self.network(self.theta.to(losses.device), read).squeeze(-1).sigmoid()

    def forward(self, losses: Tensor) -> Tensor:
        """Weighted mean of a batch's losses, [..., sample] (reduction="none").

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
