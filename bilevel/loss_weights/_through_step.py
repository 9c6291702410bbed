"""The look ahead as a step of the functional core, so that each of its estimators can take the gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.compile import Compiled
from bilevel.core import Tensors, Tree
from bilevel.hypergradient import ESTIMATORS as HYPERGRADIENTS
from bilevel.hypergradient import BilevelProblem, Estimator, make_hypergradient
from bilevel.loss_weights._inverse_hessian import InverseHessian
from bilevel.loss_weights._look_ahead import (
    ESTIMATORS,
    LookAhead,
    LookAheadResult,
    LoopEstimator,
    require_number,
)
from bilevel.loss_weights._module_state import fork_random_state, set_random_state
from bilevel.loss_weights._torch_patches import require_second_derivative
from games.core import require, require_name

LOOP_ESTIMATORS: dict[str, LoopEstimator] = {**ESTIMATORS, "implicit": InverseHessian()}
"""Estimators around a user's loop; a bare name means one of these first."""


def make_estimator(estimator: str | InverseHessian | Estimator) -> LoopEstimator:
    """Find an estimator for torch's modules, or adapt one of `bilevel.hypergradient`.

    Args:
        estimator: a name in `LOOP_ESTIMATORS`; an `InverseHessian`; or a name of `bilevel.hypergradient`,
            settings in parentheses if any, or such an estimator itself: these go through the step.

    Raises:
        ValueError: there is none of that name; a setting is wrong; it is to be compiled; or it carries a
            state from one outer step to the next.
    """
    if isinstance(estimator, str):
        if estimator in LOOP_ESTIMATORS:
            return LOOP_ESTIMATORS[estimator]
        require_name(estimator.partition("(")[0].strip(), {**LOOP_ESTIMATORS, **HYPERGRADIENTS}, "estimator")
    elif isinstance(estimator, InverseHessian):
        return estimator
    built: Any = make_hypergradient(estimator)
    require(
        not built.stateful,
        f"The estimator {built!r} carries a state from one outer step to the next, but each look ahead "
        "starts anew, where the model is: use a stateless one.",
    )
    require(
        not isinstance(built, Compiled),
        "Losses that use a model as it is cannot be compiled: leave Compiled out, or write them as pure "
        "functions (docs/functional_loss_weights.md).",
    )
    return ThroughStep(built)


@dataclasses.dataclass(frozen=True)
class ThroughStep:
    """Takes the hypergradient by an estimator of the functional core.

    The model is called with its parameters exchanged; the step is that of torch's optimizer, as a pure
    function. Each step's random draws begin where they began the first time it was taken, so dropout is pure.
    """

    estimator: Estimator

    def __call__(self, ahead: LookAhead) -> LookAheadResult:
        """Look ahead; raises ValueError as `PureStep` or the estimator, and RuntimeError as torch."""
        step = PureStep(ahead)
        problem = BilevelProblem(
            step=step,
            outer_loss=step.outcome,
            inner_data=lambda theta, phi, k: (k, ahead.model.random_state()),
        )
        estimate = self.estimator(problem, step.theta, step.opt_state, step.phi, steps=len(ahead.losses))
        found = dict(zip(map(id, ahead.learned.parameters()), estimate.gradient.values(), strict=True))
        return LookAheadResult([found[id(p)] for p in ahead.outer], estimate.outer_loss.detach())


