"""Weightings of losses without a validation loss: baselines of learned weights."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from bilevel.loss_weights._weights import Learned, Losses
from games.core import require, require_name


class Weighting(Learned, abc.ABC):
    """Base of weightings, which compute the gradients of a `Trainer`'s step from losses with distinct names.

    Args:
        names: names of the losses.

    Raises:
        ValueError: there is no name, or a name comes twice.

    >>> from bilevel.loss_weights import Trainer
    >>> class LargestLoss(Weighting):
    ...     def descend(self, losses, parameters):
    ...         worst = self.stacked(losses).max()
    ...         worst.backward()
    ...         return worst.detach()
    ...     def as_dict(self):
    ...         return {}  # no weights for the history
    >>> theta = torch.tensor(0.0, requires_grad=True)
    >>> trainer = Trainer(torch.optim.SGD([theta], lr=0.25), LargestLoss(["near", "far"]))
    >>> _ = trainer.step(lambda: {"near": (theta - 1) ** 2, "far": (theta - 4) ** 2})
    >>> theta.item()
    2.0
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        require(
            not isinstance(names, str) and len(names) > 0 and len(set(names)) == len(names),
            f"names is a list of one or more different names, not {names!r}.",
        )
        self.names = tuple(names)

    @abc.abstractmethod
    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        """Write gradients into the model's parameters, and into the weighting's own.

        Args:
            losses: name -> one number, each with its graph.
            parameters: the model's.

        Returns:
            The loss whose gradient was written or, without one, the losses' mean: one number, detached.
        """

    def stacked(self, losses: Losses, *, positive: str = "") -> Tensor:
        """The losses in the order of the names, [loss].

        Raises:
            ValueError: their names differ, one is not a single number, or one is not above 0 although
                `positive`, the subject of the error sentence, requires it.
        """
        require(
            set(losses) == set(self.names),
            f"There is a weighting for {', '.join(map(repr, self.names))}, but losses for "
            f"{', '.join(map(repr, losses))}.",
        )
        for name in self.names:
            require(losses[name].ndim == 0, f"The loss {name!r} must be one number: take its mean.")
        stacked = torch.stack([losses[name] for name in self.names])
        if positive and not (stacked > 0).all():
            raise ValueError(f"{positive} need losses above 0, but they are {stacked.tolist()}.")
        return stacked


class WeightedSum(Weighting):
    """Descends a weighted sum of the losses."""

    @abc.abstractmethod
    def weights(self) -> Tensor:
        """Weights of the next step, [loss]."""

    def as_dict(self) -> dict[str, float]:
        return dict(zip(self.names, self.weights().detach().tolist(), strict=True))

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        stacked = self.stacked(losses)
        total = (self.weights().detach().to(stacked) * stacked).sum()
        total.backward()
        return total.detach()


class DynamicAverage(WeightedSum):
    """Dynamic weight average: K softmax(r_k / temperature), r_k = L_k(e - 1) / L_k(e - 2).

    L_k(e) is the mean of loss k over epoch e; losses that fall slowly get more. All weights are 1 in the
    first two epochs.

    Args:
        names: names of the losses; they must stay above 0.
        epoch: steps of an epoch, 1 or more.
        temperature: above 0; larger values make weights more equal. 2 in the paper.

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
        """Weights of the next step from the last two complete epochs, [loss]."""
        if int(self.step) < 2 * self.epoch:
            return torch.ones(len(self.names))
        rates = self.past[1] / self.past[0]
        return len(self.names) * (rates / self.temperature).softmax(-1)

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        values = self.stacked(losses, positive="Rates of falling").detach()
        total = super().descend(losses, parameters)
        self.sums += values.to(self.sums)
        return total

    def advance(self) -> None:
        """Count one step; store the means at the end of an epoch."""
        self.step += 1
        if int(self.step) % self.epoch == 0:
            self.past.copy_(torch.stack((self.past[1], self.sums / self.epoch)))
            self.sums.zero_()


class FixedWeights(WeightedSum):
    """Fixed weights, by name.

    Args:
        weights: name -> weight, finite and 0 or more.

    Raises:
        ValueError: there is no weight, or one is out of range.

    >>> FixedWeights({"policy": 1.0, "value": 0.5}).as_dict()
    {'policy': 1.0, 'value': 0.5}
    """

    fixed: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(list(weights))
        values = torch.tensor([float(weight) for weight in weights.values()])
        require(
            bool((values.isfinite() & (values >= 0)).all()),
            f"Weights are finite numbers, 0 or more, not {dict(weights)}.",
        )
        self.register_buffer("fixed", values)

    def weights(self) -> Tensor:
        return self.fixed


class LinearWeights(WeightedSum):
    """Weights on a linear schedule, constant after its end.

    Args:
        schedules: name -> (first weight, last weight, steps from one to the other, 1 or more); weights are
            finite and 0 or more.

    Raises:
        ValueError: there is no schedule, or a number is out of range.

    A world model's schedule fades the policy in and the reconstruction out:

    >>> weights = LinearWeights({"policy": (0.1, 1.0, 9000), "reconstruction": (1.0, 0.1, 45000)})
    >>> weights.advance()
    >>> weights.as_dict()["policy"] > 0.1
    True
    """

    step: Tensor

    def __init__(self, schedules: Mapping[str, tuple[float, float, int]]) -> None:
        super().__init__(list(schedules))
        for name, (first, last, steps) in schedules.items():
            require(
                0 <= first < float("inf") and 0 <= last < float("inf") and steps >= 1,
                f"The schedule of {name!r} is (first weight, last weight, steps): weights of 0 or more, and "
                f"1 step or more; not {(first, last, steps)}.",
            )
        self.schedules = dict(schedules)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def weights(self) -> Tensor:
        now = int(self.step)
        return torch.tensor([a + (b - a) * min(now / steps, 1.0) for a, b, steps in self.schedules.values()])

    def advance(self) -> None:
        self.step += 1


class GradNorm(WeightedSum):
    """GradNorm: the norm of each weighted gradient follows the loss's relative training rate.

    With G_k = |w_k grad L_k| in the shared parameters and r_k = (L_k / L_k(0)) relative to its mean, the
    weights descend sum_k |G_k - mean(G) r_k^asymmetry|, with constant targets, and are then scaled to sum to
    the number of losses. They are this module's parameters: pass them to `Trainer`'s `weighting_optimizer`.

    Args:
        names: names of the losses; they must stay above 0.
        shared: the parameters in which gradients are compared; the paper takes the last shared layer's.
        asymmetry: strength of the emphasis on slow losses, 0 or more; 1.5 in the paper.

    Raises:
        ValueError: a setting is out of range; in a step, a loss is not above 0.

    Source:
        Chen et al., GradNorm, arXiv 1711.02257.

    >>> from torch import nn
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
        return self.free

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        stacked = self.stacked(losses, positive="Training rates")
        values = stacked.detach().to(self.first)
        if not self.first.any():
            self.first.copy_(values)
        norms = torch.stack([self._norm(loss) for loss in stacked]).to(self.free)
        total = super().descend(losses, parameters)
        rates = values / self.first
        weighted = self.free * norms
        target = (weighted.mean() * (rates / rates.mean()) ** self.asymmetry).detach()
        (self.free.grad,) = torch.autograd.grad((weighted - target).abs().sum(), self.free)
        return total

    def project_(self) -> None:
        """Clamp the weights to 0 or more, and scale them to sum to their number."""
        with torch.no_grad():
            self.free.clamp_(min=0)
            self.free.mul_(len(self.names) / self.free.sum().clamp(min=torch.finfo(self.free.dtype).tiny))

    def _norm(self, loss: Tensor) -> Tensor:
        gradients = torch.autograd.grad(loss, self.shared, retain_graph=True, allow_unused=True)
        squares = [g.square().sum() for g in gradients if g is not None]
        return torch.stack(squares).sum().sqrt() if squares else loss.new_zeros(())


