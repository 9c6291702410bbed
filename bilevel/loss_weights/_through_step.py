"""The look-ahead as a step of the functional core, for its estimators."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from bilevel.compile import Compiled
from bilevel.core import Tensors, Tree
from bilevel.hypergradient import ESTIMATORS as HYPERGRADIENTS
from bilevel.hypergradient import BilevelProblem, Estimator, make_hypergradient
from bilevel.loss_weights._inverse_hessian import InverseHessian
from bilevel.loss_weights._look_ahead import (
    ESTIMATORS,
    LookAheadResult,
    LoopEstimator,
    VirtualSteps,
    require_number,
)
from bilevel.loss_weights._module_state import differing, fork_random_state, set_random_state
from bilevel.loss_weights._purity import require_pure
from bilevel.loss_weights._torch_patches import require_second_derivative
from games.core import require, require_name

LOOP_ESTIMATORS: dict[str, LoopEstimator] = {**ESTIMATORS, "implicit": InverseHessian()}
"""Estimators for a user's loop; their bare names have priority."""


def make_estimator(estimator: str | InverseHessian | Estimator) -> LoopEstimator:
    """Find an estimator by name, or adapt one of `bilevel.hypergradient`, given as text or object.

    Raises ValueError if there is none of that name, a setting is wrong, it is compiled, or it is stateful.
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
        "functions (docs/how-to/functional-loss-weights.md).",
    )
    return ThroughStep(built)


@dataclasses.dataclass(frozen=True)
class ThroughStep:
    """The hypergradient by an estimator of the functional core, with the optimizer's step as a pure function.

    Each call of a step starts from the same random state, so that dropout is pure.
    """

    estimator: Estimator

    def __call__(self, ahead: VirtualSteps) -> LookAheadResult:
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

    Theta are the trained parameters, opt_state torch's of each, phi the outer parameters by name, data the
    step's number and initial random state. Raises ValueError if a module changes its buffers (says which).
    """

    def __init__(self, ahead: VirtualSteps) -> None:
        ahead.model.require_no_backward_hooks()
        self.ahead, self._with = ahead, functools.partial(_with_learned, ahead.learned)
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
        self._updated = [self._find_updated(index) for index in range(len(ahead.losses))]
        attributes = ahead.before.attributes
        left = attributes.now()
        attributes.restore()
        if not ahead.model.harmless.issuperset(differing(attributes.now(), left)):
            training = [each for minibatches in ahead.losses for each in minibatches]
            require_pure(ahead.model, attributes, self.start, training, ahead.validation)

    def __call__(self, theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        """Take the step."""
        index, random_state = data

        def total(theta: Tensors) -> Tensor:
            set_random_state(random_state)
            self.ahead.rewind()
            buffers, params = self.ahead.model.copy_buffers(), self._all_parameters(theta)
            loss: Tensor = self._with(phi, lambda: self.ahead.total(index, params, buffers))
            return loss

        found = dict(zip(self.places, torch.func.grad(total)(theta), strict=True))
        gradients = [found[p] if p in self._updated[index] else None for p in range(len(self.start))]
        lifted = self.ahead.optimizer
        gradients = lifted.clip(lifted.hooks(gradients))
        groups = self._with(phi, self.ahead.groups)
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
            params = self._all_parameters(theta)
            outcome = functools.partial(model.call, self.ahead.validation, params, buffers)
            loss: Tensor = self._with(phi, lambda: require_number(outcome()))
        return loss

    def _all_parameters(self, theta: Tensors) -> list[Tensor]:
        """All parameters of the optimizer, also frozen ones."""
        free = dict(zip(self.places, theta, strict=True))
        return [free.get(place, p) for place, p in enumerate(self.start)]

    def _find_updated(self, index: int) -> set[int]:
        """Find the parameters with a gradient in a step: torch leaves the others alone."""
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


def _with_learned(learned: nn.Module, phi: dict[str, Tensor], function: Callable[[], Any]) -> Any:
    """Call a function with other values of a module's parameters."""
    with _reparametrize_module(learned, phi, tie_weights=True):
        return function()
