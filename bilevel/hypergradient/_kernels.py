"""The kernels of a problem: its step and outer loss with their derivatives, as estimators call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, split_floating
from bilevel.hypergradient._derivatives import (
    Linearization,
    linearize_step,
    outer_gradients,
    step_jvp,
    step_vjp,
)
from bilevel.hypergradient._estimator import BilevelProblem
from bilevel.hypergradient._peak_memory import measure_kept
from bilevel.hypergradient._validation import require_same

State = Any
"""(theta, opt_state) in the form that the kernels work on; `Kernels.trees` converts it back."""


class StepVjp(Protocol):
    """The vector-Jacobian product of one step.

    >>> from bilevel.hypergradient import BilevelProblem, Kernels
    >>> step = lambda theta, opt_state, phi, data: ((theta + 3 * phi) / 4, opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> _, product = Kernels(problem, torch.tensor(1.0)).vjp((torch.tensor(0.0), None), data=None)
    >>> product((torch.tensor(1.0),), (torch.tensor(2.0),))  # phi's gradient so far is 2
    ((tensor(0.2500),), (tensor(2.7500),))
    """

    def __call__(
        self, cotangent: Tensors, gradient: Tensors, *, first: bool = False
    ) -> tuple[Tensors, Tensors]:
        """Map the cotangent of the step's result and phi's gradient so far to those before the step.

        With `first` no step before this one is differentiated; the cotangent may then be missing.
        """


class Kernels:
    """The step and the outer loss of one problem at one phi, with their derivatives, operation by operation.

    Subclasses may compute the same in another way. A cotangent is a tuple like the floating leaves of
    (theta, opt_state), a gradient one like the leaves of phi; several objectives are the first axis of both.

    Args:
        problem: the problem.
        phi: the outer variables.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta**2)
    >>> kernels = Kernels(problem, torch.tensor(1.0))
    >>> after = kernels.advance(kernels.start(torch.tensor(0.0), None), data=None)
    >>> kernels.trees(after), kernels.outer(after, data=None)
    ((tensor(0.5000), None), (tensor(0.2500), (tensor(1.),), (tensor(0.),)))
    """

    def __init__(self, problem: BilevelProblem, phi: Tree) -> None:
        self.problem, self.phi = problem, phi

    def start(self, theta: Tree, opt_state: Tree) -> State:
        """Convert a state, detached, to the kernels' form: here the trees themselves."""
        return theta, opt_state

    def trees(self, state: State) -> tuple[Tree, Tree]:
        """Convert a state back to (theta, opt_state)."""
        theta, opt_state = state
        return theta, opt_state

    def advance(self, state: State, data: Tree) -> State:
        """Take one step."""
        theta, opt_state = state
        return self.problem.step(theta, opt_state, self.phi, data)

    def vjp(self, state: State, data: Tree) -> tuple[State, StepVjp]:
        """Take one step and keep its graph for one vector-Jacobian product."""
        after, product = step_vjp(
            self.problem.step, state, self.phi, data, is_grads_batched=self.problem.per_agent_objective
        )

        def accumulate(
            cotangent: Tensors, gradient: Tensors, *, first: bool = False
        ) -> tuple[Tensors, Tensors]:
            cotangent, through_step = product(cotangent, first)
            return cotangent, tuple(map(torch.add, gradient, through_step))

        return after, accumulate

    def vjp_bytes(self, state: State, data: Tree) -> int:
        """Measure what `vjp` keeps of one step, in bytes."""
        return measure_kept(lambda: self.vjp(state, data))

    def recompute_vjp(
        self,
        state: State,
        data: Tree,
        cotangent: Tensors,
        gradient: Tensors,
        after: State | None = None,
        *,
        first: bool = False,
    ) -> tuple[Tensors, Tensors]:
        """Take one step again, with its vector-Jacobian product; arguments as in `StepVjp`.

        Raises:
            ImpureStepError: the step gives another result than `after`.
        """
        result, product = self.vjp(state, data)
        if after is not None:
            require_same(split_floating(after)[0], split_floating(result)[0])
        return product(cotangent, gradient, first=first)

    def outer(self, state: State, data: Tree) -> tuple[Tensor, Tensors, Tensors]:
        """Compute the outer loss, its cotangent by `state` and its gradient by phi; see `outer_gradients`."""
        return outer_gradients(self.problem, state, self.phi, data)

    def jvp(self, state: State, data: Tree, tangents: Tensors, directions: Tensors) -> Tensors:
        """Push tangents of the state's floating leaves and `directions` of phi through one step.

        All are [direction, *leaf.shape].
        """

        def along(tangent: Tensors, direction: Tensors) -> Tensors:
            return step_jvp(self.problem.step, state, self.phi, data, (tangent, direction))

        pushed: Tensors = torch.vmap(along)(tangents, directions)
        return pushed

    def linearize(self, state: State, data: Tree) -> Linearization:
        """Linearize one step at a fixed state of the optimizer; vectors are [vector, *leaf.shape]."""
        single = linearize_step(self.problem.step, state, self.phi, data)

        def mapped(function: Callable[[Tensors], Any]) -> Callable[[Tensors], Any]:
            return lambda v: torch.vmap(lambda *flat: function(flat))(*v)

        return Linearization(single.result, mapped(single.vjp), mapped(single.jvp))


def make_kernels(problem: BilevelProblem, phi: Tree) -> Kernels:
    """The kernels of a problem: those that it names, or eager ones."""
    return (problem.kernels or Kernels)(problem, phi)