class Uncertainty(Weighting):
    """Uncertainty weighting: descends sum_k exp(-s_k) L_k / 2 + s_k / 2, in the model and in every s_k.

    s_k is the log variance assumed for loss k, initially 0. Losses that are hard to fit get small weights,
    whether they matter or not.

    Args:
        names: names of the losses.

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
        stacked = self.stacked(losses)
        log_variance = self.log_variance.to(stacked.device)
        total = ((-log_variance).exp() * stacked + log_variance).sum() / 2
        total.backward()
        return total.detach()


AGGREGATORS: dict[str, Callable[[Any, int], Any]] = {
    "upgrad": lambda known, losses: known.UPGrad(),
    "mgda": lambda known, losses: known.MGDA(),
    "pcgrad": lambda known, losses: known.PCGrad(),
    "cagrad": lambda known, losses: known.CAGrad(c=0.5),
    "nash-mtl": lambda known, losses: known.NashMTL(n_tasks=losses),
}
"""Name -> constructor of torchjd's aggregator; CAGrad's radius is 0.5."""


class Aggregated(Weighting):
    """Gradient aggregation by `torchjd`: steps along which no loss, or few losses, increase.

    Needs the optional package torchjd with all its solvers (the extra `rivals`). Nash-MTL's last solution is
    not saved with a run.

    Args:
        names: names of the losses.
        by: upgrad, mgda, pcgrad, cagrad or nash-mtl.

    Raises:
        ValueError: the aggregator is unknown.
        ModuleNotFoundError: torchjd is not installed (says how to install it).

    Source:
        TorchJD and UPGrad: Quinton and Rey, Jacobian descent, arXiv 2406.16232; MGDA: Sener and Koltun, arXiv
        1810.04650; PCGrad: Yu et al., arXiv 2001.06782; CAGrad: Liu et al., arXiv 2110.14048; Nash-MTL: Navon
        et al., arXiv 2202.01017.

    >>> Aggregated(["depth", "class"], by="upgrad").as_dict()
    {}
    """

    def __init__(self, names: Sequence[str], by: str) -> None:
        super().__init__(names)
        require_name(by, AGGREGATORS, "aggregator")
        try:
            aggregation, self._autojac = map(import_module, ("torchjd.aggregation", "torchjd.autojac"))
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"Aggregating gradients needs {missing.name}: pip install --constraint constraints.txt "
                "'bilevel[rivals]'."
            ) from None
        self.aggregator = AGGREGATORS[by](aggregation, len(self.names))

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        stacked = self.stacked(losses)
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self._autojac.backward([losses[name] for name in self.names], inputs=trained)
        reached = [parameter for parameter in trained if getattr(parameter, "jac", None) is not None]
        with warnings.catch_warnings():
            # by torchjd's solver of Nash-MTL
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem")
            self._autojac.jac_to_grad(reached, self.aggregator)
        return stacked.detach().mean()
