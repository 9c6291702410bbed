"""What a walk through inner learning is made of: a step, its pull-back, and the outer loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, split_floating
from bilevel.hypergradient._derivatives import held_pullback, outer_gradients, push_step, step_vjp
from bilevel.hypergradient._estimator import BilevelProblem
from bilevel.hypergradient._peak_memory import measure_kept
from bilevel.hypergradient._purity import require_same

State = Any
"""(theta, opt_state) in the form that the kernels work on; `Kernels.trees` gives it back."""


class PullBack(Protocol):
    """The vector-Jacobian product of one step."""

    def __call__(
        self, cotangent: Tensors, gradient: Tensors, *, first: bool = False
    ) -> tuple[Tensors, Tensors]:
        """Take it.

        Args:
            cotangent: of the step's result.
            gradient: of phi, collected so far.
            first: whether no step before this one is differentiated, so that nobody asks for the cotangent of
                its start: that may then be missing.

        Returns:
            the cotangent of the step's start, and the gradient with this step's part added.
        """


class Held(NamedTuple):
    """A step at one place, theta -> theta', the optimizer's state held, with J = d theta'/d theta.

    Vectors are like the leaves of theta, several at a time: [vector, *leaf.shape].
    """

    result: Tensors
    """The leaves of theta'."""
    pull: Callable[[Tensors], tuple[Tensors, Tensors]]
    """v -> J' v and (d theta'/d phi)' v."""
    push: Callable[[Tensors], Tensors]
    """v -> J v."""


class Kernels(Protocol):
    """One problem at one phi, as the few functions that every walk through its steps calls.

    A cotangent is a tuple like the floating leaves of (theta, opt_state), a gradient one like the leaves of
    phi; with several objectives these are a first axis of both.
    """

    def start(self, theta: Tree, opt_state: Tree) -> State:
        """Bring a state, detached, into the kernels' form."""

    def trees(self, state: State) -> tuple[Tree, Tree]:
        """Give (theta, opt_state) back as trees."""

    def advance(self, state: State, data: Tree) -> State:
        """Take one step."""

    def vjp(self, state: State, data: Tree) -> tuple[State, PullBack]:
        """Take one step, and keep what its vector-Jacobian product needs; that is taken once, if at all.

        Returns:
            the next state, and the product.
        """

    def vjp_bytes(self, state: State, data: Tree) -> int:
        """Measure what `vjp` keeps of one step, in bytes."""

    def pull(
        self,
        state: State,
        data: Tree,
        cotangent: Tensors,
        gradient: Tensors,
        after: State | None = None,
        *,
        first: bool = False,
    ) -> tuple[Tensors, Tensors]:
        """Pull a cotangent back through one step of which only its beginning was kept.

        Args:
            state: where the step began.
            data: what it saw.
            cotangent: of the step's result.
            gradient: of phi, collected so far.
            after: the step's result; if given it may be compared with the step taken again.
            first: as for `PullBack`.

        Returns:
            the cotangent of `state`, and the gradient with this step's part added.

        Raises:
            ValueError: the step, taken again, gives another result.
        """

    def outer(self, state: State, data: Tree) -> tuple[Tensor, Tensors, Tensors]:
        """Compute the outer loss, its cotangent by `state` and its gradient by phi with the state held.

        Raises:
            ValueError: there should be several objectives, but the loss has no axis to count them.
        """

    def tangents(self, stacked: Tensors) -> Any:
        """Bring tangents of the state's floating leaves, [direction, *leaf.shape], into the kernels' form."""

    def push(self, state: State, data: Tree, tangents: Any, directions: Tensors) -> Any:
        """Push tangents of the state, and of phi along `directions`, through one step.

        Args:
            state: where the step begins.
            data: what it sees.
            tangents: of the state, from `tangents` or from here.
            directions: in which phi moves, [direction, *leaf.shape] for each leaf.
        """

    def tangent_leaves(self, tangents: Any) -> Tensors:
        """Give tangents as stacked leaves again."""

    def hold(self, state: State, data: Tree) -> Held:
        """Take one step, and its derivatives by theta and phi, with the optimizer's state held as it is."""

    def at(self, phi: Tree) -> Kernels:
        """Build the kernels of the same problem at another phi; they take these cotangents and gradients."""


class EagerKernels:
    """The functions of the problem as they are, operation by operation."""

    def __init__(self, problem: BilevelProblem, phi: Tree) -> None:
        self.problem, self.phi = problem, phi

    def start(self, theta: Tree, opt_state: Tree) -> State:
        """See `Kernels`, as for the rest; here a state is the trees themselves."""
        return theta, opt_state

    def trees(self, state: State) -> tuple[Tree, Tree]:
        """The trees themselves."""
        theta, opt_state = state
        return theta, opt_state

    def advance(self, state: State, data: Tree) -> State:
        """Take one step."""
        theta, opt_state = state
        return self.problem.step(theta, opt_state, self.phi, data)

    def vjp(self, state: State, data: Tree) -> tuple[State, PullBack]:
        """Take the step and keep its graph."""
        after, pull_step = step_vjp(self.problem.step, state, self.phi, data, several=self.problem.several)

        def pull(cotangent: Tensors, gradient: Tensors, *, first: bool = False) -> tuple[Tensors, Tensors]:
            cotangent, through_step = pull_step(cotangent, first)
            return cotangent, tuple(map(torch.add, gradient, through_step))

        return after, pull

    def vjp_bytes(self, state: State, data: Tree) -> int:
        """Watch the tensors of one step."""
        return measure_kept(lambda: self.vjp(state, data))

    def pull(
        self,
        state: State,
        data: Tree,
        cotangent: Tensors,
        gradient: Tensors,
        after: State | None = None,
        *,
        first: bool = False,
    ) -> tuple[Tensors, Tensors]:
        """Take the step again, with its graph."""
        result, pull = self.vjp(state, data)
        if after is not None:
            require_same(split_floating(after)[0], split_floating(result)[0])
        return pull(cotangent, gradient, first=first)

    def outer(self, state: State, data: Tree) -> tuple[Tensor, Tensors, Tensors]:
        """Compute the outer loss and its derivatives."""
        return outer_gradients(self.problem, state, self.phi, data)

    def tangents(self, stacked: Tensors) -> Any:
        """As they are."""
        return stacked

    def push(self, state: State, data: Tree, tangents: Any, directions: Tensors) -> Any:
        """Push all directions in one batch."""
        return push_step(self.problem.step, state, self.phi, data, (tangents, directions))

    def tangent_leaves(self, tangents: Any) -> Tensors:
        """As they are."""
        leaves: Tensors = tangents
        return leaves

    def hold(self, state: State, data: Tree) -> Held:
        """Take the step once, for all vectors to come."""
        result, pull, push = held_pullback(self.problem.step, state, self.phi, data)

        def pull_all(v: Tensors) -> tuple[Tensors, Tensors]:
            pulled: tuple[Tensors, Tensors] = torch.vmap(lambda *flat: pull(flat))(*v)
            return pulled

        def push_all(v: Tensors) -> Tensors:
            pushed: Tensors = torch.vmap(lambda *flat: push(flat))(*v)
            return pushed

        return Held(result, pull_all, push_all)

    def at(self, phi: Tree) -> EagerKernels:
        """The same functions with another phi."""
        return EagerKernels(self.problem, phi)


def make_kernels(problem: BilevelProblem, phi: Tree) -> Kernels:
    """Build the kernels of a problem at these outer variables: those that it names, else eager ones."""
    return (problem.kernels or EagerKernels)(problem, phi)
