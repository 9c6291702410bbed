"""A problem's step, its derivatives and the outer loss as functions of flat tensors, ready to be traced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, cast

import optree
import torch
from torch import Tensor

from bilevel.core import NAMESPACE, Step, Tensors, Tree, paths
from bilevel.hypergradient import Linearization, linearize_step, sum_cotangent, vjp

Leaf = TypeVar("Leaf")
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
        """Flatten a tree.

        Raises:
            NotCompilableError: a leaf is no tensor.
        """
        if tree is None:
            return (), NOTHING
        flat, spec = optree.tree_flatten(tree, namespace=NAMESPACE)
        for leaf in flat:
            if not isinstance(leaf, Tensor):
                path = paths(tree)[next(i for i, other in enumerate(flat) if other is leaf)]
                raise NotCompilableError(
                    f"{name} hold a Python {type(leaf).__name__} (leaf {path}), which a compiled step would "
                    "take for a constant: make it a tensor"
                )
        return tuple(flat), cls(spec, tuple([leaf.is_floating_point() for leaf in flat]))

    def join(self, leaves: Sequence[Tensor]) -> Tree:
        """Rebuild the tree."""
        return optree.tree_unflatten(self.spec, leaves)

    @property
    def size(self) -> int:
        """Number of tensors."""
        return len(self.floating)

    def only_floating(self, leaves: Sequence[Leaf]) -> tuple[Leaf, ...]:
        """The leaves (or what stands for them, one each) that carry gradients."""
        return tuple(leaf for leaf, floats in zip(leaves, self.floating, strict=True) if floats)

    def with_floating(self, leaves: Sequence[Tensor], floating: Sequence[Tensor]) -> list[Tensor]:
        """The leaves with others in the place of those that carry gradients."""
        others = iter(floating)
        return [next(others) if floats else leaf for leaf, floats in zip(leaves, self.floating, strict=True)]


def contiguous(leaves: Iterable[Tensor]) -> Tensors:
    """Detach leaves and make them contiguous, as packages take them."""
    return tuple([leaf.detach().contiguous() for leaf in leaves])


def plain_leaves(tree: Tree, name: str) -> tuple[Tensors, TreeForm]:
    """Flatten a tree into leaves as packages take them.

    Raises:
        NotCompilableError: a leaf is no tensor.
    """
    leaves, form = TreeForm.split(tree, name)
    return contiguous(leaves), form


NOTHING = TreeForm(optree.tree_flatten(cast(Tree, None), namespace=NAMESPACE)[1], ())
"""The form of no data."""


@dataclass(frozen=True)
class Forms:
    """The forms of the arguments of a problem's functions."""

    state: TreeForm
    """Of (theta, opt_state)."""
    phi: TreeForm
    data: TreeForm

    def split(self, flat: Sequence[Tensor]) -> list[list[Tensor]]:
        """Split flat inputs into those of the state, of phi, of the data, and the rest."""
        ends = [self.state.size, self.state.size + self.phi.size]
        ends.append(ends[-1] + self.data.size)
        starts = [0, *ends]
        return [list(flat[start:end]) for start, end in zip(starts, [*ends, len(flat)], strict=True)]


def advance_function(step: Step, forms: Forms) -> FlatFunction:
    """(state, phi, data) -> the next state."""

    def advance(*flat: Tensor) -> Tensors:
        state, phi, data, _ = forms.split(flat)
        theta, opt_state = forms.state.join(state)
        after, form = TreeForm.split(
            step(theta, opt_state, forms.phi.join(phi), forms.data.join(data)), "theta and opt_state"
        )
        if form != forms.state:
            raise NotCompilableError("the step gives theta or opt_state back in another form")
        return after

    return advance


def vjp_function(step: Step, forms: Forms, several: bool) -> FlatFunction:
    """(state, phi, data, cotangent, gradient so far) -> the state's cotangent, and the gradient."""
    advance = advance_function(step, forms)

    def step_vjp(*flat: Tensor) -> Tensors:
        state, phi, data, rest = forms.split(flat)

        count = sum(forms.state.floating)

        def floating(inputs: Tensors) -> Tensors:
            before = forms.state.with_floating(state, inputs[:count])
            return forms.state.only_floating(advance(*before, *inputs[count:], *data))

        cotangent, gradient = tuple(rest[:count]), rest[count:]
        back = vjp(floating, (*forms.state.only_floating(state), *phi), several=several)[1]
        found = back(cotangent, 0)
        return (*found[:count], *map(torch.add, gradient, found[count:]))

    return step_vjp