class PureStep:
    """One step of a look ahead: (theta, opt_state, phi, data) -> (theta', opt_state').

    theta: the parameters that are trained; opt_state: of torch's optimizer, for each of them; phi: the outer
    parameters by name; data: the number of the step and the random state that it begins with. Raises
    ValueError if a module changes its buffers when it is called (says which).
    """

    def __init__(self, ahead: LookAhead) -> None:
        ahead.model.require_no_backward_hooks()
        self.ahead, self._learned = ahead, _Calling(ahead.learned)
        self.start = ahead.start()
        self.places = [place for place, p in enumerate(self.start) if p.requires_grad]
        self.theta: Tensors = tuple(self.start[place].detach() for place in self.places)
        self.phi = {name: p.detach() for name, p in ahead.learned.named_parameters()}
        lifted = ahead.optimizer
        states = [state for group in lifted.state for state in group.values()]

        def as_tensor(name: str, value: Any, parameter: Tensor) -> Any:
            if name not in lifted.rule.numbers:
                return value.contiguous()  # zeros with memory of their own
            dtype = torch.int64 if name == "step" else parameter.dtype
            return torch.as_tensor(value, dtype=dtype, device=parameter.device).detach()

        self.opt_state = tuple(
            {name: as_tensor(name, value, self.start[place]) for name, value in states[place].items()}
            for place in self.places
        )
        self._group_of = [index for index, group in enumerate(lifted.param_groups) for _ in group["params"]]
        self._moved = [self._find_moved(index) for index in range(len(ahead.losses))]
        ahead.require_pure(self.start)

    def __call__(self, theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        """Take the step."""
        index, random_state = data

        def total(theta: Tensors) -> Tensor:
            set_random_state(random_state)
            self.ahead.rewind()
            buffers, params = self.ahead.model.copy_buffers(), self._all_parameters(theta)
            loss: Tensor = self._learned.call(phi, lambda: self.ahead.total(index, params, buffers))
            return loss

        found = dict(zip(self.places, torch.func.grad(total)(theta), strict=True))
        gradients = [found[p] if p in self._moved[index] else None for p in range(len(self.start))]
        lifted = self.ahead.optimizer
        gradients = lifted.hooks(gradients)
        gradients = gradients if lifted.clip is None else lifted.clip(gradients)
        groups = self._learned.call(phi, self.ahead.groups)
        result = []
        for place, p, state in zip(self.places, theta, opt_state, strict=True):
            gradient = gradients[place]
            if gradient is not None:
                moved, state = lifted.rule.update(p, gradient, state, groups[self._group_of[place]])
                p = moved.to(p.dtype)
            result.append((p, state))
        return tuple(p for p, _ in result), tuple(state for _, state in result)

    def outcome(self, theta: Tree, phi: Tree, data: Tree) -> Tensor:
        """The validation loss."""
        model, buffers = self.ahead.model, self.ahead.model.copy_buffers()
        self.ahead.rewind()
        with fork_random_state(model.random_state()):
            loss: Tensor = self._learned.call(
                phi,
                lambda: require_number(
                    model.call(self.ahead.validation, self._all_parameters(theta), buffers)
                ),
            )
        return loss

    def _all_parameters(self, theta: Tensors) -> list[Tensor]:
        """Every parameter of the optimizer, the frozen ones as they are."""
        free = dict(zip(self.places, theta, strict=True))
        return [free.get(place, p) for place, p in enumerate(self.start)]

    def _find_moved(self, index: int) -> set[int]:
        """Find the parameters that have a gradient in a step: torch leaves the others alone."""
        model = self.ahead.model
        before, buffers = model.copy_buffers(), model.copy_buffers()
        self.ahead.rewind()
        with fork_random_state(model.random_state()):
            total = self.ahead.total(index, self.start, buffers)
        require_second_derivative(total)
        changed = model.changed_buffer(before, buffers)
        require(
            changed is None,
            f"{changed} when it is called, and this estimator takes the model as a pure function: use "
            "unrolled, or put it into eval mode.",
        )
        chosen = [self.start[place] for place in self.places]
        found = torch.autograd.grad(total, chosen, allow_unused=True)
        return {place for place, gradient in zip(self.places, found, strict=True) if gradient is not None}


class _Calling(nn.Module):
    """Calls a function of no arguments with other values in the place of a module's parameters."""

    def __init__(self, learned: nn.Module) -> None:
        super().__init__()
        self.learned = learned

    def call(self, phi: dict[str, Tensor], function: Callable[[], Any]) -> Any:
        return functional_call(self, {f"learned.{name}": p for name, p in phi.items()}, (function,))

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()
