"""Differentiable steps of torch's own optimisers, by `higher`; nothing else in the toolkit imports it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import higher.optim
import torch
from higher.optim import DifferentiableAdam, DifferentiableOptimizer
from torch import Tensor

from bilevel.errors import require

Params = list[Tensor]
ClipGradients = Callable[[Sequence[Tensor | None]], list[Tensor | None]]


class _DifferentiableAdamW(DifferentiableAdam):  # type: ignore[misc]  # higher has no types
    """Adam with decoupled weight decay, which `higher` lacks."""

    def _update(self, grouped_grads: list[list[Tensor | None]], **kwargs: Any) -> None:
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, grads in zip(self.param_groups, grouped_grads, strict=True):
            shrink = 1 - group["lr"] * group["weight_decay"]
            group["params"] = [
                p if g is None else shrink * p for p, g in zip(group["params"], grads, strict=True)
            ]
            group["weight_decay"] = 0.0
        super()._update(grouped_grads, **kwargs)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay


higher.optim.register_optim(torch.optim.AdamW, _DifferentiableAdamW)

LIFTED: tuple[type[torch.optim.Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.ASGD,
)
"""Optimisers whose steps can be differentiated. Rprop is not one: it follows the gradient's sign alone."""


COUNTS = ("step", "eta", "mu")
"""What optimisers remember of a parameter that is one number whatever its shape."""


class LiftedOptimiser:
    """A copy of an optimiser, with its state as it is, whose steps are differentiable functions.

    Its steps are those that torch's optimiser would take. (`higher` alone would add Adam's epsilon to the
    uncorrected second moment; here epsilon is scaled in each step so that both agree.)

    Args:
        optimiser: one of `LIFTED`; not changed.
        clip: what happens to the gradients before each step; None: nothing.
        learning_rates: one for each parameter group, to be differentiated; None: the optimiser's own.

    Raises:
        ValueError: the optimiser cannot be lifted (lists those that can), or ascends.

    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> step = LiftedOptimiser(torch.optim.SGD([p], lr=0.5))
    >>> w = torch.tensor(3.0, requires_grad=True)
    >>> (after,) = step((w * p).sum(), [p])
    >>> torch.autograd.grad(after.sum(), w)
    (tensor(-0.5000),)
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        *,
        clip: ClipGradients | None = None,
        learning_rates: Sequence[Tensor] | None = None,
    ) -> None:
        check_lifts(optimiser)
        self._groups = optimiser.param_groups
        self._learning_rates = learning_rates
        with warnings.catch_warnings():
            # It warns of RMSprop in general; the tests hold its derivatives against differences.
            warnings.filterwarnings("ignore", message="Differentiable RMSprop", category=UserWarning)
            self._lifted: DifferentiableOptimizer = higher.optim.get_diff_optim(
                optimiser, parameters_of(optimiser), grad_callback=clip
            )
        # Torch counts steps in tensors of float32; powers of them would be no better than that.
        for states in self._lifted.state:
            for index, state in states.items():
                states[index] = state | {key: float(state[key]) for key in COUNTS if key in state}

    def __call__(self, loss: Tensor, params: Sequence[Tensor]) -> Params:
        """Take one step on a loss.

        Args:
            loss: one number, a function of the parameters.
            params: in the order of `parameters_of` the optimiser.

        Returns:
            the new parameters, functions of the old ones and of whatever the loss depends on.
        """
        return list(self._lifted.step(loss, params=list(params), override=self._override()))

    @property
    def rates(self) -> list[float]:
        """The learning rate of each parameter, the optimiser's own."""
        return [float(group["lr"]) for group in self._groups for _ in group["params"]]

    @property
    def decays(self) -> list[float]:
        """The weight decay of each parameter that is added to its gradient; 0 where it is decoupled."""
        return [self._decay(group) for group in self._groups for _ in group["params"]]

    def _decay(self, group: dict[str, Any]) -> float:
        decoupled = isinstance(self._lifted, _DifferentiableAdamW) or group.get("decoupled_weight_decay")
        return 0.0 if decoupled else float(group.get("weight_decay", 0.0))

    def _override(self) -> dict[str, list[Any]] | None:
        override: dict[str, list[Any]] = {}
        if self._learning_rates is not None:
            override["lr"] = list(self._learning_rates)
        if isinstance(self._lifted, DifferentiableAdam):
            override["eps"] = [self._epsilon(index) for index in range(len(self._groups))]
        return override or None

    def _epsilon(self, index: int) -> float:
        """What `higher` must add to the uncorrected root of the second moment in the step that comes."""
        group, states = self._groups[index], self._lifted.state[index]
        steps = max((float(state["step"]) for state in states.values() if state), default=0.0) + 1
        return float(group["eps"] * (1 - group["betas"][1] ** steps) ** 0.5)


def parameters_of(optimiser: torch.optim.Optimizer) -> Params:
    """All parameters of an optimiser, group by group."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def check_lifts(optimiser: torch.optim.Optimizer) -> None:
    """Raise ValueError unless the optimiser's steps can be differentiated."""
    names = ", ".join(cls.__name__ for cls in LIFTED)
    require(
        type(optimiser) in LIFTED,
        f"The steps of {type(optimiser).__name__} cannot be differentiated; those of {names} can.",
    )
    for group in optimiser.param_groups:
        require(
            not group.get("maximize", False),
            f"This {type(optimiser).__name__} ascends (maximize=True): leave it off, and minimise minus "
            "what you want to be large.",
        )