def jvp_function(step: Step, forms: Forms) -> FlatFunction:
    """(state, phi, data, tangent of the state, direction of phi) -> the tangent of the next state."""
    advance = advance_function(step, forms)

    def push(*flat: Tensor) -> Tensors:
        state, phi, data, rest = forms.split(flat)

        def floating(inner: Tensors, outer: Tensors) -> Tensors:
            return forms.state.only_floating(advance(*forms.state.with_floating(state, inner), *outer, *data))

        start = forms.state.only_floating(state)
        tangent, direction = tuple(rest[: len(start)]), tuple(rest[len(start) :])
        pushed: Tensors = torch.func.jvp(floating, (start, tuple(phi)), (tangent, direction))[1]
        return tuple(new.to(leaf) for new, leaf in zip(pushed, start, strict=True))

    return push


def linearized_functions(step: Step, forms: Forms) -> tuple[FlatFunction, FlatFunction]:
    """(state, phi, data, v) -> (J' v, (d theta'/d phi)' v), and -> J v; v is one vector."""

    def linearized(flat: Sequence[Tensor]) -> tuple[Linearization, Tensors]:
        state, phi, data, rest = forms.split(flat)
        trees = forms.state.join(state)
        return linearize_step(step, trees, forms.phi.join(phi), forms.data.join(data)), tuple(rest)

    def vjp(*flat: Tensor) -> Tensors:
        linear, v = linearized(flat)
        inner, outer = linear.vjp(v)
        return (*inner, *outer)

    def jvp(*flat: Tensor) -> Tensors:
        linear, v = linearized(flat)
        return tuple(linear.jvp(v))

    return vjp, jvp


def outer_function(
    outer_loss: Callable[[Tree, Tree, Tree], Tensor], forms: Forms, several: bool
) -> FlatFunction:
    """(state, phi, outer data) -> the outer loss, the state's cotangent and the gradient by phi."""

    def outer(*flat: Tensor) -> Tensors:
        state, phi, data, _ = forms.split(flat)

        count = sum(forms.state.floating)

        def loss_of(inputs: Tensors) -> Tensors:
            theta, _ = forms.state.join(forms.state.with_floating(state, inputs[:count]))
            return (outer_loss(theta, forms.phi.join(inputs[count:]), forms.data.join(data)),)

        (loss,), back = vjp(loss_of, (*forms.state.only_floating(state), *phi), several=several)
        return (loss, *back((sum_cotangent(loss, several),), 0))

    return outer


def whole_function(
    step: Step,
    outer_loss: Callable[[Tree, Tree, Tree], Tensor],
    forms: Forms,
    outer_data: TreeForm,
    several: bool,
    steps: int,
) -> FlatFunction:
    """(state, phi, data of all steps, outer data) -> the outer loss, the state at the end, phi's gradient.

    Data come once for all steps or once for each, one batch after the other.
    """
    advance = advance_function(step, forms)

    def whole(*flat: Tensor) -> Tensors:
        state, phi, first, rest = forms.split(flat)
        batches = [first]
        while len(rest) > outer_data.size:
            batches.append(rest[: forms.data.size])
            rest = rest[forms.data.size :]

        count = sum(forms.state.floating)

        def ends(inputs: Tensors) -> Tensors:
            outer, after = inputs[count:], tuple(forms.state.with_floating(state, inputs[:count]))
            for k in range(steps):
                after = advance(*after, *outer, *batches[k % len(batches)])
            theta, _ = forms.state.join(after)
            return (outer_loss(theta, forms.phi.join(outer), outer_data.join(rest)), *after)

        inputs = (*forms.state.only_floating(state), *phi)
        (loss, *after), back = vjp(ends, inputs, several=several, beside=len(state))
        gradient = back((sum_cotangent(loss, several),), count)
        return (loss, *after, *gradient)

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
        """The members of leaves, 0-dim ones aside.

        >>> Members.of([torch.zeros(7, 2), torch.zeros(7), torch.zeros(())]).count
        7
        """
        sizes = {leaf.shape[0] for leaf in leaves if leaf.ndim}
        return cls(sizes.pop() if len(sizes) == 1 else None)

    def first(self, leaf: Tensor, axis: int) -> Tensor:
        """A copy of the first member alone, its axis kept at length 1 (made, if there is none)."""
        if leaf.ndim == 0:
            return leaf.clone()
        one = leaf.unsqueeze(0) if self.count is None else leaf.narrow(axis, 0, 1)
        return torch.empty(one.shape, dtype=one.dtype, device=one.device).copy_(one)
