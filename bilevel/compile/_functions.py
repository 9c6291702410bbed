"""A problem's step, its derivatives and the outer loss as functions of flat tensors, ready to be traced."""

from __future__ import annotations

import functools
import logging
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

LOG = logging.getLogger("bilevel.compiled")

FlatFunction = Callable[..., Tensors]
"""Tensors, one after the other -> tensors."""
ListFunction = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Plain leaves -> plain results."""
Run = Callable[..., list[Tensor]]
"""A function in machine code: a list of tensors in, a list of tensors out, no check of either."""


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
        """Flatten a tree; NotCompilableError if a leaf is not a tensor."""
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
        return optree.tree_unflatten(self.spec, leaves)


def contiguous(leaves: Iterable[Tensor]) -> Tensors:
    """Detach leaves and make them contiguous, as packages take them."""
    return tuple([leaf.detach().contiguous() for leaf in leaves])


def plain_leaves(tree: Tree, name: str) -> tuple[Tensors, TreeForm]:
    """Flatten a tree into leaves as packages take them; NotCompilableError if a leaf is not a tensor."""
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


def _advance(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, _ = forms.trees(flat)
    after, form = TreeForm.split(problem.step(*state, phi, data), "theta and opt_state")
    if form != forms.state:
        raise NotCompilableError("the step gives theta or opt_state back in another form")
    return after


def _vjp(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, rest = forms.trees(flat)
    count = sum(forms.state.floating)
    product = step_vjp(problem.step, state, phi, data, is_grads_batched=problem.per_agent_objective)[1]
    cotangent, through_step = product(rest[:count], False)
    return (*cotangent, *map(torch.add, rest[count:], through_step))


def _jvp(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, rest = forms.trees(flat)
    count = sum(forms.state.floating)
    return step_jvp(problem.step, state, phi, data, (rest[:count], rest[count:]))


def _linearized_vjp(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, v = forms.trees(flat)
    through_theta, through_phi = linearize_step(problem.step, state, phi, data).vjp(v)
    return (*through_theta, *through_phi)


def _linearized_jvp(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, v = forms.trees(flat)
    return tuple(linearize_step(problem.step, state, phi, data).jvp(v))


def _outer(problem: BilevelProblem, forms: Forms, *flat: Tensor) -> Tensors:
    state, phi, data, _ = forms.trees(flat)
    loss, cotangent, gradient = outer_gradients(problem, state, phi, data)
    return (loss, *cotangent, *gradient)


FUNCTIONS: dict[str, Callable[..., Tensors]] = {
    "step": _advance,
    "vjp": _vjp,
    "jvp": _jvp,
    "linearized vjp": _linearized_vjp,
    "linearized jvp": _linearized_jvp,
    "outer loss": _outer,
}
"""A problem's functions of flat tensors, whose inputs are (state, phi, data) and for

    step: nothing else -> the next state;
    vjp: the cotangent of the next state, phi's gradient so far -> those before the step;
    jvp: the tangent of the state, a direction of phi -> the tangent of the next state;
    linearized vjp: one vector v -> J' v and (d theta'/d phi)' v;
    linearized jvp: one vector v -> J v;
    outer loss (of the outer data): nothing else -> the loss, the state's cotangent, phi's gradient.
"""


def flat_function(kind: str, problem: BilevelProblem, forms: Forms) -> FlatFunction:
    return functools.partial(FUNCTIONS[kind], problem, forms)


def whole_function(problem: BilevelProblem, forms: Forms, outer_data: TreeForm, steps: int) -> FlatFunction:
    """(state, phi, outer data, data of steps) -> the outer loss, the state at the end, phi's gradient.

    Data come once for all steps or once for each, one batch after the other.
    """
    advance, size = flat_function("step", problem, forms), len(forms.data.floating)

    def whole(*flat: Tensor) -> Tensors:
        state, phi, last, rest = Forms(forms.state, forms.phi, outer_data).split(flat)
        batches = [rest[start : start + size] for start in range(0, len(rest), size or 1)] or [()]
        floating, rebuild = split_floating(state)
        count = len(floating)

        def ends(inputs: Tensors) -> Tensors:
            outer, after = inputs[count:], rebuild(inputs[:count])
            for k in range(steps):
                after = advance(*after, *outer, *batches[k % len(batches)])
            theta, _ = forms.state.join(after)
            return (problem.outer_loss(theta, forms.phi.join(outer), outer_data.join(last)), *after)

        (loss, *after), product = vjp(
            ends, (*floating, *phi), is_grads_batched=problem.per_agent_objective, num_aux=len(state)
        )
        return (loss, *after, *product((sum_cotangent(loss, problem.per_agent_objective),), count))

    return whole


Form = Literal["c", "graph"]
"""c: in C, entry by entry, a loop over the members. graph: operations on whole tensors. Both take and give
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
        return self.count is not None and self.count > 1

    def first(self, leaf: Tensor, axis: int) -> Tensor:
        """A copy of the first member alone, its axis kept at length 1 (made, if there is none)."""
        if leaf.ndim == 0:
            return leaf.clone()
        return copy(leaf.unsqueeze(0) if self.count is None else leaf.narrow(axis, 0, 1))


def copy(leaf: Tensor) -> Tensor:
    """A contiguous copy: tracing tells inputs apart by object, and strides of length-1 axes are canonical."""
    return torch.empty(leaf.shape, dtype=leaf.dtype, device=leaf.device).copy_(leaf)


PARALLEL_MEMBERS = 2_048
"""Members from which on several threads win over one, in straight-line code."""
PARALLEL_ENTRIES = 1 << 14
"""The same for graphs: entries of all inputs together."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a function: plain leaves, and the axis of each that counts members."""

    leaves: Tensors
    axes: tuple[int, ...]
    members: Members

    def threads(self, form: Form) -> int:
        """The best number of threads for inputs of this size."""
        if form == "c":
            few = (self.members.count or 1) < PARALLEL_MEMBERS
        else:
            few = sum(leaf.numel() for leaf in self.leaves) < PARALLEL_ENTRIES
        return 1 if few else torch.get_num_threads()


def traceable(form: Form, function: FlatFunction, inputs: Inputs) -> tuple[FlatFunction, Tensors]:
    """The function to trace in this form, and its inputs: all members, or for C one member alone."""
    if form == "graph":
        return function, tuple(map(copy, inputs.leaves))
    one = tuple(map(inputs.members.first, inputs.leaves, inputs.axes))
    if inputs.members.count is not None:
        return function, one

    def with_axis(*leaves: Tensor) -> Tensors:
        """The function of inputs with an axis of length 1 for its one member."""
        results = function(*(leaf.squeeze(0) if leaf.ndim else leaf for leaf in leaves))
        return tuple(result.unsqueeze(0) if result.ndim else result for result in results)

    return with_axis, one


def eagerly(function: FlatFunction) -> ListFunction:
    """The function itself, on a sequence of leaves, without gradients."""

    def run(leaves: Sequence[Tensor]) -> Tensors:
        with torch.no_grad():
            return function(*leaves)

    return run
