"""A problem's step, its derivatives and the outer loss as functions of flat tensors, ready to be traced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import optree
import torch
from torch import Tensor

from bilevel.core import NAMESPACE, Tensors, Tree, paths, split_floating
from bilevel.hypergradient import (
    BilevelProblem,
    linearize_step,
    outer_gradients,
    step_jvp,
    step_vjp,
    sum_cotangent,
    vjp,
)

FlatFunction = Callable[..., Tensors]
"""Tensors, one after the other -> tensors."""


class NotCompilableError(Exception):
    """A problem that has no compiled form; says why."""


class TreeForm(NamedTuple):
    """A tree's form: everything but its tensors."""

    spec: Any
    """optree's."""
    floating: tuple[bool, ...]
    """The tensors that are floating."""

    @classmethod
    def split(cls, tree: Tree, name: str) -> tuple[Tensors, TreeForm]:
        """Flatten a tree; NotCompilableError if a leaf is no tensor."""
        flat, spec = optree.tree_flatten(cast(Any, tree), namespace=NAMESPACE)
        for place, leaf in enumerate(flat):
            if not isinstance(leaf, Tensor):
                kind, path = type(leaf).__name__, paths(tree)[place]
                raise NotCompilableError(
                    f"{name} hold a Python {kind} (leaf {path}), which a compiled step would take for a "
                    "constant: make it a tensor"
                )
        return tuple(flat), cls(spec, tuple([leaf.is_floating_point() for leaf in flat]))

    def join(self, leaves: Sequence[Tensor]) -> Tree:
        """Rebuild the tree."""
        return optree.tree_unflatten(self.spec, leaves)


def contiguous(leaves: Iterable[Tensor]) -> Tensors:
    """Detach leaves and make them contiguous, as packages take them."""
    return tuple([leaf.detach().contiguous() for leaf in leaves])


def plain_leaves(tree: Tree, name: str) -> tuple[Tensors, TreeForm]:
    """Flatten a tree into leaves as packages take them; NotCompilableError if a leaf is no tensor."""
    leaves, form = TreeForm.split(tree, name)
    return contiguous(leaves), form


@dataclass(frozen=True)
class Forms:
    """The forms of the arguments of a problem's functions."""

    state: TreeForm
    """Of (theta, opt_state)."""
    phi: TreeForm
    data: TreeForm

    def split(self, flat: Sequence[Tensor]) -> list[Tensors]:
        """Split flat inputs into those of the state, of phi, of the data, and the rest."""
        parts, start = [], 0
        for form in (self.state, self.phi, self.data):
            parts.append(tuple(flat[start : start + len(form.floating)]))
            start += len(form.floating)
        return [*parts, tuple(flat[start:])]

    def trees(self, flat: Sequence[Tensor]) -> tuple[tuple[Tree, Tree], Tree, Tree, Tensors]:
        """Rebuild ((theta, opt_state), phi, data), with the rest of the flat inputs."""
        state, phi, data, rest = self.split(flat)
        return self.state.join(state), self.phi.join(phi), self.data.join(data), rest


def advance_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, data) -> the next state."""

    def advance(*flat: Tensor) -> Tensors:
        state, phi, data, _ = forms.trees(flat)
        after, form = TreeForm.split(problem.step(*state, phi, data), "theta and opt_state")
        if form != forms.state:
            raise NotCompilableError("the step gives theta or opt_state back in another form")
        return after

    return advance


def vjp_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, data, cotangent, gradient so far) -> the state's cotangent, and the gradient."""

    def pull_back(*flat: Tensor) -> Tensors:
        state, phi, data, rest = forms.trees(flat)
        count = sum(forms.state.floating)
        product = step_vjp(problem.step, state, phi, data, several=problem.several)[1]
        cotangent, through_step = product(rest[:count], False)
        return (*cotangent, *map(torch.add, rest[count:], through_step))

    return pull_back


def jvp_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, data, tangent of the state, direction of phi) -> the tangent of the next state."""

    def push_forward(*flat: Tensor) -> Tensors:
        state, phi, data, rest = forms.trees(flat)
        count = sum(forms.state.floating)
        return step_jvp(problem.step, state, phi, data, (rest[:count], rest[count:]))

    return push_forward


def linearized_vjp_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, data, v) -> (J' v, (d theta'/d phi)' v), of one vector v."""

    def pull_back(*flat: Tensor) -> Tensors:
        state, phi, data, v = forms.trees(flat)
        inner, outer = linearize_step(problem.step, state, phi, data).vjp(v)
        return (*inner, *outer)

    return pull_back


def linearized_jvp_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, data, v) -> J v, of one vector v."""

    def push_forward(*flat: Tensor) -> Tensors:
        state, phi, data, v = forms.trees(flat)
        return tuple(linearize_step(problem.step, state, phi, data).jvp(v))

    return push_forward


def outer_function(problem: BilevelProblem, forms: Forms) -> FlatFunction:
    """(state, phi, outer data) -> the outer loss, the state's cotangent and the gradient by phi."""

    def outer(*flat: Tensor) -> Tensors:
        state, phi, data, _ = forms.trees(flat)
        loss, cotangent, gradient = outer_gradients(problem, state, phi, data)
        return (loss, *cotangent, *gradient)

    return outer


def whole_function(problem: BilevelProblem, forms: Forms, outer_data: TreeForm, steps: int) -> FlatFunction:
    """(state, phi, data of all steps, outer data) -> the outer loss, the state at the end, phi's gradient.

    Data come once for all steps or once for each, one batch after the other.
    """
    advance = advance_function(problem, forms)
    size, last_size = len(forms.data.floating), len(outer_data.floating)

    def whole(*flat: Tensor) -> Tensors:
        state, phi, first, rest = forms.split(flat)
        cut = len(rest) - last_size
        batches = [first, *(rest[start : start + size] for start in range(0, cut, size or 1))]
        outer_tree = outer_data.join(rest[cut:])
        floating, rebuild = split_floating(state)
        count = len(floating)

        def ends(inputs: Tensors) -> Tensors:
            outer, after = inputs[count:], rebuild(inputs[:count])
            for k in range(steps):
                after = advance(*after, *outer, *batches[k % len(batches)])
            theta, _ = forms.state.join(after)
            return (problem.outer_loss(theta, forms.phi.join(outer), outer_tree), *after)

        (loss, *after), back = vjp(ends, (*floating, *phi), several=problem.several, beside=len(state))
        return (loss, *after, *back((sum_cotangent(loss, problem.several),), count))

    return whole


Form = Literal["plain", "rows"]
"""rows: in C, entry by entry, a loop over the members. plain: a graph of whole tensors. Both take and give
contiguous leaves in their own shapes."""


@dataclass(frozen=True)
class Members:
    """The members (seeds) of a problem: the first axis of all its leaves, if they share it."""

    count: int | None
    """Their number; None: there is no such axis, and the whole problem is one member."""

    @classmethod
    def of(cls, leaves: Iterable[Tensor]) -> Members:
        """The members of leaves, 0-dim ones aside."""
        sizes = {leaf.shape[0] for leaf in leaves if leaf.ndim}
        return cls(sizes.pop() if len(sizes) == 1 else None)

    @property
    def many(self) -> bool:
        """Whether there are two members or more."""
        return self.count is not None and self.count > 1

    def first(self, leaf: Tensor, axis: int) -> Tensor:
        """A copy of the first member alone, its axis kept at length 1 (made, if there is none)."""
        if leaf.ndim == 0:
            return leaf.clone()
        one = leaf.unsqueeze(0) if self.count is None else leaf.narrow(axis, 0, 1)
        return torch.empty(one.shape, dtype=one.dtype, device=one.device).copy_(one)
